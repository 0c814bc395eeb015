"""Clipped maximum a posteriori policy optimisation (CMPO) and Muesli's other policy losses (Hessel et al. 2021).
Equation numbers refer to that paper.

A policy is fitted to a target by ``cross_entropy(logits, target)``, which has the gradient of KL(target ‖ π): the two
differ by the target's entropy, a constant.
"""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(cache=True)
def cmpo_policy(log_prior, advantage, clip):
    """π_CMPO(a|s) = π_prior(a|s) exp(clip(adv(s, a), −c, c)) / z(s); equation 7. float32 [n, A].

    log_prior: float32 [n, A], log π_prior, −∞ where an action is not legal. advantage: float32 [n, A], normalised;
    ignored where an action is illegal. clip: c > 0. The total variation between the two policies is at most
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
    """π_CMPO estimated from N actions a_i sampled from π_prior; float32 [n, A], which sums to about 1.

    The action a_i gets exp(clip(adv(s, a_i), −c, c)) / (N z_i) each time it is sampled (equation 11), with

        z_i = (1 + Σ_{k≠i} exp(clip(adv(s, a_k), −c, c))) / N        (equation 12)

    z_i excludes a_i, so that the two are independent and the estimate is proportional to ``cmpo_policy`` in
    expectation; the 1 is the initial guess of z, whose influence vanishes as N grows.

    actions: int64 [n, N]. advantage: float32 [n, N], of these actions.
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
    """ρ · adv with ρ = min(1, π(a|s) / π_b(a|s)): the weight of −log π(a|s) in the off-policy policy gradient. Any
    shape.

    Equation 10 with an importance weight clipped as in V-trace (Espeholt et al. 2018). The weight is a constant:
    differentiating the clipped ratio would give no gradient to actions that have become more likely.

    log_prob: log π(a|s). behaviour_log_prob: log π_b(a|s) of the acting policy. advantage: G − v_prior(s), normalised.
    """
    return np.minimum(np.exp(log_prob - behaviour_log_prob), np.float32(1.0)) * advantage


def deviation(average: float, decay: float, count: int) -> float:
    """The normaliser of advantages: √(m̂ + 1e-12) with the bias-corrected m̂ = m / (1 − β^count), as in Adam.

    average: m, the moving average of ``count`` mean squared advantages, initialised with 0. decay: β.
    """
    return math.sqrt(average / (1.0 - decay**count) + 1e-12)
