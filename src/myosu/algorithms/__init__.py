"""Algorithms, one file each. ``load_algorithm`` imports them by name."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Any

from myosu.errors import UserError
from myosu.games.registry import load_file
from myosu.runs.config import RunConfig, from_dict

ALGORITHMS = ("muzero", "alphazero", "muesli", "dqn", "ppo", "sac", "cloning", "reinforce", "value")
#: What every algorithm defines (``interface.Algorithm``).
_PARTS = ("Config", "SOURCE", "resolve", "make_replay", "make_learner", "make_agent")


def load_algorithm(name: str) -> Any:
    """The module of an algorithm (see ``interface.Algorithm``). ``name`` may be the path of your own .py file.

    Raises UserError if there is none, or if the file's code fails or is not an algorithm.
    """
    if name.endswith(".py"):
        module = load_file(Path(name))
        if missing := [part for part in _PARTS if not hasattr(module, part)]:
            raise UserError(f"{name} is not an algorithm: it does not define {', '.join(missing)} "
                            "(docs/new-algorithm.md).")
        return module
    if name not in ALGORITHMS:
        near = difflib.get_close_matches(name, ALGORITHMS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(ALGORITHMS)}."
        raise UserError(f"There is no algorithm {name!r}. {hint}")
    return importlib.import_module(f"myosu.algorithms.{name}")


def algorithm_of(config: RunConfig) -> Any:
    """The module of a run's algorithm. Raises UserError if the run's code is not trusted (``require_trust``)."""
    config.require_trust()
    return load_algorithm(config.algorithm)


def plays(config: RunConfig) -> bool:
    """Whether the trained network of a run chooses actions and is evaluated by playing; a value network only estimates
    (``interface.Algorithm.PLAYS``)."""
    return getattr(algorithm_of(config), "PLAYS", True)


def load_settings(config: RunConfig) -> Any:
    """The instance of the algorithm's ``Config`` that a run's configuration describes."""
    where = f"{config.read_from or 'The configuration'} (algorithm_config)"
    return from_dict(algorithm_of(config).Config, config.algorithm_config, where)
