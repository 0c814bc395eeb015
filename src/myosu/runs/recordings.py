"""A common reader of recorded games: those of runs, of ``myosu record`` and of people, SGF files of Go, Minari's
datasets, and ``.demo`` files of ML-Agents.

Lists are read line by line, because a run may have hundreds of thousands of episodes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np

from myosu import trust
from myosu.envs.native import game_spec
from myosu.envs.registry import Environment, load_environment
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.runs.demo import SUFFIX, read_demo
from myosu.runs.games import GameLine, GameRecord, read_game
from myosu.runs.minari_datasets import PREFIX, read_minari
from myosu.runs.reading import read_json, read_lines, tell
from myosu.runs.run import open_run
from myosu.runs.sgf import read_go_games

#: Two-player games that share this many first actions are held out together.
OPENING = 8


class RecordingFile(TypedDict):
    """The JSON of ``recording.json``, which names the environment of the games in a folder."""

    game: str
    kwargs: dict[str, Any]
    rewards: Literal["score", "outcome"]
    settings: dict[str, Any]


class Origin(NamedTuple):
    """The environment of recorded games. game, kwargs: as ``load_environment`` takes them. make: makes the environment,
    if its code may run. code: sources of the user's own code that it needs, see ``trust``."""

    game: str
    kwargs: dict[str, Any]
    make: Callable[[], Environment]
    code: tuple[str | None, ...] = ()

    def agree(self) -> None:
        """Allow its code to run."""
        trust.agree(*self.code)


class Recording:
    """The games in ``source``, oldest first, in the same order every time.

    read: function that returns the last n games, or all for None. find_origin: function that returns their environment;
    None if the source holds observations (``GameRecord.observed``), so that no environment is needed.
    """

    def __init__(self, source: str | Path, read: Callable[[int | None], Iterator[GameRecord]],
                 find_origin: Callable[[], Origin] | None) -> None:
        self.source, self._read, self._find_origin = source, read, find_origin

    @cached_property
    def origin(self) -> Origin | None:
        """The environment of the games, None if none is needed. Raises UserError if it cannot be read."""
        return None if self._find_origin is None else self._find_origin()

    @cached_property
    def environment(self) -> Environment:
        """The environment in which the games can be replayed. Raises UserError if its code may not run, see ``trust``,
        or if the source names none."""
        if self.origin is None:
            raise UserError(f"{self.source} does not say which environment its episodes are of.")
        return self.origin.make()

    def require(self, environment: Environment, name: str, kwargs: dict[str, Any]) -> None:
        """Raises UserError unless the games can be replayed in ``environment``, which was made from ``name`` and
        ``kwargs``: it must be the same, or have the same rules with another observation (go9 and go9-features)."""
        if self.origin is None or (self.origin.game, self.origin.kwargs) == (name, kwargs):
            return
        own, other = self.environment.game, environment.game
        if own is None or other is None or own.step is not other.step or own.num_actions != other.num_actions:
            raise UserError(f"The games in {self.source} are of {self.origin.game}, not of {name}"
                            f"{' with the same arguments' if self.origin.game == name else ''}.")

    def records(self) -> Iterator[GameRecord]:
        """The games whose moves are known, so that they can be replayed and learnt from."""
        return (record for record in self._read(None) if record.replayable)

    def last(self, count: int) -> list[GameRecord]:
        """The newest ``count`` games."""
        return list(self._read(count))

    def best(self, count: int) -> list[GameRecord]:
        """The ``count`` games with the best returns, best first."""
        return heapq.nlargest(count, self._read(None), key=merit)

    def find(self, which: int | Literal["best"]) -> GameRecord:
        """The replayable game with this index, or the best one. Raises UserError if there is none."""
        if which == "best":
            best = max(self.records(), key=merit, default=None)
            if best is None:
                raise UserError(f"No episode in {self.source} has its actions recorded yet.")
            return best
        newest, nearest = -1, list[int]()
        for record in self._read(None):
            newest = record.index
            if record.replayable:
                if newest == which:
                    return record
                nearest = [*nearest[-1:], newest] if newest > which else [newest]
                if newest > which:
                    break
        if not 0 <= which <= newest:
            raise UserError(f"There is no episode {which} in {self.source}: it has {newest + 1} so far, from 0.")
        raise UserError(f"The actions of episode {which} were not recorded. The nearest that were: "
                        f"{' and '.join(map(str, nearest)) or 'none'}.")


