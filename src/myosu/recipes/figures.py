"""Plots of a recipe's figures, one for each stage that has any, in the recipe's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from myosu.plots.figure import COLOURS, GREY, MARKERS, figure
from myosu.recipes.stages import Figures, Made
from myosu.runs.curves import LiveMetrics


def plot_figures(made: dict[str, Made], folder: Path) -> list[Path]:
    """Draw STAGE.png in ``folder`` for each stage. Returns the files. Raises UserError if matplotlib is missing."""
    drawn = []
    for name, stage in made.items():
        if draw := DRAWINGS.get(stage.kind):
            drawn.append(folder / f"{name}.png")
            draw(name, stage, drawn[-1])
    return drawn


def _losses(name: str, stage: Made, output: Path) -> None:
    """Training and held-out loss over the updates. They diverge when the network overfits."""
    metrics = LiveMetrics(stage.folder / "metrics.jsonl")
    metrics.read()
    with figure(output) as (_, axes):
        for colour, (part, label) in zip(COLOURS, (("loss", "training games"), ("held_out_loss", "held-out games")),
                                         strict=False):
            axes.plot(*metrics.points(f"loss/{part}", "updates").T, color=colour, label=label)
        axes.set_title(f"{name}: loss during training")
        axes.set_xlabel("updates")
        axes.set_ylabel("½ (z − v)²" if stage.kind == "value" else "cross-entropy")
        axes.legend()


def _value_errors(name: str, stage: Made, output: Path) -> None:
    with figure(output) as (_, axes):
        for k, (evaluator, errors) in enumerate(stage.figures.items()):
            plies, _, means = np.array(errors["by_stage"]).T
            ends = np.array(errors["by_stage_ci95"]).T
            axes.errorbar(plies + 0.4 * k, means, yerr=np.abs(ends - means), color=COLOURS[k % len(COLOURS)], capsize=2,
                          marker=MARKERS[k % len(MARKERS)], markersize=4, linewidth=1.2, label=f"{evaluator}: "
                          f"{errors['error']:.3f}, {_time(errors['microseconds'])} per position")
        axes.set_title(f"{name}: value error by stage of the game")
        axes.set_xlabel("plies")
        axes.set_ylabel("½ (z − v)²")
        means = [error for errors in stage.figures.values() for _, _, error in errors["by_stage"]]
        axes.set_ylim(0, max(0.8, 1.2 * max(means)))  # intervals of few positions may extend beyond
        axes.legend(fontsize=8)
        _note(axes)


def _time(microseconds: float) -> str:
    return f"{microseconds:.0f} µs" if microseconds < 1000 else f"{microseconds / 1000:.1f} ms"


def _league(name: str, stage: Made, output: Path) -> None:
    players = {player: rating for player, rating in stage.figures.items() if "elo" in rating}
    _bars(f"{name}: ratings", "Elo, random = 0; intervals: 95 %, of the distance to the league's mean", players, "elo",
          output)


def _rates(name: str, stage: Made, output: Path) -> None:
    _bars(f"{name}: matches", "win rate with 95 % intervals", stage.figures, "win_rate", output)


def _bars(title: str, label: str, rows: dict[str, Figures], key: str, output: Path) -> None:
    """A horizontal bar with its interval for each row, the first at the top."""
    values = np.array([row[key] for row in rows.values()])
    ends = np.array([row[f"{key}_ci95"] for row in rows.values()])
    with figure(output, height=1.2 + 0.36 * len(rows)) as (_, axes):
        places = np.arange(len(rows))[::-1]
        axes.barh(places, values, color=COLOURS[0], height=0.6)
        axes.errorbar(values, places, xerr=np.abs(ends.T - values), fmt="none", ecolor="#222222", capsize=3,
                      linewidth=1)
        axes.set_yticks(places, [_short(row) for row in rows], fontsize=8)
        axes.set_title(title)
        axes.set_xlabel(label)
        axes.grid(axis="y", visible=False)


def _short(name: str) -> str:
    """Shorten a long name in the middle, because engines differ at the ends of their command lines."""
    return name if len(name) <= 60 else f"{name[:34]}…{name[-25:]}"


def _note(axes: Any) -> None:
    axes.annotate("bars: 95 %, over games", (1, 1.02), xycoords="axes fraction", ha="right", fontsize=8, color=GREY)


DRAWINGS: dict[str, Callable[[str, Made, Path], None]] = {
    "supervise": _losses, "value": _losses, "value-errors": _value_errors, "league": _league, "rate": _rates}
