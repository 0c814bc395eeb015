"""An engine's process, which ends with this process, and its errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress

from myosu.errors import UserError


class EngineLost(Exception):
    """The engine ended, does not answer, or violates its protocol; the message says which."""


#: A program that asks Linux (prctl, PR_SET_PDEATHSIG) to kill it with its parent, and then becomes the engine. A
#: function that runs between fork() and exec() is not safe in a process with threads: it crashed with gRPC's threads.
_END_WITH_PARENT = ("import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
                    "os.execvp(sys.argv[1], sys.argv[1:])")


class EngineProcess:
    """A process that runs ``command``. The last lines of its output explain in error messages how it ended."""

    def __init__(self, command: list[str]) -> None:
        """Start the process. Raises UserError if that fails."""
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        # The signal is sent when the *thread* that started the engine ends, so only the main thread may request it.
        if sys.platform == "linux" and threading.current_thread() is threading.main_thread():
            command = [sys.executable, "-I", "-S", "-c", _END_WITH_PARENT, *command]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._output,
                                             stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            self._output.close()
            raise UserError(f"{command[0]} cannot be started: {error.strerror}.") from error

    def check(self) -> None:
        """Raise EngineLost if the process has ended."""
        code = self._process.poll()
        if code is None:
            return
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended (exit code {code})"
        said = self._last_lines()
        raise EngineLost(f"the engine {how}{f': {said}' if said else ''}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self, patience: float = 0.0) -> None:
        """Wait up to ``patience`` seconds for the process to end, then kill it and all processes that it started."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()

    def _last_lines(self, count: int = 3) -> str:
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - 2000))
        lines = [line.strip() for line in self._output.read().decode(errors="replace").splitlines() if line.strip()]
        return " / ".join(lines[-count:])


def require_program(path: str, what: str) -> None:
    """Raise UserError unless ``path`` is an executable file."""
    if not os.path.exists(path):
        raise UserError(f"{what} {path} does not exist.")
    if os.path.isdir(path):
        raise UserError(f"{what} {path} is a folder: name the file in it that starts the game.")
    if not os.access(path, os.X_OK):
        raise UserError(f"{what} {path} is not executable: chmod +x '{path}'")
