"""Callbacks of a training, which may also end it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


class Callback:
    """Base class of callbacks. Override the methods you need; a method that returns False ends the run in order, as in
    Stable-Baselines3: what has been learnt is saved and evaluated. An error raised here ends the run with that error.
    """

    def on_start(self, folder: Path, say: Callable[[str], None]) -> None:
        """Before the first step. folder: of the run. say: prints a text beside the progress."""

    def on_record(self, record: dict[str, Any]) -> bool | None:
        """Every few seconds. ``record`` is the line written to metrics.jsonl: ``update``, ``games``, ``env_steps``,
        ``seconds``, the losses by name (``loss/value``), what the episodes were like (``episodes/reward_mean``)."""

    def on_evaluation(self, evaluation: dict[str, Any]) -> bool | None:
        """After an evaluation: ``update``, ``mean_reward``, ``mean_reward_ci95``, in games for two ``win_rate``."""

    def on_checkpoint(self, path: Path) -> bool | None:
        """After a checkpoint was written into the folder ``path``, which ``myosu.load`` reads."""
