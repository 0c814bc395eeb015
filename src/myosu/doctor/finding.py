"""What a check found, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """severity: "error" breaks the contract, so that training on it teaches something false; "warning" is most likely
        a mistake, but could be meant; "info" is worth knowing.
    check: the name of what was checked, one word or two with a hyphen.
    message: what is wrong and where. advice: what to do about it.
    history: the actions, as text, that lead to the place; empty where there is none.
    """

    severity: Literal["error", "warning", "info"]
    check: str
    message: str
    advice: str = ""
    history: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.severity}: {self.message}"]
        if self.history:
            lines.append(f"  after the actions: {' '.join(self.history)}")
        if self.advice:
            lines.append(f"  {self.advice}")
        return "\n".join(lines)


class Findings:
    """A list that keeps the first finding of each check."""

    def __init__(self) -> None:
        self.list: list[Finding] = []

    def add(self, severity: Literal["error", "warning", "info"], check: str, message: str, advice: str = "",
            history: tuple[str, ...] = ()) -> None:
        if all(found.check != check for found in self.list):
            self.list.append(Finding(severity, check, message, advice, history))

    def errors(self) -> bool:
        return any(found.severity == "error" for found in self.list)

    def sorted(self) -> list[Finding]:
        return sorted(self.list, key=lambda found: ("error", "warning", "info").index(found.severity))
