"""Single-threaded child processes that never outlive their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any

from myosu import trust
from myosu.errors import UserError

SPAWN = multiprocessing.get_context("spawn")

#: Parameters of glibc's ``mallopt`` (malloc.h).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Keep freed memory for the next tensor of the same size, if the C library is glibc.

    By default, memory is returned to the system after every layer of a large batch and mapped again page by page. An
    update of DQN on a board game had nine thousand page faults, which took a quarter of its time.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for limit in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
        mallopt(limit, 1 << 30)


_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")}


def one_thread() -> None:
    """Limit every library that is imported from now on to one thread, here and in child processes. With arrays of these
    sizes, more threads only wait for each other, those of NumPy the longest."""
    os.environ.update(_ONE_THREAD)


def spawn(target: Callable[..., None], *arguments: Any) -> tuple[Any, Connection]:
    """Start ``target(connection, parent, *arguments)`` in a child process. Returns it and our end of the connection.

    ``target`` must call ``end_with(parent)`` first.
    """
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_begin, args=(trust.agreed(), target, theirs, os.getpid(), *arguments), daemon=True)
    with _no_interrupts(), _as_child():
        process.start()
    theirs.close()
    return process, ours


def _begin(agreed: frozenset[str], target: Callable[..., None], *arguments: Any) -> None:
    trust.agree(*agreed)  # a child may run the code that its parent may run
    target(*arguments)


#: Held while the state that a new child inherits is modified.
_starting = threading.Lock()


@contextmanager
def _as_child() -> Iterator[None]:
    """Context for starting children: they use one thread and do not run the main script again. A script therefore
    needs no ``if __name__ == "__main__"`` and may come from standard input."""
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
    """Context in which new processes ignore Ctrl-C. The parent receives it and ends them."""
    resource_tracker.ensure_running()  # the resource tracker starts with the first process and would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end(process: Any, patience: float = 5.0) -> None:
    """Wait up to ``patience`` seconds for ``process`` to end, then kill it."""
    process.join(patience)
    if process.exitcode is None:
        process.kill()
        process.join()


def end_with(parent: int) -> None:
    """From now on, end this process when its parent process has ended."""
    # Daemons may not have children, but an actor starts environments. The parent still ends this process at exit.
    multiprocessing.current_process().daemon = False

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def exit_on_sigterm() -> None:
    """Raise SystemExit on SIGTERM, so that open resources are closed.

    Python drops an exception in a callback from C code (LLVM calls back with compiled code) and prints a traceback.
    Here, SystemExit is raised again a moment later instead.
    """

    def dropped(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, SystemExit):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = dropped
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, lambda *_: sys.exit())


#: Number of workers of a pool that die in a row, without a finished task, at which the pool gives up.
MAX_DEATHS = 3


@dataclass
class _Worker:
    process: Any
    connection: Connection
    task: Any = None


@dataclass
class Pool:
    """``count`` worker processes, each of which works on one task at a time. A worker that dies is replaced; its task
    is in ``lost`` until it is started again.

    make(*arguments): called in each process. It returns an object that is called with every task and closed by its
    ``close`` at the end.
    """

    count: int
    make: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    notices: list[str] = field(default_factory=list)
    lost: list[Any] = field(default_factory=list)
    _workers: list[_Worker] = field(default_factory=list)
    _deaths: int = 0

    def under_way(self) -> list[Any]:
        return [worker.task for worker in self._workers if worker.task is not None]

    def idle(self) -> int:
        return self.count - len(self.under_way())

    def start(self, task: Any) -> None:
        """Give ``task`` to an idle worker."""
        worker = next((worker for worker in self._workers if worker.task is None), None)
        if worker is None:
            worker = _Worker(*spawn(_work, self.make, *self.arguments))
            self._workers.append(worker)
        worker.task = task
        with suppress(OSError):  # it has died, which ``finished`` will notice
            worker.connection.send(task)

    def finished(self, timeout: float) -> list[Any]:
        """The results that arrive within ``timeout`` seconds. Raises UserError if a task failed."""
        results = []
        for connection in wait([worker.connection for worker in self._workers], timeout):
            worker = next(worker for worker in self._workers if worker.connection is connection)
            try:
                result, failure = worker.connection.recv()
            except (EOFError, OSError):
                self._bury(worker)
                continue
            if failure is not None:
                raise UserError(failure)
            self._deaths, worker.task = 0, None
            results.append(result)
        return results

    def close(self) -> None:
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers:
            end(worker.process)
        self._workers = []

    def _bury(self, worker: _Worker) -> None:
        worker.connection.close()
        end(worker.process)
        self._workers.remove(worker)
        if worker.task is not None:
            self.lost.append(worker.task)
        self._deaths += 1
        what = f"A worker died (exit code {worker.process.exitcode}); its games are played again."
        if self._deaths >= MAX_DEATHS:
            raise UserError(f"{what} It was the last of {self._deaths} that finished no game.")
        self.notices.append(what)


def _work(connection: Connection, parent: int, make: Callable[..., Any], *arguments: Any) -> None:
    end_with(parent)
    with suppress(EOFError, ConnectionError):
        task = connection.recv()
        with closing(make(*arguments)) as worker:
            while True:
                result, failure = None, None
                try:
                    result = worker(task)
                except UserError as error:
                    failure = str(error)
                except Exception:
                    failure = traceback.format_exc()
                connection.send((result, failure))
                task = connection.recv()
