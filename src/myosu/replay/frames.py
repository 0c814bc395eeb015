"""Frame-stacked observations, stored frame by frame."""

from __future__ import annotations

from typing import Any

import numpy as np


class StackedFrames:
    """A column [capacity, k, *frame] of a replay that stores each distinct frame once, because consecutive observations
    share all but one of their frames.

    Equal frames are found by a hash of their bytes, and frames that no row uses any more are freed. The column is
    indexed like an array, by a slice or an array of rows, and by ``take``. Reading returns a copy.
    """

    def __init__(self, capacity: int, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = (capacity, *shape), np.dtype(dtype)
        #: Room for about one frame per row; it grows when that is not enough.
        self._frames = np.zeros((capacity + capacity // 16 + 64, *shape[1:]), dtype)
        self._uses = np.zeros(len(self._frames), np.int64)
        self._index = np.full((capacity, shape[0]), -1, np.int32)
        self._place: dict[int, int] = {}  # from a frame's hash to its index
        self._free: list[int] = []
        self._next = 0

    @property
    def distinct(self) -> int:
        """Number of stored frames."""
        return self._next - len(self._free)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Copies of rows; rows that were never written are 0."""
        index = self._index[rows]
        found = self._frames[index]
        found[index < 0] = 0
        return found

    def take(self, rows: np.ndarray, axis: int = 0) -> np.ndarray:
        return self[rows]

    def __setitem__(self, rows: Any, stacks: np.ndarray) -> None:
        written = np.arange(len(self._index))[rows]
        self._set(written, [[self._keep(frame) for frame in stack] for stack in stacks])

    def _set(self, rows: np.ndarray, index: list[list[int]]) -> None:
        for row, places in zip(rows.tolist(), index, strict=True):
            for place in self._index[row].tolist():
                if place >= 0:
                    self._release(place)
            self._index[row] = places

    def _keep(self, frame: np.ndarray) -> int:
        """Store a frame, or count one more use of a stored one. Returns its index."""
        key = hash(frame.tobytes())
        place = self._place.get(key, -1)
        if place < 0 or not np.array_equal(self._frames[place], frame):
            place = self._free.pop() if self._free else self._next
            self._next = max(self._next, place + 1)
            if place == len(self._frames):
                more = len(self._frames) // 4 + 1
                self._frames = np.concatenate([self._frames, np.zeros((more, *frame.shape), self.dtype)])
                self._uses = np.concatenate([self._uses, np.zeros(more, np.int64)])
            self._frames[place] = frame
            self._place.setdefault(key, place)
        self._uses[place] += 1
        return place

    def _release(self, place: int) -> None:
        self._uses[place] -= 1
        if self._uses[place] == 0:
            key = hash(self._frames[place].tobytes())
            if self._place.get(key) == place:
                del self._place[key]
            self._free.append(place)

    def to_arrays(self, name: str, rows: slice) -> dict[str, np.ndarray]:
        """Arrays from which ``from_arrays`` restores the rows: their frames, and the indices of each row's frames."""
        places, index = np.unique(self._index[rows], return_inverse=True)
        return {name: index.reshape(self._index[rows].shape).astype(np.int32) - np.int32(places[0] < 0),
                f"{name}.frames": self._frames[places[places >= 0]]}

    def from_arrays(self, name: str, arrays: dict[str, np.ndarray], rows: slice) -> bool:
        """Restore rows from the arrays of ``to_arrays``. Returns whether they fit; if not, nothing changes."""
        index, frames = arrays[name], arrays.get(f"{name}.frames")
        if (frames is None or frames.shape[1:] != self._frames.shape[1:] or frames.dtype != self.dtype
                or index.dtype != np.int32 or index.shape != self._index[rows].shape
                or not ((index >= -1) & (index < len(frames))).all()):
            return False
        self._set(np.arange(len(self._index))[rows],
                  [[self._keep(frames[place]) if place >= 0 else -1 for place in places] for places in index.tolist()])
        return True
