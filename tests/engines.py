"""Real and made-up GTP engines, for several tests."""

import shlex
import sys
import textwrap

import pytest

from myosu.players.gtp import find_engine

needs_grhino = pytest.mark.skipif(
    find_engine("gtp-rhino") is None, reason="GRHINO IS NOT INSTALLED: run scripts/install_program.sh gtp-rhino grhino"
)


def fake_engine(body: str) -> str:
    """A command whose process reads ``line`` after ``line`` and runs ``body`` for each."""
    script = "import sys, time\nfor line in sys.stdin:\n    line = line.strip()\n" + textwrap.indent(body, "    ")
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}"
