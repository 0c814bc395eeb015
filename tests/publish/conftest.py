"""Fixtures for the tests of published pages."""

import fcntl
import pickle
from functools import cache

import pytest

from myosu.publish import compiler


@pytest.fixture(scope="session")
def compile_once(tmp_path_factory, request):
    """``compile_for_page``, called only once per game over all workers of the test session."""
    root = tmp_path_factory.getbasetemp()
    folder = root.parent if hasattr(request.config, "workerinput") else root  # shared by all workers of a session

    @cache
    def compiled(game: str, rewards: str):
        with open(folder / f"page-{game.replace('/', '-')}-{rewards}", "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if not (kept := file.read()):
                kept = pickle.dumps(compiler.compile_for_page(game, rewards))
                file.write(kept)
        return pickle.loads(kept)

    return compiled
