"""Myosu (묘수): train agents that play games on an ordinary computer.

    import myosu

    run = myosu.train("CartPole-v1", minutes=2)
    agent = run.agent()
    action = agent.act(observation)

Most programs need only ``train``, ``load``, ``evaluate``, ``check``, ``doctor``, ``make`` and ``games``, which are
described in ``docs/python.md``. Their dependencies (torch, Numba) are imported when they are first used.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from myosu.errors import UserError

if TYPE_CHECKING:
    from myosu import doctor, games
    from myosu.api import TrainedAgent, TrainedRun, check, evaluate, load, make, train
    from myosu.training.callbacks import Callback

__version__ = "0.2.0"

__all__ = ["Callback", "TrainedAgent", "TrainedRun", "UserError", "check", "doctor", "evaluate", "games", "load",
           "make", "train"]

_PLACES = {"Callback": "myosu.training.callbacks"}


def _find_cache() -> None:
    """Set Numba's cache to a private temporary folder if Numba can write neither beside this package nor to the user's
    cache. It would fail otherwise."""
    home = Path(os.path.expanduser("~"))
    places = [Path(__file__).parent, *(place for place in (home / ".cache", home) if place.exists())]
    if "NUMBA_CACHE_DIR" in os.environ or any(os.access(place, os.W_OK) for place in places[:2]):
        return
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"myosu-cache-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        folder = Path(tempfile.mkdtemp(prefix="myosu-cache-"))  # never run another user's compiled code
    os.environ["NUMBA_CACHE_DIR"] = str(folder)


_find_cache()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'myosu' has no attribute {name!r}")
    if name in ("games", "doctor"):  # callable packages
        return importlib.import_module(f"myosu.{name}")
    return getattr(importlib.import_module(_PLACES.get(name, "myosu.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
