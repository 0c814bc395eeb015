"""Games of Go and Othello in the Smart Game Format (FF[4]): Go is read and written, Othello only written.

The format's grammar and Go's handicap rules are in ``games/go/sgf.py``.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from myosu.errors import UserError
from myosu.games import Game
from myosu.runs.games import GameRecord, Seat
from myosu.runs.reading import tell

if TYPE_CHECKING:
    from myosu.games.go.sgf import GoRecord


def is_go(game: Game | None) -> bool:
    return game is not None and re.match(r"go\d", game.name) is not None


def has_sgf(game: Game | None) -> bool:
    """Whether records of ``game`` can be written as SGF."""
    return game is not None and (is_go(game) or game.name == "othello")


def to_sgf(record: GameRecord, game: Game) -> str:
    """The text of an SGF file. Raises UserError if the game has no SGF, or if the record breaks its rules."""
    if is_go(game):
        return _go(record, game)
    if game.name != "othello":
        raise UserError(f"Games of {game.name} cannot be written as SGF; those of Go and Othello can.")
    return _othello(record, game)


def read_go_games(folder: Path) -> tuple[int, list[GameRecord]]:
    """Read the ``.sgf`` files below ``folder``. Returns the board size of most games, and the games of this size.

    Games that are damaged, of another size or without a winner are left out with a notice. Raises UserError if none is
    left.
    """
    from myosu.games.go.sgf import read_folder

    games, damaged = read_folder(folder)
    size = Counter(game.size for game in games).most_common(1)[0][0]
    fitting = [game for game in games if game.size == size and game.winner is not None]
    for line in damaged[:3]:
        tell(f"{line} It is left out.")
    if (other := len(games) - len(fitting)) or len(damaged) > 3:
        tell(f"Of the games in {folder}, {len(damaged)} are damaged, and {other} of another size than {size}×{size} or "
             "without a winner; they are left out.")
    if not fitting:
        raise UserError(f"No game in {folder} says who won.")
    return size, [_of_go(index, game) for index, game in enumerate(fitting)]


def _of_go(index: int, game: GoRecord) -> GameRecord:
    chosen = game.chosen()
    if game.actions[-2:] == 2 * [game.size**2]:
        chosen[-2:] = True  # the two final passes are learnt from, because they show when to end a game
    assert game.winner is not None
    seats: list[Seat] = [{"kind": "player", "name": name} for name in (game.black, game.white)]
    return GameRecord(seed=0, actions=game.actions, returns=[float(game.winner), -float(game.winner)],
                      terminated=True, truncated=False, game=f"go{game.size}", index=index, players=seats,
                      unchosen=np.flatnonzero(~chosen).tolist(), adjudicated=True)


def _go(record: GameRecord, game: Game) -> str:
    """The SGF of a game of Go, with comments at the moves that no player chose."""
    from myosu.games.go.sgf import CLEANUP, RANDOM, GoRecord, format_sgf

    history = record.history(game)
    comments, cleaning = [""] * record.length, True
    for ply in reversed(range(record.length)):
        cleaning &= ply in record.unchosen or history.actions[ply] == game.pass_action
        comments[ply] = CLEANUP if cleaning else RANDOM if ply in record.unchosen else ""
    assert game.score is not None
    score, colour = game.score(history.now.state), "B" if record.returns[0] > 0 else "W"
    over = record.terminated or record.truncated
    result = "" if not over else f"{colour}+R" if record.adjudicated else "0" if score == 0 else (
        f"{colour}+{abs(score):.1f}")
    black, white = _names(record)
    return format_sgf(GoRecord(game.observation_shape[-1], history.actions, float(history.now.state["komi"]), result,
                               black, white, comments))


def _othello(record: GameRecord, game: Game) -> str:
    """The SGF of a game of Othello. Squares are letters for column and row; a pass is empty."""
    history = record.history(game)
    black, white = (name.replace("\\", "\\\\").replace("]", "\\]") for name in _names(record))
    lead = round(2 * record.returns[0])
    margin = "R" if record.adjudicated else "" if game.rewards == "outcome" else str(abs(lead))
    result = "0" if lead == 0 else f"{'B' if lead > 0 else 'W'}+{margin}"
    root = f"(;FF[4]GM[2]SZ[8]CA[UTF-8]AP[Myosu]PB[{black}]PW[{white}]"
    root += f"RE[{result}]" if history.now.over or record.adjudicated else ""
    letters = "abcdefgh"
    moves = [f";{'BW'[ply % 2]}[{'' if action == 64 else letters[action % 8] + letters[action // 8]}]"
             for ply, action in enumerate(history.actions)]
    lines = ["".join(moves[k:k + 12]) for k in range(0, len(moves), 12)]
    return "\n".join([root, *lines]) + ")\n"


def _names(record: GameRecord) -> tuple[str, str]:
    """Names of the players of Black and White; "" if unknown."""
    black, white = ([_name(seat) for seat in record.players] + ["", ""])[:2]
    return black, white


def _name(seat: Seat) -> str:
    if seat["kind"] == "agent":
        return f"{seat.get('run', 'agent')} {seat.get('checkpoint', '')}".rstrip()
    return seat.get("name", seat["kind"])
