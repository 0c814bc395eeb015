"""Learning curves: evaluations with their intervals over the course of training."""

from __future__ import annotations

from pathlib import Path

from myosu.errors import UserError
from myosu.plots.figure import COLOURS, GREY, MARKERS, figure
from myosu.runs.curves import LABELS, XAxis, read_curve


def plot_learning(folders: list[Path], output: Path, x_axis: XAxis = "minutes", title: str | None = None) -> None:
    """Draw the runs in ``folders``, all of one game, into ``output``, a .png or .svg."""
    curves = [read_curve(folder, x_axis) for folder in folders]
    if len(games := sorted({curve.game for curve in curves})) > 1:
        raise UserError(f"These runs are of different games ({', '.join(games)}), whose rewards cannot share an axis.")
    with figure(output) as (_, axes):
        for i, curve in enumerate(curves):
            colour = COLOURS[i % len(COLOURS)]
            axes.plot(*curve.episodes.T, color=colour, linewidth=0.8, alpha=0.45)
            axes.fill_between(curve.x, *curve.interval.T, color=colour, alpha=0.18, linewidth=0)
            if len(curve.x) == 1:  # a band would have no width
                axes.vlines(curve.x, *curve.interval.T, color=colour, linewidth=1)
            axes.plot(curve.x, curve.mean, color=colour, marker=MARKERS[i % len(MARKERS)], markersize=4,
                      label=curve.name)
        axes.set_title(games[0] if title is None else title)
        axes.set_xlabel(LABELS[x_axis])
        opponents = dict.fromkeys(opponent for curve in curves for opponent in curve.opponents)
        axes.set_ylabel(f"mean reward against {', '.join(opponents)}" if opponents else "mean episode return")
        axes.set_xlim(left=0)
        axes.margins(x=0.02)
        if curves[0].two_players:
            axes.axhline(0, color=GREY, linewidth=0.8)
        if x_axis != "minutes":
            axes.xaxis.set_major_formatter(_thousands)
        if len(curves) > 1:
            axes.legend(loc="best")
        note = "bands: 95 %"
        if any(len(curve.episodes) for curve in curves):
            note += "; thin: training episodes, with exploration"
        axes.annotate(note, (1, 1.02), xycoords="axes fraction", ha="right", fontsize=8, color=GREY)


def _thousands(value: float, place: int) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
