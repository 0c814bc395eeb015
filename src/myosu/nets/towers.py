"""Separate networks with the same input, computed as one batched matrix product per layer."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn


class TwinTowers(nn.Module):
    """Two separate MLPs with hidden layers of the widths ``hidden``, [n, inputs] → [2, n, ``features``].

    Each layer of both is one batched matrix product. Weights are initialised orthogonally with gain √2, biases at 0.
    """

    def __init__(self, inputs: int, hidden: tuple[int, ...], activation: type[nn.Module]) -> None:
        super().__init__()
        self.features = hidden[-1]
        self.activate = activation().forward
        self.rectified = activation is nn.ReLU
        weights, biases = [], []
        for width in hidden:
            towers = [nn.init.orthogonal_(torch.empty(inputs, width), math.sqrt(2)) for _ in range(2)]
            weights.append(nn.Parameter(torch.stack(towers)))
            biases.append(nn.Parameter(torch.zeros(2, 1, width)))
            inputs = width
        self.weights, self.biases = nn.ParameterList(weights), nn.ParameterList(biases)
        self.layers = list(zip(weights, biases, strict=True))  # a plain list: iterating over a ParameterList is slow

    def forward(self, x: Tensor) -> Tensor:
        x = x.expand(2, *x.shape)
        for weight, bias in self.layers:
            x = self.activate(torch.baddbmm(bias, x, weight))
        return x


class CellTowers(nn.Module):
    """``count`` separate networks with one hidden layer of ``width`` units, applied to every cell of a board with the
    same weights. Their inputs are the output of the convolutions at the cell and features of the whole board.

    features [n, F], found [n, *cells] → [count, n, outputs, A] for ``num_actions`` A, see ``encoder.acts_by_cell``.
    """

    def __init__(self, features: int, cells: tuple[int, int, int], width: int, count: int, outputs: int,
                 num_actions: int) -> None:
        super().__init__()
        channels, area = cells[0], cells[1] * cells[2]
        self.shape = (count, -1, area, outputs, num_actions // area)

        def weights(inputs: int, outputs: int, bound: float) -> nn.Parameter:
            return nn.Parameter(torch.empty(count, inputs, outputs).uniform_(-bound, bound))

        self.near = weights(channels, width, channels**-0.5)
        self.whole, self.bias = weights(features, width, features**-0.5), nn.Parameter(torch.zeros(count, 1, width))
        # Small initial outputs, so that untrained twins agree
        self.out = weights(width, outputs * (num_actions // area), 0.02)
        self.out_bias = nn.Parameter(torch.zeros(count, 1, self.out.shape[2]))

    def forward(self, features: Tensor, found: Tensor) -> Tensor:
        count, _, width = self.near.shape
        # Matrix products are faster than 1×1 convolutions
        cells = found.flatten(2).transpose(1, 2).flatten(0, 1).expand(count, -1, -1)
        board = torch.baddbmm(self.bias, features.expand(count, -1, -1), self.whole)
        x = (torch.bmm(cells, self.near).view(count, len(found), -1, width) + board[:, :, None]).relu()
        out = torch.baddbmm(self.out_bias, x.flatten(1, 2), self.out).view(self.shape)
        return out.permute(0, 1, 3, 4, 2).flatten(3)


class TowersInNumPy:
    """``TwinTowers`` (tanh or ReLU) with a linear head on each, forward and backward in NumPy.

    In networks this small, torch's overhead per operation exceeds the operation itself. Weights and gradients share
    torch's memory. So create this object after the network is in its final place on the CPU, and load weights in place,
    as ``load_state_dict`` does. ``backward`` requires that all parameters have ``.grad``.
    """

    def __init__(self, towers: TwinTowers, first: nn.Linear, second: nn.Linear) -> None:
        parts = [*towers.layers, (first.weight, first.bias), (second.weight, second.bias)]
        values = [(weight.detach().numpy(), bias.detach().numpy()) for weight, bias in parts]
        gradients = [tuple(p.grad.numpy() for p in part if p.grad is not None) for part in parts]
        self.layers, self.heads = values[:-2], values[-2:]
        self.layer_gradients, self.head_gradients = gradients[:-2], gradients[-2:]
        self.rectified = towers.rectified
        self.x = np.zeros((0, 0), np.float32)

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The outputs [n, ·] of both heads for x, float32 [n, inputs]."""
        n = len(x)
        if n != len(self.x):
            self.found = [np.empty((2, n, bias.shape[2]), np.float32) for _, bias in self.layers]
            self.gradients = [np.empty_like(found) for found in self.found]
            self.ones = np.ones((1, n), np.float32)
        self.x = x
        for (weight, bias), found in zip(self.layers, self.found, strict=True):
            np.matmul(x, weight, out=found)
            np.add(found, bias, out=found)
            if self.rectified:
                np.maximum(found, 0.0, out=found)
            else:
                np.tanh(found, out=found)
            x = found
        first, second = (tower @ weight.T + bias for tower, (weight, bias) in zip(x, self.heads, strict=True))
        return first, second

    def backward(self, first: np.ndarray, second: np.ndarray) -> None:
        """Write the parameters' gradients, given the loss's gradients ``first`` and ``second`` [n, ·] with respect to
        the outputs of the last ``forward``. Call it once per ``forward``: it overwrites the activations."""
        gradient = self.gradients[-1]
        for k, of_head in enumerate((first, second)):
            by_weight, by_bias = self.head_gradients[k]
            np.matmul(of_head.T, self.found[-1][k], out=by_weight)
            np.sum(of_head, axis=0, out=by_bias)
            np.matmul(of_head, self.heads[k][0], out=gradient[k])
        for k in reversed(range(len(self.layers))):
            found, gradient = self.found[k], self.gradients[k]
            if self.rectified:
                np.multiply(gradient, found > 0.0, out=gradient)
            else:  # tanh' = 1 − tanh²
                np.multiply(found, found, out=found)
                np.subtract(1.0, found, out=found)
                np.multiply(gradient, found, out=gradient)
            by_weight, by_bias = self.layer_gradients[k]
            np.matmul((self.found[k - 1] if k else self.x).swapaxes(-1, -2), gradient, out=by_weight)
            np.matmul(self.ones, gradient, out=by_bias)
            if k:
                np.matmul(gradient, self.layers[k][0].swapaxes(1, 2), out=self.gradients[k - 1])
