"""How long and how a run trains, and the whole configuration of a run as its folder keeps it."""

from __future__ import annotations

import dataclasses
import os
import typing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import myosu
from myosu.algorithms import load_algorithm
from myosu.envs.registry import Environment, Workers, load_environment
from myosu.errors import UserError
from myosu.nets.inference import choose_device

#: Actors that share a card with the learner: two search while the third takes its games on.
CARD_ACTORS = 3
LIMITS = ("minutes", "updates", "games", "env_steps")


@dataclass(frozen=True)
class TrainConfig:
    """When training ends, and how it is run. Whichever limit comes first ends it."""

    minutes: float | None = None
    """Wall-clock minutes, start-up and compilation included."""
    updates: int | None = None
    """Gradient steps."""
    games: int | None = None
    """Finished games (episodes)."""
    env_steps: int | None = None
    """Actions taken in all environments together."""
    seed: int = 0
    """Everything random follows from it; in deterministic mode the same seed gives the same weights, bit for bit."""
    actors: int | None = None
    """Processes that play, one core each; 0: the learner's process plays and learns in turn. By default what suits the
    algorithm: all cores but the learner's, or in turn."""
    env_workers: Workers = "none"
    """Gymnasium environments in processes of their own, one each: synchronous (every step waits for all) or
    asynchronous (it acts in those that are ready). Worth it where a step takes a millisecond or more."""
    deterministic: bool = False
    """Play, learn and evaluate in turn in one process, so that a run can be repeated exactly."""
    evaluate_every: int = 500
    """Updates between evaluations, against a random player in games for two; 0 for none. With actors beside the
    learner it may be more, for an evaluation is followed by five times its seconds without one."""
    evaluation_games: int | None = None
    """Games of one evaluation, half from each seat, or episodes in environments for one; by default 200, and 50."""
    checkpoint_every_minutes: float = 2.0
    """Minutes between checkpoints; each evaluation and the end of training make one too."""
    keep_every: int = 1000
    """The first checkpoint at or after every so many updates is kept, weights only."""
    video_every: int = 0
    """Every so many episodes, and whenever a player alone did better than ever, a video of it is made beside the
    training, one at a time; 0 for none."""

    def __post_init__(self) -> None:
        for name in LIMITS:
            value = getattr(self, name)
            _require(value is None or value > 0, name, value, "above 0")
        _require(self.actors is None or self.actors >= 0, "actors", self.actors, "0 or more")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(self.evaluate_every >= 0, "evaluate_every", self.evaluate_every, "0 (never) or more")
        games = self.evaluation_games
        _require(games is None or (games >= 4 and games % 2 == 0), "evaluation_games", games, "an even number from 4")
        minutes = self.checkpoint_every_minutes
        _require(minutes > 0, "checkpoint_every_minutes", minutes, "above 0")
        _require(self.keep_every >= 1, "keep_every", self.keep_every, "1 or more")
        _require(self.video_every >= 0, "video_every", self.video_every, "0 (none) or more")
        if all(getattr(self, name) is None for name in LIMITS):
            raise UserError("The training has no end: set minutes, updates, games or env_steps.")
        if self.deterministic and self.updates is None and self.games is None and self.env_steps is None:
            raise UserError("A deterministic run cannot be limited by minutes alone, for time does not repeat: "
                            "set updates, games or env_steps as well.")


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run was started with.

    game: a registered name, the path of a game file, or a Gymnasium environment's id. algorithm_config: an instance of
    the algorithm's ``Config``. rewards: "score" or "outcome", see ``Game.rewards``. env_kwargs: arguments of a
    Gymnasium environment.
    """

    game: str
    algorithm: str
    algorithm_config: Any
    train: TrainConfig
    rewards: Literal["score", "outcome"] = "score"
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    myosu: str = myosu.__version__

    def __post_init__(self) -> None:
        if load_algorithm(self.algorithm).ACTORS == "only in turn" and self.train.actors:
            raise UserError(f"actors = {self.train.actors}: {self.algorithm} learns only from what its newest policy "
                            "did, so it acts and learns in turn (actors = 0). num_envs and env_workers spread its "
                            "environments.")

    @property
    def actors(self) -> int:
        """Actor processes; 0 where actor and learner take turns."""
        if self.train.deterministic:
            return 0
        if self.train.actors is not None:
            return self.train.actors
        if load_algorithm(self.algorithm).ACTORS != "beside":
            return 0
        return CARD_ACTORS if self.on_card else max(1, (os.cpu_count() or 1) - 1)

    @property
    def on_card(self) -> bool:
        """Whether actors and learner work on the same CUDA device."""
        return (load_algorithm(self.algorithm).ACTORS == "beside"
                and choose_device(getattr(self.algorithm_config, "device", "cpu")).type == "cuda")

    @cached_property
    def environment(self) -> Environment:
        """Made once: every checkpoint asks for its spec, and making a Gymnasium environment may take long."""
        return load_environment(self.game, self.env_kwargs, self.rewards)

    def to_json(self) -> dict[str, Any]:
        spec = self.environment.spec
        shape = {"observation_shape": list(spec.observation_shape), "num_actions": spec.num_actions}
        return {**dataclasses.asdict(self), "spec": shape}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunConfig:
        config = cls(
            game=data["game"],
            algorithm=data["algorithm"],
            algorithm_config=from_dict(load_algorithm(data["algorithm"]).Config, data["algorithm_config"]),
            train=from_dict(TrainConfig, data["train"]),
            rewards=data["rewards"],
            env_kwargs=data.get("env_kwargs", {}),
            myosu=data["myosu"],
        )
        if (now := config.to_json()["spec"]) != data["spec"]:
            raise UserError(f"The rules of {config.game!r} have changed since this run was made: it was trained on "
                            f"{data['spec']}, the game now has {now}.")
        return config


def from_dict(kind: Any, data: dict[str, Any]) -> Any:
    """The dataclass ``kind`` from what ``dataclasses.asdict`` and JSON made of it."""
    types = typing.get_type_hints(kind)
    known = {item.name for item in dataclasses.fields(kind)}
    if unknown := sorted(set(data) - known):
        raise UserError(f"{kind.__name__} has no field {unknown[0]!r}; was the run made by another version of Myosu?")
    return kind(**{name: _restore(types[name], value) for name, value in data.items()})


def _restore(annotation: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(annotation) and isinstance(value, dict):
        return from_dict(annotation, value)
    return tuple(value) if isinstance(value, list) else value


def _require(fine: bool, name: str, value: Any, allowed: str) -> None:
    if not fine:
        raise UserError(f"{name} must be {allowed}, not {value!r}.")
