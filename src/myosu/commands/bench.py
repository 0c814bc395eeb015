"""``myosu bench``"""

from __future__ import annotations

import json as json_module
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from myosu.commands.options import parse


@dataclass
class Options:
    """Measure how fast this machine plays, searches and learns a game."""

    game: Annotated[Positional[str], tyro.conf.arg(metavar="GAME")] = "othello"
    """A game's name, or the path of its .py file."""
    json: bool = False
    """Print JSON only."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "bench", arguments)
    from myosu.algorithms import muzero
    from myosu.envs.registry import load_environment
    from myosu.presets import load_preset
    from myosu.training.bench import run_bench

    environment = load_environment(options.game)
    game = environment.rules
    measured = run_bench(game, muzero.Config(**load_preset("muzero", environment, muzero.Config)))
    if options.json:
        print(json_module.dumps(measured, indent=1))
        return 0
    table = Table(game.name, "", show_header=True)
    for name, value in measured.items():
        large = isinstance(value, float) and value >= 100
        table.add_row(name.replace("_", " "), f"{value:,.0f}" if large else f"{value:.3g}"
                      if isinstance(value, float) else str(value))
    Console().print(table)
    return 0
