"""Measures how long the learner and the actors wait for each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds that all threads together have spent in ``running``, including calls that have not ended yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._since: dict[int, float] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        me = threading.get_ident()
        with self._lock:
            self._since[me] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._seconds += time.monotonic() - self._since.pop(me)

    @property
    def seconds(self) -> float:
        with self._lock:
            now = time.monotonic()
            return self._seconds + sum(now - since for since in self._since.values())
