"""Rewards without information, for the control run of an experiment."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from myosu.envs.registry import Environment
from myosu.envs.vector import Step, VectorEnv
from myosu.runs.config import RunConfig

#: Number of recent rewards to draw from.
_POOL = 4096


class ShuffledRewards:
    """Environments whose rewards are drawn from those of recent steps, each with a random sign.

    Rewards of final steps are drawn among themselves, so magnitudes and frequencies stay the same, but the expected
    reward is 0 whatever the agent does, staying alive included. ``raw_reward`` is unchanged.
    """

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
    """Make the environments of ``config`` pay shuffled rewards from now on. Copies of ``config`` are not affected."""
    # Replaces the cached property only, so the configuration, which is stored in the folder, stays the same.
    vars(config)["environment"] = _Shuffled(**vars(config.environment))
