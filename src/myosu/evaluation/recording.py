"""Records games between any players, or episodes of an agent, in a folder, for ``myosu record``.

    recording.json   the environment and the settings      games.jsonl   one line per game (``runs/games.py``)
    sgf/             Go games, one file each

Games are written when they end, so that a recording can be stopped at any time and continued later.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from myosu.envs.making import absolute_name
from myosu.envs.registry import Environment, load_environment
from myosu.errors import UserError
from myosu.evaluation.recorded_play import play_block, record_episodes
from myosu.players.agent import AgentPlayer, PlayerAgent, load_agent
from myosu.players.opponents import make_opponent
from myosu.players.player import Player
from myosu.processes import Pool
from myosu.randomness import derive_seed, prepare_process
from myosu.runs.files import hold_own_folder, write_json, writing_to
from myosu.runs.games import GameLine, GameRecord, append_line
from myosu.runs.reading import read_json, truncate_lines
from myosu.runs.recordings import RecordingFile, recorded_lines
from myosu.runs.sgf import is_go, to_sgf

#: Games that a worker plays in parallel, because agents process a batch of positions faster than single ones.
BLOCK = 16
#: Untrained players of Myosu's own single-player games.
SCRIPTED = ("random", "greedy")
#: A duplicate game is played again with another seed, at most this many times.
MOST_ATTEMPTS = 20
#: Number of crashes of an engine in one game, each with another seed, at which the recording ends.
MOST_CRASHES = 3


@dataclass(frozen=True)
class Settings:
    """Settings of a recording.

    players: texts for ``make_opponent``; a single player plays itself, several play a round robin from both seats.
    opening_plies: a game begins with a random number of random moves, at most this many.
    random_moves: probability that a later move is random. temperature: above 0 agents draw their moves, see
    ``AgentPlayer``. seed: seed of the recording."""

    players: tuple[str, ...]
    opening_plies: int = 0
    random_moves: float = 0.0
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.players:
            raise UserError("No player is given: name one or more with --player.")
        if self.opening_plies < 0 or not (0 <= self.random_moves < 1 and 0 <= self.temperature < math.inf):
            raise UserError(f"--opening-plies {self.opening_plies}, --random-moves {self.random_moves:g}, "
                            f"--temperature {self.temperature:g}: the plies and the temperature must be 0 or more, the "
                            "fraction of random moves below 1.")

    def seats(self, number: int) -> tuple[str, str]:
        """The players of game ``number`` in the first and the second seat."""
        pairs = list(combinations(self.players, 2)) or [(self.players[0], self.players[0])]
        first, second = pairs[number % len(pairs)]
        return (first, second) if number // len(pairs) % 2 == 0 else (second, first)


@dataclass(frozen=True)
class Recorded:
    """games: number of games in the folder. new: games of this call, which took ``seconds``. duplicates: number of
    games that were discarded because the folder already had the same game. given_up: games that remained duplicates
    after all attempts."""

    games: int
    new: int
    seconds: float
    duplicates: int
    given_up: int


def record_games(folder: Path, environment: str, settings: Settings, games: int, jobs: int | None = None,
                 kwargs: dict[str, Any] | None = None, rewards: str = "score",
                 tell: Callable[[int, list[str]], None] = lambda done, notices: None) -> Recorded:
    """Play until ``folder`` holds ``games`` games of ``environment`` (see ``load_environment``), in ``jobs`` processes.

    In two-player games, duplicates are discarded, and a game in which an engine crashes is played again. In
    single-player environments, episodes of one player are recorded: a run or, in Myosu's own games, ``random`` or
    ``greedy``.

    tell(games so far, notices) is called often. Raises UserError if the folder was recorded with other settings, or if
    an engine fails.
    """
    begin, environment = time.monotonic(), absolute_name(environment)
    known = load_environment(environment, kwargs, rewards)
    _check_players(known, settings)
    lock = claim(folder, environment, kwargs or {}, rewards, settings)
    pool = Pool(jobs or len(os.sched_getaffinity(0)), _Recorder, (environment, kwargs or {}, rewards, settings))
    try:
        with writing_to(folder), closing(KeptGames(folder, known)) as kept:
            before, duplicates, given_up, crashes = len(kept.numbers), 0, 0, Counter[int]()
            waiting = list(_blocks([number for number in range(games) if number not in kept.numbers], settings, known))
            while waiting or pool.lost or pool.under_way():
                waiting[:0] = pool.lost  # tasks of worker processes that died
                pool.lost.clear()
                while pool.idle() and waiting:
                    pool.start(waiting.pop(0))
                for records, attempt, lost in pool.finished(timeout=0.5):
                    crashes.update(lost.keys())
                    for number, why in lost.items():
                        if crashes[number] == MOST_CRASHES:
                            raise UserError(f"{why}. It crashed {MOST_CRASHES} times in game {number}.")
                        pool.notices.append(f"{why}. Game {number} is played again.")
                        waiting.append(((number,), attempt + 1))
                    again = tuple(record.index for record in records if not kept.add(record))
                    duplicates += len(again)
                    if again and attempt < MOST_ATTEMPTS:
                        waiting.append((again, attempt + 1))
                    else:
                        given_up += len(again)
                tell(len(kept.numbers), pool.notices)
                pool.notices.clear()
            done = len(kept.numbers)
        return Recorded(done, done - before, round(time.monotonic() - begin, 1), duplicates, given_up)
    finally:
        pool.close()
        os.close(lock)


class KeptGames:
    """The games in ``folder``. numbers: the numbers of these games."""

    def __init__(self, folder: Path, environment: Environment) -> None:
        self.folder, self.environment = folder, environment
        truncate_lines(folder / "games.jsonl", lambda line: True, GameLine)
        records = list(recorded_lines(folder))
        self.numbers, self._seen = {record.index for record in records}, set(map(self._key, records))
        self._file = open(folder / "games.jsonl", "a", encoding="utf-8")  # noqa: SIM115 - ``close`` closes it

    def add(self, record: GameRecord) -> bool:
        """Write ``record`` unless the folder already has the same game. Returns whether it was written."""
        if (key := self._key(record)) in self._seen:
            return False
        if is_go(self.environment.game):
            path = self.folder / "sgf" / f"{record.index:06d}.sgf"
            path.parent.mkdir(exist_ok=True)
            path.write_text(to_sgf(record, self.environment.rules), encoding="utf-8")
        append_line(self._file, record)
        self._file.flush()
        self._seen.add(key)
        self.numbers.add(record.index)
        return True

    def _key(self, record: GameRecord) -> Any:
        """Key that identifies duplicates: the actions of two-player games, else the seed."""
        return tuple(record.actions or ()) if self.environment.spec.num_players == 2 else record.seed

    def close(self) -> None:
        self._file.close()


#: Numbers of games that are played in parallel by the same players in the same seats, and their number of attempts.
_Task = tuple[tuple[int, ...], int]


def _blocks(numbers: Sequence[int], settings: Settings, environment: Environment) -> Iterator[_Task]:
    """Group the games into tasks for a worker."""
    if environment.spec.num_players == 1:
        size = min(BLOCK, environment.most_at_once or BLOCK)
        yield from ((tuple(numbers[k:k + size]), 0) for k in range(0, len(numbers), size))
        return
    by_seats: dict[tuple[str, str], list[int]] = {}
    for number in numbers:
        seats = settings.seats(number)
        block = by_seats.setdefault(seats, [])
        block.append(number)
        if len(block) == (1 if all(player.startswith("gtp:") for player in seats) else BLOCK):
            yield tuple(by_seats.pop(seats)), 0
    yield from ((tuple(block), 0) for block in by_seats.values())


def _check_players(environment: Environment, settings: Settings) -> None:
    if environment.spec.num_players == 1:
        if len(settings.players) != 1 or not (_is_scripted(environment, settings.players[0])
                                              or Path(settings.players[0]).exists()):
            or_scripted = f" or {' or '.join(SCRIPTED)}" if environment.game else ""
            raise UserError(f"{environment.name} is single-player: its player must be one run{or_scripted} "
                            "(--player RUN).")
        if settings.opening_plies or settings.random_moves or settings.temperature:
            raise UserError(f"{environment.name} is single-player: leave out --opening-plies, --random-moves and "
                            "--temperature; the run acts greedily.")
        return
    for text in settings.players:
        make_opponent(text, environment.rules).close()


def _is_scripted(environment: Environment, player: str) -> bool:
    return environment.game is not None and player in SCRIPTED


def claim(folder: Path, environment: str, kwargs: dict[str, Any], rewards: str, settings: Settings) -> int:
    """Lock the folder of a recording (``hold_own_folder``) and write ``recording.json``, or raise UserError if an
    existing one differs."""
    lock = hold_own_folder(folder, "recording.json", "recorded", f"{folder} holds something other than a recording. "
                           "Name another folder with -o.")
    try:
        _agree(folder, {"game": environment, "kwargs": kwargs, "rewards": rewards,
                        "settings": {**asdict(settings), "players": list(settings.players)}})
    except BaseException:
        os.close(lock)
        raise
    return lock


def _agree(folder: Path, wanted: dict[str, Any]) -> None:
    file = folder / "recording.json"
    if not file.exists():
        write_json(file, wanted)
        return
    there = read_json(file, RecordingFile)
    flat = [{**found, **found["settings"], "settings": None} for found in (there, wanted)]
    for name, value in flat[1].items():
        if (then := flat[0].get(name)) != value:
            raise UserError(f"{folder} was recorded with {name} {then!r}, not {value!r}. Name another folder with -o, "
                            "or continue with the old value.")


class _Recorder:
    """Plays the games of a task in a worker process."""

    def __init__(self, environment: str, kwargs: dict[str, Any], rewards: str, settings: Settings) -> None:
        prepare_process(settings.seed)
        self.environment, self.settings = load_environment(environment, kwargs, rewards), settings
        self.agent: Any = None
        self.players: dict[str, Player] = {}

    def __call__(self, task: _Task) -> tuple[list[GameRecord], int, dict[int, str]]:
        """The games of ``task``, its attempt, and why games were lost, by number."""
        numbers, attempt = task
        lost: dict[int, str] = {}
        seeds = [derive_seed(self.settings.seed, number, attempt) for number in numbers]
        if self.environment.spec.num_players == 1:
            self.agent = self.agent or self._agent(self.settings.players[0], seeds[0])
            return record_episodes(self.environment, self.agent, numbers, seeds[0]), attempt, lost
        first, second = map(self._player, self.settings.seats(numbers[0]))
        for player in {first, second}:
            if hasattr(player, "rng"):  # its moves must not depend on earlier tasks of this process
                player.rng = np.random.default_rng(seeds[0])
        return play_block(self.environment.rules, (first, second), numbers, seeds, self.settings.opening_plies,
                          self.settings.random_moves, lost.__setitem__), attempt, lost

    def _agent(self, text: str, seed: int) -> Any:
        if _is_scripted(self.environment, text):
            return PlayerAgent(make_opponent(text, self.environment.rules, seed=seed))
        return load_agent(text)[0]

    def _player(self, text: str) -> Player:
        if text not in self.players:
            self.players[text] = player = make_opponent(text, self.environment.rules)
            if isinstance(player, AgentPlayer):
                player.draw_moves(self.settings.temperature)
        return self.players[text]

    def close(self) -> None:
        for player in self.players.values():
            player.close()
