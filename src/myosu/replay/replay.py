"""The replay buffer."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from myosu.errors import UserError
from myosu.memory import machine_memory
from myosu.replay.frames import StackedFrames
from myosu.replay.records import record_bytes, record_of

#: Rows per file of a saved replay. A save writes only the blocks that changed.
BLOCK_ROWS = 8192

#: Arrays [T, ...] by name.
Rows = dict[str, np.ndarray]
#: Shape and dtype of one row by name.
Columns = dict[str, tuple[tuple[int, ...], Any]]


#: Fraction of the machine's memory that a replay may use.
MEMORY_FRACTION = 0.5


def row_bytes(columns: Columns) -> int:
    """Bytes of one position, including the columns that every replay has."""
    return 8 + sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in columns.values())


def fitting_capacity(columns: Columns, capacity: int, warn: bool = True) -> int:
    """``capacity``, or the number of positions that fit into ``MEMORY_FRACTION`` of the memory, with a warning.
    Checked before allocation, because memory is only used up as the replay fills, so a run would fail hours later.
    Raises UserError if not even one position fits."""
    memory = machine_memory()
    fits = capacity if memory is None else int(MEMORY_FRACTION * memory / row_bytes(columns))
    if fits >= capacity:
        return capacity
    if fits < 1:
        raise UserError(f"One position takes {row_bytes(columns) / 2**30:.2f} GiB, and this machine has "
                        f"{(memory or 0) / 2**30:.1f}: make the observation smaller.")
    if warn:
        warnings.warn(f"replay_capacity = {fits:,}, because {capacity:,} positions would take "
                      f"{capacity * row_bytes(columns) / 2**30:.1f} GiB, more than {MEMORY_FRACTION:.0%} of this "
                      f"machine's {(memory or 0) / 2**30:.1f} GiB.", stacklevel=1)
    return fits


class Replay:
    """A ring buffer of positions: one preallocated array [capacity, ...] per column.

    columns: name → (shape, dtype) of one row. Two more columns are added, int32 each. ``remaining``: the number of rows
    from a position to the end of its episode, itself included, so that n-step targets work although older rows are
    overwritten; an actor that stores rows in another order provides this column itself, with 1 in the last row of an
    episode. ``version``: the number of updates of the weights that played the position.

    positions: number of positions stored now. total_positions: number ever stored; ``learning_starts`` and
    ``replay_ratio`` refer to it. rows_written: number of rows ever written. games: episodes whose last row is stored.
    """

    def __init__(self, columns: Columns, capacity: int) -> None:
        self.capacity = capacity
        self.columns: dict[str, Any] = {name: np.zeros((capacity, *shape), dtype)
                                        for name, (shape, dtype) in columns.items()}
        self.columns["remaining"] = np.zeros(capacity, np.int32)
        self.columns["version"] = np.zeros(capacity, np.int32)
        self.cursor = 0
        self.positions = self.games = 0
        self.total_positions = self.rows_written = 0
        self._changed = np.zeros(-(-capacity // BLOCK_ROWS), np.bool_)
        self._files: list[str] = [""] * len(self._changed)
        self._saves = 0

    @property
    def filled(self) -> int:
        """Number of rows in use, from row 0 on."""
        return min(self.rows_written, self.capacity)

    def add(self, sequence: Rows, version: int) -> np.ndarray:
        """Store rows, overwriting the oldest ones. Returns their indices, int64 [T]. Raises UserError if they do not
        fit."""
        rows = self._next_rows(sequence)
        self._write(rows, sequence, version)
        self._count(len(rows))
        return rows

    def _next_rows(self, sequence: Rows) -> np.ndarray:
        length = len(next(iter(sequence.values())))
        if length > self.capacity:
            raise UserError(f"A sequence of {length} positions does not fit into a replay of {self.capacity}: "
                            "raise replay_capacity.")
        return (self.cursor + np.arange(length)) % self.capacity

    def _write(self, rows: np.ndarray, sequence: Rows, version: int) -> None:
        length, end = len(rows), self.cursor + len(rows)
        where = slice(self.cursor, end) if end <= self.capacity else rows  # a slice is quicker
        ended = np.count_nonzero(self.columns["remaining"][where] == 1)
        for name, values in sequence.items():
            self.columns[name][where] = values
        if "remaining" not in sequence:
            self.columns["remaining"][where] = np.arange(length, 0, -1)
        self.games += int(np.count_nonzero(self.columns["remaining"][where] == 1) - ended)
        self.columns["version"][where] = version
        self.mark_changed(rows)
        self.cursor = end % self.capacity
        self.rows_written += length

    def _count(self, positions: int) -> None:
        self.positions = min(self.positions + positions, self.capacity)
        self.total_positions += positions

    def mark_changed(self, rows: np.ndarray) -> None:
        """Include rows that were modified in place (by reanalysis) in the next save."""
        self._changed[rows // BLOCK_ROWS] = True

    def sample_rows(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Uniformly sampled stored rows, int64 [count]."""
        return rng.integers(0, self.positions, count)

    # --- saving: files of BLOCK_ROWS rows; changed blocks are written to a new file, never in place

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the blocks that changed since the last save. Returns the manifest (JSON) that ``load`` needs.

        Files of older manifests are kept; ``prune`` removes them.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._saves += 1
        for block in np.flatnonzero(self._changed):
            name = f"block-{block:05d}-{self._saves:06d}.safetensors"
            rows = slice(block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS)
            temporary = folder / (name + ".tmp")
            arrays: Rows = {}
            for key, column in self.columns.items():
                if isinstance(column, StackedFrames):
                    arrays |= column.to_arrays(key, rows)
                else:
                    arrays[key] = (record_bytes if column.dtype.names else np.ascontiguousarray)(column[rows])
            save_file(arrays, temporary)
            os.replace(temporary, folder / name)
            self._files[block] = name
        self._changed[:] = False
        return {
            "capacity": self.capacity, "cursor": self.cursor, "positions": self.positions, "games": self.games,
            "total_positions": self.total_positions, "rows_written": self.rows_written, "saves": self._saves,
            "files": list(self._files),
        }

    def load(self, folder: Path, manifest: dict[str, Any]) -> None:
        """Restore what ``save`` wrote. Raises UserError when a file is missing or damaged."""
        if manifest["capacity"] != self.capacity:
            raise UserError(f"The saved replay holds {manifest['capacity']} positions, the configuration says "
                            f"replay_capacity={self.capacity}: resume with the saved value.")
        if not (manifest["cursor"] < self.capacity and manifest["positions"] <= self.capacity
                and len(manifest["files"]) == len(self._files)):
            raise UserError(f"The manifest of the saved replay in {folder} is damaged: its counts do not fit a replay "
                            f"of {self.capacity} positions.")
        for block, name in enumerate(manifest["files"]):
            if not name:
                continue
            try:
                arrays = load_file(folder / name)
            except Exception as error:
                raise UserError(f"The replay file {folder / name} is missing or damaged ({error}).") from error
            if missing := sorted(set(self.columns) - set(arrays)):
                raise UserError(f"The replay file {folder / name} has no {missing[0]!r}, as if it came from another "
                                "version of Myosu: resume the run with that version, or train again.")
            for key, column in self.columns.items():
                where = slice(block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS)
                if isinstance(column, StackedFrames):
                    if not column.from_arrays(key, arrays, where):
                        raise UserError(f"The replay file {folder / name} has no {key} that fits this replay.")
                    continue
                rows = column[where]
                stored = record_bytes(rows[:0]) if column.dtype.names else rows
                saved = arrays.get(key)
                if saved is None or saved.dtype != stored.dtype or saved.shape != (len(rows), *stored.shape[1:]):
                    raise UserError(f"The replay file {folder / name} has no {key} that fits this replay.")
                rows[...] = record_of(saved, column.dtype) if column.dtype.names else saved
        self._files = list(manifest["files"])
        self._changed[:] = False
        self._saves = manifest["saves"]
        for key in ("cursor", "positions", "games", "total_positions"):
            setattr(self, key, manifest[key])
        self.rows_written = manifest.get("rows_written", self.total_positions)  # older manifests count every row

    def prune(self, folder: Path, keep: list[dict[str, Any]]) -> None:
        """Delete the files in ``folder`` that no manifest of ``keep`` names."""
        wanted = {name for manifest in keep for name in manifest["files"]}
        for path in folder.glob("block-*"):
            if path.name not in wanted and not path.is_dir():  # folders are not ours
                path.unlink(missing_ok=True)
