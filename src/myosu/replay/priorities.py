"""Prioritised replay: rows drawn in proportion to their errors, by a sum tree (Schaul et al. 2016)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from myosu.replay.replay import Replay


class Priorities:
    """What to draw from a replay of ``capacity`` rows. P(i) = p_i / Σ p with p_i = (|error_i| + least)^α, so that
    nothing is never drawn. New rows have the priority 0 until they are given another."""

    def __init__(self, capacity: int, exponent: float, least: float) -> None:
        self.tree = SumTree(capacity)
        self.exponent, self.least = exponent, least
        self.rows_seen, self.greatest = 0, 1.0

    def new_rows(self, replay: Replay) -> np.ndarray:
        """The rows written since the last call; int64 [n], the newest first."""
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
        """The greatest priority so far, so that rows whose errors are not known are soon drawn once."""
        self.tree.set(rows, np.full(len(rows), self.greatest))

    def draw(self, count: int, positions: int, progress: float, rng: np.random.Generator
             ) -> tuple[np.ndarray, np.ndarray]:
        """Rows int64 [count] out of ``positions``, and the importance weights of their losses, f32 [count], at most 1.
        The exponent β of the weights goes from 0.4 to 1 with ``progress``."""
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
