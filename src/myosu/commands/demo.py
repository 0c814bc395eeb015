"""``myosu demo``. The agent is ``myosu/demo/agent``, made by ``scripts/make_demo.py``."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

from myosu.commands import play
from myosu.commands.options import parse
from myosu.runs.reading import load_json


@dataclass
class Options:
    """Play Connect Four against a small agent that comes with Myosu, in the browser or in the terminal."""

    terminal: bool = False
    """Play in the terminal."""
    seat: Literal["first", "second", "random"] = "first"
    """Your seat; the first moves first."""
    simulations: int | None = None
    """Simulations per move; more is stronger and slower."""
    browser: bool = True
    """Open the page in your browser."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "demo", arguments)
    print("This agent taught itself Connect Four in five minutes on two cores. Train your own: "
          "myosu train connect_four\n")
    flags = ["--terminal"] * options.terminal + ["--no-browser"] * (not options.browser)
    if options.simulations is not None:
        flags += ["--simulations", str(options.simulations)]
    return play.main([str(unpack_agent()), "--seat", options.seat, *flags])


def unpack_agent() -> Path:
    """Copy the demo agent to a folder of the user's, where the page can save games. Returns the folder.

    An agent that is there already is replaced, because it may be of another version; saved games are kept.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "myosu"
    try:
        state.mkdir(parents=True, exist_ok=True)
        folder = _unpack(state / "demo")
    except OSError:
        folder = _unpack(Path(tempfile.mkdtemp(prefix="myosu-")) / "demo")
    return folder


def _unpack(folder: Path) -> Path:
    with as_file(files("myosu") / "demo" / "agent") as agent:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        update = load_json(agent / "manifest.json")["update"]
        shutil.copytree(agent, folder / "checkpoints" / f"update-{update:08d}")
    return folder
