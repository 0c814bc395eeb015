"""Policy and value side by side."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TwinTowers(nn.Module):
    """Two towers of layers of the widths ``hidden``, which share nothing but their input; each layer of both is one
    batched product. [n, inputs] → [2, n, ``features``]. Orthogonal weights with gain √2, no bias at first.
    """

    def __init__(self, inputs: int, hidden: tuple[int, ...], activation: type[nn.Module]) -> None:
        super().__init__()
        self.features = hidden[-1]
        self.activate = activation().forward
        weights, biases = [], []
        for width in hidden:
            towers = [nn.init.orthogonal_(torch.empty(inputs, width), math.sqrt(2)) for _ in range(2)]
            weights.append(nn.Parameter(torch.stack(towers)))
            biases.append(nn.Parameter(torch.zeros(2, 1, width)))
            inputs = width
        self.weights, self.biases = nn.ParameterList(weights), nn.ParameterList(biases)
        self.layers = list(zip(weights, biases, strict=True))  # the same, for these lists are slow to walk

    def forward(self, x: Tensor) -> Tensor:
        x = x.expand(2, *x.shape)
        for weight, bias in self.layers:
            x = self.activate(torch.baddbmm(bias, x, weight))
        return x
