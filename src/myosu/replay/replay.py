"""Preallocated storage of positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from myosu.replay.episode import Episode


class Replay:
    """A ring of positions. (Contract; the implementation follows.)

    positions, games: stored now. total_positions, total_games: ever added.
    """

    positions: int
    games: int
    total_positions: int
    total_games: int

    def add(self, episode: Episode) -> None: ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what changed since the last save into ``folder`` (atomic, incremental); the manifest (JSON-able)
        to put into the checkpoint. Files of the previous manifest stay until ``forget`` is called."""
        raise NotImplementedError

    def load(self, folder: Path, manifest: dict[str, Any]) -> None: ...

    def prune(self, folder: Path, keep: list[dict[str, Any]]) -> None:
        """Delete the files in ``folder`` that no manifest of ``keep`` names."""
