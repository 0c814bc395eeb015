"""From rewards and values to advantages (Schulman et al. 2016)."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def generalized_advantages(reward, value, terminated, truncated, final_value, env_ids, last_value, discount,
                           gae_lambda):
    """Generalized advantage estimates A_t, float32 [T]; A_t + V(s_t) is the λ-return that the value is fitted to.

        δ_t = r_t + γ V(s_{t+1}) − V(s_t)        A_t = δ_t + γλ A_{t+1}

    The T steps are those of several environments in the order in which they came, mixed in any way: each one's
    estimates go along its own steps. Where an episode ends there is no A_{t+1}, and V(s_{t+1}) is 0 if it was
    terminated and ``final_value`` if it was truncated.

    reward, value, final_value: float32 [T]. terminated, truncated: bool [T]. env_ids: int64 [T].
    last_value: float32 [environments], the value after each one's last step.
    discount γ and gae_lambda λ: in [0, 1].
    """
    advantage = np.empty(len(reward), np.float32)
    next_value, next_advantage = last_value.astype(np.float64), np.zeros(len(last_value))
    for t in range(len(reward) - 1, -1, -1):
        i = env_ids[t]
        if terminated[t] or truncated[t]:
            next_value[i] = final_value[t] if truncated[t] else 0.0
            next_advantage[i] = 0.0
        error = reward[t] + discount * next_value[i] - value[t]
        next_advantage[i] = error + discount * gae_lambda * next_advantage[i]
        next_value[i] = value[t]
        advantage[t] = next_advantage[i]
    return advantage
