"""The record of a played game or episode: seed and actions, which give it again, and what came of it.

There is one, for native games and Gymnasium environments, for ``games.jsonl`` (``episodes.py``) and for the games that
people played (``demonstrations.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np

from myosu import trust
from myosu.envs.course import Course, replay
from myosu.envs.playback import Move, play_through
from myosu.envs.registry import Environment, load_environment
from myosu.errors import UserError
from myosu.games import Game
from myosu.runs.reading import Count, Finite, Range, Seed, parse

FORMAT = 1

#: A number, or of actions that are arrays nested lists of them.
Numbers = int | Finite | list[int | Finite | list[int | Finite]]


class Seat(TypedDict):
    """Who played: ``kind`` is "person", "agent" or "recorded"; the rest is of agents."""

    kind: str
    run: NotRequired[str]
    checkpoint: NotRequired[str]
    simulations: NotRequired[Count]
    temperature: NotRequired[Annotated[float, Range(0)]]


@dataclass(frozen=True)
class GameRecord:
    """One game. The same seed and actions give it again, move for move.

    actions: numbers, or where an action is an array lists of them; None where they were not kept. returns: of each
        seat, so far where the game is not over. terminated, truncated: how it ended, if it did.
    game, kwargs, rewards: as ``load_environment`` takes them; ``game`` is "" in a run's index, which has only its own.
    raw_returns: those of the environment itself, below every wrapper. index, env_steps, weights_version: of an episode
        of a run, its number, the run's steps when it had ended, and the updates of the weights that played it.
    players: of each seat. taken_back: how often somebody took moves back. started, ended: seconds since 1970.
    """

    seed: Seed | None
    actions: list[Any] | None
    returns: list[Finite]
    terminated: bool
    truncated: bool
    game: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    rewards: Literal["score", "outcome"] = "score"
    length: Count = 0
    raw_returns: list[float] = field(default_factory=list)
    index: Count = 0
    env_steps: Count = 0
    weights_version: int = 0
    players: list[Seat] = field(default_factory=list)
    taken_back: Count = 0
    started: Finite = 0.0
    ended: Finite = 0.0

    def __post_init__(self) -> None:
        if self.actions is not None:
            object.__setattr__(self, "length", len(self.actions))

    @property
    def replayable(self) -> bool:
        return self.actions is not None and self.seed is not None

    def environment(self) -> Environment:
        """What it was played in. Raises UserError where its code may not run, see ``trust``."""
        trust.require([trust.source_of(self.game, self.kwargs)], "The record of this game")
        return load_environment(self.game, self.kwargs, self.rewards)

    def course(self, game: Game | None = None) -> Course:
        """A native game played again, by the rules of ``game`` where it is given. Raises UserError where the rules give
        another game."""
        if self.actions is None or self.seed is None:
            raise UserError("This game was recorded without what is needed to see it again.")
        if not all(type(action) is int for action in self.actions):
            raise UserError("The game's actions must be whole numbers.")
        course = replay(game or self.environment().rules, self.seed, self.actions)
        now = course.now
        if self.game and (list(now.returns), now.terminated, now.truncated) != (
                self.returns, self.terminated, self.truncated):
            raise UserError(f"This game of {self.game} was written with the returns {self.returns}; played again it "
                            f"has {list(now.returns)}. The rules have changed since, or the file has.")
        return course

    def moves(self, environment: Environment | None = None) -> Iterator[Move]:
        """Every move with what the player saw: what an agent learns from. Of native games and Gymnasium environments
        alike. Raises UserError where that cannot be, or the returns are others this time."""
        if self.actions is None or self.seed is None:
            raise UserError("This game was recorded without what is needed to see it again.")
        environment = environment or self.environment()
        returns: np.ndarray = np.zeros(environment.spec.num_players)
        for move in play_through(environment, self.seed, self.actions):
            returns += move.rewards
            yield move
        if not np.allclose(returns, self.returns, rtol=1e-4, atol=1e-4):
            raise UserError(f"This game was written with the returns {self.returns}; played again it has "
                            f"{returns.tolist()}: {environment.name} does not do the same after the same seed and "
                            "actions, or the file was changed.")

    def to_line(self) -> dict[str, Any]:
        """As a line of ``games.jsonl``."""
        line = {name: getattr(self, name) for name in (
            "index", "env_steps", "weights_version", "length", "returns", "raw_returns", "seed", "truncated")}
        return line if self.actions is None else {**line, "actions": self.actions}

    @classmethod
    def of_line(cls, line: EpisodeLine) -> GameRecord:
        """A line of ``games.jsonl``, checked."""
        fields: dict[str, Any] = {"seed": None, "actions": None, "truncated": False, "raw_returns": line["returns"]}
        fields |= {name: value for name, value in line.items() if name in EpisodeLine.__annotations__}
        return cls(terminated=not fields["truncated"], **fields)

    def to_json(self) -> dict[str, Any]:
        """As a file of its own."""
        return {"format": FORMAT, **{name: getattr(self, name) for name in GameFile.__annotations__}}

    @classmethod
    def from_json(cls, data: Any, where: object = "The game") -> GameRecord:
        """Raises UserError, which names ``where`` it was read, where ``data`` is no game of ``docs/play.md``."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UserError(f"{where} is no game in the format {FORMAT} of docs/play.md.")
        known = parse(GameFile, data, where)
        return cls(**{name: known[name] for name in GameFile.__annotations__})


class EpisodeLine(TypedDict):
    """A line of ``games.jsonl``; those of earlier versions have fewer fields."""

    index: Count
    length: Count
    returns: list[Finite]
    raw_returns: NotRequired[list[float]]
    seed: NotRequired[Seed]
    truncated: NotRequired[bool]
    actions: NotRequired[list[Numbers]]
    env_steps: NotRequired[Count]
    weights_version: NotRequired[int]


class GameFile(TypedDict):
    """The file of one game (``docs/play.md``)."""

    game: str
    kwargs: dict[str, Any]
    rewards: Literal["score", "outcome"]
    seed: Seed
    actions: list[Numbers]
    players: list[Seat]
    returns: list[Finite]
    terminated: bool
    truncated: bool
    taken_back: Count
    started: Finite
    ended: Finite
