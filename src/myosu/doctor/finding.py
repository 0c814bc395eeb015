"""Findings of the checks, in plain words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from myosu.errors import UserError

Severity = Literal["error", "warning", "info"]


class Unsuited(UserError):
    """The experiment does not apply to this run, such as a seat comparison in a single-player game."""


@dataclass(frozen=True)
class Finding:
    """A fault, or a noteworthy fact, found by a check.

    severity: "error" breaks the contract, so training on it gives wrong results; "warning" is most likely a mistake,
    but could be intended; "info" is worth knowing.
    check: the check's name, one word or two with a hyphen.
    message: what is wrong and where, with numbers. advice: what to do about it.
    history: the actions, as text, that lead to the fault; empty if there are none.
    cause: the likely cause, if the message does not state it. confidence: of the cause, in [0, 1].
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
    """A list that keeps the first finding of each check. ``on_finding`` is called with each finding as it is added."""

    def __init__(self, on_finding: Callable[[Finding], None] | None = None) -> None:
        self.list: list[Finding] = []
        self._on_finding = on_finding

    def add(self, severity: Severity, check: str, message: str, advice: str = "",
            history: tuple[str, ...] = ()) -> None:
        if not self.has(check):
            self.append(Finding(severity, check, message, advice, history))

    def append(self, finding: Finding) -> None:
        """Add a finding even if its check already has one."""
        self.list.append(finding)
        if self._on_finding:
            self._on_finding(finding)

    def unjudged(self, what: str, why: str) -> None:
        """Add a note that something could not be examined, and why."""
        self.append(Finding("info", "unjudged", f"not judged: {what}; {why}."))

    def has(self, *checks: str) -> bool:
        return any(found.check in checks for found in self.list)

    def errors(self) -> bool:
        return any(found.severity == "error" for found in self.list)

    def sorted(self) -> list[Finding]:
        return by_severity(self.list)


def by_severity(findings: list[Finding]) -> list[Finding]:
    """Errors first; the order is kept among findings of equal severity."""
    return sorted(findings, key=lambda found: ("error", "warning", "info").index(found.severity))
