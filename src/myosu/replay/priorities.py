"""Prioritised replay: rows are sampled in proportion to their errors, by a sum tree (Schaul et al. 2016)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from myosu.replay.replay import Replay


class Priorities:
    """Sampling probabilities of the rows of a replay: P(i) = p_i / Σ p with p_i = (|error_i| + least)^α.

    exponent: α. least: > 0, so that every row can be drawn. New rows have priority 0 until it is set.
    """

    def __init__(self, capacity: int, exponent: float, least: float) -> None:
        self.tree = SumTree(capacity)
        self.exponent, self.least = exponent, least
        self.rows_seen, self.greatest = 0, 1.0

    def new_rows(self, replay: Replay) -> np.ndarray:
        """Rows written since the last call, int64 [n], newest first; their priorities become 0."""
        count = min(replay.rows_written - self.rows_seen, replay.capacity)
        self.rows_seen = replay.rows_written
        rows = (replay.cursor - 1 - np.arange(count)) % replay.capacity
        self.tree.set(rows, np.zeros(count))
        return rows

    def set_errors(self, rows: np.ndarray, errors: np.ndarray) -> None:
        priorities = (np.abs(errors) + self.least) ** self.exponent
        if len(priorities):
            self.greatest = max(self.greatest, float(priorities.max()))
        self.tree.set(rows, priorities)

    def set_greatest(self, rows: np.ndarray) -> None:
        """Give the rows the greatest priority so far, so that rows with unknown errors are sampled soon."""
        self.tree.set(rows, np.full(len(rows), self.greatest))

    def draw(self, count: int, positions: int, progress: float, rng: np.random.Generator
             ) -> tuple[np.ndarray, np.ndarray]:
        """Sampled rows int64 [count] and their importance-sampling weights f32 [count], at most 1. positions: number of
        stored positions. β is annealed from 0.4 to 1 with ``progress`` in [0, 1]."""
        rows = self.tree.sample(count, rng)
        return rows, self.tree.importance(rows, positions, beta=0.4 + 0.6 * progress)

    def state_dict(self) -> dict[str, Any]:
        return {"tree": self.tree.tree.copy(), "rows_seen": self.rows_seen, "greatest": self.greatest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.tree.tree[:] = state["tree"]
        self.rows_seen, self.greatest = state["rows_seen"], state["greatest"]


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
        """Stratified sampling: one row from each of ``count`` equal segments of the total; int64 [count]."""
        targets = (np.arange(count) + rng.random(count)) * (self.total / count)
        return _find(self.tree, self.size, targets)

    def importance(self, rows: np.ndarray, count: int, beta: float) -> np.ndarray:
        """Importance-sampling weights w_i = (count · P(i))^−β / max_j w_j, float32 [n], of ``rows`` sampled out of
        ``count``."""
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
            # Rounding may put a target at the very end of the total, so never descend into a subtree with total 0.
            if target >= tree[node] and tree[node + 1] > 0:
                target -= tree[node]
                node += 1
        rows[k] = node - size
    return rows
