"""Plot of a hyperparameter search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from myosu.plots.figure import COLOURS, GREY, figure


def plot_study(scores: Sequence[tuple[int, float, bool]], final: dict[str, Sequence[float]], output: Path,
               title: str) -> None:
    """Draw a study into ``output``, a .png or .svg.

    scores: for each trial its number, its last mean reward, and whether it was pruned. final: name of the settings →
    mean rewards of runs from fresh seeds, drawn to the right of the search.
    """
    with figure(output) as (_, axes):
        numbers = np.array([number for number, _, _ in scores])
        values, pruned = np.array([value for _, value, _ in scores]), np.array([cut for _, _, cut in scores], bool)
        axes.scatter(numbers[pruned], values[pruned], facecolors="none", edgecolors=GREY, s=24, label="pruned")
        axes.scatter(numbers[~pruned], values[~pruned], color=COLOURS[0], s=24, label="whole")
        axes.plot(numbers[~pruned], np.maximum.accumulate(values[~pruned]), color=COLOURS[0], linewidth=1,
                  drawstyle="steps-post", label="best so far")
        right = max(numbers, default=0) + 1
        for i, (name, runs) in enumerate(final.items(), start=1):
            place = right + i * max(1.0, 0.06 * right)
            axes.scatter([place] * len(runs), runs, color=COLOURS[i], marker="D", s=24)
            axes.hlines(np.mean(runs), place - 0.3, place + 0.3, color=COLOURS[i], label=f"{name}, fresh seeds")
        axes.set_title(title)
        axes.set_xlabel("trial")
        axes.set_ylabel("mean reward")
        axes.legend(loc="best", fontsize=8)
