"""Sequences of transitions, for recurrent networks."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from myosu.replay.replay import Columns
from myosu.replay.transitions import Transitions, Windows


class SequenceBatch(NamedTuple):
    """B sequences of W consecutive rows of one episode, and the N transitions in them to train on.

    rows: int64 [B, W]; where an episode ends earlier, its last row is repeated.
    windows: the N n-step transitions.
    first, after: int64 [N], indices of each transition's first and next observation in ``rows.ravel()``.
    """

    rows: np.ndarray
    windows: Windows
    first: np.ndarray
    after: np.ndarray


class Sequences(Transitions):
    """Transitions sampled as sequences of up to ``length`` steps, after up to ``burn_in`` earlier steps of the episode
    (Kapturowski et al. 2019). The column ``previous_row`` (int32) is the previous row of the same environment, or −1;
    that row may have been overwritten."""

    def __init__(self, columns: Columns, capacity: int, steps: int, frames_once: bool, burn_in: int, length: int
                 ) -> None:
        super().__init__(columns, capacity, steps, frames_once)
        self.columns["previous_row"] = np.full(capacity, -1, np.int32)
        self.burn_in, self.length = burn_in, length

    def _connect(self, new: np.ndarray, before: list[int], after: list[int]) -> None:
        super()._connect(new, before, after)
        self.columns["previous_row"][new] = -1
        self.columns["previous_row"][after] = before

    def sample_sequences(self, count: int, rng: np.random.Generator) -> SequenceBatch:
        """Sample ``count`` sequences. Each contains a uniformly sampled row at a random place. Raises UserError if no
        row can be sampled."""
        drawn = self.sample_windows(count, rng).rows
        back = rng.integers(0, self.length, count)
        rows, begin = _chains(drawn, back, self.burn_in, self.burn_in + self.length + self.steps,
                              self.columns["next_row"], self.columns["previous_row"])
        places = begin[:, None] + np.arange(self.length)
        first = rows[np.arange(count)[:, None], places]
        # Excludes repeated last rows: at an episode's end they have no action, in a running episode they are not
        # complete.
        windows = self.windows(first.ravel())
        learnt = np.flatnonzero(windows.complete)
        windows = Windows(*(column[learnt] for column in windows))
        sequence, place = learnt // self.length, places.ravel()[learnt]
        width = int((place + windows.length).max()) + 1
        starts = sequence * width + place
        return SequenceBatch(rows[:, :width], windows, starts, starts + windows.length)


@numba.njit(cache=True)
def _chains(rows, back, burn_in, width, next_row, previous_row):
    """Sequences of rows, int64 [B, width], that begin up to ``back`` [B] + ``burn_in`` steps before ``rows`` [B]; and
    the number of burn-in steps in each, [B]."""
    found, begin = np.empty((len(rows), width), np.int64), np.zeros(len(rows), np.int64)
    for i in range(len(rows)):
        row = rows[i]
        for k in range(back[i] + burn_in):
            before = previous_row[row]
            if before < 0 or next_row[before] != row:  # none, or overwritten
                break
            row = before
            begin[i] += k >= back[i]
        for k in range(width):
            found[i, k] = row
            if next_row[row] >= 0:
                row = next_row[row]
    return found, begin
