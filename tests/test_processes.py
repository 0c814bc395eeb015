"""Child processes and Ctrl-C."""

import signal
import subprocess
import sys
from pathlib import Path


def tell_blocked(connection, parent):
    connection.send(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))


def test_no_child_sees_ctrl_c():
    """Not the first one either, with which multiprocessing starts a process of its own."""
    code = (f"import signal, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from myosu.processes import spawn\n"
            "from test_processes import tell_blocked\n"
            "for _ in range(2):\n"
            "    process, connection = spawn(tell_blocked)\n"
            "    assert connection.recv()\n"
            "    process.join()\n"
            "assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])")
    subprocess.run([sys.executable, "-c", code], check=True)
