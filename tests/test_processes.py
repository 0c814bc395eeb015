"""Child processes and Ctrl-C."""

import signal
import subprocess
import sys
from pathlib import Path


def tell_blocked(connection, parent):
    connection.send(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))


def test_child_processes_block_ctrl_c():
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


TERMINATED = """
import ctypes, os, signal, time
from myosu.processes import exit_on_sigterm

def compiled(_):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0)

exit_on_sigterm()
try:
    ctypes.CFUNCTYPE(None, ctypes.c_int)(compiled)(0)  # Python drops what is raised in it
    time.sleep(20)
    print("it went on")
finally:
    print("closed")
"""


def test_sigterm_within_a_callback_ends_the_process():
    done = subprocess.run([sys.executable, "-c", TERMINATED], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("closed\n", "")
