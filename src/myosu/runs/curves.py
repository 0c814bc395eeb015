"""Learning curves from a run's metrics.jsonl. Only this module extracts curves from its lines."""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np

from myosu.errors import UserError
from myosu.runs.reading import Count, DamagedValue, Finite, Fraction, parse_line, read_lines
from myosu.runs.run import open_run

XAxis = Literal["minutes", "env_steps", "updates"]
LABELS: dict[XAxis, str] = {"minutes": "minutes of training", "env_steps": "steps in the environment",
                            "updates": "gradient steps"}
#: Field of each x axis in the two kinds of lines.
_KEYS = {"evaluation": {"minutes": "training_seconds", "env_steps": "env_steps", "updates": "update"},
         "training": {"minutes": "seconds", "env_steps": "env_steps", "updates": "update"}}


class TrainingLine(TypedDict):
    """A training line of metrics.jsonl: these fields and further numbers by name, NaN where training failed."""

    kind: Literal["training"]
    update: Count
    seconds: Finite
    env_steps: NotRequired[Count]
    games: NotRequired[Count]
    phase: NotRequired[str]
    actor_restarts: NotRequired[Count]
    env_restarts: NotRequired[Count]
    learner_wait_share: NotRequired[Finite]
    learner_act_share: NotRequired[Finite]
    actor_wait_share: NotRequired[Finite]


class EvaluationLine(TypedDict):
    """An evaluation line of metrics.jsonl: the JSON of a match or of episodes, and when it was."""

    kind: Literal["evaluation"]
    update: Count
    mean_reward: Finite
    mean_reward_ci95: tuple[Finite, Finite]
    env_steps: NotRequired[Count | None]
    training_seconds: NotRequired[Finite | None]
    games: NotRequired[Count]
    opponent: NotRequired[str]
    mean_raw_reward: NotRequired[Finite]
    mean_length: NotRequired[Finite]
    win_rate: NotRequired[Fraction]
    draw_rate: NotRequired[Fraction]
    loss_rate: NotRequired[Fraction]
    win_rate_ci95: NotRequired[tuple[Finite, Finite]]


MetricsLine = TrainingLine | EvaluationLine

#: Number of leading bytes that identify a file.
_HEAD = 256


@dataclass(frozen=True)
class Curve:
    """Learning curve of one run.

    x, mean: float64 [evaluations]. interval: float64 [evaluations, 2], the 95 % interval.
    episodes: float64 [records, 2], x value and mean return of the training episodes; empty in two-player games, where
    the agent plays both sides. opponents: the distinct opponents of the evaluations; empty in single-player games.
    """

    name: str
    game: str
    two_players: bool
    x: np.ndarray
    mean: np.ndarray
    interval: np.ndarray
    episodes: np.ndarray
    opponents: list[str]


def read_curve(folder: Path, x_axis: XAxis = "minutes") -> Curve:
    """Read the curve of the run in ``folder``. Raises UserError if there is nothing to draw."""
    run = open_run(folder)
    lines = list(read_lines(run.folder / "metrics.jsonl", MetricsLine))
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    two_players = run.config.num_players == 2
    played = [line for line in lines if not two_players and type(line.get("episodes/reward_mean")) in (int, float)]
    if not evaluations and not played:
        raise UserError(f"{folder} has not been evaluated yet, so there is nothing to draw.")
    return Curve(
        name=run.folder.resolve().name, game=run.config.game, two_players=two_players,
        x=_x_values(folder, evaluations, x_axis),
        mean=np.array([line["mean_reward"] for line in evaluations]),
        interval=np.array([line["mean_reward_ci95"] for line in evaluations]).reshape(-1, 2),
        episodes=np.stack([_x_values(folder, played, x_axis),
                           np.array([line["episodes/reward_mean"] for line in played])], axis=1),
        opponents=list(dict.fromkeys(line["opponent"] for line in evaluations if "opponent" in line)),
    )


def minutes_at(run: Path, updates: list[int]) -> np.ndarray | None:
    """Minutes of training at which the run reached each of ``updates``, interpolated; None without training lines."""
    known = {line["update"]: line["seconds"] / 60 for line in read_lines(run / "metrics.jsonl", MetricsLine)
             if line["kind"] == "training"}
    return np.interp(updates, list(known), list(known.values())) if known else None


