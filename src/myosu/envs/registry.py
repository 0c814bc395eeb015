"""Anything that can be trained on, by its name: a game of ours, or a Gymnasium environment."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cloudpickle
import gymnasium

from myosu.envs.given import find_given, note_registration
from myosu.envs.gym_env import EnvMaker, GymVectorEnv, SingleEnv
from myosu.envs.native import NativeVectorEnv, game_spec
from myosu.envs.vector import EnvSpec, VectorEnv
from myosu.envs.workers import WorkerVectorEnv
from myosu.errors import UserError
from myosu.games import Game, game_names, load_game
from myosu.games.game import Symmetries
from myosu.games.registry import load_file

#: Where Gymnasium environments run: in the process that acts in them, or each in one of its own; there, recv() waits
#: for all of them (synchronous) or for the first to be ready (asynchronous).
Workers = Literal["none", "synchronous", "asynchronous"]


@dataclass(frozen=True)
class Environment:
    """game: its rules, where it is one of our games. maker: how to make one, where it is Gymnasium's."""

    name: str
    spec: EnvSpec
    game: Game | None = None
    maker: EnvMaker | None = None

    @property
    def rules(self) -> Game:
        """Raises UserError where they are not known."""
        if self.game is None:
            raise UserError(f"{self.name} is a Gymnasium environment; this needs the rules of a game of Myosu's own.")
        return self.game

    @property
    def symmetries(self) -> Symmetries | None:
        return self.game.symmetries if self.game else None

    def make(self, num_envs: int, seed: int, workers: Workers = "none") -> VectorEnv:
        if self.game:
            return NativeVectorEnv(self.game, num_envs, seed)
        assert self.maker is not None
        if workers == "none":
            return GymVectorEnv(self.maker, num_envs, seed)
        return WorkerVectorEnv(self.maker, num_envs, seed, min_ready=1 if workers == "asynchronous" else None)


def load_environment(name: str, kwargs: Mapping[str, Any] | None = None, rewards: str = "score") -> Environment:
    """The game called ``name`` (or the game or environment in the file of this name), what was given by this name
    (``given.give``), else the Gymnasium environment with this id.

    kwargs: arguments for a Gymnasium environment. rewards: "outcome" makes only winning count in a game of ours.
    Raises UserError when there is none, or it cannot be made.
    """
    given = find_given(name)
    if re.search(r"\.py(:\w+)?$", name) and (maker := _find_in_file(name, kwargs)) is not None:
        return _of_maker(maker.name, maker, rewards)
    if isinstance(given, Game) or name.endswith(".py") or name in game_names():
        if kwargs:
            raise UserError(f"{name} is a game without arguments: leave out {', '.join(kwargs)}.")
        game = given if isinstance(given, Game) else load_game(name)
        game = game.with_outcome_rewards() if rewards == "outcome" else game
        return Environment(name, game_spec(game), game=game)
    if name in gymnasium.registry:
        note_registration(name)
    elif ":" not in name:
        known = [*game_names(), *gymnasium.registry]
        near = difflib.get_close_matches(name, known, n=1) or difflib.get_close_matches(f"{name}-v1", known, n=1)
        raise UserError(f"There is no game or environment {name!r}. "
                        f"{f'Did you mean {near[0]!r}?' if near else 'Games: ' + ', '.join(game_names()) + '.'} A game "
                        "of your own: the path of its .py file. An environment of your own: module:Id-v0, with the "
                        "module that registers it.")
    return _of_maker(name, EnvMaker(given or name, kwargs), rewards)


def _of_maker(name: str, maker: EnvMaker, rewards: str) -> Environment:
    if rewards != "score":
        raise UserError(f"--rewards {rewards}: only games of Myosu's own know who won; {name} is a Gymnasium "
                        "environment.")
    probe = SingleEnv(maker, 0, 0)
    probe.close()
    return Environment(name, probe.spec, maker=maker)


def _find_in_file(name: str, kwargs: Mapping[str, Any] | None) -> EnvMaker | None:
    """The Gymnasium environment in a file, ``file.py`` or ``file.py:ClassName``; None where it holds a game of ours."""
    path, _, wanted = name.partition(".py")
    module = load_file(Path(f"{path}.py"))
    if isinstance(getattr(module, "GAME", None), Game):
        return None
    classes = {key: value for key, value in vars(module).items() if isinstance(value, type)
               and issubclass(value, gymnasium.Env) and not issubclass(value, gymnasium.Wrapper)
               and value.__module__ == module.__name__}
    wanted = wanted.removeprefix(":")
    if not classes:
        return None
    if not wanted:
        # Of classes that build on each other, the last is the one to be used.
        ends = [key for key, value in classes.items() if not any(
            other is not value and issubclass(other, value) for other in classes.values())]
        if len(ends) > 1:
            raise UserError(f"{name} holds {len(ends)} environments: name one of them, such as {path}.py:{ends[0]} "
                            f"({', '.join(ends[:8])}).")
        wanted = ends[0]
    if wanted not in classes:
        raise UserError(f"{path}.py has no environment {wanted!r}. It has {', '.join(classes)}.")
    cloudpickle.register_pickle_by_value(module)  # workers cannot import it by its name
    maker = EnvMaker(classes[wanted], kwargs)
    maker.name = f"{Path(path).name}.py:{wanted}"
    return maker
