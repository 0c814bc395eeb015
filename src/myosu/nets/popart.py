"""Values in units of their own running mean and deviation (PopArt, van Hasselt et al. 2016)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn


class PopArt(nn.Module):
    """A linear head for values, [n, features] → [n], whose outputs are in units of the running mean and deviation of
    what it is fitted to; ``to_rewards`` and ``from_rewards`` go from these units to those of the rewards and back."""

    #: Deviations count as no less, so that the first reward after many zeros is no earthquake.
    LEAST = 0.1

    mean: Tensor
    variance: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        nn.init.orthogonal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("variance", torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).squeeze(1)

    def to_rewards(self, value: np.ndarray) -> np.ndarray:
        """float32 [n]."""
        mean, deviation = self._moments()
        return value * np.float32(deviation) + np.float32(mean)

    def from_rewards(self, target: np.ndarray) -> np.ndarray:
        """float32 [n]."""
        mean, deviation = self._moments()
        return (target - np.float32(mean)) / np.float32(deviation)

    @torch.no_grad()
    def observe(self, targets: np.ndarray, share: float) -> None:
        """Let the value targets [n] make up a ``share`` of mean and variance, and change the head so that it predicts
        what it did. With a share of 1 it predicts about their mean from now on: right for a head that knows nothing."""
        mean, deviation = self._moments()
        shift = share * (float(np.mean(targets, dtype=np.float64)) - mean)
        self.mean.add_(shift)
        variance = float(np.var(targets, dtype=np.float64))
        self.variance.mul_(1.0 - share).add_(share * variance + shift**2 * (1.0 - share) / share)
        if share < 1.0:
            new_deviation = self._moments()[1]
            self.linear.weight.mul_(deviation / new_deviation)
            self.linear.bias.mul_(deviation).sub_(shift).div_(new_deviation)

    def _moments(self) -> tuple[float, float]:
        return float(self.mean), math.sqrt(max(float(self.variance), self.LEAST**2))
