"""Flags that several commands share."""

from __future__ import annotations

import importlib
import json
from types import ModuleType
from typing import Any

from myosu import trust
from myosu.errors import UserError

ENV_KWARGS_HELP = "Arguments of a Gymnasium environment, as JSON: '{\"gravity\": -5}'."


def check_seed(seed: int) -> None:
    """Raises UserError if ``--seed`` is out of range."""
    from myosu.runs.config import SEEDS

    if not 0 <= seed < SEEDS:
        raise UserError(f"--seed {seed}: choose one from 0 to {SEEDS - 1}.")


def read_env_kwargs(text: str) -> dict[str, Any]:
    """Parse the text of ``--env-kwargs``. Raises UserError."""
    try:
        kwargs = json.loads(text)
    except ValueError as error:
        raise UserError(f"--env-kwargs {text}: this is no JSON ({error}).") from None
    if not isinstance(kwargs, dict):
        raise UserError(f"--env-kwargs {text}: it must be an object, such as '{{\"gravity\": -5}}'.")
    return kwargs


def trust_if(wanted: bool) -> None:
    """Apply ``--trust``: all code that is named on disk may run in this command."""
    if wanted:
        trust.agree(trust.EVERYTHING)


def import_server(instead: str) -> ModuleType:
    """Import the page's server. Raises UserError if its packages are missing; ``instead`` names an alternative."""
    try:
        return importlib.import_module("myosu.web.server")
    except ImportError as error:
        raise UserError(f"The page needs the package {error.name}: pip install starlette uvicorn websockets . "
                        f"{instead}") from error
