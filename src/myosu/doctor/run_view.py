"""A run as its doctor sees it: plain data, wherever it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from myosu.doctor.finding import Finding, Severity


class Metrics(Protocol):
    """Curves of numbers by name, as ``LiveMetrics`` gives them."""

    evaluations: list[dict[str, Any]]
    latest: dict[str, Any]
    damaged: int

    @property
    def names(self) -> list[str]: ...

    def values(self, name: str) -> np.ndarray:
        """float64 [records that have it]."""

    def at(self, name: str, course: Any) -> np.ndarray:
        """float64 [records that have it]: their minutes, updates or env_steps."""


@dataclass(frozen=True)
class RunView:
    """algorithm: its name. settings: its ``Config`` by fields; known_good: those of a preset, or the defaults.

    games: lines of games.jsonl, oldest first, perhaps not all. reward_range: of a game's rewards for one seat.
    native: it is a ``Game``, whose rules decide how it ends, not a Gymnasium environment.
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
        """Those against the opponent of the last one: a run may have been resumed with another."""
        lines = self.metrics.evaluations
        return [line for line in lines if line.get("opponent") == lines[-1].get("opponent")]

    def column(self, name: str) -> np.ndarray:
        """float64 [games] of a number in the lines of games."""
        return np.array([game[name] for game in self.games], np.float64)

    @property
    def returns(self) -> np.ndarray:
        """float64 [games], of the first seat."""
        return np.array([game["returns"][0] for game in self.games], np.float64)

    def last(self, name: str, share: float = 0.5) -> np.ndarray:
        """The last part of a curve, its finite values."""
        values = self.metrics.values(name)
        values = values[int((1 - share) * len(values)):]
        return values[np.isfinite(values)]


def found(severity: Severity, check: str, message: str, cause: str, advice: str, confidence: float) -> Finding:
    """A finding about a run. cause: the likely one. advice: which setting to change. confidence: in [0, 1]."""
    return Finding(severity, check, message, advice, cause=cause, confidence=confidence)
