"""Clipped maximum a posteriori policy optimisation and the rest of Muesli's policy losses (Hessel et al. 2021).
Equation numbers are those of that paper.

Losses that fit a policy to one of the targets here are ``cross_entropy(logits, target)``: its gradient is that of
KL(target ‖ π), from which it differs by the target's entropy.
"""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(cache=True)
def cmpo_policy(log_prior, advantage, clip):
    """π_CMPO(a|s) = π_prior(a|s) exp(clip(adv(s, a), −c, c)) / z(s); equation 7. float32 [n, A].

    log_prior: float32 [n, A], log π_prior, −∞ where an action is not legal. advantage: float32 [n, A], normalised;
    of any size where an action is not legal. clip: c > 0. The total variation between the two policies is at most
    tanh(c / 2) (theorem 4.1).
    """
    policy = np.empty(log_prior.shape, np.float32)
    for i in range(len(policy)):
        total = 0.0
        for a in range(policy.shape[1]):
            policy[i, a] = math.exp(log_prior[i, a] + min(max(advantage[i, a], -clip), clip))
            total += policy[i, a]
        for a in range(policy.shape[1]):
            policy[i, a] /= total
    return policy


@numba.njit(cache=True)
def sampled_cmpo_policy(actions, advantage, num_actions, clip):
    """π_CMPO estimated from N actions a_i drawn from π_prior; float32 [n, A], whose sum is near 1.

    The action a_i gets exp(clip(adv(s, a_i), −c, c)) / (N z_i) each time it is drawn (equation 11), with

        z_i = (1 + Σ_{k≠i} exp(clip(adv(s, a_k), −c, c))) / N        (equation 12)

    z_i leaves out a_i itself, so that the two are independent and the estimate is proportional to ``cmpo_policy`` in
    expectation; the 1 is what z is taken for before anything is drawn, and is forgotten as N grows.

    actions: int64 [n, N]. advantage: float32 [n, N], theirs.
    """
    policy = np.zeros((len(actions), num_actions), np.float32)
    for i in range(len(actions)):
        weight = np.exp(np.minimum(np.maximum(advantage[i], -clip), clip))
        total = 1.0 + weight.sum()
        for k, action in enumerate(actions[i]):
            policy[i, action] += weight[k] / (total - weight[k])
    return policy


@numba.njit(cache=True)
def policy_gradient_weight(log_prob, behaviour_log_prob, advantage):
    """ρ adv with ρ = min(1, π(a|s) / π_b(a|s)): what −log π(a|s) is weighed by in the policy gradient. Any shape.
    Equation 10, but for the importance weight, which is clipped as in V-trace (Espeholt et al. 2018).

    It is a number: to differentiate the clipped ratio itself would silence every action that has become likelier than
    it was when it was chosen.

    log_prob: log π(a|s). behaviour_log_prob: log π_b(a|s), when a was chosen. advantage: G − v_prior(s), normalised.
    """
    return np.minimum(np.exp(log_prob - behaviour_log_prob), np.float32(1.0)) * advantage


def deviation(average: float, decay: float, count: int) -> float:
    """What advantages are divided by: √(m̂ + 1e-12), with m̂ = m / (1 − β^count).

    average: m, the moving average (decay β) of ``count`` means of squared advantages, which began at 0; the divisor
    makes up for that beginning, as Adam's does.
    """
    return math.sqrt(average / (1.0 - decay**count) + 1e-12)
