"""Sequences of transitions, for learners with a memory."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from myosu.replay.replay import Columns
from myosu.replay.transitions import Transitions, Windows


class SequenceBatch(NamedTuple):
    """B sequences of W rows that follow each other in one episode, and the N transitions in them that are learnt from.

    rows: int64 [B, W]; where an episode ends earlier, its last row is repeated.
    windows: the N transitions, over n steps each.
    first, after: int64 [N], where each transition begins and where it leads to, as indices into ``rows.ravel()``.
    """

    rows: np.ndarray
    windows: Windows
    first: np.ndarray
    after: np.ndarray


class Sequences(Transitions):
    """Transitions that are drawn as sequences of up to ``length``, after up to ``burn_in`` earlier steps of the episode
    (Kapturowski et al. 2019). ``previous_row`` (int32) is the row before in the same environment, as long as it is
    stored, or −1."""

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
        """``count`` sequences. Each contains a row drawn uniformly, at a random place. Raises UserError if there is
        none."""
        drawn = self.sample_windows(count, rng).rows
        back = rng.integers(0, self.length, count)
        rows, begin = _chains(drawn, back, self.burn_in, self.burn_in + self.length + self.steps,
                              self.columns["next_row"], self.columns["previous_row"])
        places = begin[:, None] + np.arange(self.length)
        first = rows[np.arange(count)[:, None], places]
        # The repeated last row of an episode has no action, and that of a running one is not complete.
        windows = self.windows(first.ravel())
        learnt = np.flatnonzero(windows.complete)
        windows = Windows(*(column[learnt] for column in windows))
        sequence, place = learnt // self.length, places.ravel()[learnt]
        width = int((place + windows.length).max()) + 1
        starts = sequence * width + place
        return SequenceBatch(rows[:, :width], windows, starts, starts + windows.length)


@numba.njit(cache=True)
def _chains(rows, back, burn_in, width, next_row, previous_row):
    """Sequences int64 [B, width] of rows that begin up to ``back`` [B] and ``burn_in`` more steps before ``rows`` [B];
    and how many of the latter there are, [B]."""
    found, begin = np.empty((len(rows), width), np.int64), np.zeros(len(rows), np.int64)
    for i in range(len(rows)):
        row = rows[i]
        for k in range(back[i] + burn_in):
            before = previous_row[row]
            if before < 0 or next_row[before] != row:  # or it has been overwritten
                break
            row = before
            begin[i] += k >= back[i]
        for k in range(width):
            found[i, k] = row
            if next_row[row] >= 0:
                row = next_row[row]
    return found, begin
