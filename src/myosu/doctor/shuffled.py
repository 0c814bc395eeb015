"""Rewards without information, for the control of an experiment."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from myosu.envs.registry import Environment
from myosu.envs.vector import Step, VectorEnv
from myosu.runs.config import RunConfig

#: So many of the latest rewards are drawn from.
_POOL = 4096


class ShuffledRewards:
    """Environments whose rewards are drawn from those of the latest steps, each with a random sign. They are as large
    and as frequent as the true ones, those of last steps among themselves; but what they pay on average is 0 whatever
    is done, staying alive included. ``raw_reward`` stays what it is."""

    def __init__(self, env: VectorEnv, seed: int) -> None:
        self._env, self._rng = env, np.random.default_rng([seed, 7])
        self._pools = {False: np.zeros(0, np.float32), True: np.zeros(0, np.float32)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def recv(self, min_ready: int | None = None) -> Step:
        step = self._env.recv(min_ready)
        reward = step.reward.copy()
        ended = step.terminated | step.truncated
        for last in (False, True):
            of_kind = ended == last
            self._pools[last] = pool = np.concatenate([self._pools[last], step.reward[of_kind]])[-_POOL:]
            if of_kind.any():
                drawn = self._rng.choice(pool, int(of_kind.sum()))
                reward[of_kind] = drawn * (2 * self._rng.integers(0, 2, len(drawn)) - 1)
        return dataclasses.replace(step, reward=reward)


class _Shuffled(Environment):
    def make(self, num_envs: int, seed: int) -> VectorEnv:
        return ShuffledRewards(super().make(num_envs, seed), seed)  # type: ignore[return-value]


def shuffle_rewards(config: RunConfig) -> None:
    """From now on the environments of ``config``, and of no copy of it, pay shuffled rewards."""
    # Where the cached property keeps it; the configuration itself, which is what a folder stores, stays the same.
    vars(config)["environment"] = _Shuffled(**vars(config.environment))
