"""Values in units of their own running mean and deviation (PopArt, van Hasselt et al. 2016)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class PopArt(nn.Module):
    """A linear head for values, [n, features] → [n, values], each of whose outputs is in units of the running mean and
    deviation of what it is fitted to; ``to_rewards`` and ``from_rewards`` go from these units to those of the rewards
    and back."""

    #: Deviations count as no less, so that the first reward after many zeros is no earthquake.
    LEAST = 0.1

    mean: Tensor
    variance: Tensor

    def __init__(self, features: int, values: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(features, values)
        nn.init.orthogonal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        shape = (values,) if values > 1 else ()  # (): as it was when there was never more than one
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(shape, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)

    def to_rewards(self, value: np.ndarray) -> np.ndarray:
        """float32 [n, values]."""
        mean, deviation = self._moments()
        return value * np.float32(deviation) + np.float32(mean)

    def from_rewards(self, target: np.ndarray) -> np.ndarray:
        """float32 [n, values]."""
        mean, deviation = self._moments()
        return (target - np.float32(mean)) / np.float32(deviation)

    @torch.no_grad()
    def observe(self, targets: np.ndarray, share: float) -> None:
        """Let the value targets [n, values] make up a ``share`` of mean and variance, and change the head so that it
        predicts what it did. With a share of 1 it predicts about their mean from now on: right for a head that knows
        nothing."""
        mean, deviation = self._moments()
        shift = share * (np.mean(targets, axis=0, dtype=np.float64).reshape(mean.shape) - mean)
        variance = np.var(targets, axis=0, dtype=np.float64).reshape(mean.shape)
        self.mean.add_(torch.tensor(shift))
        self.variance.mul_(1.0 - share).add_(torch.tensor(share * variance + shift**2 * (1.0 - share) / share))
        if share < 1.0:
            new_deviation = self._moments()[1]
            weight, bias = self.linear.weight, self.linear.bias
            weight.mul_(torch.tensor(deviation / new_deviation).to(weight).reshape(-1, 1))
            bias.mul_(torch.tensor(deviation).to(bias)).sub_(torch.tensor(shift).to(bias))
            bias.div_(torch.tensor(new_deviation).to(bias))

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation, float64, of the shape of the buffers."""
        mean, variance = self.mean.cpu().numpy(), self.variance.cpu().numpy()
        return mean.copy(), np.sqrt(np.maximum(variance, self.LEAST**2))
