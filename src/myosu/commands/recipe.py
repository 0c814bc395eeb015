"""``myosu recipe``: run a pipeline of stages, such as AlphaGo's."""

from __future__ import annotations

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from myosu.commands.options import parse


@dataclass
class Options:
    """Run a pipeline: record games, learn from them, rate the agents. Every stage has a folder of its own.

    The same command resumes a pipeline that was stopped.
    """

    recipe: Annotated[Positional[str], tyro.conf.arg(metavar="RECIPE")]
    """A recipe that comes with Myosu (alphago9), or the path of a .toml file."""
    folder: Path | None = None
    """Folder of the stages; runs/RECIPE by default, runs/RECIPE-quick with --quick."""
    quick: bool = False
    """The short form of the recipe."""
    until: str | None = None
    """Stop after the stage of this name."""
    json: bool = False
    """Print the figures as JSON only."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "recipe", arguments)
    from myosu.errors import UserError
    from myosu.randomness import use_one_thread
    from myosu.recipes.figures import plot_figures
    from myosu.recipes.recipe import read_recipe, run_recipe

    use_one_thread()
    recipe = read_recipe(options.recipe, options.quick)
    folder = options.folder or Path("runs") / f"{recipe.name}{'-quick' * options.quick}"
    console = Console(stderr=options.json, highlight=False)
    try:
        made = run_recipe(recipe, folder.absolute(), options.until, lambda text: console.print(text, markup=False))
    except KeyboardInterrupt:  # training saves itself, and files of other stages are kept
        made = None
    if made is None:
        console.print("Stopped. The same command resumes it.")
        return 130
    try:
        pictures = plot_figures(made, folder)
    except UserError as error:  # matplotlib is not installed
        console.print(f"No plots: {error}", markup=False)
    else:
        console.print(f"Plots: {', '.join(map(str, pictures))}" if pictures else "", markup=False)
    if options.json:
        print(json_module.dumps({name: {"kind": one.kind, "seconds": one.seconds, **one.figures}
                                 for name, one in made.items()}, indent=1))
        return 0
    console.print(f"{len(made)} stages in {sum(one.seconds for one in made.values()) / 60:.1f} minutes.")
    table = Table("stage", "figure", "value")
    for name, one in made.items():
        table.add_section()
        for row, (figure, value) in enumerate(_rows(one.figures)):
            table.add_row("" if row else f"{name} ({one.seconds / 60:.1f} min)", figure, value)
    console.print(table)
    return 0


def _rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and text of each figure, with its interval if it has one."""
    rows = []
    for name, value in figures.items():
        if name.endswith("_ci95"):
            continue
        if isinstance(value, dict):  # a match, a player of a league, or an evaluator, whose lists are only drawn
            short = {inner: figure for inner, figure in value.items() if not isinstance(figure, list)
                     or inner.endswith("_ci95")}
            rows.append((name, ", ".join(f"{inner} {text}" for inner, text in _rows(short))))
            continue
        if isinstance(value, list):
            rows += [(f"{name.replace('_', ' ')} {first} on", f"{error:.3f}, {count} positions")
                     for first, count, error in value]
            continue
        text = _number(value) if isinstance(value, float) else str(value)
        if interval := figures.get(f"{name}_ci95"):
            text += f" ({' to '.join(map(_number, interval))})"
        rows.append((name.replace("_", " "), text))
    return rows


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}"
