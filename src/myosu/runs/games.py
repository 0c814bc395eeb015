"""The record of a played game or episode: the seed and the actions, from which it can be replayed, and the outcome.

The same record serves native games and Gymnasium environments, ``games.jsonl`` (``episodes.py``) and games that people
played (``demonstrations.py``).
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

#: A number, or nested lists of numbers for actions that are arrays.
Numbers = int | Finite | list[int | Finite | list[int | Finite]]


class Seat(TypedDict):
    """Who played: ``kind`` is "person", "agent", "recorded" or "player"; a player has a ``name``, as ``make_opponent``
    takes it, and only agents have the other fields."""

    kind: str
    name: NotRequired[str]
    run: NotRequired[str]
    checkpoint: NotRequired[str]
    simulations: NotRequired[Count]
    temperature: NotRequired[Annotated[float, Range(0)]]


@dataclass(frozen=True)
class GameRecord:
    """One game. The same seed and actions give the same game, move for move.

    actions: numbers, or nested lists if an action is an array; None if they were not kept. returns: one per seat, the
        sum so far if the game is not over. terminated, truncated: how it ended, if it did.
    game, kwargs, rewards: as ``load_environment`` takes them; ``game`` is "" in a run's index, which holds only the
        run's own game.
    raw_returns: the environment's own returns, before any wrapper. index, env_steps, weights_version: for an episode of
        a run, its number, the run's steps when it ended, and the update number of the weights that played it.
    players: one per seat. taken_back: how often moves were taken back. started, ended: seconds since 1970.
    unchosen: plies whose action no player chose, such as random openings; nothing is to be learnt from them.
    adjudicated: the outcome was declared (somebody resigned, or a file says so) and does not follow from the actions.
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
    unchosen: list[int] = field(default_factory=list)
    adjudicated: bool = False

    def __post_init__(self) -> None:
        if self.actions is not None:
            object.__setattr__(self, "length", len(self.actions))

    @property
    def replayable(self) -> bool:
        return self.actions is not None and self.seed is not None

    def environment(self) -> Environment:
        """The environment in which it was played. Raises UserError if its code may not run, see ``trust``."""
        trust.require([trust.source_of(self.game, self.kwargs)], "The record of this game")
        return load_environment(self.game, self.kwargs, self.rewards)

    def course(self, game: Game | None = None) -> Course:
        """Replay a native game, by the rules of ``game`` if given. Raises UserError if the outcome differs."""
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
        """Replay the game and return every move with what the player observed, for native games and Gymnasium
        environments alike. The rewards of all moves add up to ``returns``; of an adjudicated game the last move's
        rewards are made so. Raises UserError if it cannot be replayed, or if the returns differ."""
        if self.actions is None or self.seed is None:
            raise UserError("This game was recorded without what is needed to see it again.")
        environment = environment or self.environment()
        returns: np.ndarray = np.zeros(environment.spec.num_players)
        unchosen = set(self.unchosen)
        for ply, move in enumerate(play_through(environment, self.seed, self.actions)):
            if self.adjudicated and ply == self.length - 1:
                move = move._replace(rewards=self.returns - returns)
            returns += move.rewards
            yield move._replace(chosen=ply not in unchosen)
        if not np.allclose(returns, self.returns, rtol=1e-4, atol=1e-4):
            raise UserError(f"This game was written with the returns {self.returns}; played again it has "
                            f"{returns.tolist()}: {environment.name} does not do the same after the same seed and "
                            "actions, or the file was changed.")

    def to_line(self) -> dict[str, Any]:
        """The record as a line of ``games.jsonl``."""
        line = {name: getattr(self, name) for name in (
            "index", "env_steps", "weights_version", "length", "returns", "raw_returns", "seed", "truncated")}
        line |= {name: getattr(self, name) for name in ("players", "unchosen", "adjudicated") if getattr(self, name)}
        return line if self.actions is None else {**line, "actions": self.actions}

    @classmethod
    def of_line(cls, line: EpisodeLine) -> GameRecord:
        """Read a line of ``games.jsonl`` and check it."""
        fields: dict[str, Any] = {"seed": None, "actions": None, "truncated": False, "raw_returns": line["returns"]}
        fields |= {name: value for name, value in line.items() if name in EpisodeLine.__annotations__}
        return cls(terminated=not fields["truncated"], **fields)

    def to_json(self) -> dict[str, Any]:
        """The record as a separate file."""
        return {"format": FORMAT, **{name: getattr(self, name) for name in GameFile.__annotations__}}

    @classmethod
    def from_json(cls, data: Any, where: object = "The game") -> GameRecord:
        """Raises UserError naming ``where`` if ``data`` is not a game as described in ``docs/play.md``."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UserError(f"{where} is no game in the format {FORMAT} of docs/play.md.")
        known = parse(GameFile, data, where)
        return cls(**{name: known[name] for name in GameFile.__annotations__})


class EpisodeLine(TypedDict):
    """The JSON of a line of ``games.jsonl``. Lines of earlier versions have fewer fields."""

    index: Count
    length: Count
    returns: list[Finite]
    raw_returns: NotRequired[list[float]]
    seed: NotRequired[Seed]
    truncated: NotRequired[bool]
    actions: NotRequired[list[Numbers]]
    env_steps: NotRequired[Count]
    weights_version: NotRequired[int]
    players: NotRequired[list[Seat]]
    unchosen: NotRequired[list[Count]]
    adjudicated: NotRequired[bool]


class GameFile(TypedDict):
    """The JSON of a separate file (``docs/play.md``)."""

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
