"""``myosu publish``"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from myosu.commands.options import parse, trust_if


@dataclass
class Options:
    """Publish the agent of a run as a page on which anybody can play against it. The page needs no server, only a
    static file host, and works offline after the first visit.
    """

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run's folder (its latest checkpoint), RUN/checkpoints/best, or the folder of one checkpoint."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")]
    """The folder of the page. A page that already exists there is replaced."""

    trust: bool = False
    """Allow user code that the run names: a game, environment or algorithm in a file or module."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "publish", arguments)
    trust_if(options.trust)
    from myosu.publish.site import publish

    published = publish(options.run, options.output)
    print(f"{published.folder}: {published.game} in {published.bytes / 1000:.0f} kB (gzipped, with the agent)\n"
          f"Try it:  python -m http.server -d {published.folder}    and open http://localhost:8000")
    return 0
