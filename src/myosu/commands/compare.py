"""``myosu compare``: compare groups of runs statistically, over seeds."""

from __future__ import annotations

import dataclasses
import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from myosu.commands.options import parse

#: With fewer seeds in a group, no conclusion is drawn.
LEAST_SEEDS = 3
#: Significance level: a difference counts if its permutation p-value is below it.
SURE = 0.05


@dataclass
class Options:
    """Compare runs over seeds: interquartile means with intervals by a stratified bootstrap, and the probability that a
    run of the first group beats a run of the baseline. Runs of several games are compared game by game."""

    runs: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """Folders of runs that differ only in their seeds."""
    baseline: tuple[Path, ...] = ()
    """Folders of the runs to compare them with."""
    x: Literal["minutes", "env_steps", "updates"] = "env_steps"
    """The x axis of the sample-efficiency curves."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = None
    """Draw the curves into this .png or .svg; for runs of several games, of normalised rewards."""
    json: bool = False
    """Print JSON only."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "compare", arguments)
    from myosu.errors import UserError
    from myosu.plots.comparison import plot_comparison
    from myosu.runs.curves import Curve, read_curve

    if not options.runs:
        raise UserError("Which runs? For example: myosu compare runs/new-* --baseline runs/old-*")
    names = ["runs", "baseline"] if options.baseline else ["runs"]
    groups: dict[str, list[Curve]] = {}
    for name, folders in zip(names, (options.runs, options.baseline), strict=False):
        groups[name] = [read_curve(folder, options.x) for folder in folders]
        for folder, curve in zip(folders, groups[name], strict=True):
            if not len(curve.mean):
                raise UserError(f"{folder} has not been evaluated, so it has no score.")
    games = sorted({curve.game for group in groups.values() for curve in group})
    for name, group in groups.items():
        if lacking := sorted(set(games) - {curve.game for curve in group}):
            raise UserError(f"The {name} have no run of {', '.join(lacking)}: compare the same games on both sides.")
    by_game = {name: [[curve for curve in group if curve.game == game] for game in games]
               for name, group in groups.items()}
    if len(games) > 1:
        by_game = normalized(by_game)
    report = compare(by_game, games)
    if options.output:
        plot_comparison(by_game, options.output, options.x, _title(games))
    if options.json:
        print(json_module.dumps(report, indent=1))
    else:
        _print(report, options.output)
    return 0


def normalized(groups: dict[str, list[list[Any]]]) -> dict[str, list[list[Any]]]:
    """The curves with the rewards of every game rescaled: 0 is its worst first evaluation, 1 its best last one."""
    from myosu.evaluation.comparison import normalize

    ranges = []
    for game in zip(*groups.values(), strict=True):
        curves = [curve for part in game for curve in part]
        ranges.append((min(curve.mean[0] for curve in curves), max(curve.mean[-1] for curve in curves)))
    return {name: [[dataclasses.replace(curve, mean=normalize(curve.mean, *limits)) for curve in game]
                   for game, limits in zip(group, ranges, strict=True)] for name, group in groups.items()}


def _title(games: list[str]) -> str:
    return ", ".join(games) + (", normalised" if len(games) > 1 else "")


def compare(groups: dict[str, list[list[Any]]], games: list[str]) -> dict[str, Any]:
    """Compare groups of runs. groups: curves by name, "runs" and optionally "baseline", of each game, normalised if
    there are several games. Returns the report as JSON."""
    import numpy as np

    from myosu.evaluation.comparison import all_tasks, bootstrap_interval, improvement, permutation_p_value

    scores = [[np.array([curve.mean[-1] for curve in game]) for game in group] for group in groups.values()]
    report: dict[str, Any] = {"games": games, "normalized": len(games) > 1, "groups": {}}
    for name, group in zip(groups, scores, strict=True):
        values = np.concatenate(group)
        report["groups"][name] = {
            "runs": len(values), "interquartile_mean": all_tasks(group), "mean": float(values.mean()),
            "least": float(values.min()), "greatest": float(values.max()),
            "ci95": list(bootstrap_interval(all_tasks, group)) if len(values) > 1 else None,
        }
    if len(scores) == 2:
        report["probability_of_improvement"] = improvement(*scores)
        report["probability_ci95"] = list(bootstrap_interval(improvement, *scores))
        report["permutation_p_value"] = permutation_p_value(scores[0], scores[1])
        report["verdict"] = _verdict(report, min(len(task) for group in scores for task in group))
    return report


def _verdict(report: dict[str, Any], seeds: int) -> str:
    low, high = report["probability_ci95"]
    if seeds < LEAST_SEEDS:
        return (f"too few seeds ({seeds} on a side) to say which is better: train {LEAST_SEEDS} or more, "
                "preferably 5 to 10")
    sure = report["permutation_p_value"] < SURE
    if sure and low > 0.5:
        return "the runs are better than the baseline"
    if sure and high < 0.5:
        return "the runs are worse than the baseline"
    return "no difference is shown: train more seeds, or accept that there is none that matters"


def _print(report: dict[str, Any], output: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "runs", "interquartile mean", "95 %", "mean", "min to max",
                  title=_title(report["games"]))
    for name, group in report["groups"].items():
        interval = "–" if group["ci95"] is None else "{:.4g} to {:.4g}".format(*group["ci95"])
        table.add_row(name, str(group["runs"]), f"{group['interquartile_mean']:.4g}", interval, f"{group['mean']:.4g}",
                      f"{group['least']:.4g} to {group['greatest']:.4g}")
    console = Console()
    console.print(table)
    if "verdict" in report:
        low, high = report["probability_ci95"]
        console.print(f"A run beats one of the baseline with probability {report['probability_of_improvement']:.2f} "
                      f"[{low:.2f}, {high:.2f}] (permutation test: p = "
                      f"{report['permutation_p_value']:.2g}): {report['verdict']}.")
    if output:
        console.print(str(output))
