"""Learning curves: what evaluations said, with their intervals, over the course of training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from myosu.errors import UserError
from myosu.plots.figure import COLOURS, GREY, MARKERS, figure
from myosu.training.files import read_lines
from myosu.training.run import open_run

Course = Literal["minutes", "env_steps", "updates"]
LABELS = {"minutes": "minutes of training", "env_steps": "steps in the environment", "updates": "gradient steps"}
#: What the course is called in the two kinds of lines of metrics.jsonl.
_EVALUATION = {"minutes": "training_seconds", "env_steps": "env_steps", "updates": "update"}
_TRAINING = {"minutes": "seconds", "env_steps": "env_steps", "updates": "update"}


@dataclass(frozen=True)
class Curve:
    """One run. course, mean: float64 [evaluations]; interval: float64 [evaluations, 2], of 95 %.

    episodes: float64 [records, 2], course and mean return of the episodes that training played itself; empty in games
    for two, where both sides are the agent.
    """

    name: str
    game: str
    two_players: bool
    course: np.ndarray
    mean: np.ndarray
    interval: np.ndarray
    episodes: np.ndarray


def read_curve(folder: Path, course: Course = "minutes") -> Curve:
    """Of the run in ``folder``. Raises UserError where there is nothing to draw."""
    run = open_run(folder)
    lines = list(read_lines(run.folder / "metrics.jsonl"))
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    two_players = run.config.environment.spec.num_players == 2
    played = [line for line in lines if not two_players and "episodes/reward_mean" in line]
    if not evaluations and not played:
        raise UserError(f"{folder} has not been evaluated yet, so there is nothing to draw.")
    return Curve(
        name=run.folder.resolve().name, game=run.config.environment.name, two_players=two_players,
        course=_course(folder, evaluations, course, _EVALUATION),
        mean=np.array([line["mean_reward"] for line in evaluations]),
        interval=np.array([line["mean_reward_ci95"] for line in evaluations]).reshape(-1, 2),
        episodes=np.stack([_course(folder, played, course, _TRAINING),
                           np.array([line["episodes/reward_mean"] for line in played])], axis=1),
    )


def plot_learning(folders: list[Path], output: Path, course: Course = "minutes", title: str | None = None) -> None:
    """Draw the runs in ``folders``, all of one game, into ``output``, a .png or .svg."""
    curves = [read_curve(folder, course) for folder in folders]
    if len(games := sorted({curve.game for curve in curves})) > 1:
        raise UserError(f"These runs are of different games ({', '.join(games)}), whose rewards share no axis.")
    with figure(output) as (_, axes):
        for i, curve in enumerate(curves):
            colour = COLOURS[i % len(COLOURS)]
            axes.plot(*curve.episodes.T, color=colour, linewidth=0.8, alpha=0.45)
            axes.fill_between(curve.course, *curve.interval.T, color=colour, alpha=0.18, linewidth=0)
            if len(curve.course) == 1:  # a band of no width
                axes.vlines(curve.course, *curve.interval.T, color=colour, linewidth=1)
            axes.plot(curve.course, curve.mean, color=colour, marker=MARKERS[i % len(MARKERS)], markersize=4,
                      label=curve.name)
        axes.set_title(games[0] if title is None else title)
        axes.set_xlabel(LABELS[course])
        axes.set_ylabel("mean reward against random" if curves[0].two_players else "mean return of an episode")
        axes.set_xlim(left=0)
        axes.margins(x=0.02)
        if curves[0].two_players:
            axes.axhline(0, color=GREY, linewidth=0.8)
        if course != "minutes":
            axes.xaxis.set_major_formatter(_thousands)
        if len(curves) > 1:
            axes.legend(loc="best")
        note = "bands: 95 %"
        if any(len(curve.episodes) for curve in curves):
            note += "; thin: episodes of training, exploring"
        axes.annotate(note, (1, 1.02), xycoords="axes fraction", ha="right", fontsize=8, color=GREY)


def minutes_at(run: Path, updates: list[int]) -> np.ndarray | None:
    """Minutes of training after which the run had made so many ``updates``; None where it has no records of that."""
    known = {line["update"]: line["seconds"] / 60 for line in read_lines(run / "metrics.jsonl")
             if line["kind"] == "training"}
    return np.interp(updates, list(known), list(known.values())) if known else None


def _course(folder: Path, lines: list[dict[str, Any]], course: Course, keys: dict[str, str]) -> np.ndarray:
    key = keys[course]
    if any(key not in line for line in lines):
        raise UserError(f"{folder} keeps no {LABELS[course]} with its evaluations (it was made by an earlier version); "
                        "draw it with --x minutes or --x updates.")
    return np.array([line[key] for line in lines], np.float64) / (60 if course == "minutes" else 1)


def _thousands(value: float, place: int) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
