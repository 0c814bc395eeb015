"""Callbacks of the training loop, which may also end the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


class Callback:
    """Base class of callbacks. Override the methods you need.

    As in Stable-Baselines3, a method that returns False ends the run; a last checkpoint and evaluation follow. An error
    that a method raises ends the run with that error.
    """

    def on_start(self, folder: Path, say: Callable[[str], None]) -> None:
        """Called before the first step. folder: the run's folder. say: prints a text without disturbing the progress
        display."""

    def on_record(self, record: dict[str, Any]) -> bool | None:
        """Called every few seconds. ``record`` is the line written to metrics.jsonl: ``update``, ``games``,
        ``env_steps``, ``seconds``, the losses by name (``loss/value``), statistics of the episodes
        (``episodes/reward_mean``)."""

    def on_evaluation(self, evaluation: dict[str, Any]) -> bool | None:
        """Called after an evaluation, with ``update``, ``mean_reward``, ``mean_reward_ci95``, and in two-player games
        ``win_rate``."""

    def on_checkpoint(self, path: Path) -> bool | None:
        """Called after a checkpoint has been written to the folder ``path``, which ``myosu.load`` can read."""
