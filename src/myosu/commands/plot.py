"""``myosu plot``"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from myosu.commands.options import parse


@dataclass
class Options:
    """Draw the learning curves of runs of one game into one plot.

    In two-player games the curves show the mean reward against the opponent of the evaluations, otherwise the mean
    return. Bands are 95 % intervals.
    """

    runs: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """Folders of runs."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")]
    """The image file, a .png or .svg."""
    x: Literal["minutes", "env_steps", "updates"] = "minutes"
    """The x axis: minutes of training, environment steps, or gradient steps."""
    title: str | None = None
    """Title; the game's name by default."""
    trust: bool = False
    """Allow user code that the runs name. Only runs of earlier versions need it."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "plot", arguments)
    from myosu.commands.options import trust_if
    from myosu.errors import UserError
    from myosu.plots.learning import plot_learning

    if not options.runs:
        raise UserError("Which run? For example: myosu plot runs/first runs/second -o curves.png")
    trust_if(options.trust)
    plot_learning(list(options.runs), options.output, options.x, options.title)
    print(options.output)
    return 0
