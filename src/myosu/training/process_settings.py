"""Process-wide settings that training changes and restores: determinism, threads, signal handlers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from myosu.errors import UserError
from myosu.randomness import randomness_kept


@contextmanager
def repeatable(deterministic: bool) -> Iterator[None]:
    """Context in which torch uses deterministic algorithms, if ``deterministic``. It sets the debug mode, because
    ``torch.use_deterministic_algorithms`` imports a compiler, which takes seconds."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn" if deterministic else "default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


@contextmanager
def settings_restored() -> Iterator[None]:
    """Context that restores the numbers of threads of torch and of NumPy's BLAS, and the random generators, at its end.
    """
    threads = torch.get_num_threads()
    with randomness_kept(), threadpool_limits():
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def stop_signals(handle: bool) -> Iterator[list[int]]:
    """Context that returns a list to which Ctrl-C, SIGTERM and SIGHUP (a closed terminal) are appended. After the first
    signal, Ctrl-C interrupts immediately. Without ``handle`` the list stays empty. Signals that are ignored, such as
    SIGHUP under nohup, stay ignored.
    """
    if handle and threading.current_thread() is not threading.main_thread():
        raise UserError("handle_signals=True works only in a program's main thread. Leave it out in other threads.")
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if handle else ()
    before = {number: signal.signal(number, note) for number in numbers
              if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
