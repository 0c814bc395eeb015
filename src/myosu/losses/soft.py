"""Policies that are to be good and random at once: soft actor-critic's parts (Haarnoja et al. 2018).

A continuous action is a normal variable squashed into (−1, 1). Choices lie side by side in A columns, branch after
branch, as in ``q_learning``; ``branches`` are their widths. What is not legal has probability 0: it has no part in
policy, entropy or values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

#: In place of −∞, so that 0 · log 0 is 0 and has a gradient.
LOG_ZERO = -1e9


def squashed(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions a = tanh(u) [n, C], u = mean + exp(log_std) · noise, and log π(a) [n], by the change of variables

        log π(a) = Σ_c log N(u_c; mean_c, std_c) − log(1 − tanh²(u_c)),

    Haarnoja et al. 2018, equation 21; log(1 − tanh² u) = 2 (log 2 − u − softplus(−2 u)) loses no digits far out.
    noise: standard normal, [n, C].
    """
    u = torch.addcmul(mean, log_std.exp(), noise)
    log_normal = noise.square() * -0.5 - log_std - 0.5 * math.log(2 * math.pi)
    log_slope = 2.0 * (math.log(2.0) - u - F.softplus(-2.0 * u))
    return u.tanh(), (log_normal - log_slope).sum(1)


def choice_log_probs(logits: Tensor, legal: Tensor, branches: tuple[int, ...]) -> Tensor:
    """log π float32 [n, A] of every branch; where not legal about ``LOG_ZERO``, so that π is exactly 0."""
    masked = torch.where(legal, logits, LOG_ZERO)
    if len(branches) == 1:
        return masked.log_softmax(1)
    return torch.cat([part.log_softmax(1) for part in masked.split(branches, 1)], 1)


def by_branch(x: Tensor, branches: tuple[int, ...]) -> Tensor:
    """Sums over the choices of each branch: [..., A] → [..., B]."""
    if len(branches) == 1:
        return x.sum(-1, keepdim=True)
    return torch.stack([part.sum(-1) for part in x.split(branches, -1)], -1)


def entropies(log_probs: Tensor, branches: tuple[int, ...]) -> Tensor:
    """H_b = −Σ_a π_b(a) log π_b(a) of each branch; [n, B]."""
    return -by_branch(log_probs.exp() * log_probs, branches)


def entropy_targets(legal: Tensor, branches: tuple[int, ...], share: float) -> Tensor:
    """``share`` · ln(number of legal choices), of each state and branch, [n, B]. Of a single one 0."""
    return share * by_branch(legal.float(), branches).log()


def temperature_loss(log_temperature: Tensor, entropy: Tensor, target: Tensor) -> Tensor:
    """mean_n Σ_b log α_b (H_b − H̄_b), as Stable-Baselines3 has it: where there is more entropy than the target, the
    temperature falls. log_temperature: [B]. entropy, target: [n, B], or −log π in the place of the entropy; nothing
    goes back into them."""
    return (log_temperature * (entropy - target).detach().mean(0)).sum()
