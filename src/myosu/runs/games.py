"""The record of a game or episode: the seed and the actions, from which it can be replayed, and the result.

The same record serves native games and Gymnasium environments. Actors return one when an episode ends; ``games.jsonl``
has one per line; a game that a person played is a separate file. Other formats (SGF, Minari's datasets, ``.demo``
files) are converted from and to it. ``recordings.py`` reads all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TextIO, TypedDict

import numpy as np

from myosu import trust
from myosu.envs.game_history import GameHistory, replay
from myosu.envs.playback import Move, play_through
from myosu.envs.registry import Environment, load_environment
from myosu.errors import UserError
from myosu.games import Game
from myosu.runs.files import write_json
from myosu.runs.reading import Count, Finite, Range, Seed, load_json, parse

FORMAT = 1

#: An action: a number, or nested lists of numbers if actions are arrays.
Numbers = int | Finite | list[int | Finite | list[int | Finite]]


class Seat(TypedDict):
    """Who played a seat. kind: "person", "agent", "recorded" or "player". name: of a player, as ``make_opponent`` takes
    it or as an SGF file gives it. Only agents have the other fields."""

    kind: str
    name: NotRequired[str]
    run: NotRequired[str]
    checkpoint: NotRequired[str]
    simulations: NotRequired[Count]
    temperature: NotRequired[Annotated[float, Range(0)]]


class _GameJson(TypedDict):
    """Fields that the JSON of every record may have. Earlier versions wrote fewer."""

    returns: list[Finite]
    kwargs: NotRequired[dict[str, Any]]
    rewards: NotRequired[Literal["score", "outcome"]]
    raw_returns: NotRequired[list[float]]
    env_steps: NotRequired[Count]
    weights_version: NotRequired[int]
    players: NotRequired[list[Seat]]
    taken_back: NotRequired[Count]
    started: NotRequired[Finite]
    ended: NotRequired[Finite]
    unchosen: NotRequired[list[Count]]
    replies: NotRequired[list[Numbers]]
    adjudicated: NotRequired[bool]


class GameLine(_GameJson):
    """The JSON of a line of ``games.jsonl``. The folder's configuration names the game."""

    index: Count
    length: Count
    game: NotRequired[str]
    seed: NotRequired[Seed]
    actions: NotRequired[list[Numbers]]
    terminated: NotRequired[bool]
    truncated: NotRequired[bool]


class GameFile(_GameJson):
    """The JSON of a file with one game (``docs/play.md``)."""

    format: Literal[1]
    game: str
    seed: Seed
    actions: list[Numbers]
    terminated: bool
    truncated: bool
    index: NotRequired[Count]
    length: NotRequired[Count]


