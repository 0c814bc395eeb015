"""A GTP version 2 engine around a player, in the dialect of GRhino and Quarry."""

from __future__ import annotations

import inspect
import math
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

import numpy as np

import myosu
from myosu.evaluation.clock import Clocks, Pace
from myosu.games.game import Game
from myosu.players.gtp import COLOURS, MoveWords, title
from myosu.players.player import RESIGNS, History, legal_mask

#: think(state [1], actions that led to it, simulations) -> action, or RESIGNS.
ChooseMove = Callable[[np.ndarray, History, int], int]


#: run(write(text), waiting() -> whether there is input): writes lines until there is input.
Stream = Callable[[Callable[[str], None], Callable[[], bool]], None]


class Refused(Exception):
    """A command failed; the message is the engine's error response."""


class InputLines:
    """Input lines, read by a thread, so that a running command can check for the next one."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def waiting(self) -> bool:
        """Whether a line or the end of input has been read and not yet consumed."""
        return not self._lines.empty()

    def __iter__(self) -> Iterator[str]:
        while (line := self._lines.get()) is not None:
            yield line

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._lines.put(line)
        self._lines.put(None)


class GtpEngine:
    """A GTP engine for one game at a time, which the controller may set up, play and undo.

    Forced passes may be sent or omitted; GRhino and Quarry omit them. simulations: per move; ``choose_move`` gets
    fewer if the clock requires it, and is not called if only one action is legal. ``choose_move`` also receives all
    actions of the game so far, by both players, so that a recurrent agent can recompute its state
    (``players.agent.AgentPlayer``).
    """

    def __init__(self, game: Game, choose_move: ChooseMove, simulations: int) -> None:
        self.game, self.over, self._words = game, False, MoveWords(game)
        self._choose_move, self._simulations = choose_move, simulations
        self._clocks, self._pace = Clocks(), Pace()
        self._commands = {name.removeprefix("do_"): getattr(self, name) for name in dir(self) if name.startswith("do_")}
        #: Commands that answer line by line until there is input: name → begin(words) -> run(write, waiting), where
        #: ``begin`` may raise Refused.
        self._streaming: dict[str, Callable[[list[str]], Stream]] = {}
        self._clear()

    def warm_up(self) -> None:
        """Search the first move, so that everything is compiled and the pace is measured before a clock runs. The
        compilation time is not counted."""
        self._play(int(np.flatnonzero(self._legal())[0]))
        self._clear()
        self._choose_move(self._state, [], 1)
        for _ in range(2):
            self._timed_move(self._simulations)

    def serve(self, commands: Iterable[str], answers: TextIO) -> None:
        """Answer commands until ``quit`` or the end of input."""

        def write(text: str) -> None:
            answers.write(text)
            answers.flush()

        lines = InputLines(commands)
        for line in lines:
            number, words = _split(line)
            if words and words[0] in self._streaming:
                try:
                    run = self._streaming[words[0]](words[1:])
                except Refused as refusal:
                    write(f"?{number} {refusal}\n\n")
                    continue
                write(f"={number}\n")
                run(write, lines.waiting)
                write("\n")
            elif (answer := self.answer(line)) is not None:
                write(answer)
            if self.over:
                break

    def answer(self, line: str) -> str | None:
        """The complete response to a line; None if the line contains no command."""
        number, words = _split(line)
        if not words:
            return f"?{number} unknown command\n\n" if number else None
        try:
            mark, said = "=", self._obey(words[0], words[1:])
        except Refused as refusal:
            mark, said = "?", str(refusal)
        # An empty line would end the response.
        lines = [line for line in f"{mark}{number} {said}".splitlines() if line.strip()]
        return "\n".join(lines).rstrip() + "\n\n"

    def _obey(self, command: str, words: list[str]) -> str:
        if command not in self._commands:
            raise Refused("unknown command")
        obey = self._commands[command]
        try:
            inspect.signature(obey).bind(*words)
        except TypeError:  # wrong number of arguments
            raise Refused("syntax error") from None
        return obey(*words)

    # --- about the engine

    def do_protocol_version(self) -> str:
        return "2"

    def do_name(self) -> str:
        return "Myosu"

    def do_version(self) -> str:
        return myosu.__version__

    def do_known_command(self, name: str) -> str:
        return str(name in self._commands or name in self._streaming).lower()

    def do_list_commands(self) -> str:
        return "\n".join([*self._commands, *self._streaming])

    def do_quit(self) -> str:
        self.over = True
        return ""

    # --- the game

    def do_list_games(self) -> str:
        return title(self.game)

    def do_set_game(self, *words: str) -> str:
        if " ".join(words).lower() != title(self.game).lower():
            raise Refused(f"unsupported game: this agent plays {title(self.game)}")
        self._clear()
        return ""

    def do_boardsize(self, size: str) -> str:
        if size != str(self.game.observation_shape[-1]):
            raise Refused("unacceptable size")
        self._clear()
        return ""

    def do_clear_board(self) -> str:
        self._clear()
        self._clocks.restart()
        return ""

    def do_komi(self, points: str) -> str:
        parse_number(points)  # every controller sends it; ignored here
        return ""

    def do_play(self, colour: str, move: str, *more: str) -> str:
        seat = _seat(colour)
        try:
            action = self._words.action(" ".join((move, *more)))
        except ValueError:
            raise Refused("syntax error") from None
        if action == self.game.pass_action and self._moves[-1:] == [(action, True)] and self._turn() != seat:
            self._moves[-1] = (action, False)  # the implied pass is now explicit
            return ""
        if self._ended:
            raise Refused("illegal move: the game is over")
        self._give_turn_to(seat)
        if not 0 <= action < self.game.num_actions or not self._legal()[action]:
            raise Refused("illegal move")
        self._play(action)
        return ""

    def do_genmove(self, colour: str) -> str:
        start = time.perf_counter()
        action = self._generate(colour)
        if action is not None and action != RESIGNS:
            self._play(action)
            self._clocks.spend(_seat(colour), time.perf_counter() - start)
        return self._vertex(action)

    def do_reg_genmove(self, colour: str) -> str:
        return self._vertex(self._generate(colour))

    def do_undo(self) -> str:
        if not self._moves:
            raise Refused("cannot undo")
        kept = self._moves[:-1]
        while kept and kept[-1][1]:  # the controller does not know of implied passes
            kept.pop()
        self._clear()
        for action, silent in kept:
            self._play(action, silent)
        return ""

    def do_showboard(self) -> str:
        turn = "The game is over" if self._ended else f"{COLOURS[self._turn()]} to move"
        return f"{turn}\n{self.game.render(self._state[0])}"

    def do_final_score(self) -> str:
        if not self._ended:
            raise Refused("cannot score: the game is not over")
        points = self._total if self.game.score is None else float(self.game.score(self._state[0]))
        return "0" if points == 0 else f"{'B' if points > 0 else 'W'}+{abs(points):g}"

    # --- time

    def do_time_settings(self, main: str, period: str, stones: str) -> str:
        self._clocks = Clocks(parse_number(main), parse_number(period), int(parse_number(stones)))
        return ""

    def do_time_left(self, colour: str, seconds: str, stones: str) -> str:
        self._clocks.set_left(_seat(colour), parse_number(seconds), int(parse_number(stones)))
        return ""

    # --- internal

    def _generate(self, colour: str) -> int | None:
        """The action for ``colour``; None if the game is over, which is answered with a pass in this dialect."""
        seat = _seat(colour)
        if self._ended:
            return None
        self._give_turn_to(seat)
        choices = np.flatnonzero(self._legal())
        if len(choices) == 1:
            return int(choices[0])
        budget = self._clocks.budget(seat, self._moves_left())
        simulations = self._pace.simulations(budget, self._simulations)
        # Without time for a single simulation, any legal move is better than losing on time.
        return self._timed_move(simulations) if simulations else int(choices[0])

    def _timed_move(self, simulations: int) -> int:
        start = time.perf_counter()
        action = self._choose_move(self._state, [action for action, _ in self._moves], simulations)
        self._pace.observe(simulations, time.perf_counter() - start)
        return action

    def _vertex(self, action: int | None) -> str:
        if action is None or action == RESIGNS:
            return "pass" if action is None else "resign"
        word = self._words.word(action)
        return word.upper() if self._words.any_case else word

    def _give_turn_to(self, seat: int) -> None:
        """Insert an implied pass if it is not the turn of ``seat`` and the player to move can pass."""
        if self._turn() == seat:
            return
        if self.game.pass_action is None or not self._legal()[self.game.pass_action]:
            raise Refused(f"illegal move: {COLOURS[1 - seat]} is to move")
        self._play(self.game.pass_action, silent=True)
        if self._ended:
            raise Refused("illegal move: the game is over")

    def _moves_left(self) -> int:
        """Estimated number of moves that the player to move still has to make, for its time budget."""
        return (self.game.max_plies - len(self._moves) + 1) // 2

    def _turn(self) -> int:
        return len(self._moves) % 2

    def _legal(self) -> np.ndarray:
        return legal_mask(self.game, self._state)[0]

    def _clear(self) -> None:
        self._state, self._ended, self._total = self.game.new_states(1), False, 0.0
        #: (action, whether it is an implied pass).
        self._moves: list[tuple[int, bool]] = []

    def _play(self, action: int, silent: bool = False) -> None:
        rewards, ended = np.empty(1, np.float32), np.empty(1, np.bool_)
        self.game.batch.step(self._state, np.array([action]), rewards, ended)
        self._total += float(rewards[0]) if self._turn() == 0 else -float(rewards[0])
        self._moves.append((action, silent))
        self._ended = bool(ended[0]) or len(self._moves) >= self.game.max_plies


def _split(line: str) -> tuple[str, list[str]]:
    """Split a line into the command's number, or "", and its words."""
    text = re.sub(r"[^\x20-\U0010ffff]", "", line.replace("\t", " ")).partition("#")[0]
    words = text.split()
    number = words.pop(0) if words and re.fullmatch(r"\d+", words[0]) else ""
    return number, words


def _seat(colour: str) -> int:
    for seat, name in enumerate(COLOURS):
        if colour.lower() in (name, name[0]):
            return seat
    raise Refused("syntax error")


def parse_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise Refused("syntax error") from None
    if not math.isfinite(number):
        raise Refused("syntax error")
    return number
