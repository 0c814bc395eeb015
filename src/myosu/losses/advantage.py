"""Generalized advantage estimation (Schulman et al. 2016)."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def generalized_advantages(reward, value, acted, terminated, env_ids, discount, gae_lambda, episodic=True):
    """Generalized advantage estimates A_t, float32 [T]; A_t + V(s_t) is the λ-return, the value target.

        δ_t = r_t + γ V(s_{t+1}) − V(s_t)        A_t = δ_t + γλ A_{t+1}

    The T rows are the steps of several environments in chronological order, interleaved in any way; the recursion
    follows each environment's own rows. V(s_{t+1}) is 0 after a terminated step. A row without an action holds the
    final observation of an episode or the last one of the rollout: its value bootstraps the step before it, its own
    estimate is 0, and the recursion restarts there.

    If ``episodic`` is False, returns continue across episode boundaries (Burda et al. 2018): V(s_{t+1}) and A_{t+1}
    after the last step of an episode are those of the first step of the next one, and a row without an action counts
    only if its environment has no later row.

    reward, value: float32 [T]. acted, terminated: bool [T]. env_ids: int64 [T], ≥ 0.
    discount: γ in [0, 1]; or −γ if two players take turns and values are from the perspective of the player to move,
    because one player's gain is the other's loss. gae_lambda: λ in [0, 1].
    """
    advantage = np.zeros(len(reward), np.float32)
    environments = env_ids.max() + 1 if len(env_ids) else 0
    next_value, next_advantage = np.zeros(environments), np.zeros(environments)
    followed = np.zeros(environments, np.bool_)  # whether the environment has a later row
    for t in range(len(reward) - 1, -1, -1):
        i = env_ids[t]
        if acted[t]:
            if episodic and terminated[t]:
                next_value[i] = next_advantage[i] = 0.0
            error = reward[t] + discount * next_value[i] - value[t]
            next_advantage[i] = advantage[t] = error + discount * gae_lambda * next_advantage[i]
        elif episodic or not followed[i]:
            next_advantage[i] = 0.0
        else:
            continue
        next_value[i], followed[i] = value[t], True
    return advantage
