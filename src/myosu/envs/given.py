"""Environments and games that were given as Python objects, and go by a name of our own from then on.

A run's folder keeps that name only (``python:MODULE:NAME``): whoever goes on with the run gives the object again, for
nothing that lies in a folder is imported or unpickled. The processes of a training get the object by ``cloudpickle``,
over their own pipe.
"""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import gymnasium
from gymnasium.envs.registration import EnvSpec as Registration

from myosu.errors import UserError
from myosu.games import Game, game_names, load_game
from myosu.trust import OBJECT, digest

#: By the name that they go by: games, functions that make an environment, and what was registered with Gymnasium.
_given: dict[str, Game | Callable[..., gymnasium.Env] | Registration] = {}


def give(env: Any) -> tuple[str, dict[str, Any]]:
    """The name by which ``load_environment`` finds ``env``, and arguments for it.

    env: a name or path; a ``Game`` or a module that has it as ``GAME``; a class of environments or a function that
    makes one; an environment made by ``gymnasium.make``, for others like it. Raises UserError for anything else.
    """
    if isinstance(env, str | Path):
        return str(env), {}
    if isinstance(env, ModuleType):
        if not isinstance(game := getattr(env, "GAME", None), Game):
            raise UserError(f"The module {env.__name__} has no GAME = Game(...).")
        return _of_game(game), {}
    if isinstance(env, Game):
        return _of_game(env), {}
    if isinstance(env, gymnasium.Env):
        return _of_instance(env)
    if not callable(env):
        raise UserError(f"env = {env!r}: give a name, the path of a .py file, a Game, a class of environments, or a "
                        "function that makes one.")
    function = env.func if isinstance(env, partial) else env
    plain = re.sub(r"<locals>\.|[<>]", "", getattr(function, "__qualname__", type(function).__qualname__))
    name = f"{OBJECT}{getattr(function, '__module__', None) or '__main__'}:{plain}"
    if function is not env or plain.endswith("lambda"):  # many share the name; else what is new replaces what it was
        taken = (f"{name}-{number}" for number in count(2))
        while _given.get(name, env) is not env:
            name = next(taken)
    return _keep(name, env), {}


def _of_game(game: Game) -> str:
    if game.name in game_names() and load_game(game.name) is game:
        return game.name
    return _keep(f"{OBJECT}{game.init.__module__}:{game.name}", game)


def _of_instance(env: gymnasium.Env) -> tuple[str, dict[str, Any]]:
    spec = env.spec
    if spec is None:
        raise UserError(f"{type(env.unwrapped).__name__}(): training needs many environments and cannot copy this one. "
                        "Give its class, or a function that makes one: train(lambda: "
                        f"{type(env.unwrapped).__name__}(...)).")
    if spec.id in gymnasium.registry and not spec.additional_wrappers:
        return spec.id, {name: value for name, value in spec.kwargs.items() if name != "render_mode"}
    return _keep(f"{OBJECT}gymnasium:{spec.id}", partial(gymnasium.make, spec)), {}


def _keep(name: str, env: Any) -> str:
    _given[name] = env
    return name


def give_again(name: str, env: Any) -> None:
    """Let ``env`` be what a run's folder calls ``name``."""
    again, _ = give(env)
    if again != name:
        if again not in _given:
            raise UserError(f"The run was made with {name}, not with {again}.")
        _given[name] = _given[again]


def code_of(name: str) -> dict[str, str]:
    """The file that defines what was given as ``name``, and its SHA-256; empty where there is none (a notebook)."""
    env: Any = _given.get(name)
    env = env.func if isinstance(env, partial) else env
    try:
        file = inspect.getsourcefile(inspect.unwrap(env.init) if isinstance(env, Game) else env)
    except (TypeError, OSError):
        return {}
    return {file: digest(file)} if name.startswith(OBJECT) and file and Path(file).is_file() else {}


def find_given(name: str) -> Game | Callable[..., gymnasium.Env] | None:
    """What goes by ``name``; None for a name that is no Python object's. Raises UserError where it was not given."""
    if not name.startswith(OBJECT):
        return None
    found = _given.get(name)
    if found is None:
        raise UserError(f"{name.removeprefix(OBJECT)} was given to a training as a Python object, which a run's folder "
                        "does not hold. Give it again: myosu.train(env, resume=RUN), myosu.load(RUN, env=env).")
    assert not isinstance(found, Registration)
    return found


def note_registration(name: str) -> None:
    """Let child processes have what this process alone may have registered with Gymnasium under the id ``name``."""
    registration = gymnasium.registry[name]
    if not str(registration.entry_point).startswith("gymnasium."):
        _given[name] = registration


def pack_given(name: str) -> bytes:
    """What goes by ``name``, for a child process; empty where that needs nothing. Raises UserError where it cannot be
    pickled."""
    if name not in _given:
        return b""
    try:
        return cloudpickle.dumps((name, _given[name]))
    except Exception as error:
        raise UserError(f"{name.removeprefix(OBJECT)} cannot be sent to another process: {type(error).__name__}: "
                        f"{error}. Give a function that makes all it needs by itself.") from error


def unpack_given(data: bytes) -> None:
    """In the child process."""
    if data:
        name, env = pickle.loads(data)
        _given[name] = env
        if isinstance(env, Registration):
            gymnasium.registry[name] = env
