"""The space that a study searches: a TOML file of an algorithm's fields, ``spaces/ALGORITHM.toml`` or the user's own.

    num_envs = [4, 8, 16]                                        a choice
    learning_rate = { low = 1e-4, high = 1e-2, log = true }      a range, here on a logarithmic scale
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from myosu.errors import UserError

#: Setting → list of choices, or dictionary with ``low``, ``high`` and optionally ``log``.
Space = dict[str, Any]


def load_space(algorithm: str, kind: Any, file: Path | None = None) -> Space:
    """The space in ``file``, by default the one that comes with Myosu. kind: the algorithm's ``Config``.

    Raises UserError if there is none, or if it is not a valid space for the algorithm.
    """
    place = file or files(__package__) / "spaces" / f"{algorithm}.toml"
    if file is None and not place.is_file():
        raise UserError(f"There is no search space for {algorithm} yet: write one and pass it with --space FILE "
                        "(docs/tune.md).")
    try:
        space = tomllib.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"The search space {place} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise UserError(f"The search space {place} is not valid TOML: {error}.") from None
    if not space:
        raise UserError(f"The search space {place} is empty: name at least one setting of {algorithm}.")
    known = {field.name for field in dataclasses.fields(kind)}
    for name, allowed in space.items():
        if name not in known:
            raise UserError(f"The search space {place} names {name}, which {algorithm} does not have. It has: "
                            f"{', '.join(sorted(known))}.")
        if fault := _fault(allowed):
            raise UserError(f"The search space {place}: {name} {fault}")
    return space


def _fault(allowed: Any) -> str:
    """The fault in a setting's choices or range; "" if there is none."""
    if isinstance(allowed, list):
        return "" if allowed else "has no choices."
    if not isinstance(allowed, dict) or not {"low", "high"} <= allowed.keys() <= {"low", "high", "log"}:
        return "must be a list of choices or { low = ..., high = ... }, with log = true for a logarithmic scale."
    low, high, log = allowed["low"], allowed["high"], allowed.get("log", False)
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)) or not low < high:
        return f"needs numbers with low below high, not {low!r} and {high!r}."
    return "cannot be logarithmic from 0 or below." if log and low <= 0 else ""


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """A value for each setting, chosen by the Optuna ``trial``."""
    return {name: _suggest(trial, name, allowed) for name, allowed in space.items()}


def _suggest(trial: Any, name: str, allowed: Any) -> Any:
    if isinstance(allowed, list):
        # Optuna's choices are numbers, strings and booleans; lists (of layers) are chosen by index.
        if any(isinstance(choice, list) for choice in allowed):
            return allowed[trial.suggest_categorical(name, list(range(len(allowed))))]
        return trial.suggest_categorical(name, allowed)
    low, high, log = allowed["low"], allowed["high"], allowed.get("log", False)
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)


def inside(space: Space, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The ``settings`` that lie in the space, in Optuna's form, to start the search from."""
    found = {}
    for name, allowed in space.items():
        value = settings[name]
        value = list(value) if isinstance(value, tuple) else value
        if isinstance(allowed, list) and value in allowed:
            by_place = any(isinstance(choice, list) for choice in allowed)
            found[name] = allowed.index(value) if by_place else value
        elif isinstance(allowed, dict) and value is not None and allowed["low"] <= value <= allowed["high"]:
            found[name] = value
    return found
