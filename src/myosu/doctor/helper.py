"""Calls functions in a separate process, because a run's environment may hang or end the process that it runs in."""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium

from myosu.doctor.finding import Unsuited
from myosu.envs.python_objects import note_registration, pack_object, unpack_object
from myosu.errors import UserError, describe
from myosu.processes import end, end_with, spawn

#: Code that is not the user's: Python's own, and Myosu. ``site-packages`` is below the first.
_NOT_THEIRS = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).parents[1]), "<")


class Died(Exception):
    """The process ended during the call. ``code`` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class TooLong(UserError):
    """The call did not return in time. The message says in which function of the user's it was, if in any."""


class Helper:
    """A process that calls one function at a time. It is started when needed, and again after it died or was ended.

    environment: the name of the environment that the functions will use, which may be an object given in Python.
    """

    def __init__(self, environment: str) -> None:
        if environment in gymnasium.registry:
            note_registration(environment)
        self._given = pack_object(environment)
        self._process: Any = None
        self._connection: Connection

    def call(self, function: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
        """``function(*arguments)``, a function of a module, whose result can be pickled.

        Raises UserError and Unsuited as it does, ``Died``, ``TooLong`` after ``seconds``, and RuntimeError with the
        description of any other exception.
        """
        if self._process is None:
            self._process, self._connection = spawn(_serve, self._given)
        where, until = "", time.monotonic() + seconds
        try:
            self._connection.send((function, arguments))
            while self._connection.poll(max(0.0, until - time.monotonic())):
                what, value = self._connection.recv()
                if what == "at":
                    where = value
                    continue
                if what == "result":
                    return value
                raise {"unsuited": Unsuited, "refused": UserError}.get(what, RuntimeError)(value)
        except (EOFError, ConnectionError):
            self._process.join(5)
            code = self._process.exitcode
            self.close()
            raise Died(code) from None
        self.close()
        raise TooLong(f"it had not ended after {seconds:.0f} s{f', and was in {where}' if where else ''}")

    def close(self) -> None:
        if self._process is not None:
            self._connection.close()
            self._process.kill()
            end(self._process)
            self._process = None


def _serve(connection: Connection, parent: int, given: bytes) -> None:
    end_with(parent)
    unpack_object(given)
    lock, main = threading.Lock(), threading.get_ident()

    def tell(what: str, value: Any) -> None:
        with lock:
            connection.send((what, value))

    def report_place() -> None:
        while True:
            time.sleep(1.0)
            tell("at", _place(main))

    threading.Thread(target=report_place, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError), contextlib.redirect_stdout(sys.stderr):
        while True:
            function, arguments = connection.recv()
            try:
                told = "result", function(*arguments)
            except Unsuited as error:
                told = "unsuited", str(error)
            except UserError as error:
                told = "refused", str(error)
            except SystemExit as error:
                told = "failed", f"sys.exit({error.code}) was called"
            except Exception as error:
                told = "failed", describe(error)
            tell(*told)
    os._exit(0)  # even if the environment left threads running


def _place(thread: int) -> str:
    """The innermost function of the user's own code that ``thread`` is in; "" if there is none."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_NOT_THEIRS):
            return f"{code.co_name}() of {Path(code.co_filename).name}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""
