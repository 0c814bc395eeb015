"""``myosu watch``"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from myosu.commands.options import import_server, trust_if
from myosu.errors import UserError


@dataclass
class Options:
    """See how runs train or trained, in the browser: curves, evaluations, what looks wrong, and their newest games."""

    runs: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """Folders of runs, whose curves share each picture. The page can play against the first one's agent, too."""
    host: str = "127.0.0.1"
    """Address that the page is served at. Whoever can reach it can look; by default this is only your own machine."""
    port: int = 0
    """Port that the page is served at; 0: any that is free."""
    browser: bool = True
    """Open the page in your browser."""
    trust: bool = False
    """Run code of their own that the runs name. Curves need none; games and playing do."""


def main(arguments: list[str]) -> int:
    options = tyro.cli(Options, prog="myosu watch", args=arguments)
    if not options.runs:
        raise UserError("Which run? For example: myosu watch runs/first runs/second")
    trust_if(options.trust)
    server = import_server("Or draw the curves with myosu plot.")
    from myosu.web.room import Room
    from myosu.web.watching import Gallery

    gallery = Gallery(list(options.runs))
    try:
        room = Room(options.runs[0])
    except UserError:  # no checkpoint yet, or no game of ours
        room = None
    app = server.make_app(room, gallery, options.host, warm=False)
    server.serve(app, options.host, options.port, "Watch at {}", options.browser, "watch")
    return 0