def open_recording(source: str | Path, spec: EnvSpec | None = None) -> Recording:
    """Open the games in ``source``: a folder (of a run, of ``myosu record``, of games that people played, of SGF
    files), a file with one game, a ``.demo`` file, or ``minari:DATASET``.

    spec: of the environment whose observations are wanted, which only the last two need. Raises UserError if ``source``
    is none of these.
    """
    if str(source).startswith(PREFIX):
        return _observed(source, spec, read_minari)
    if str(source).endswith(SUFFIX):
        return _observed(source, spec, read_demo)
    path = Path(source)
    if (path / "config.json").is_file():
        return Recording(path, lambda last: _lines(path, last), lambda: _origin_of_run(path))
    if (path / "recording.json").is_file():
        return Recording(path, lambda last: _lines(path, last), lambda: _origin_of_recording(path))
    if path.suffix == ".json" and path.is_file():
        return _of_games(path, [read_game(path)])
    played, damaged = _read_played(path)
    if played:
        return _of_games(path, played)
    if path.is_dir() and next(path.rglob("*.sgf"), None) is not None:
        size, games = read_go_games(path)
        return Recording(path, lambda last: _of_list(games, last), lambda: _origin_of_go(size))
    raise UserError(" ".join([f"There are no recorded games in {source}: it is neither a run, nor a folder that myosu "
                              "record made, nor one of .sgf files or of games that were played in the page.",
                              *damaged[:1]]))


def recorded_lines(folder: Path) -> Iterator[GameRecord]:
    """The replayable games in a folder of ``myosu record``, which may still be writing it."""
    return (record for record in _lines(folder, None) if record.replayable)


def _lines(folder: Path, last: int | None) -> Iterator[GameRecord]:
    return map(GameRecord.of_line, read_lines(folder / "games.jsonl", GameLine, last=last))


def _of_list(games: list[GameRecord], last: int | None) -> Iterator[GameRecord]:
    return iter(games if last is None else games[-last:])


def _observed(source: str | Path, spec: EnvSpec | None, read: Callable[[str, EnvSpec], Iterable[GameRecord]]
              ) -> Recording:
    if spec is None:
        raise UserError(f"{source} holds observations without the name of an environment: its episodes can be trained "
                        "on, but not listed or replayed.")

    def episodes(last: int | None) -> Iterator[GameRecord]:
        found = read(str(source), spec)
        return iter(found if last is None else deque(found, last))

    next(episodes(None), None)  # raises UserError if it cannot be read
    return Recording(source, episodes, None)


def _read_played(folder: Path) -> tuple[list[GameRecord], list[str]]:
    """The games in a folder with one file per game, numbered from 0, and the reasons why files were left out: damaged,
    or of another game than the first. If there are games, the reasons are printed."""
    games: list[GameRecord] = []
    left_out = []
    for file in sorted(folder.glob("*.json")):
        try:
            game = read_game(file)
        except UserError as error:
            left_out.append(f"{error} It is left out.")
            continue
        if games and any(getattr(game, part) != getattr(games[0], part) for part in ("game", "kwargs", "rewards")):
            left_out.append(f"{file} is a game of {game.game}, the first one in its folder of {games[0].game}. It is "
                            "left out.")
            continue
        games.append(dataclasses.replace(game, index=len(games)))
    for notice in left_out if games else ():  # without games, the folder may be of another kind
        tell(notice)
    return games, left_out


def _of_games(source: Path, games: list[GameRecord]) -> Recording:
    first = games[0]
    origin = Origin(first.game, first.kwargs, first.environment, (trust.source_of(first.game, first.kwargs),))
    return Recording(source, lambda last: _of_list(games, last), lambda: origin)


def _origin_of_run(folder: Path) -> Origin:
    config = open_run(folder).config
    return Origin(config.game, config.env_kwargs, lambda: config.environment, tuple(config.sources))


def _origin_of_recording(folder: Path) -> Origin:
    known = read_json(folder / "recording.json", RecordingFile)
    code = trust.source_of(known["game"], known["kwargs"])

    def make() -> Environment:
        trust.require([code], f"The recording {folder}")
        return load_environment(known["game"], known["kwargs"], known["rewards"])

    return Origin(known["game"], known["kwargs"], make, (code,))


def _origin_of_go(size: int) -> Origin:
    from myosu.games.go import make_game

    rules = make_game(size)  # boards of this size may not be registered
    return Origin(f"go{size}", {}, lambda: Environment(f"go{size}", game_spec(rules), game=rules))


def merit(record: GameRecord) -> tuple[float, int]:
    """Sort key of the best episode. In two-player games the winner's return counts; among equals the newest is best."""
    return max(record.returns, default=-math.inf), record.index


def is_held_out(actions: np.ndarray | Sequence[Any], num_players: int, share: float) -> bool:
    """Whether the game with these actions is held out from training, for testing.

    A hash of the actions selects a fraction of about ``share`` of all games. For two-player games it covers the first
    ``OPENING`` actions, so that games with the same opening are held out together; for single-player ones, all actions.
    """
    decides = np.asarray(actions if num_players == 1 else actions[:OPENING])
    number = int.from_bytes(hashlib.blake2b(decides.astype(np.float32).tobytes(), digest_size=8).digest(), "big")
    return number < share * 2**64
