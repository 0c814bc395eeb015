"""A run as the doctor sees it: plain data, from any source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from myosu.doctor.finding import Finding, Severity


class Metrics(Protocol):
    """Curves of numbers by name, such as ``LiveMetrics``."""

    evaluations: list[dict[str, Any]]
    latest: dict[str, Any]
    damaged: int

    @property
    def names(self) -> list[str]: ...

    def values(self, name: str) -> np.ndarray:
        """float64 [records that contain the curve]."""

    def at(self, name: str, x_axis: Any) -> np.ndarray:
        """float64 [records that contain the curve]: the minutes, updates or env_steps of its records."""


@dataclass(frozen=True)
class RunView:
    """A run's settings, curves and games.

    algorithm: its name. settings: the fields of its ``Config``. known_good: the same of a preset, or the defaults.
    games: lines of games.jsonl, oldest first, possibly not all. reward_range: of a game's rewards for one seat.
    native: whether it is a ``Game``, whose rules decide how it ends, and not a Gymnasium environment.
    """

    algorithm: str
    settings: Mapping[str, Any]
    metrics: Metrics
    games: Sequence[Mapping[str, Any]] = ()
    known_good: Mapping[str, Any] = field(default_factory=dict)
    num_players: int = 1
    num_actions: int = 0
    reward_range: tuple[float, float] = (-np.inf, np.inf)
    native: bool = False

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Evaluations against the latest opponent: a run may have been resumed with another opponent."""
        lines = self.metrics.evaluations
        return [line for line in lines if line.get("opponent") == lines[-1].get("opponent")]

    def column(self, name: str) -> np.ndarray:
        """float64 [games]: a numeric field of the games."""
        return np.array([game[name] for game in self.games], np.float64)

    @property
    def returns(self) -> np.ndarray:
        """float64 [games]: returns of the first seat."""
        return np.array([game["returns"][0] for game in self.games], np.float64)

    def last(self, name: str, share: float = 0.5) -> np.ndarray:
        """Finite values of the last part of a curve. share: fraction of its records."""
        values = self.metrics.values(name)
        values = values[int((1 - share) * len(values)):]
        return values[np.isfinite(values)]


def found(severity: Severity, check: str, message: str, cause: str, advice: str, confidence: float) -> Finding:
    """A finding about a run. cause: the likely cause. advice: which setting to change. confidence: in [0, 1]."""
    return Finding(severity, check, message, advice, cause=cause, confidence=confidence)
