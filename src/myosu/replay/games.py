"""A replay that counts games instead of positions, for algorithms that learn from whole games."""

from __future__ import annotations

import numpy as np

from myosu.replay.replay import Replay


class GameReplay(Replay):
    """A replay in which each sequence is a game and counts as one position for ``learning_starts``, ``batch_size`` and
    ``replay_ratio``."""

    def _count(self, positions: int) -> None:
        super()._count(1)

    def last_games(self, count: int) -> list[np.ndarray]:
        """The rows, int64 [moves] in order, of each of the newest ``count`` games, oldest game first. The replay must
        be large enough for ``count`` games."""
        newest_first = (self.cursor - 1 - np.arange(self.filled)) % self.capacity
        ends = np.flatnonzero(self.columns["remaining"][newest_first] == 1)[:count + 1]
        starts = np.append(ends[1:], self.filled)  # of the next older game, or beyond the oldest row
        return [newest_first[end:start][::-1] for end, start in zip(ends, starts, strict=True)][:count][::-1]
