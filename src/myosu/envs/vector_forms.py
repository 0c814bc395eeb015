"""Helpers for Gymnasium vector environments: one of their environments as a single one, and EnvPool's environments."""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from myosu.errors import UserError


def mode_of(vector: VectorEnv, name: str) -> AutoresetMode:
    """The autoreset mode; NEXT_STEP by default, as in Gymnasium. Raises UserError if it is invalid."""
    mode = vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    try:
        return AutoresetMode(mode)
    except ValueError:
        raise UserError(f"{name}: metadata[\"autoreset_mode\"] is {mode!r}. It must be a "
                        f"gymnasium.vector.AutoresetMode: {', '.join(kind.name for kind in AutoresetMode)}.") from None


def info_of(infos: Any, index: int) -> Any:
    """Info of one environment from the batched infos, reduced to what Myosu reads: the action mask."""
    if not isinstance(infos, Mapping) or "action_mask" not in infos:
        return {}
    given = infos.get("_action_mask")
    return {"action_mask": infos["action_mask"][index]} if given is None or given[index] else {}


def batch_of(vector: VectorEnv, actions: Sequence[Any]) -> Any:
    """Batch a sequence of one action for each environment for ``vector.step``."""
    space = vector.single_action_space
    batch: Any = create_empty_array(space, len(actions))
    return concatenate(space, actions, batch)


def last_of(vector: VectorEnv, infos: Any, index: int) -> Any:
    """The last observation of an episode that ended in SAME_STEP mode. Raises ValueError if there is none."""
    final = infos.get("final_obs") if isinstance(infos, Mapping) else None
    if final is None:
        raise ValueError("an episode ended, but the infos have no \"final_obs\", its last observation, which the mode "
                         "SAME_STEP requires")
    if isinstance(final, np.ndarray) and final.dtype == object:
        return final[index]
    return list(iterate(vector.observation_space, final))[index]


def _limit_of(vector: VectorEnv) -> int:
    """Maximum number of steps of an episode; 0 if unknown."""
    if vector.spec is not None and vector.spec.max_episode_steps:
        return vector.spec.max_episode_steps
    if _has(vector, "_max_episode_steps"):
        return vector.call("_max_episode_steps")[0] or 0  # type: ignore[attr-defined]
    return getattr(vector.unwrapped, "max_episode_steps", 0) or 0


def _has(vector: VectorEnv, name: str) -> bool:
    """Whether its environments have the attribute ``name``. False for classes other than Gymnasium's own two, which
    cannot be asked."""
    return isinstance(vector, (SyncVectorEnv, AsyncVectorEnv)) and all(vector.call("has_wrapper_attr", name))


class OneOfVector(gymnasium.Env):
    """One environment of a vector environment as a single environment.

    It can be stepped only if the vector environment has no others. Otherwise only its spaces, its step limit
    (``limit``, or that of the vector environment) and its masks are used.
    """

    def __init__(self, vector: VectorEnv, name: str, limit: int | None, index: int = 0) -> None:
        """Raises UserError if the vector environment lacks a required attribute."""
        for attribute in ("single_observation_space", "single_action_space", "observation_space", "num_envs"):
            if not hasattr(vector, attribute):
                raise UserError(f"{name}: the vector environment has no {attribute}.")
        self._vector, self._index, self._mode = vector, index, mode_of(vector, name)
        self.observation_space, self.action_space = vector.single_observation_space, vector.single_action_space
        self.metadata, self.render_mode = vector.metadata, vector.render_mode
        if limit := limit or _limit_of(vector):
            self._max_episode_steps = limit
        if _has(vector, "action_masks"):
            self.action_masks: Callable[[], Any] = lambda: vector.call("action_masks")[index]  # type: ignore[attr-defined]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        observations, infos = self._vector.reset(seed=seed, options=options)
        return self._only(observations), info_of(infos, 0)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observations, rewards, terminated, truncated, infos = self._vector.step(batch_of(self._vector, [action]))
        ended = bool(terminated[0] or truncated[0])
        final = ended and self._mode == AutoresetMode.SAME_STEP
        observation = last_of(self._vector, infos, 0) if final else self._only(observations)
        return observation, rewards[0], bool(terminated[0]), bool(truncated[0]), info_of(infos, 0)

    def render(self) -> Any:
        pictures = self._vector.render()
        return None if pictures is None else pictures[0]

    def close(self) -> None:
        self._vector.close()

    def _only(self, batch: Any) -> Any:
        return next(iter(iterate(self._vector.observation_space, batch)))


def find_envpool(name: str) -> Callable[..., VectorEnv]:
    """The function that makes EnvPool's environments with the id in ``envpool:ID``. Raises UserError."""
    try:
        envpool: Any = importlib.import_module("envpool")
    except ImportError as error:
        raise UserError(f"{name} needs EnvPool ({error}): pip install envpool") from error
    env_id = name.partition(":")[2]
    if env_id not in (known := envpool.list_all_envs()):
        near = difflib.get_close_matches(env_id, known, n=3)
        raise UserError(f"EnvPool has no {env_id!r}.{f' Did you mean {near[0]!r}?' if near else ''}")
    return partial(EnvPoolVectorEnv, env_id)


class EnvPoolVectorEnv(VectorEnv):
    """EnvPool's environments ``env_id`` as a Gymnasium vector environment. EnvPool takes the seed when it is made, so
    ``reset`` with a seed makes it again."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 (Gymnasium's)

    def __init__(self, env_id: str, num_envs: int = 1, render_mode: str | None = None, **kwargs: Any) -> None:
        self.num_envs, self.render_mode = num_envs, render_mode
        self._arguments = {"task_id": env_id, "num_envs": num_envs, **kwargs}
        self._pool = self._make(0)
        self.single_observation_space, self.single_action_space = self._pool.observation_space, self._pool.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.max_episode_steps = self._pool.config.get("max_episode_steps", 0)

    def _make(self, seed: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings that the bounds of its spaces lose precision as float32
            return importlib.import_module("envpool").make_gymnasium(seed=seed, **self._arguments)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._pool.close()
            self._pool = self._make(seed)
        return self._pool.reset()

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self._pool.step(actions)

    def render(self) -> Any:
        return None

    def close_extras(self, **kwargs: Any) -> None:
        self._pool.close()
