"""What an actor hands over: rows to learn from, and the records of episodes that ended."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

#: Arrays [T, ...] by name.
Rows = dict[str, np.ndarray]


@dataclass
class Episode:
    """A finished episode, as a run's records keep it.

    actions: [length, *action_shape], the whole episode. seats: int8 [length], who made each.
    returns: the sum of rewards of each seat (one number for a single player), as the learner sees them.
    raw_returns: the same of the environment's own rewards, below every wrapper.
    seed: what the episode began with; the same seed and actions give the same episode again.
    weights_version: updates made by the learner when the last weights came in.
    stats: means over the episode (policy entropy, search-against-prior KL, …) by name.
    """

    actions: np.ndarray
    seats: np.ndarray
    returns: tuple[float, ...]
    raw_returns: tuple[float, ...]
    seed: int
    truncated: bool
    weights_version: int
    stats: dict[str, float] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Actions taken."""
        return len(self.actions)


@dataclass
class Experience:
    """steps: actions taken in environments. sequences: rows to learn from; those of one sequence are neighbours in the
    replay, in this order. episodes: those that ended. weights_version: of the weights that acted."""

    weights_version: int
    steps: int = 0
    sequences: list[Rows] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(len(next(iter(sequence.values()))) for sequence in self.sequences)

    def extend(self, later: Experience) -> None:
        """Take in what came after it."""
        self.weights_version = later.weights_version
        self.steps += later.steps
        self.sequences += later.sequences
        self.episodes += later.episodes
