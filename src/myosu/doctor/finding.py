"""Findings of checks, in plain words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from myosu.errors import UserError

Severity = Literal["error", "warning", "info"]


class Unsuited(UserError):
    """An experiment that says nothing of such a run: of seats where there is one, of a search where there is none."""


@dataclass(frozen=True)
class Finding:
    """severity: "error" breaks the contract, so that training on it teaches something false; "warning" is most likely
        a mistake, but could be meant; "info" is worth knowing.
    check: the name of what was checked, one word or two with a hyphen.
    message: what is wrong and where, with numbers. advice: what to do about it.
    history: the actions, as text, that lead to the place; empty where there is none.
    cause: the likely one, where it is not the message itself. confidence: in [0, 1], how sure that is.
    """

    severity: Severity
    check: str
    message: str
    advice: str = ""
    history: tuple[str, ...] = ()
    cause: str = ""
    confidence: float = 1.0

    def __str__(self) -> str:
        lines = [f"{self.severity}: {self.message}"]
        if self.cause:
            sure = "Surely" if self.confidence > 0.9 else "Most likely" if self.confidence > 0.6 else "Perhaps"
            lines.append(f"  {sure}: {self.cause}")
        if self.history:
            lines.append(f"  after the actions: {' '.join(self.history)}")
        if self.advice:
            lines.append(f"  {self.advice}")
        return "\n".join(lines)


class Findings:
    """A list that keeps the first finding of each check. ``told`` is called with each at once."""

    def __init__(self, told: Callable[[Finding], None] | None = None) -> None:
        self.list: list[Finding] = []
        self._told = told

    def add(self, severity: Severity, check: str, message: str, advice: str = "",
            history: tuple[str, ...] = ()) -> None:
        if not self.has(check):
            self.append(Finding(severity, check, message, advice, history))

    def append(self, finding: Finding) -> None:
        """Add a finding even if its check already has one."""
        self.list.append(finding)
        if self._told:
            self._told(finding)

    def unjudged(self, what: str, why: str) -> None:
        """Say what could not be examined."""
        self.append(Finding("info", "unjudged", f"not judged: {what}; {why}."))

    def has(self, *checks: str) -> bool:
        return any(found.check in checks for found in self.list)

    def errors(self) -> bool:
        return any(found.severity == "error" for found in self.list)

    def sorted(self) -> list[Finding]:
        return by_severity(self.list)


def by_severity(findings: list[Finding]) -> list[Finding]:
    """Errors first; of equals, in the order in which they were found."""
    return sorted(findings, key=lambda found: ("error", "warning", "info").index(found.severity))
