"""For all tests: one thread, as in every process of Myosu. Two threads wait for each other at every operation, and on a
busy machine that takes a hundred times as long. And a real browser for the tests of the pages."""

import atexit
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from myosu.processes import one_thread

one_thread()  # before anything imports NumPy
# What a person named once is remembered; of the tests nothing must be, nor may they need what was.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="myosu-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)
if "MYOSU_COMPILE_LOCKS" not in os.environ:  # the workers of pytest-xdist inherit it
    os.environ["MYOSU_COMPILE_LOCKS"] = tempfile.mkdtemp(prefix="myosu-locks-")
    atexit.register(shutil.rmtree, os.environ["MYOSU_COMPILE_LOCKS"], ignore_errors=True)

import pytest  # noqa: E402
import torch  # noqa: E402
from numba.core.caching import FunctionCache  # noqa: E402
from numba.core.compiler_lock import global_compiler_lock  # noqa: E402
from numba.core.dispatcher import Dispatcher  # noqa: E402

from fork_server import ForkServer  # noqa: E402
from myosu import processes, trust  # noqa: E402

torch.set_num_threads(1)

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]


def compile_in_one_worker() -> None:
    """In a fresh clone all workers need the same compiled functions at the same time. One of them compiles a function,
    while the others wait for its cache."""
    compile_or_load = Dispatcher.compile

    def compile_once(self, signature):
        if not isinstance(self._cache, FunctionCache):
            return compile_or_load(self, signature)
        index = self._cache._cache_file._index_path
        lock = Path(os.environ["MYOSU_COMPILE_LOCKS"], hashlib.sha256(index.encode()).hexdigest())
        with global_compiler_lock, open(lock, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            return compile_or_load(self, signature)

    Dispatcher.compile = compile_once


compile_in_one_worker()
if sys.platform == "linux":  # elsewhere to fork a process that has imported torch is not safe
    processes.SPAWN = ForkServer()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """-n auto: one more than cores, for every worker waits at times: for a cluster, a kill, a slow environment."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True)
def agreed_to_nothing(monkeypatch):
    """Code that one test agreed to must not run in the next one."""
    monkeypatch.setattr(trust, "_agreed", set(trust.agreed()))


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name != "test_ray_hosts.py")  # it waits for minutes: others run meanwhile
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser():
    """Chromium, for one module: while it runs no other test can run an event loop."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pages are tested with playwright "
                                                                   "(requirements-dev.lock)")
    if CHROMIUM is None:
        pytest.skip("CHROMIUM IS NOT INSTALLED: install_program.sh")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def new_context(browser):
    """Makes a browser of its own for the pages of an address; what they complain about fails the test."""
    contexts, problems = [], []

    def new_context(address: str, **settings):
        context = browser.new_context(base_url=address, reduced_motion="reduce", **settings)
        context.set_default_timeout(20_000)
        context.on("weberror", lambda error: problems.append(str(error.error)))
        context.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        contexts.append(context)
        return context

    yield new_context
    for context in contexts:
        context.close()
    assert problems == []
