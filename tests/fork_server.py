"""Children of the test process, started by a fork server that has imported torch and Numba already.

Each child of ``myosu.processes.spawn`` would import them anew, which takes two seconds of a processor; the suite starts
hundreds. What they do is the same: they receive their work as pickles and run no code of the parent's main module.
Scripts that tests start, and children of children or of forks, use ``spawn`` as users do.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
#: The process that owns the fork server. Tests fork others, which cannot ask it.
OWNER = os.getpid()
CONTEXT.set_forkserver_preload([
    "torch", "myosu.training.trainer", "myosu.sources.processes", "myosu.training.evaluators", "myosu.training.videos",
    "myosu.envs.workers", "myosu.doctor.check_gym", "myosu.doctor.check_game", "myosu.algorithms.muzero"])


class ForkServer:
    """What ``myosu.processes`` uses of a context of multiprocessing."""

    Pipe = staticmethod(CONTEXT.Pipe)

    @staticmethod
    def Process(target: Callable[..., None], args: tuple[Any, ...], daemon: bool) -> Any:
        if os.getpid() != OWNER:
            return multiprocessing.get_context("spawn").Process(target=target, args=args, daemon=daemon)
        return CONTEXT.Process(target=_begin, args=(dict(os.environ), target, args), daemon=daemon)


def _begin(environment: dict[str, str], target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """The system's parent of a child is the fork server. It watches that, and here the process that asked for it."""
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    agreed, function, connection, _, *rest = arguments  # as ``spawn`` gives them; the fourth is the parent's id
    target(agreed, function, connection, os.getppid(), *rest)


def _end_with_parent() -> None:
    starter = multiprocessing.parent_process()
    assert starter is not None
    starter.join()
    os._exit(1)
