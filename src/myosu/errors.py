"""Errors that the user can fix."""

from __future__ import annotations

import traceback
from typing import Any


class UserError(Exception):
    """Bad input. The command prints only its message and exits with code 2."""


class NonFiniteLoss(Exception):
    """A learner's loss or gradient is not finite. Raised before the weights change.

    batch: the arrays or tensors of the batch that caused it, by name.
    """

    def __init__(self, message: str, batch: dict[str, Any]) -> None:
        super().__init__(message)
        self.batch = batch


def describe(error: BaseException) -> str:
    """The error in one line, with the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
