"""GTP commands specific to Go: komi, handicap, SGF files, status of stones, and those of the KGS Go server."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from myosu.errors import UserError
from myosu.evaluation.clock import Clocks
from myosu.evaluation.gtp_engine import ChooseMove, GtpEngine, Refused, parse_number
from myosu.games.game import Game
from myosu.games.go.drawing import stone_grid
from myosu.games.go.sgf import read_sgf


class GoEngine(GtpEngine):
    """The engine for Go. Handicap stones are moves of Black that White answers with passes. The Tromp–Taylor rules have
    no dead stones: all stones on the board at the end are alive."""

    _komi: float | None = None
    _periods = False  # whether the clock has periods of one move each (Japanese byo-yomi)

    def __init__(self, game: Game, choose_move: ChooseMove, simulations: int) -> None:
        super().__init__(game, choose_move, simulations)
        self._commands |= {"kgs-rules": self._set_rules, "kgs-time_settings": self._set_time}

    @property
    def _size(self) -> int:
        return self.game.observation_shape[-1]

    def do_komi(self, points: str) -> str:
        komi = parse_number(points)
        if abs(komi) > self._size**2:
            raise Refused("syntax error")
        self._komi = komi
        self._state["komi"] = komi
        return ""

    def do_get_komi(self) -> str:
        return f"{self._state['komi'][0]:g}"

    def do_fixed_handicap(self, stones: str) -> str:
        """Place the protocol's standard handicap and respond with its points."""
        count, points = _whole_number(stones), _handicap_points(self._size)
        if not 2 <= count <= len(points):
            raise Refused("invalid number of stones")
        # Odd numbers above four include the centre.
        chosen = points[:count] if count in (2, 3, 4, 6, 8) else [*points[:count - 1], points[-1]]
        return self._place(chosen)

    def do_place_free_handicap(self, stones: str) -> str:
        return self.do_fixed_handicap(str(min(_whole_number(stones), len(_handicap_points(self._size)))))

    def do_set_free_handicap(self, *vertices: str) -> str:
        try:
            points = [self.game.parse_action(vertex) for vertex in vertices]
        except ValueError:
            raise Refused("syntax error") from None
        if len(points) < 2 or len(set(points)) < len(points) or self.game.pass_action in points:
            raise Refused("bad vertex list")
        self._place(points)
        return ""

    def do_final_status_list(self, status: str) -> str:
        if status not in ("alive", "seki", "dead"):
            raise Refused("syntax error")
        cells = np.flatnonzero(stone_grid(self._state[0])).tolist() if status == "alive" else []
        return "\n".join(self.game.action_name(cell) for cell in cells)

    def do_loadsgf(self, path: str, move: str = "") -> str:
        """Load a game, with ``move`` only the moves before it (counted from 1). Responds with the colour to move."""
        try:
            record = read_sgf(Path(path))[0]
        except (UserError, OSError) as error:
            raise Refused(f"cannot load file: {error}") from None
        if record.size != self._size:
            raise Refused(f"cannot load file: a game on {record.size}×{record.size} points")
        until = max(0, _whole_number(move) - 1) if move else len(record.actions)
        self._komi = record.komi
        self._clear()
        for action in record.actions[:until]:
            if not self._ended:
                self._play(action)
        return ("black", "white")[self._turn()]

    def _set_rules(self, rules: str) -> str:
        """kgs-rules: rules with area scoring and without suicide."""
        if rules.lower() not in ("chinese", "aga"):
            raise Refused(f"unsupported rules: {rules} (this engine plays chinese and aga rules, with area scoring)")
        return ""

    def _set_time(self, system: str, *numbers: str) -> str:
        """kgs-time_settings: ``none``, ``absolute MAIN``, ``byoyomi MAIN PERIOD PERIODS``, ``canadian MAIN PERIOD
        STONES``. Of Japanese periods only the last is used, one move each."""
        times = [parse_number(number) for number in numbers]
        if len(times) != {"none": 0, "absolute": 1, "byoyomi": 3, "canadian": 3}.get(system, -1):
            raise Refused("syntax error")
        self._periods = system == "byoyomi"
        main, period, stones = (*times, 0.0, 0.0, 0.0)[:3]
        self._clocks = Clocks(main, period, 1 if self._periods else int(stones))
        return ""

    def do_time_settings(self, main: str, period: str, stones: str) -> str:
        self._periods = False
        return super().do_time_settings(main, period, stones)

    def do_time_left(self, colour: str, seconds: str, stones: str) -> str:
        """With Japanese periods, KGS sends the periods that are left in place of the stones."""
        return super().do_time_left(colour, seconds, "1" if self._periods and parse_number(stones) > 0 else stones)

    def _place(self, points: list[int]) -> str:
        if self._moves:
            raise Refused("board not empty")
        assert self.game.pass_action is not None
        for k, point in enumerate(points):
            if k:
                self._play(self.game.pass_action, silent=True)
            self._play(point)
        return " ".join(self.game.action_name(point) for point in points)

    def _clear(self) -> None:
        super()._clear()
        if self._komi is not None:
            self._state["komi"] = self._komi

    def _moves_left(self) -> int:
        """Most games end when the board is three quarters full; after that, assume a few more moves."""
        return max(self._size, (3 * self._size**2 // 4 - len(self._moves)) // 2)


def _handicap_points(size: int) -> list[int]:
    """Handicap points: corners, then sides and centre on odd boards above 7×7. None on boards below 7×7."""
    if size < 7:
        return []
    low, middle = (3 if size > 12 else 2), size // 2
    high = size - 1 - low
    # (column, row from the bottom).
    points = [(low, low), (high, high), (low, high), (high, low)]
    if size % 2 and size > 7:
        points += [(low, middle), (high, middle), (middle, low), (middle, high), (middle, middle)]
    return [(size - 1 - row) * size + column for column, row in points]


def _whole_number(text: str) -> int:
    if not (text.isdecimal() and text.isascii()):
        raise Refused("syntax error")
    return int(text)
