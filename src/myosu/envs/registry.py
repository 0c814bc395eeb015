"""Loads environments by name: native games and Gymnasium environments."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import Any, Literal

import gymnasium

from myosu.envs.engines.engine_env import EngineEnv
from myosu.envs.gym_env import GymVectorEnv, SingleEnv
from myosu.envs.gym_vector import BatchVectorEnv
from myosu.envs.making import EnvMaker
from myosu.envs.native import NativeVectorEnv, game_spec
from myosu.envs.packages import import_package_of
from myosu.envs.pettingzoo_single import TwoPlayerEnv
from myosu.envs.python_objects import note_registration, registered_object
from myosu.envs.scenes import SceneVectorEnv
from myosu.envs.vector import EnvSpec, VectorEnv
from myosu.envs.vector_forms import OneOfVector
from myosu.envs.workers import WorkerVectorEnv
from myosu.errors import UserError
from myosu.games import Game, game_names, load_game
from myosu.games.game import Symmetries
from myosu.games.registry import defines_game
from myosu.trust import ENGINES

#: Where Gymnasium environments run: in the actor's process ("none"); each in a worker process, where recv() waits for
#: all of them ("synchronous") or for the first that is ready ("asynchronous"); or in the environment's own vector
#: environment ("vector").
Workers = Literal["none", "synchronous", "asynchronous", "vector"]


@dataclass(frozen=True)
class Environment:
    """An environment that can be trained on, and how to make it.

    game: the rules, if it is a native game; otherwise None.
    maker: makes one environment, if it is a Gymnasium environment; otherwise None.
    only_vector: it only makes vector environments.
    workers: where Gymnasium environments run.
    agents: number of agents that one engine of this environment has; 1 without an engine. In worker processes only the
        first agent of each engine is played.
    opponent_inside: it is a two-player environment of PettingZoo as a single-player one (``TwoPlayerEnv``).
    """

    name: str
    spec: EnvSpec
    game: Game | None = None
    maker: EnvMaker | None = None
    only_vector: bool = False
    workers: Workers = "none"
    agents: int = 1
    opponent_inside: bool = False

    @property
    def rules(self) -> Game:
        """The native game. Raises UserError for a Gymnasium environment."""
        if self.game is None:
            raise UserError(f"{self.name} is a Gymnasium environment; this needs the rules of one of Myosu's own "
                            "games.")
        return self.game

    @property
    def symmetries(self) -> Symmetries | None:
        return self.game.symmetries if self.game else None

    @property
    def most_at_once(self) -> int | None:
        """Number of environments that should run at the same time: those of one process for each core if they are in
        processes, those of one engine for a game in an engine's editor; None: no limit."""
        engine, colon, path = self.name.partition(":")
        is_engine = bool(colon) and engine in ENGINES
        in_processes = self.maker is not None and self.workers in ("synchronous", "asynchronous")
        agents = 1 if in_processes else self.agents
        if is_engine and not path:
            return agents
        return agents * (os.cpu_count() or 1) if is_engine or in_processes else None

    def make(self, num_envs: int, seed: int) -> VectorEnv:
        if self.game:
            return NativeVectorEnv(self.game, num_envs, seed)
        assert self.maker is not None
        if self.only_vector and self.workers in ("synchronous", "asynchronous"):
            raise UserError(f"{self.name} steps its environments together, in a process: leave out --env-workers "
                            f"{self.workers}.")
        if self.only_vector or self.workers == "vector":
            return BatchVectorEnv(self.maker, num_envs, seed)
        if self.workers == "none" and self.agents > 1:
            return SceneVectorEnv(self.maker, num_envs, seed)
        if self.workers == "none":
            return GymVectorEnv(self.maker, num_envs, seed)
        return WorkerVectorEnv(self.maker, num_envs, seed, min_ready=1 if self.workers == "asynchronous" else None)


def load_environment(name: str, kwargs: Mapping[str, Any] | None = None, rewards: str = "score") -> Environment:
    """Load the environment called ``name``: a native game, a file that defines a game or an environment, an object
    registered with ``python_objects.register``, or a Gymnasium id.

    kwargs: arguments for a Gymnasium environment. rewards: "outcome" makes only winning count in a native game.
    Raises UserError if there is no such environment, or it cannot be made.
    """
    given = registered_object(name)
    if isinstance(given, Game) or name in game_names() or (name.endswith(".py") and defines_game(name)):
        if kwargs:
            raise UserError(f"{name} is a game and takes no arguments: leave out {', '.join(kwargs)}.")
        game = given if isinstance(given, Game) else load_game(name)
        game = game.with_outcome_rewards() if rewards == "outcome" else game
        return Environment(name, game_spec(game), game=game)
    if ":" not in name and not name.endswith(".py"):
        failed: list[str] = []
        if name not in gymnasium.registry and not import_package_of(name, failed):
            raise UserError(_nothing_called(name, "".join(failed)))
        note_registration(name)
    maker = EnvMaker(given or name, kwargs)
    if rewards != "score":
        raise UserError(f"--rewards {rewards}: only Myosu's own games know who won; {name} is a Gymnasium "
                        "environment.")
    here = os.getcwd()
    try:
        probe = SingleEnv(maker, 0, 0)
        probe.close()
    finally:
        os.chdir(here)  # an environment may change the folder, but relative paths are still read from this one
    if probe.left_out and parent_process() is None:
        warnings.warn(f"{name}: no network reads {', '.join(probe.left_out)} of the observation; it is ignored.",
                      stacklevel=1)
    engine = probe.gym_env.unwrapped
    return Environment(name, probe.spec, maker=maker, only_vector=isinstance(probe.gym_env, OneOfVector),
                       agents=engine.engine.agents if isinstance(engine, EngineEnv) else 1,
                       opponent_inside=isinstance(engine, TwoPlayerEnv))


def _nothing_called(name: str, failed: str) -> str:
    known = [*game_names(), *gymnasium.registry]
    near = difflib.get_close_matches(name, known, n=1) or difflib.get_close_matches(f"{name}-v1", known, n=1)
    if failed:
        return f"There is no game or environment {name!r}.{failed}"
    return (f"There is no game or environment {name!r}. "
            f"{f'Did you mean {near[0]!r}?' if near else 'Games: ' + ', '.join(game_names()) + '.'} If it comes with a "
            "package, install that (pip install ale-py, minigrid, …). For one of your own, give the path of its .py "
            "file, or module:Id-v0 or module:MyEnv with the module that registers or defines it.")
