"""Child processes of one thread that never outlive their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from myosu import trust

SPAWN = multiprocessing.get_context("spawn")

#: glibc's names for its limits (malloc.h).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Keep freed memory for the next tensor of the same size, where the C library is glibc.

    It would go back to the system after every layer of a large batch, and come again page by page: nine thousand page
    faults an update of DQN on a board, a quarter of its time.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for limit in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
        mallopt(limit, 1 << 30)


_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")}


def one_thread() -> None:
    """One thread for every library that is imported from now on, here and in children: at these sizes more of them only
    wait for each other, NumPy's the longest."""
    os.environ.update(_ONE_THREAD)


def spawn(target: Callable[..., None], *arguments: Any) -> tuple[Any, Connection]:
    """Start ``target(connection, parent, *arguments)``; the process and our end of the connection.

    The first thing that ``target`` does is ``end_with(parent)``.
    """
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_begin, args=(trust.agreed(), target, theirs, os.getpid(), *arguments), daemon=True)
    with _no_interrupts(), _as_child():
        process.start()
    theirs.close()
    return process, ours


def _begin(agreed: frozenset[str], target: Callable[..., None], *arguments: Any) -> None:
    trust.agree(*agreed)  # a child runs the code that its parent may run
    target(*arguments)


#: Held while the process pretends to be what its next child should see.
_starting = threading.Lock()


@contextmanager
def _as_child() -> Iterator[None]:
    """What a child takes over from this process: one thread, and not the main script, which it would run again. So a
    script needs no ``if __name__ == "__main__"``, and may come from standard input."""
    with _starting:
        before = {name: os.environ.get(name) for name in _ONE_THREAD}
        main = sys.modules["__main__"]
        one_thread()
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Processes started here never see Ctrl-C: it is for the parent, which ends them in order."""
    resource_tracker.ensure_running()  # it comes with the first process, and unblocks the signal when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end(process: Any, patience: float = 5.0) -> None:
    """Wait ``patience`` seconds for ``process`` to end by itself, then kill it."""
    process.join(patience)
    if process.exitcode is None:
        process.kill()
        process.join()


def end_with(parent: int) -> None:
    """From now on, end this process as soon as the process ``parent`` is gone."""
    # To its parent it stays a daemon, ended at exit; but a daemon may have no children, and an actor has environments.
    multiprocessing.current_process().daemon = False

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
