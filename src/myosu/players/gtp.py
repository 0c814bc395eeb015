"""A GTP (Go Text Protocol) engine in its own process, as a player."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from collections import Counter

import numpy as np

from myosu.errors import UserError
from myosu.games.game import Game
from myosu.players.player import RESIGNS, History, legal_mask

#: Debian's folders for games, which PATH often lacks.
GAME_FOLDERS = "/usr/games:/usr/local/games"
#: Maximum bytes of a line of a response.
LONGEST_LINE = 1_000_000
COLOURS = ("black", "white")


class RefusedCommand(UserError):
    """The engine responded with an error."""


class EngineCrashed(UserError):
    """The engine's process ended, or closed its output."""


class GtpPlayer:
    """The engine started by ``command``. One process plays all games of a match; positions are set up move by move.

    timeout: seconds for one response. Any failure of the engine raises UserError with the moves so far; after
    EngineCrashed, ``restart`` continues with a new process. If the engine resigns, it loses the game. cleans_up:
    whether it can capture dead stones (``clean_up``).
    """

    repeats_itself = True

    def __init__(self, game: Game, command: str, timeout: float = 120.0) -> None:
        self.name = f"gtp:{command}"
        self._game, self._words, self._timeout, self._command = game, MoveWords(game), timeout, command
        self._begin()

    def restart(self) -> None:
        self.close()
        self._begin()

    def _begin(self) -> None:
        self._played: History = []
        self._unread = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the engine
        self._process = self._start(self._command)
        try:
            self._set_up()
        except UserError:
            self.close()
            raise

    def choose(self, states: np.ndarray, histories: list[History]) -> np.ndarray:
        legal = legal_mask(self._game, states)
        return np.array([self._genmove(h, mask) for h, mask in zip(histories, legal, strict=True)], np.int64)

    def close(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._process.stdin.write(b"quit\n")  # type: ignore[union-attr]
                self._process.wait(timeout=1)
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def send(self, command: str) -> str:
        """The engine's response to ``command``, without the ``=``."""
        self._write([command])
        return self._answer(command)

    def _write(self, commands: list[str]) -> None:
        try:
            os.write(self._process.stdin.fileno(), "".join(c + "\n" for c in commands).encode())  # type: ignore[union-attr]
        except OSError:
            raise self._crashed(commands[0]) from None

    def _answer(self, command: str) -> str:
        deadline = time.monotonic() + self._timeout
        lines: list[str] = []
        while not lines or lines[-1]:
            line = self._line(command, deadline)
            if line or lines:
                lines.append(line)
            if lines and not lines[0].startswith(("=", "?")):
                raise self._failed(command, f"answered {line!r}, which is not GTP")
        answer = "\n".join(lines).strip()
        if answer.startswith("?"):
            raise RefusedCommand(self._failed(command, f"answered {answer!r}"))
        return answer[1:].strip()

    def _line(self, command: str, deadline: float) -> str:
        stdout = self._process.stdout
        assert stdout is not None
        if time.monotonic() > deadline:
            raise self._failed(command, f"had not ended its answer after {self._timeout:g} seconds")
        while b"\n" not in self._unread:
            if len(self._unread) > LONGEST_LINE:
                raise self._failed(command, f"wrote a line of more than {LONGEST_LINE} bytes")
            if not select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise self._failed(command, f"gave no answer within {self._timeout:g} seconds")
            received = os.read(stdout.fileno(), 65536)
            if not received:
                raise self._crashed(command)
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode(errors="replace").strip()

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        try:
            words = shlex.split(command)
        except ValueError as error:  # an unclosed quotation mark
            raise UserError(f"gtp:{command}: this is not a valid command line: {error}.") from None
        program = find_engine(words[0]) if words else None
        if program is None:
            raise UserError(f"gtp:{command!r}: there is no program {words[0] if words else ''!r}. "
                            "scripts/install_program.sh gtp-rhino grhino installs GRhino, and gnugo gnugo GNU Go.")
        try:
            return subprocess.Popen([program, *words[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    stderr=self._errors, bufsize=0)
        except (OSError, ValueError) as error:
            raise UserError(f"gtp:{command}: {program} cannot be started: {error}.") from None

    def _set_up(self) -> None:
        known = self.send("list_commands").split()
        self.cleans_up = "kgs-genmove_cleanup" in known
        if "set_game" in known:
            self.send("set_game " + title(self._game))
        if "boardsize" in known and len(self._game.observation_shape) == 3:
            self.send(f"boardsize {self._game.observation_shape[-1]}")
        if "komi" in known and "komi" in (self._game.state_dtype.names or ()):
            self.send(f"komi {self._game.new_states(1)['komi'][0]:g}")
        self.send("clear_board")

    def clean_up(self, state: np.void, history: History) -> int:
        """As ``choose``, for one game that is over except for capturing dead stones."""
        return self._genmove(history, legal_mask(self._game, np.array([state]))[0], "kgs-genmove_cleanup")

    def _genmove(self, history: History, legal: np.ndarray, command: str = "genmove") -> int:
        self._take_up(history)
        command = f"{command} {self._colour()}"
        answer = self.send(command)
        if answer.lower() == "resign":
            return RESIGNS
        try:
            action = self._words.action(answer)
        except ValueError as error:
            raise self._failed(command, f"answered {answer!r}: {error}") from None
        if not 0 <= action < len(legal) or not legal[action]:
            raise self._failed(command, f"answered {answer!r}, an illegal move")
        self._played.append(action)
        return action

    def _take_up(self, history: History) -> None:
        """Set up the position after ``history``. All commands are sent in one write."""
        if history[: len(self._played)] != self._played:
            self.send("clear_board")
            self._played = []
        known = len(self._played)
        commands = [f"play {COLOURS[(known + k) % 2]} {self._words.word(action)}"
                    for k, action in enumerate(history[known:])]
        if commands:
            self._write(commands)
        for command, action in zip(commands, history[known:], strict=True):
            try:
                self._answer(command)
            except RefusedCommand:
                # GRhino passes implicitly and rejects the command. If the error has another cause, the next command
                # fails.
                if action != self._game.pass_action:
                    raise
            self._played.append(action)

    def _colour(self) -> str:
        return COLOURS[len(self._played) % 2]

    def _crashed(self, command: str) -> EngineCrashed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        self._errors.seek(0)
        said = self._errors.read()[-500:].decode(errors="replace").strip()
        code = self._process.poll()
        what = "closed its output" if code is None else f"ended with exit code {code}"
        return EngineCrashed(str(self._failed(command, what + (f" and said: {said}" if said else ""))))

    def _failed(self, command: str, what: str) -> UserError:
        moves = " ".join(self._game.action_name(a) for a in self._played) or "(no move yet)"
        return UserError(f"The engine {self.name} {what}, asked to {command!r} after: {moves}")


class MoveWords:
    """The actions of ``game`` as GTP words: unique names without spaces.

    any_case: whether words are case-insensitive, as in GTP; False if two words differ only in case.
    """

    def __init__(self, game: Game) -> None:
        names = ["_".join(game.action_name(action).split()) for action in range(game.num_actions)]
        counts = Counter(names)
        self._parse = game.parse_action
        self._words = [name if counts[name] == 1 and _is_word(name) else f"action-{action}"
                       for action, name in enumerate(names)]
        self._actions = {word: action for action, word in enumerate(self._words)}
        in_small_letters = {word.lower(): action for action, word in enumerate(self._words)}
        self.any_case = len(in_small_letters) == len(self._words)
        if self.any_case:
            self._actions = in_small_letters

    def word(self, action: int) -> str:
        return self._words[action]

    def action(self, text: str) -> int:
        """The action of a GTP word, or of the game's own notation. Raises ValueError for other text."""
        action = self._actions.get(text.lower() if self.any_case else text)
        return self._parse(text) if action is None else action


def _is_word(name: str) -> bool:
    return name.isprintable() and name != "" and "#" not in name and name.upper() != "RESIGN"


def title(game: Game) -> str:
    """The game's name for ``set_game``: Othello, Connect Four, Go (for any size)."""
    if re.match(r"go\d", game.name):
        return "Go"
    return game.name.replace("_", " ").title()


def find_engine(program: str) -> str | None:
    """Path of an engine's ``program``; None if it is not installed."""
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":" + GAME_FOLDERS)
