"""Finds Gymnasium environments by name, and makes them.

A name is an id (``CartPole-v1``, or ``ALE/Pong-v5`` from an installed package), ``module:Id-v0`` (the module is
imported first), ``module:MyEnv`` (a class or a function in the module), or either with a file instead of the module:
``mine.py:MyEnv``. Modules in the current folder are found. ``pettingzoo:connect_four_v3`` is an environment of
PettingZoo (``pettingzoo_single``), ``godot:PROJECT`` and ``unity:BUILD`` are games in engines (``engines``), and
``envpool:Pong-v5`` is an environment of EnvPool. A function that makes a vector environment
(``gymnasium.vector.VectorEnv``) is given the number of environments as ``num_envs``.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import inspect
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec as Registration
from gymnasium.vector import VectorEnv

from myosu.envs.engines import absolute_engine, find_engine
from myosu.envs.packages import OLD_GYM, import_package_of
from myosu.envs.pettingzoo_single import TwoPlayerEnv, defines_environment, find_pettingzoo
from myosu.envs.vector_forms import OneOfVector, find_envpool
from myosu.errors import UserError, describe
from myosu.games.registry import load_file

#: Makes an environment or a vector environment: a Gymnasium registration, a class, or a function.
Source = Registration | Callable[..., gymnasium.Env | VectorEnv]

#: The environment argument that Myosu reads itself: a list of wrappers to apply in this order, each
#: ``{"wrapper": "module:Class", "kwargs": {…}}``.
WRAPPERS = "wrappers"
#: The wrapper of ``--atari``.
ATARI = "myosu.envs.atari:AtariFrames"
#: For arguments that JSON cannot express: ``{"python": "module:function"}`` is replaced by what that function returns.
BY_FUNCTION = "python"

class EnvMaker:
    """Makes an environment from a name (see above), a class or a function, and arguments.

    The arguments may always include ``max_episode_steps`` and ``wrappers`` (see ``WRAPPERS``). ``cloudpickle`` can
    pickle an EnvMaker together with the registration of its id, so that a worker process needs no registration.
    """

    def __init__(self, env: str | Callable[..., gymnasium.Env], kwargs: Mapping[str, Any] | None = None) -> None:
        """Raises UserError if there is no environment with the name ``env``."""
        self.name = env if isinstance(env, str) else getattr(env, "__qualname__", repr(env))
        self.kwargs = dict(kwargs or {})
        named_code(self.kwargs)  # raises UserError if the wrappers are malformed
        self._source = find_source(env) if isinstance(env, str) else env

    def with_arguments(self, **kwargs: Any) -> EnvMaker:
        """A copy with these arguments added."""
        maker = copy.copy(self)
        maker.kwargs = {**self.kwargs, **kwargs}
        return maker

    def of(self, make: Callable[[], gymnasium.Env]) -> EnvMaker:
        """A copy with the same name that calls ``make`` without arguments."""
        maker = copy.copy(self)
        maker._source, maker.kwargs = make, {}
        return maker

    @property
    def limit(self) -> int | None:
        """The argument ``max_episode_steps``; None if it is not set."""
        return self.kwargs.get("max_episode_steps")

    def __call__(self) -> gymnasium.Env:
        """Make one environment; a source of vector environments makes one with a single environment. Raises UserError
        if it cannot be made."""
        env = self._made(None)
        if isinstance(env, VectorEnv):
            env = OneOfVector(env, self.name, self.limit)
        if not isinstance(env, gymnasium.Env):
            raise UserError(f"{self.name} made a {_kind(env)}. It must make a gymnasium.Env or a "
                            f"gymnasium.vector.VectorEnv.{_if_old(env)}")
        for space in ("observation_space", "action_space"):
            if not isinstance(given := getattr(env, space, None), gymnasium.Space):
                raise UserError(f"{self.name}: {space} is {given!r}. Set self.{space} in __init__ to one of "
                                "gymnasium.spaces, as Box or Discrete.")
        return env

    def make_vector(self, num_envs: int) -> VectorEnv:
        """Make the environment's own vector environment with ``num_envs`` environments. Raises UserError if there is
        none, or it cannot be made."""
        source = self._source
        if isinstance(source, Registration) and source.vector_entry_point is None:
            raise UserError(f"{self.name} has no vector form of its own (vector_entry_point). Leave out --env-workers "
                            "vector.")
        env = self._made(num_envs)
        if not isinstance(env, VectorEnv):
            raise UserError(f"{self.name} made a {_kind(env)}, not a gymnasium.vector.VectorEnv. Leave out "
                            "--env-workers vector.")
        if env.num_envs != num_envs:
            raise UserError(f"{self.name} made a vector environment of {env.num_envs}. It must take the argument "
                            f"num_envs and make that many, here {num_envs}.")
        return env

    def _made(self, num_envs: int | None) -> Any:
        with _process_kept():
            try:
                return self._make(num_envs)
            except UserError:
                raise
            except (Exception, SystemExit) as error:
                given = {name: value for name, value in self.kwargs.items() if name != "render_mode"}
                if isinstance(error, TypeError) and {"wrapper": ATARI} in given.get(WRAPPERS, ()):
                    raise UserError(f"{self.name} is not an Atari game (ALE), because it takes no frameskip and "
                                    "no obs_type: leave out --atari.") from error
                raise UserError(f"{self.name} cannot be made: {describe(error)}. Correct the environment or its "
                                f"arguments ({given or 'none'}).") from error

    @contextmanager
    def opened(self) -> Iterator[gymnasium.Env]:
        """Context manager: an environment that is closed at the end."""
        env = self()
        try:
            yield env
        finally:
            close_env(env, self.name)

    def _make(self, num_envs: int | None) -> Any:
        """Make one environment, or a vector environment with ``num_envs`` environments."""
        kwargs = {name: called(value) for name, value in self.kwargs.items()}
        wrappers, limit, source = kwargs.pop(WRAPPERS, []), self.limit, self._source
        env: Any
        if isinstance(source, Registration):
            if num_envs is not None or source.entry_point is None:
                env = gymnasium.make_vec(source, num_envs or 1, "vector_entry_point", **kwargs)
            else:
                env = gymnasium.make(source, disable_env_checker=True, **kwargs)
        else:
            if limit is not None and not _takes(source, "max_episode_steps"):
                del kwargs["max_episode_steps"]
            if _takes(source, "num_envs"):
                kwargs["num_envs"] = num_envs or 1
            env = source(**kwargs)
            if limit is not None and "max_episode_steps" not in kwargs and isinstance(env, gymnasium.Env):
                env = gymnasium.wrappers.TimeLimit(env, limit)
        for wrapper in wrappers:
            arguments = {name: called(value) for name, value in wrapper.get("kwargs", {}).items()}
            try:
                env = find_object(wrapper["wrapper"])(env, **arguments)
            except UserError:
                raise
            except Exception as error:
                raise UserError(f"{self.name}: the wrapper {wrapper['wrapper']} ({arguments or 'no arguments'}) cannot "
                                f"be put around it: {describe(error)}.") from error
        return env


def close_env(env: gymnasium.Env | VectorEnv, name: str) -> None:
    """Close an environment. Errors become warnings, because the work is done by then."""
    try:
        env.close()
    except (Exception, SystemExit) as error:
        warnings.warn(f"{name}: close() raised {describe(error)}.", stacklevel=2)


def called(value: Any) -> Any:
    """The value of an argument: for ``{"python": "module:function"}``, what the function returns."""
    if isinstance(value, Mapping) and set(value) == {BY_FUNCTION}:
        return find_object(value[BY_FUNCTION])()
    return value


def named_code(kwargs: Mapping[str, Any]) -> list[str]:
    """The names ``module:object`` of all code that an environment's arguments refer to. Raises UserError if the
    wrappers are malformed."""
    wrappers = kwargs.get(WRAPPERS) or []
    if not isinstance(wrappers, list) or not all(
            isinstance(wrapper, Mapping) and isinstance(wrapper.get("wrapper"), str)
            and isinstance(wrapper.get("kwargs", {}), Mapping) for wrapper in wrappers):
        raise UserError(f"wrappers = {wrappers!r}: it must be a list of {{\"wrapper\": \"module:Class\", \"kwargs\": "
                        "{…}}.")
    values = [*kwargs.values(), *(value for wrapper in wrappers for value in wrapper.get("kwargs", {}).values())]
    return [*(wrapper["wrapper"] for wrapper in wrappers),
            *(value[BY_FUNCTION] for value in values if isinstance(value, Mapping) and set(value) == {BY_FUNCTION})]


def absolute_name(name: str) -> str:
    """The name with the path of its file, if it has one, made absolute."""
    name = absolute_engine(name)
    file, colon, inside = (name, "", "") if name.endswith(".py") else name.rpartition(":")
    return f"{Path(file).absolute()}{colon}{inside}" if file.endswith(".py") else name


def find_object(name: str) -> Any:
    """The object named ``module:object``. Raises UserError if there is none."""
    module, colon, attribute = name.rpartition(":")
    if not colon:
        raise UserError(f"{name!r} must be module:name, as gymnasium.wrappers:FlattenObservation.")
    found = import_module(module, name)
    if not hasattr(found, attribute):
        near = difflib.get_close_matches(attribute, dir(found), n=1)
        raise UserError(f"The module {module} has no {attribute!r}.{f' Did you mean {near[0]!r}?' if near else ''}")
    return getattr(found, attribute)


def import_module(module: str, wanted_for: str) -> Any:
    """Import a module (also from the current folder) or a file. Raises UserError if that fails."""
    if module.endswith(".py"):
        found = load_file(Path(module))
        cloudpickle.register_pickle_by_value(found)  # a worker cannot import it by its name
        return found
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # inherited by child processes
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module.partition(".")[0]:
            raise UserError(f"There is no module {module!r} for {wanted_for!r}: neither installed nor in the current "
                            f"folder ({here}). Install its package, go to its folder, or give the path of its file: "
                            f"path/to/{module.rpartition('.')[2]}.py:{wanted_for.rpartition(':')[2]}") from error
        raise UserError(f"The module {module!r} of {wanted_for!r} cannot be imported: {describe(error)}.") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"The module {module!r} of {wanted_for!r} cannot be imported: {describe(error)}.") from error


def find_source(name: str) -> Source:
    """The source of the environment called ``name``. Raises UserError if there is none."""
    if (engine := find_engine(name)) is not None:
        return engine
    module, colon, env_id = name.rpartition(":")
    if name.endswith(".py"):
        return _only_one(name)
    if not colon:
        failed: list[str] = []
        if name not in gymnasium.registry and not import_package_of(name, failed):
            near = difflib.get_close_matches(name, gymnasium.registry, n=1)
            raise UserError(f"There is no environment {name!r}.{''.join(failed)} "
                            f"{f'Did you mean {near[0]!r}? ' if near else ''}"
                            f"For an environment of your own, write module:{name} with the module that registers it.")
        return gymnasium.registry[name]
    if module == "pettingzoo":
        return find_pettingzoo(name)
    if module == "envpool":
        return find_envpool(name)
    found = import_module(module, name)
    if env_id in gymnasium.registry:
        return gymnasium.registry[env_id]
    if defines_environment(getattr(found, env_id, None)):
        return partial(TwoPlayerEnv, getattr(found, env_id).__name__, name)
    if callable(made := getattr(found, env_id, None)):
        if inspect.isclass(made) and not issubclass(made, (gymnasium.Env, VectorEnv)):
            raise UserError(f"{name} is a class, but not a gymnasium.Env.{_if_old(made)}")
        return made
    raise UserError(f"There is no environment {env_id!r} in {module}. {_what_there_is(found, module, named=env_id)}")


def _only_one(file: str) -> Source:
    """The only environment that a file registers or defines. Raises UserError unless there is exactly one."""
    before = set(gymnasium.registry)
    module = import_module(file, file)
    new = [env_id for env_id in gymnasium.registry if env_id not in before or _belongs(env_id, module.__name__)]
    classes = list(_classes(module))
    # Drop base classes of other classes in the file.
    classes = [kind for kind in classes if not any(other is not kind and issubclass(other, kind) for other in classes)]
    if len(new) == 1:
        return gymnasium.registry[new[0]]
    if not new and len(classes) == 1:
        return classes[0]
    raise UserError(f"{file}: which environment? {_what_there_is(module, file, new)}" if new or classes else
                    f"{file} defines neither a game (GAME = Game(...)) nor an environment (a class of gymnasium.Env)."
                    f"{_if_old(module)}")


def _what_there_is(module: Any, name: str, registered: list[str] | None = None, named: str = "") -> str:
    """A sentence for error messages: the environment in a module that is most like ``named``, or a list of all."""
    ids = registered or [env_id for env_id in gymnasium.registry if _belongs(env_id, module.__name__)]
    there = [*ids, *(kind.__name__ for kind in _classes(module))]
    if near := difflib.get_close_matches(named, there, n=1):
        return f"Did you mean {name}:{near[0]}?"
    offers = [f"{name}:{what}" for what in there]
    if offers:
        more = f" and {len(offers) - 8} more" if len(offers) > 8 else ""
        return f"Available: {', '.join(offers[:8])}{more}."
    return f"It registers nothing with Gymnasium and defines no class of gymnasium.Env.{_if_old(module)}"


def _belongs(env_id: str, module: str) -> bool:
    """Whether the package of ``module`` registered ``env_id``."""
    entry: Any = gymnasium.registry[env_id].entry_point
    place = entry if isinstance(entry, str) else getattr(entry, "__module__", None)
    return str(place).partition(":")[0].partition(".")[0] == module.partition(".")[0]


def _classes(module: Any) -> Iterator[type[gymnasium.Env | VectorEnv]]:
    """The environment classes that a module itself defines, in their order."""
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, (gymnasium.Env, VectorEnv)) \
                and value.__module__ == module.__name__ \
                and not issubclass(value, (gymnasium.Wrapper, gymnasium.vector.VectorWrapper)):
            yield value


def _if_old(what: Any) -> str:
    """Advice if ``what`` is or contains an environment of the old gym; otherwise empty."""
    kind = what if inspect.isclass(what) else type(what)
    old = any(base.__module__.partition(".")[0] == "gym" for base in kind.__mro__)
    if not old and inspect.ismodule(what):
        old = any(inspect.isclass(value) and any(base.__module__.partition(".")[0] == "gym" for base in value.__mro__)
                  for value in vars(what).values())
    return OLD_GYM if old else ""


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _takes(function: Callable, name: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return name in parameters


@contextmanager
def _process_kept() -> Iterator[None]:
    """Restore process-wide settings that simulators change when they are made: signal handlers, NumPy's error handling,
    torch's default dtype."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    handlers = {number: signal.getsignal(number) for number in numbers}
    errors, torch = np.geterr(), sys.modules.get("torch")
    dtype = torch.get_default_dtype() if torch else None
    try:
        yield
    finally:
        np.seterr(**errors)
        if dtype is not None:
            sys.modules["torch"].set_default_dtype(dtype)
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                if handler is not None and signal.getsignal(number) != handler:
                    signal.signal(number, handler)
