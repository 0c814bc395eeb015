"""``myosu pull``"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from myosu.commands.options import parse


@dataclass
class Options:
    """Fetch an agent from the Hugging Face Hub. Its checksums are verified, and none of its files are executed."""

    name: Annotated[Positional[str], tyro.conf.arg(metavar="USER/NAME")]
    """The repository."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")] = None
    """A new folder for it; NAME by default."""
    revision: str | None = None
    """A branch, a tag or a commit of the repository."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "pull", arguments)
    from myosu.sharing.hub import pull

    folder = options.output or Path(options.name.rpartition("/")[2])
    checkpoint = pull(options.name, folder, options.revision)
    print(f"{checkpoint}\nEvaluate it:  myosu evaluate {folder}")
    return 0
