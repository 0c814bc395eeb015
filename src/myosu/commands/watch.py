"""``myosu watch``"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from myosu.commands.options import import_server, parse, trust_if
from myosu.errors import UserError


@dataclass
class Options:
    """Watch runs in the browser, during or after training: curves, evaluations, what looks wrong, and the newest
    games."""

    runs: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """Folders of runs, which share each chart. On the page you can also play against the agent of the first run."""
    host: str = "127.0.0.1"
    """Address to serve the page at. Everybody who can reach it can watch; the default is your own machine only."""
    port: int = 0
    """Port of the page; 0 means any free port."""
    browser: bool = True
    """Open the page in your browser."""
    trust: bool = False
    """Allow user code that the runs name. Replaying games and playing need it; curves do not."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "watch", arguments)
    if not options.runs:
        raise UserError("Which run? For example: myosu watch runs/first runs/second")
    trust_if(options.trust)
    server = import_server("Or draw the curves with myosu plot.")
    from myosu.web.room import Room
    from myosu.web.watching import Gallery

    gallery = Gallery(list(options.runs))
    try:
        room = Room(options.runs[0])
    except UserError:  # no checkpoint yet, or not a native game
        room = None
    app = server.make_app(room, gallery, options.host, warm=False)
    server.serve(app, options.host, options.port, "Watch at {}", options.browser, "watch")
    return 0
