"""Errors that a person can mend."""

from __future__ import annotations

from typing import Any


class UserError(Exception):
    """Bad input. The command prints its message alone and exits with code 2."""


class NonFiniteLoss(Exception):
    """A learner met a loss or gradient that is not finite, before it changed its weights.

    batch: the arrays or tensors of the batch that did it, by name.
    """

    def __init__(self, message: str, batch: dict[str, Any]) -> None:
        super().__init__(message)
        self.batch = batch
