"""Checks of settings that algorithms share."""

from __future__ import annotations

from typing import Any

from myosu.errors import UserError


def check_ranges(config: Any, ranges: dict[str, tuple[float, float]]) -> None:
    """Raises UserError if a field of ``config`` lies outside its range, ends included."""
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise UserError(f"{name} = {value} is impossible: it must be from {low} to {high}.")
