"""Registers Python objects that are environments or games under generated names.

A run's folder keeps only that name (``python:MODULE:NAME``). To resume the run, the object must be given again, because
nothing in a run's folder is imported or unpickled. A training's child processes receive the object by ``cloudpickle``
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

#: Games, functions that make an environment, and Gymnasium registrations, by name.
_objects: dict[str, Game | Callable[..., gymnasium.Env] | Registration] = {}


def register(env: Any) -> tuple[str, dict[str, Any]]:
    """Register ``env``. Returns the name by which ``load_environment`` finds it, and arguments for it.

    env: a name or path; a ``Game`` or a module with a ``Game`` named ``GAME``; an environment class or a function that
    makes an environment; an environment made by ``gymnasium.make``, as a template for more. Raises UserError for
    anything else.
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
    if function is not env or plain.endswith("lambda"):  # not unique, so numbered; others replace the old object
        taken = (f"{name}-{number}" for number in count(2))
        while _objects.get(name, env) is not env:
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
    _objects[name] = env
    return name


def register_again(name: str, env: Any) -> None:
    """Register ``env`` under ``name``, the name in a run's folder. Raises UserError if ``env`` has another name and
    is not a registered object."""
    again, _ = register(env)
    if again != name:
        if again not in _objects:
            raise UserError(f"The run was made with {name}, not with {again}.")
        _objects[name] = _objects[again]


def code_of(name: str) -> dict[str, str]:
    """The file that defines the object registered as ``name``, and its SHA-256; empty without a file (a notebook)."""
    env: Any = _objects.get(name)
    env = env.func if isinstance(env, partial) else env
    try:
        file = inspect.getsourcefile(inspect.unwrap(env.init) if isinstance(env, Game) else env)
    except (TypeError, OSError):
        return {}
    return {file: digest(file)} if name.startswith(OBJECT) and file and Path(file).is_file() else {}


def registered_object(name: str) -> Game | Callable[..., gymnasium.Env] | None:
    """The object registered as ``name``; None if the name is not a Python object's. Raises UserError if it was not
    given."""
    if not name.startswith(OBJECT):
        return None
    found = _objects.get(name)
    if found is None:
        raise UserError(f"{name.removeprefix(OBJECT)} was passed to train() as a Python object, which a run's folder "
                        "does not contain. Pass it again: myosu.train(env, resume=RUN), myosu.load(RUN, env=env).")
    assert not isinstance(found, Registration)
    return found


def note_registration(name: str) -> None:
    """Record the Gymnasium registration of the id ``name`` for child processes, which may not have it."""
    registration = gymnasium.registry[name]
    if not str(registration.entry_point).startswith("gymnasium."):
        _objects[name] = registration


def pack_object(name: str) -> bytes:
    """Pickle the object or registration of ``name`` for a child process; empty if there is none. Raises UserError if
    it cannot be pickled."""
    if name not in _objects:
        return b""
    try:
        return cloudpickle.dumps((name, _objects[name]))
    except Exception as error:
        raise UserError(f"{name.removeprefix(OBJECT)} cannot be sent to another process: {type(error).__name__}: "
                        f"{error}. Give a function that creates everything it needs itself.") from error


def unpack_object(data: bytes) -> None:
    """Register the data of ``pack_object`` in a child process."""
    if data:
        name, env = pickle.loads(data)
        _objects[name] = env
        if isinstance(env, Registration):
            gymnasium.registry[name] = env