class LiveMetrics:
    """The metrics in ``file``, which the run may still be writing. Each ``read`` adds the new lines.

    evaluations: evaluation lines, oldest first. latest: the newest training line. damaged: number of unreadable lines.
    version: changes whenever the data change.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.version, self.damaged = 0, 0
        self._offset, self._identity, self._head = 0, (0, 0), b""
        self._forget()

    def read(self) -> None:
        """Read new lines. An incomplete last line is left for the next call. If the file was replaced, truncated or
        deleted, earlier data are dropped and it is read from the start."""
        try:
            with open(self._file, "rb") as file:
                status = os.fstat(file.fileno())
                head = file.read(_HEAD)
                same = (status.st_dev, status.st_ino) == self._identity and head.startswith(self._head)
                if not same or status.st_size < self._offset:
                    self._forget()
                file.seek(self._offset)
                new = file.read()
        except OSError:
            if self._offset:
                self._forget()
            return
        whole, end, _ = new.rpartition(b"\n")
        if not end:
            return
        self._offset += len(whole) + 1
        self._identity, self._head = (status.st_dev, status.st_ino), head[:self._offset]
        for line in whole.split(b"\n"):
            try:
                self._add(parse_line(line, MetricsLine))
            except DamagedValue:
                self.damaged += 1
        self.version += 1

    @property
    def names(self) -> list[str]:
        """Names of all recorded numbers."""
        return list(self._values)

    def values(self, name: str) -> np.ndarray:
        """float64 [records with this number], as written, including NaN and infinity."""
        return np.array(self._values.get(name, ()), np.float64)

    def at(self, name: str, x_axis: XAxis) -> np.ndarray:
        """float64 [records with this number]: their x values, NaN where not recorded."""
        return np.array(self._x_values[x_axis])[np.array(self._rows.get(name, ()), np.intp)]

    def points(self, name: str, x_axis: XAxis) -> np.ndarray:
        """float64 [points, 2]: ``at`` and ``values``, where both are finite."""
        points = np.stack([self.at(name, x_axis), self.values(name)], axis=1)
        return points[np.isfinite(points).all(axis=1)]

    def _forget(self) -> None:
        self.version += 1
        self._offset, self._identity, self._head = 0, (0, 0), b""
        self.evaluations: list[dict[str, Any]] = []
        self.latest: dict[str, Any] = {}
        self.damaged = 0
        # Columns, because one dictionary per line of a long run would take too much memory.
        self._x_values: dict[XAxis, array[float]] = {x_axis: array("d") for x_axis in LABELS}
        self._rows: dict[str, array[int]] = {}
        self._values: dict[str, array[float]] = {}

    def _add(self, line: dict[str, Any]) -> None:
        keys = _KEYS[line["kind"]]
        if line["kind"] == "evaluation":
            self.evaluations.append(line)
            low, high = line["mean_reward_ci95"]
            numbers = {"evaluation/mean_reward": line["mean_reward"], "evaluation/mean_reward_low": low,
                       "evaluation/mean_reward_high": high}
        else:
            self.latest = line
            numbers = {name: value for name, value in line.items()
                       if type(value) in (int, float) and name not in keys.values()}
        row = len(self._x_values["minutes"])
        for x_axis, values in self._x_values.items():
            found = x_value(line, x_axis)
            values.append(np.nan if found is None else found)
        for name, value in numbers.items():
            self._rows.setdefault(name, array("q")).append(row)
            self._values.setdefault(name, array("d")).append(value)


def thin(points: np.ndarray, most: int = 400) -> np.ndarray:
    """Thin out points, float64 [points, 2], to at most ``most``: the first, the last, and the minimum and maximum of
    every section between them, so that no peak is lost."""
    if len(points) <= most:
        return points
    stretches = np.array_split(np.arange(1, len(points) - 1), (most - 2) // 2)
    kept = {0, len(points) - 1}
    for stretch in stretches:
        values = points[stretch, 1]
        kept |= {int(stretch[values.argmin()]), int(stretch[values.argmax()])}
    return points[sorted(kept)]


def smooth(points: np.ndarray, width: float) -> np.ndarray:
    """Moving average of points, float64 [points, 2] sorted by x: the mean over all points within ``width`` / 2 in x."""
    x, sums = points[:, 0], np.cumsum(np.concatenate([[0.0], points[:, 1]]))
    low, high = np.searchsorted(x, x - width / 2, "left"), np.searchsorted(x, x + width / 2, "right")
    return np.stack([x, (sums[high] - sums[low]) / (high - low)], axis=1)


def x_value(line: dict[str, Any], x_axis: XAxis) -> float | None:
    """The x value of a line of metrics.jsonl; None if the line does not have it."""
    value = line.get(_KEYS[line["kind"]][x_axis])
    return None if value is None else float(value) / (60 if x_axis == "minutes" else 1)


def _x_values(folder: Path, lines: list[dict[str, Any]], x_axis: XAxis) -> np.ndarray:
    x_values = [x_value(line, x_axis) for line in lines]
    if None in x_values:
        raise UserError(f"{folder} keeps no {LABELS[x_axis]} with its evaluations (it was made by an earlier version); "
                        "draw it with --x minutes or --x updates.")
    return np.array(x_values, np.float64)