@dataclass(frozen=True)
class GameRecord:
    """One game. The same seed and actions give the same game, move for move.

    actions: numbers, or nested lists if an action is an array; None if they were not kept. returns: one per seat, the
        sum so far if the game is not over. terminated, truncated: how it ended, both false if it did not.
    game, kwargs, rewards: as ``load_environment`` takes them; ``game`` is "" if the folder names it (a run's).
    length: number of actions. raw_returns: the environment's own returns, before any wrapper; by default ``returns``.
    index, env_steps, weights_version: the episode's number in its folder; the run's steps when it ended; the update
        number of the weights that played it.
    players: one per seat. taken_back: number of times that moves were taken back. started, ended: seconds since 1970.
    unchosen: plies whose action no player chose, such as random openings; they must not be learnt from.
    replies: the moves of an opponent inside the environment, where the seed does not determine them.
    adjudicated: the result was declared (by resignation, or by a file) and does not follow from the actions.

    Two fields are never written. stats: an actor's means over the episode by name (policy entropy, KL of the search
    from the prior, …). observed: the moves, if a file holds observations instead of a seed.
    """

    seed: int | None
    actions: list[Any] | None
    returns: list[float]
    terminated: bool
    truncated: bool
    game: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    rewards: Literal["score", "outcome"] = "score"
    length: int = 0
    raw_returns: list[float] = field(default_factory=list)
    index: int = 0
    env_steps: int = 0
    weights_version: int = 0
    players: list[Seat] = field(default_factory=list)
    taken_back: int = 0
    started: float = 0.0
    ended: float = 0.0
    unchosen: list[int] = field(default_factory=list)
    replies: list[Any] = field(default_factory=list)
    adjudicated: bool = False
    stats: dict[str, float] = field(default_factory=dict)
    observed: list[Move] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.actions is not None:
            object.__setattr__(self, "length", len(self.actions))
        if not self.raw_returns:
            object.__setattr__(self, "raw_returns", list(self.returns))

    @classmethod
    def of_moves(cls, moves: list[Move], index: int) -> GameRecord:
        """The record of a single-player episode from its observed moves."""
        last = moves[-1] if moves else None
        return cls(seed=None, actions=[move.action.tolist() for move in moves],
                   returns=[float(sum(move.rewards[0] for move in moves))],
                   terminated=last is not None and last.terminated, truncated=last is not None and last.truncated,
                   index=index, observed=moves)

    @property
    def replayable(self) -> bool:
        """Whether ``moves`` can return its moves."""
        return self.observed is not None or (self.actions is not None and self.seed is not None)

    def environment(self) -> Environment:
        """The environment in which it was played. Raises UserError if its code may not run, see ``trust``."""
        trust.require([trust.source_of(self.game, self.kwargs)], "The record of this game")
        return load_environment(self.game, self.kwargs, self.rewards)

    def history(self, game: Game | None = None) -> GameHistory:
        """Replay a native game, by the rules of ``game`` if given. Raises UserError if the result is another one."""
        seed, actions = self.seed_and_actions()
        if not all(type(action) is int for action in actions):
            raise UserError("The game's actions must be whole numbers.")
        game = game or self.environment().rules
        history = replay(game, seed, actions)
        now = history.now
        if not self.adjudicated and not (self._agrees(now.returns) and (now.terminated, now.truncated) == (
                self.terminated, self.truncated)):
            raise UserError(f"This game of {game.name} was written with the returns {self.returns}; played again it "
                            f"has {list(now.returns)}. The rules have changed since, or the file has.")
        return history

    def moves(self, environment: Environment | None = None) -> Iterator[Move]:
        """Replay the game, native or of Gymnasium, and yield every move with the player's observation.

        The rewards of all moves add up to ``returns``; in an adjudicated game, the last move's rewards and end are set
        accordingly. Raises UserError if the game cannot be replayed, or if the returns differ from the record.
        """
        if self.observed is not None:
            yield from self.observed
            return
        seed, actions = self.seed_and_actions()
        environment = environment or self.environment()
        returns: np.ndarray = np.zeros(environment.spec.num_players)
        if len(self.returns) != len(returns):
            raise UserError(f"This game was written with {len(self.returns)} returns; {environment.name} has "
                            f"{len(returns)} seats.")
        unchosen = set(self.unchosen)
        for ply, move in enumerate(play_through(environment, seed, actions, self.replies)):
            if self.adjudicated and ply == self.length - 1:
                move = move._replace(rewards=self.returns - returns, terminated=self.terminated,
                                     truncated=self.truncated)
            returns += move.rewards
            yield move._replace(chosen=ply not in unchosen)
        if not self._agrees(returns):
            raise UserError(f"This game was written with the returns {self.returns}; played again it has "
                            f"{returns.tolist()}: {environment.name} does not do the same after the same seed and "
                            "actions, or the file was changed.")

    def seed_and_actions(self) -> tuple[int, list[Any]]:
        """The seed and the actions, from which it can be replayed. Raises UserError if they were not kept."""
        if self.actions is None or self.seed is None:
            raise UserError("This game was recorded without its seed or its actions, so it cannot be replayed.")
        return self.seed, self.actions

    def _agrees(self, returns: Any) -> bool:
        """Whether the returns equal the recorded ones up to rounding: float32 sums depend on the order of addition."""
        return len(returns) == len(self.returns) and np.allclose(returns, self.returns, rtol=1e-4, atol=1e-4)

    def to_line(self) -> dict[str, Any]:
        """The record as JSON, without empty fields."""
        data: dict[str, Any] = {} if not self.game else {
            "game": self.game, "kwargs": self.kwargs, "rewards": self.rewards}
        data |= {name: getattr(self, name) for name in (
            "index", "env_steps", "weights_version", "length", "returns", "raw_returns", "terminated", "truncated")}
        data |= {name: value for name in ("players", "taken_back", "started", "ended", "unchosen", "replies",
                                         "adjudicated")
                 if (value := getattr(self, name))}
        return data | {name: value for name in ("seed", "actions") if (value := getattr(self, name)) is not None}

    def to_json(self) -> dict[str, Any]:
        """The record as the JSON of a file with one game."""
        return {"format": FORMAT, **self.to_line()}

    @classmethod
    def of_line(cls, line: GameLine) -> GameRecord:
        """The record from a line that ``read_lines`` has validated."""
        return cls._of({"terminated": not line.get("truncated", False), **line})

    @classmethod
    def from_json(cls, data: Any, where: object = "The game") -> GameRecord:
        """Inverse of ``to_json``. Raises UserError naming ``where`` if ``data`` is no game as in ``docs/play.md``."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UserError(f"{where} is not a game in the format {FORMAT} of docs/play.md.")
        return cls._of(parse(GameFile, data, where))

    @classmethod
    def _of(cls, data: dict[str, Any]) -> GameRecord:
        known = {name: value for name, value in data.items() if name in _WRITTEN}
        return cls(**{"seed": None, "actions": None, "truncated": False, **known})


_WRITTEN = GameLine.__annotations__.keys()


def append_line(file: TextIO, record: GameRecord) -> None:
    """Append ``record`` as a line to an open ``games.jsonl``."""
    file.write(json.dumps(record.to_line(), separators=(",", ":")) + "\n")


def write_game(path: Path, record: GameRecord, durable: bool = True) -> None:
    """Write a file with one game atomically. durable: see ``write_json``. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record.to_json(), durable)


def read_game(path: Path) -> GameRecord:
    """Read a file with one game. Raises UserError if it is missing or damaged."""
    return GameRecord.from_json(load_json(path), path)
