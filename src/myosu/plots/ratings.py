"""Ratings of checkpoints over the course of training, with the league's other players as horizontal lines."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from myosu.arena.standings import Standings
from myosu.errors import UserError
from myosu.plots.figure import COLOURS, GREY, MARKERS, figure
from myosu.runs.curves import LABELS, minutes_at


def plot_ratings(standings: Standings, output: Path) -> None:
    """Draw into ``output``, a .png or .svg, over minutes if all runs record them, otherwise over gradient steps."""
    lines: defaultdict[tuple[str, int | None], list[int]] = defaultdict(list)
    levels = []
    for i, entrant in enumerate(standings.entrants):
        if entrant.update is None:
            levels.append(i)
        else:
            lines[entrant.run or "", entrant.simulations].append(i)
    if not lines:
        raise UserError("There is no checkpoint among the rated players, so there is nothing to plot over training.")
    updates = {line: [standings.entrants[i].update or 0 for i in players] for line, players in lines.items()}
    minutes = {line: minutes_at(Path(line[0]), updates[line]) for line in lines}
    timed = all(found is not None for found in minutes.values())
    xs = {line: np.asarray(minutes[line] if timed else updates[line], np.float64) for line in lines}
    longest = max(x.max() for x in xs.values())
    with figure(output, height=5.5) as (_, axes):
        for k, (line, players) in enumerate(sorted(lines.items(), key=lambda item: -len(item[1]))):
            x = xs[line]
            if len(players) == 1:  # usually the same checkpoint with other simulations: draw it beside, not on top
                x = x + 0.012 * k * longest
            order = np.argsort(x)
            chosen, colour = np.array(players)[order], COLOURS[k % len(COLOURS)]
            elo, ends = standings.elo[chosen], standings.interval[chosen]
            name = Path(line[0]).name + (f", {line[1]} simulations" if line[1] else "")
            axes.vlines(x[order], *ends.T, color=colour, linewidth=0.8, alpha=0.35)
            axes.errorbar(x[order], elo, yerr=standings.half_width[chosen], color=colour, label=name,
                          elinewidth=2.2, marker=MARKERS[k % len(MARKERS)], markersize=5)
        low, high = axes.get_ylim()
        low, high = min(low, standings.elo.min() - 30), max(high, standings.elo.max() + 30)
        axes.set_ylim(low, high)
        places = _spread([float(standings.elo[i]) for i in levels], (high - low) / 26)
        for i, place in zip(levels, places, strict=True):
            elo = float(standings.elo[i])
            axes.axhline(elo, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
            axes.annotate(f"{standings.entrants[i].name}  {elo:.0f}", (1, elo), (1.02, place),
                          xycoords=("axes fraction", "data"), textcoords=("axes fraction", "data"), va="center",
                          fontsize=8.5, color=GREY, annotation_clip=False,
                          arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0})
        axes.set_title(f"{standings.game}: ratings over training")
        axes.set_xlabel(LABELS["minutes" if timed else "updates"])
        axes.set_ylabel("Elo, random = 0")
        axes.set_xlim(left=0)
        if standings.not_rated:
            names = ", ".join(entrant.name for entrant in standings.not_rated)
            axes.annotate(f"not rated yet: {names}\n({standings.why_not()})", (0.01, 0.99), xycoords="axes fraction",
                          va="top", fontsize=8, color=GREY)
        axes.legend(loc="lower right", title_fontsize=8, alignment="left", frameon=True, edgecolor="none",
                    title="95 % intervals: thick, of the distance to the\nleague's mean; thin, to random")


def _spread(places: list[float], gap: float) -> list[float]:
    """The descending ``places``, moved as little as possible so that they are at least ``gap`` apart."""
    groups: list[list[float]] = []  # for each group: the sum of the preferred tops, and its size
    for wanted in places:
        groups.append([wanted, 1])
        while len(groups) > 1 and _top(groups[-1]) > _top(groups[-2]) - groups[-2][1] * gap:
            total, count = groups.pop()
            groups[-1][0] += total + count * groups[-1][1] * gap
            groups[-1][1] += count
    return [_top(group) - k * gap for group in groups for k in range(int(group[1]))]


def _top(group: list[float]) -> float:
    return group[0] / group[1]
