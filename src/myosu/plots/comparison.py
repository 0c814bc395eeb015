"""Groups of runs over the course of training: interquartile means over seeds and games, with their intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from myosu.evaluation.comparison import curve_interval, interquartile_mean
from myosu.plots.figure import COLOURS, figure
from myosu.runs.curves import LABELS, Curve, XAxis

#: Number of points of a curve, spread evenly over the range that all runs have reached.
_POINTS = 60


def common_x(curves: list[Curve]) -> np.ndarray:
    """float64 [points]: evenly spaced from the latest first evaluation to the earliest last one."""
    return np.linspace(max(curve.x[0] for curve in curves), min(curve.x[-1] for curve in curves), _POINTS)


def interpolate(curves: list[Curve], x: np.ndarray) -> np.ndarray:
    """float64 [runs, points]: evaluations, linearly interpolated."""
    return np.stack([np.interp(x, curve.x, curve.mean) for curve in curves])


def plot_comparison(groups: dict[str, list[list[Curve]]], output: Path, x_axis: XAxis, title: str) -> None:
    """Draw sample-efficiency curves of the ``groups``, by name, each with the curves of every game, into ``output``, a
    .png or .svg. The rewards of several games must be normalised."""
    points = common_x([curve for group in groups.values() for game in group for curve in game])
    with figure(output) as (_, axes):
        for (name, group), colour in zip(groups.items(), COLOURS, strict=False):
            curves = [interpolate(game, points) for game in group]
            pooled = np.concatenate(curves)
            axes.fill_between(points, *curve_interval(curves), color=colour, alpha=0.18, linewidth=0)
            axes.plot(points, interquartile_mean(pooled, axis=0), color=colour, label=f"{name} ({len(pooled)} runs)")
            axes.plot(points, pooled.T, color=colour, linewidth=0.6, alpha=0.35)
        axes.set_title(title)
        axes.set_xlabel(LABELS[x_axis])
        axes.set_ylabel("interquartile mean of the reward")
        axes.margins(x=0.02)
        axes.legend(loc="best")
        axes.annotate("bands: 95 %, bootstrap over seeds; thin: single runs", (1, 1.02), xycoords="axes fraction",
                      ha="right", fontsize=8, color="#6b6b6b")
