"""Losses of soft actor-critic (Haarnoja et al. 2018): squashed Gaussian and categorical policies, entropies and the
temperature loss.

Continuous actions are tanh-squashed Gaussians in (−1, 1). The choices of all branches are concatenated to A columns, as
in ``q_learning``; ``branches`` are the numbers of choices. Illegal actions have probability 0 and do not contribute to
policy, entropy or values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

#: Used in place of −∞, so that 0 · log 0 is 0 and has a finite gradient.
LOG_ZERO = -1e9


def squashed(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions a = tanh(u) [n, C], u = mean + exp(log_std) · noise, and log π(a) [n], by the change of variables

        log π(a) = Σ_c log N(u_c; mean_c, std_c) − log(1 − tanh²(u_c)),

    Haarnoja et al. 2018, equation 21; log(1 − tanh² u) = 2 (log 2 − u − softplus(−2 u)) is numerically stable for large
    |u|.
    noise: standard normal, [n, C].
    """
    u = torch.addcmul(mean, log_std.exp(), noise)
    log_normal = noise.square() * -0.5 - log_std - 0.5 * math.log(2 * math.pi)
    log_slope = 2.0 * (math.log(2.0) - u - F.softplus(-2.0 * u))
    return u.tanh(), (log_normal - log_slope).sum(1)


def choice_log_probs(logits: Tensor, legal: Tensor, branches: tuple[int, ...]) -> Tensor:
    """Masked log-softmax of every branch, float32 [n, A]; about ``LOG_ZERO`` where illegal, so that π is exactly 0."""
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


def entropy_targets(legal: Tensor, branches: tuple[int, ...], scale: float) -> Tensor:
    """Target entropies ``scale`` · ln(number of legal choices) of each state and branch, [n, B]; 0 for a single
    choice."""
    return scale * by_branch(legal.float(), branches).log()


def temperature_loss(log_temperature: Tensor, entropy: Tensor, target: Tensor) -> Tensor:
    """mean_n Σ_b log α_b (H_b − H̄_b), as in Stable-Baselines3: if the entropy exceeds the target, the temperature
    falls. log_temperature: log α, [B]. entropy: H, or −log π(a), and target: H̄, both [n, B], detached."""
    return (log_temperature * (entropy - target).detach().mean(0)).sum()
