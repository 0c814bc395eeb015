"""Myosu (묘수): train agents that play games on an ordinary computer.

    import myosu

    run = myosu.train("CartPole-v1", minutes=2)
    agent = run.agent()
    action = agent.act(observation)

``train``, ``load``, ``evaluate``, ``check``, ``make`` and ``games`` are all that most programs need; ``docs/python.md``
tells of them. What they need (torch, Numba) is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from myosu.errors import UserError

if TYPE_CHECKING:
    from myosu import games
    from myosu.api import TrainedAgent, TrainedRun, check, evaluate, load, make, train
    from myosu.training.callbacks import Callback

__version__ = "0.1.0"

__all__ = ["Callback", "TrainedAgent", "TrainedRun", "UserError", "check", "evaluate", "games", "load", "make", "train"]

_PLACES = {"Callback": "myosu.training.callbacks"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'myosu' has no attribute {name!r}")
    if name == "games":  # a package that can be called
        return importlib.import_module("myosu.games")
    return getattr(importlib.import_module(_PLACES.get(name, "myosu.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
