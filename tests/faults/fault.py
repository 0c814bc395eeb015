"""One planted fault, and what counts as having found it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from myosu.doctor import Finding
from myosu.games import Game


@dataclass(frozen=True)
class Fault:
    """kind: the mistake; variant: where it was made. make: gives a ``Game`` or a ``gymnasium.Env``.

    checks: the findings that name the right cause. hints: those that point near it.
    """

    kind: str
    variant: str
    make: Callable[[], Any]
    checks: tuple[str, ...]
    hints: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}: {self.variant}"

    @property
    def is_game(self) -> bool:
        return isinstance(self.make, Solid)

    def verdict(self, findings: list[Finding]) -> str:
        """"found": a warning or an error names the cause. "hinted": a note does, or something near it is named.
        "misnamed": only something else is. "silent": nothing is."""
        loud = [finding for finding in findings if finding.severity != "info"]
        if any(finding.check in self.checks for finding in loud):
            return "found"
        if any(finding.check in self.checks for finding in findings) or any(f.check in self.hints for f in loud):
            return "hinted"
        return "misnamed" if loud else "silent"


@dataclass(frozen=True)
class Solid:
    """A ``make`` that gives a game, made already."""

    game: Game

    def __call__(self) -> Game:
        return self.game


def planter(faults: list[Fault]) -> tuple[Callable, Callable]:
    """A decorator that adds an environment to ``faults``, and a function that adds a game."""
    def environment(kind: str, variant: str, *checks: str, hints: tuple[str, ...] = ()) -> Callable:
        def add(make: Callable[[], Any]) -> Callable[[], Any]:
            faults.append(Fault(kind, variant, make, checks, hints))
            return make
        return add

    def game(kind: str, variant: str, broken: Game, *checks: str, hints: tuple[str, ...] = ()) -> None:
        faults.append(Fault(kind, variant, Solid(broken), checks, hints))

    return environment, game
