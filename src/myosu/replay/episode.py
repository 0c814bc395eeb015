"""What an actor returns: rows to learn from, and records of finished episodes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

#: Arrays [T, ...] by name.
Rows = dict[str, np.ndarray]


@dataclass
class Episode:
    """A finished episode, as a run's records keep it.

    actions: [length, *action_shape], of the whole episode. seats: int8 [length], the player of each action.
    returns: sum of the rewards of each seat (one number for a single player), after the wrappers.
    raw_returns: likewise of the environment's own rewards, before any wrapper.
    seed: of the environment's reset; the same seed and actions reproduce the episode.
    weights_version: the learner's number of updates when the actor last received weights.
    stats: means over the episode by name (policy entropy, KL of the search from the prior, …).
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
        """Number of actions."""
        return len(self.actions)


@dataclass
class Experience:
    """New data from an actor.

    steps: environment steps taken. sequences: rows to learn from; the rows of one sequence are stored next to each
    other, in this order. episodes: the finished ones. weights_version: of the acting weights.
    """

    weights_version: int
    steps: int = 0
    sequences: list[Rows] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(len(next(iter(sequence.values()))) for sequence in self.sequences)

    def extend(self, later: Experience) -> None:
        """Append a later experience."""
        self.weights_version = later.weights_version
        self.steps += later.steps
        self.sequences += later.sequences
        self.episodes += later.episodes
