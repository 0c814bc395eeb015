"""Algorithms, one file each. ``load_algorithm`` imports them by name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from myosu.errors import UserError
from myosu.runs.config import RunConfig, from_dict

ALGORITHMS = ("muzero", "alphazero", "muesli", "dqn", "ppo", "sac", "cloning", "reinforce", "value")


def load_algorithm(name: str) -> Any:
    """The module of an algorithm (see ``interface.Algorithm``). ``name`` may be the path of your own .py file.

    Raises UserError if there is none.
    """
    if name.endswith(".py"):
        return _load_file(Path(name))
    if name not in ALGORITHMS:
        near = difflib.get_close_matches(name, ALGORITHMS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(ALGORITHMS)}."
        raise UserError(f"There is no algorithm {name!r}. {hint}")
    return importlib.import_module(f"myosu.algorithms.{name}")


def algorithm_of(config: RunConfig) -> Any:
    """The module of a run's algorithm. Raises UserError if the run's code is not trusted (``require_trust``)."""
    config.require_trust()
    return load_algorithm(config.algorithm)


def load_settings(config: RunConfig) -> Any:
    """The instance of the algorithm's ``Config`` that a run's configuration describes."""
    where = f"{config.read_from or 'The configuration'} (algorithm_config)"
    return from_dict(algorithm_of(config).Config, config.algorithm_config, where)


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"There is no algorithm file {str(path)!r}.")
    name = f"myosu_algorithm_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path.resolve())
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
