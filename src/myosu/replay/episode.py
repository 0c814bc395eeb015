"""One finished episode, as an actor hands it out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Episode:
    """columns: arrays [T, ...] by name, one row a position to learn from, the last of them the episode's last.
    actions: int16 [length], the whole game. seats: int8 [length], who made each.
    returns: the sum of rewards of each seat (one number for a single-player game).
    weights_version: updates made by the learner when the last weights came in.
    stats: means over the episode (policy entropy, search-against-prior KL, …) by name.
    """

    columns: dict[str, np.ndarray]
    actions: np.ndarray
    seats: np.ndarray
    returns: tuple[float, ...]
    truncated: bool
    weights_version: int
    stats: dict[str, float] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Plies of the game."""
        return len(self.actions)

    @property
    def rows(self) -> int:
        """Positions to learn from."""
        return len(next(iter(self.columns.values())))
