"""``TrainConfig``: limits and settings of the training loop. ``RunConfig``: the whole configuration of a run."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import myosu
from myosu import trust
from myosu.envs.making import named_code
from myosu.envs.registry import Environment, Workers, load_environment
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError, describe
from myosu.runs.reading import Count, Range, parse

#: Seeds must be below this, the range that every random number generator accepts.
SEEDS = 2**32
LIMITS = ("minutes", "updates", "games", "env_steps")


@dataclass(frozen=True)
class TrainConfig:
    """Limits of a run, of which the first that is reached ends it, and settings of the training loop."""

    minutes: float | None = None
    """Wall-clock minutes, including start-up and compilation."""
    updates: int | None = None
    """Gradient steps."""
    games: int | None = None
    """Finished games (episodes)."""
    env_steps: int | None = None
    """Environment steps (actions), in all environments together. A rollout that has begun is completed."""
    seed: int = 0
    """Seed of all random numbers. In deterministic mode the same seed gives the same weights, bit for bit."""
    actors: int | None = None
    """Number of actor processes, one core each. With 0, acting and learning take turns in one process. The default
    depends on the algorithm: all cores except the learner's, or 0."""
    env_workers: Workers = "none"
    """Run each Gymnasium environment in its own process: synchronous (every step waits for all of them) or asynchronous
    (act in those that are ready). Useful if a step takes a millisecond or more. vector: use the environment's
    own vector implementation (vector_entry_point)."""
    deterministic: bool = False
    """Act, learn and evaluate in turn in one process, so that the run can be reproduced exactly."""
    evaluate_every: int = 500
    """Updates between evaluations; 0 for none. With parallel actors there may be more, because each evaluation is
    followed by a pause of five times its duration."""
    evaluation_opponent: str = "random"
    """Opponent of the evaluations in two-player games: random, greedy, alphabeta:DEPTH, mcts:SIMULATIONS,
    gtp:"COMMAND", or the folder of another run, optionally with :SIMULATIONS."""
    evaluation_games: int | None = None
    """Games per evaluation, half from each seat (an even number from 4; 200 by default), or episodes in single-player
    environments (50)."""
    pool_every: int = 10_000
    """With --opponent pool: environment steps of an actor between two versions of the learner that join its pool."""
    pool_window: int = 10
    """With --opponent pool: number of the newest of these versions that are drawn as opponents."""
    pool_latest: float = 0.5
    """With --opponent pool: probability that the opponent of a game is the learner's current version."""
    pool_opening_plies: int = 0
    """With --opponent pool: games begin with 0 to this many random plies, which are not trained on."""
    checkpoint_every_minutes: float = 2.0
    """Minutes between checkpoints. Each evaluation and the end of training save one too."""
    keep_every: int = 1000
    """Keep the weights of the first checkpoint at or after every multiple of this many updates."""
    video_every: int = 0
    """Episodes between videos; in single-player environments each new best episode gets one too. 0 for none. Videos are
    made in a separate process, one at a time."""

    def __post_init__(self) -> None:
        for name in LIMITS:
            value = getattr(self, name)
            _require(value is None or 0 < value < math.inf, name, value, "above 0 and finite")
        _require(self.actors is None or self.actors >= 0, "actors", self.actors, "0 or more")
        _require(0 <= self.seed < SEEDS, "seed", self.seed, f"from 0 to {SEEDS - 1}")
        _require(self.evaluate_every >= 0, "evaluate_every", self.evaluate_every, "0 (never) or more")
        games = self.evaluation_games
        _require(games is None or games >= 2, "evaluation_games", games, "2 or more")
        for name in ("pool_every", "pool_window"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _require(self.pool_opening_plies >= 0, "pool_opening_plies", self.pool_opening_plies, "0 or more")
        _require(0.0 <= self.pool_latest <= 1.0, "pool_latest", self.pool_latest, "from 0 to 1")
        minutes = self.checkpoint_every_minutes
        _require(0 < minutes < math.inf, "checkpoint_every_minutes", minutes, "above 0 and finite")
        _require(self.keep_every >= 1, "keep_every", self.keep_every, "1 or more")
        _require(self.video_every >= 0, "video_every", self.video_every, "0 (none) or more")
        if all(getattr(self, name) is None for name in LIMITS):
            raise UserError("The training has no limit: set minutes, updates, games or env_steps.")
        if self.deterministic and self.updates is None and self.games is None and self.env_steps is None:
            raise UserError("A deterministic run cannot be limited by minutes alone, because times vary: "
                            "set updates, games or env_steps as well.")


class Shape(TypedDict):
    """The shapes that a network is built for, see ``shape_of``. Runs of earlier versions have fewer fields.

    observation: dtype and shape of each part.
    """

    observation_shape: list[Count]
    num_actions: Count
    num_players: NotRequired[Annotated[int, Range(1, 2)]]
    observation: NotRequired[dict[str, str]]
    action_shape: NotRequired[list[Count]]
    action_branches: NotRequired[list[Count]]


@dataclass(frozen=True)
class RunConfig:
    """The configuration of a run, as config.json stores it.

    game: a registered name, the path of a game file, or a Gymnasium environment's id. algorithm_config: the fields of
    the algorithm's ``Config`` as plain values (an instance is converted); ``algorithms.load_settings`` makes the
    instance. rewards: "score" or "outcome", see ``Game.rewards``. opponent: plays the other seat of a two-player game,
    so that a single-player algorithm can learn it (``players.make_opponent``, or "pool"); None: the learner plays both.
    env_kwargs: arguments of a Gymnasium environment. spec: the shapes that the networks were built for when the run was
    created; None in a new run. code: the SHA-256 of each of the user's own files or modules (game, environment or
    algorithm) at that time. read_from: the file that this was read from, None if it was not read from a file; the code
    that a file names runs only if the user agreed to it (``trust``).
    """

    game: str
    algorithm: str
    algorithm_config: dict[str, Any]
    train: TrainConfig
    rewards: Literal["score", "outcome"] = "score"
    opponent: str | None = None
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    spec: Shape | None = None
    myosu: str = myosu.__version__
    code: dict[str, str] = field(default_factory=dict)
    read_from: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        settings: Any = self.algorithm_config
        if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
            settings = dataclasses.asdict(settings)
        # JSON turns tuples into lists: convert here too, so that a configuration equals the one read from its file.
        object.__setattr__(self, "algorithm_config", json.loads(json.dumps(settings)))

    @cached_property
    def environment(self) -> Environment:
        """The run's environment, created once because making a Gymnasium environment can be slow. Raises UserError if
        it no longer matches ``spec``, or if its code may not run."""
        self.require_trust()
        environment = load_environment(self.game, self.env_kwargs, self.rewards)
        now = shape_of(environment.spec)
        for name, then in (self.spec or {}).items():
            if now.get(name) != then:
                raise UserError(f"The rules of {self.game!r} have changed since this run was made: {name} was "
                                f"{_plainly(then)}, now it is {_plainly(now.get(name))}. Restore the old rules, or "
                                "start a new run.")
        return dataclasses.replace(environment, workers=self.train.env_workers)

    @property
    def learner_spec(self) -> EnvSpec:
        """The spec of the environment as the algorithm sees it: single-player if ``opponent`` plays the other seat."""
        spec = self.environment.spec
        return spec if self.opponent is None or spec.num_players == 1 else spec.against_opponent()

    @property
    def num_players(self) -> int:
        """Number of players. Runs of earlier versions did not record it; for them the environment is created."""
        known = self.spec.get("num_players") if self.spec else None
        return known or self.environment.spec.num_players

    @property
    def sources(self) -> list[str]:
        """The sources of the user's own code that the run needs, see ``trust``."""
        found = (trust.source_of(self.game, self.env_kwargs), trust.source_of(self.algorithm),
                 *map(trust.source_of, named_code(self.env_kwargs)))
        return [source for source in found if source is not None]

    def require_trust(self) -> None:
        """Raises UserError unless the user named the run's code or agreed to it."""
        if self.read_from is not None:
            trust.require(self.sources, self.read_from, self.code)

    @contextmanager
    def making(self) -> Iterator[None]:
        """Context in which networks are built from the settings. Raises UserError if the settings came from a file and
        are unusable."""
        try:
            yield
        except (MemoryError, RuntimeError, TypeError, ValueError, OverflowError) as error:
            if self.read_from is None:
                raise
            raise UserError(f"The settings in {self.read_from} are unusable: "
                            f"{describe(error).splitlines()[0]}") from error

    def to_json(self) -> dict[str, Any]:
        data = dataclasses.asdict(self)
        del data["read_from"]
        return data

    @classmethod
    def from_json(cls, data: Any, where: object = "config.json") -> RunConfig:
        """Inverse of ``to_json``. Raises UserError naming ``where``, the place that the data were read from."""
        plain = parse(dict[str, Any], data, where)
        plain.pop("read_from", None)  # set below, never by the file
        if isinstance(plain.get("train"), dict):
            plain["train"] = {RENAMED.get(name, name): value for name, value in plain["train"].items()}
        return dataclasses.replace(parse(cls, plain, where), read_from=str(where))


def shape_of(spec: EnvSpec) -> Shape:
    parts = {name or "all": f"{part.dtype} {list(part.shape[1:])}" for name, part in spec.parts().items()}
    return {"observation_shape": list(spec.observation_shape), "observation": parts, "num_actions": spec.num_actions,
            "action_shape": list(spec.action_shape), "action_branches": list(spec.action_branches),
            "num_players": spec.num_players}


def _plainly(value: Any) -> str:
    """A value of ``shape_of`` as text."""
    if isinstance(value, dict):
        return " and ".join(f"{name} {text}" for name, text in value.items())
    return str(value)


#: Old names of fields in runs of earlier versions.
RENAMED = {"target_share": "tau", "gradient_clip": "max_grad_norm", "min_positions": "learning_starts",
           "learning_rate_decay": "anneal_learning_rate", "entropy_target": "target_entropy",
           "entropy_share": "target_entropy_scale"}


def from_dict(kind: Any, data: dict[str, Any], where: object = "config.json") -> Any:
    """Restore the dataclass ``kind`` from the JSON of ``dataclasses.asdict``. Raises UserError naming ``where``, the
    place that the data were read from."""
    return parse(kind, {RENAMED.get(name, name): value for name, value in data.items()}, where)


def _require(fine: bool, name: str, value: Any, allowed: str) -> None:
    if not fine:
        raise UserError(f"{name} must be {allowed}, not {value!r}.")
