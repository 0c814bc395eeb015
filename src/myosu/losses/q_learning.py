"""Q-learning: dueling heads, greedy actions, targets and the Huber loss.

An action makes one choice in each of B branches (B = 1 for Discrete, more for MultiDiscrete spaces). The choices of all
branches are concatenated to A columns, both in values q [n, A] and in action masks bool [n, A]; an action is given by
its B columns. branches: the number of choices of each branch; their sum is A.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dueling(value: Tensor, advantage: Tensor, branches: tuple[int, ...]) -> Tensor:
    """Q(s, a) = V(s) + A(s, a) − mean_a' A(s, a'), the mean over the choices of each branch; float32 [n, A].

    value: float32 [n, 1]. advantage: float32 [n, A]. Wang et al. 2016, equation 9; with several branches, Tavakoli et
    al. 2018, equation 1.
    """
    if len(branches) == 1:
        return value + (advantage - advantage.mean(1, keepdim=True))
    return value + torch.cat([part - part.mean(1, keepdim=True) for part in advantage.split(branches, 1)], 1)


def best_columns(q: Tensor, legal: Tensor, branches: tuple[int, ...]) -> Tensor:
    """The legal column with the greatest value in each branch, argmax_{a legal} Q(s, a); int64 [n, B]."""
    q = torch.where(legal, q, -torch.inf)
    if len(branches) == 1:
        return q.argmax(1, keepdim=True)
    starts = torch.tensor((0, *branches[:-1]), device=q.device).cumsum(0)
    return torch.stack([part.argmax(1) for part in q.split(branches, 1)], 1) + starts


def bootstrapped(reward: Tensor, discount: Tensor, next_q: Tensor, columns: Tensor) -> Tensor:
    """The n-step target y = R + d · mean_b Q(s', a'_b); float32 [n].

    reward: float32 [n], R = Σ_{j<m} γ^j r_{t+j} over the m ≤ n steps to s'. discount: float32 [n], d = γ^m, or 0 where
    the episode terminated. next_q: float32 [n, A], the target network's values of s'. columns: int64 [n, B], the next
    action a': greedy by the target network (Mnih et al. 2015) or by the online network (double Q-learning, van Hasselt
    et al. 2016). The mean over branches is Tavakoli et al.'s equation 6.
    """
    return torch.addcmul(reward, discount, next_q.gather(1, columns).mean(1))


def huber(error: Tensor) -> Tensor:
    """The Huber loss e²/2 where |e| ≤ 1, else |e| − 1/2; its gradient is the error clipped to ±1 (Mnih et al. 2015).
    Same shape as ``error``."""
    return torch.nn.functional.smooth_l1_loss(error, torch.zeros_like(error), reduction="none")
