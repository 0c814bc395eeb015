"""Value heads with adaptively normalised outputs (PopArt, van Hasselt et al. 2016)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class PopArt(nn.Module):
    """A linear value head, [n, features] → [n, values], whose outputs are normalised by the running mean and standard
    deviation of the value targets. ``from_rewards`` normalises, ``to_rewards`` reverses it."""

    #: Lower bound of the standard deviation, so that the first reward after many zeros does not cause huge updates.
    LEAST = 0.1

    mean: Tensor
    variance: Tensor

    def __init__(self, features: int, values: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(features, values)
        # Zero weights: the values of an untrained head would be noise, and normalised advantages would train the policy
        # on it before the first reward.
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        shape = (values,) if values > 1 else ()  # () for one value, for compatibility with old checkpoints
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(shape, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)

    def to_rewards(self, value: np.ndarray) -> np.ndarray:
        """Convert normalised values to rewards, float32 [n, values]."""
        mean, deviation = self._moments()
        return value * np.float32(deviation) + np.float32(mean)

    def from_rewards(self, target: np.ndarray) -> np.ndarray:
        """Normalise value targets in rewards, float32 [n, values]."""
        mean, deviation = self._moments()
        return (target - np.float32(mean)) / np.float32(deviation)

    @torch.no_grad()
    def observe(self, targets: np.ndarray, beta: float) -> None:
        """Move the running mean and variance towards those of the value targets [n, values] by the fraction ``beta``,
        and rescale the head so that its predictions, in rewards, stay the same. With ``beta`` 1 the head is not
        rescaled, so that an untrained head predicts about the targets' mean."""
        mean, deviation = self._moments()
        shift = beta * (np.mean(targets, axis=0, dtype=np.float64).reshape(mean.shape) - mean)
        variance = np.var(targets, axis=0, dtype=np.float64).reshape(mean.shape)
        self.mean.add_(torch.tensor(shift))
        self.variance.mul_(1.0 - beta).add_(torch.tensor(beta * variance + shift**2 * (1.0 - beta) / beta))
        if beta < 1.0:
            new_deviation = self._moments()[1]
            weight, bias = self.linear.weight, self.linear.bias
            weight.mul_(torch.tensor(deviation / new_deviation).to(weight).reshape(-1, 1))
            bias.mul_(torch.tensor(deviation).to(bias)).sub_(torch.tensor(shift).to(bias))
            bias.div_(torch.tensor(new_deviation).to(bias))

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, float64, in the shape of the buffers."""
        mean, variance = self.mean.cpu().numpy(), self.variance.cpu().numpy()
        return mean.copy(), np.sqrt(np.maximum(variance, self.LEAST**2))
