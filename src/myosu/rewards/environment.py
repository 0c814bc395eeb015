"""The environment's own reward."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch

from myosu.nets.encoder import RunningNorm
from myosu.rewards.signals import Steps

#: Default clip of normalised rewards, as in Stable-Baselines3's VecNormalize.
NORMALIZED_CLIP = 10.0


class EnvironmentReward:
    """The environment's reward r, optionally normalised and clipped: clip(r / σ, −clip, clip).

    normalize: divide by σ, the running standard deviation of the discounted return Σ_k γ^k r_{t−k}. Requires that
    ``update`` receives all steps of the ``num_envs`` environments, in chronological order.
    clip: clip rewards to ± this; None: to ±10 if they are normalised, else no clipping.
    """

    name = "environment"
    episodic = True

    def __init__(self, discount: float, weight: float = 1.0, clip: float | None = None, normalize: bool = False,
                 num_envs: int = 0) -> None:
        self.discount, self.weight, self.normalize = discount, weight, normalize
        self.clip = NORMALIZED_CLIP if clip is None and normalize else clip
        self.returns, self.norm = np.zeros(num_envs), RunningNorm(())

    def rewards(self, steps: Steps) -> np.ndarray:
        reward = steps["reward"]
        if self.normalize:
            reward = reward / np.float32(math.sqrt(float(self.norm.variance) + 1e-8))
        return reward if self.clip is None else np.clip(reward, -self.clip, self.clip)

    def update(self, steps: Steps) -> dict[str, float]:
        if self.normalize:
            ended = steps["terminated"] | steps["truncated"]
            returns = running_returns(steps["reward"], ended, steps["env_id"], self.returns, self.discount)
            self.norm.observe(torch.from_numpy(returns))
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"returns": self.returns.copy(), "norm": dict(self.norm.state_dict())} if self.normalize else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.normalize:
            self.returns = state["returns"].copy()
            self.norm.load_state_dict(state["norm"])


@numba.njit(cache=True)
def running_returns(reward, ended, env_ids, returns, discount):
    """Σ_k γ^k r_{t−k} within the episode after each step, float64 [n]. returns: [num_envs], the sums of the running
    episodes, updated in place."""
    found = np.empty(len(reward))
    for t in range(len(reward)):
        i = env_ids[t]
        found[t] = returns[i] = discount * returns[i] + reward[t]
        if ended[t]:
            returns[i] = 0.0
    return found
