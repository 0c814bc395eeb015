"""Proportional priorities in a sum tree (Schaul et al. 2016)."""

from __future__ import annotations

import numba
import numpy as np


class SumTree:
    """Priorities p_i ≥ 0 of ``capacity`` rows. P(i) = p_i / Σ p."""

    def __init__(self, capacity: int) -> None:
        self.size = 1 << max(1, (capacity - 1).bit_length())
        self.tree = np.zeros(2 * self.size, np.float64)

    @property
    def total(self) -> float:
        return float(self.tree[1])

    def set(self, rows: np.ndarray, priorities: np.ndarray) -> None:
        """rows int64 [n], priorities float64 [n]."""
        _set(self.tree, self.size, rows, priorities.astype(np.float64))

    def get(self, rows: np.ndarray) -> np.ndarray:
        return self.tree[self.size + rows]

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Stratified: one row from each of ``count`` equal shares of the total; int64 [count]."""
        targets = (np.arange(count) + rng.random(count)) * (self.total / count)
        return _find(self.tree, self.size, targets)

    def importance(self, rows: np.ndarray, count: int, beta: float) -> np.ndarray:
        """Weights (count · P(i))^−β of the losses of drawn rows, the greatest of them 1: what is drawn more often than
        one in ``count`` counts less; float32 [n]."""
        weights = (count / self.total * self.get(rows)) ** -beta
        return (weights / weights.max()).astype(np.float32)


@numba.njit(cache=True)
def _set(tree, size, rows, priorities):
    for k in range(len(rows)):
        node = size + rows[k]
        tree[node] = priorities[k]
        node //= 2
        while node >= 1:
            tree[node] = tree[2 * node] + tree[2 * node + 1]
            node //= 2


@numba.njit(cache=True)
def _find(tree, size, targets):
    rows = np.empty(len(targets), np.int64)
    for k in range(len(targets)):
        target, node = targets[k], 1
        while node < size:
            node *= 2
            # Rounding may leave a target at the very end of the total: never walk into an empty half.
            if target >= tree[node] and tree[node + 1] > 0:
                target -= tree[node]
                node += 1
        rows[k] = node - size
    return rows
