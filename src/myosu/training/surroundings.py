"""Process-wide settings that a training changes and restores: determinism, threads, signal handlers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from myosu.errors import UserError
from myosu.randomness import randomness_kept


@contextmanager
def repeatable(deterministic: bool) -> Iterator[None]:
    """Torch's deterministic algorithms. By the debug mode, because ``torch.use_deterministic_algorithms`` imports a
    compiler, which takes seconds."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn" if deterministic else "default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


@contextmanager
def settings_kept() -> Iterator[None]:
    """Restore torch's number of threads and the random generators afterwards."""
    threads = torch.get_num_threads()
    with randomness_kept():
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def stop_signals(handle: bool) -> Iterator[list[int]]:
    """A list that a first Ctrl-C, SIGTERM or SIGHUP (a closed terminal) is put into; a second Ctrl-C interrupts at
    once. Without ``handle`` it stays empty. A signal that is ignored stays so, as SIGHUP is under nohup.
    """
    if handle and threading.current_thread() is not threading.main_thread():
        raise UserError("handle_signals=True: only a program's main thread can. Leave it out in other threads.")
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
