"""A small network in NumPy that measures how much of a target's variance it cannot explain.

Without torch, whose import alone takes seconds.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

_UNITS, _EPOCHS, _BATCH, _RATE = 64, 30, 128, 3e-3


class Perceptron:
    """MLP with two hidden ReLU layers, from f32 inputs [n, d] to f32 targets [n, k], trained by Adam."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        sizes = (inputs, _UNITS, _UNITS, outputs)
        self.weights = [(rng.normal(size=(n + 1, m)) * np.sqrt(2 / n)).astype(np.float32)  # the last row is the bias
                        for n, m in pairwise(sizes)]
        for matrix in self.weights:
            matrix[-1] = 0
        self.moments = [np.zeros((2, *matrix.shape), np.float32) for matrix in self.weights]
        self.steps = 0

    def layers(self, x: np.ndarray) -> list[np.ndarray]:
        """Inputs of each layer, followed by the outputs."""
        values = [x]
        for place, matrix in enumerate(self.weights):
            out = values[-1] @ matrix[:-1] + matrix[-1]
            values.append(np.maximum(out, 0) if place < len(self.weights) - 1 else out)
        return values

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """One Adam step on the mean squared error."""
        values = self.layers(x)
        slope = 2 * (values[-1] - y) / y.size
        self.steps += 1
        for place in reversed(range(len(self.weights))):
            matrix, inputs = self.weights[place], values[place]
            gradient = np.concatenate([inputs.T @ slope, slope.sum(axis=0, keepdims=True)])
            if place:
                slope = (slope @ matrix[:-1].T) * (inputs > 0)
            first, second = self.moments[place]
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient * gradient - second)
            correction = np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
            matrix -= _RATE * correction * first / (np.sqrt(second) + 1e-8)


def unexplained(features: np.ndarray, targets: np.ndarray, groups: np.ndarray, seed: int = 0) -> np.ndarray:
    """float [targets]: the fraction of each target's variance that the network leaves unexplained in held-out episodes.

    The minimum over the training epochs, at most 1. groups: int [n], the episode of each row. seed: selects the
    held-out episodes.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.unique(groups))
    held_out = np.isin(groups, order[: max(1, len(order) // 3)])
    x, y = _standard(features, ~held_out), _standard(targets, ~held_out)
    rows, test, truth = np.flatnonzero(~held_out), x[held_out], y[held_out]
    scale = np.maximum(truth.var(axis=0), 1e-6)
    net, best = Perceptron(x.shape[1], y.shape[1], rng), np.ones(y.shape[1])
    for _ in range(_EPOCHS):
        for batch in np.array_split(rng.permutation(rows), max(1, len(rows) // _BATCH)):
            net.fit(x[batch], y[batch])
        best = np.minimum(best, np.square(net.layers(test)[-1] - truth).mean(axis=0) / scale)
    return best


def _standard(values: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """``values`` standardised by the rows ``fitted``; columns that hardly vary there stay small."""
    spread = np.maximum(values[fitted].std(axis=0), 1e-3 * max(1e-3, float(np.abs(values).max())))
    return ((values - values[fitted].mean(axis=0)) / spread).astype(np.float32)
