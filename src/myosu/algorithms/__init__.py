"""One file an algorithm. ``load_algorithm`` imports it by name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from typing import Any

from myosu.errors import UserError

ALGORITHMS = ("muzero",)


def load_algorithm(name: str) -> Any:
    """The module of the algorithm (see ``interface.Algorithm``); ``package.module`` is one of your own.

    Raises UserError when there is none.
    """
    if "." in name and importlib.util.find_spec(name.partition(".")[0]):
        return importlib.import_module(name)
    if name not in ALGORITHMS:
        near = difflib.get_close_matches(name, ALGORITHMS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(ALGORITHMS)}."
        raise UserError(f"There is no algorithm {name!r}. {hint}")
    return importlib.import_module(f"myosu.algorithms.{name}")
