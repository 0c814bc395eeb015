"""Data of a run for the watch page.

They are read only from the run's folder, so a run can be watched while another process trains it, after its end, and
even after its folder was deleted.
"""

from __future__ import annotations

import csv
import io
import json
import math
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from myosu.doctor.run import examine_run
from myosu.doctor.run_folder import view_run, with_new_games
from myosu.doctor.run_view import RunView
from myosu.doctor.shown import curves_of
from myosu.envs.game_history import GameHistory
from myosu.errors import UserError
from myosu.games import Game
from myosu.runs.config import LIMITS
from myosu.runs.curves import LABELS, LiveMetrics, XAxis, smooth, thin, x_value
from myosu.runs.run import open_run
from myosu.training.progress import time_left
from myosu.web.recordings import Missing, Recordings
from myosu.web.views import view

#: Seconds without a record (they come about every 5 seconds) after which the lock is tested for a running training.
QUIET_SECONDS = 20.0
#: Maximum number of evaluations in the table, of positions of a game sent together, of views whose curves are cached,
#: and of runs offered to add.
TABLE, POSITIONS, VIEWS, OFFERED = 400, 64, 8, 100
#: Fields of a configuration that are not settings.
NO_SETTINGS = ("spec", "code", "myosu")
#: Columns of the table, for one and for two players.
_EVALUATED = ("update", "env_steps", "games", "opponent", "mean_reward", "mean_reward_ci95", "win_rate",
              "win_rate_ci95", "draw_rate", "loss_rate", "mean_length")


@dataclass(frozen=True)
class Shown:
    """The view of the curves on a page.

    low, high: the visible part of the axis. smoothing: width of the moving average as a fraction of that part; 0 for
    none.
    """

    axis: XAxis
    low: float = 0.0
    high: float = math.inf
    smoothing: float = 0.0


class Watched:
    """The run in ``folder``, or the run of a checkpoint there. Thread-safe. Raises UserError if there is none."""

    def __init__(self, folder: Path) -> None:
        self._run = open_run(folder)
        self.folder = self._run.folder.resolve()
        self.name = self.folder.name
        self._file = self.folder / "metrics.jsonl"
        self._metrics = LiveMetrics(self._file)
        self._lock = threading.Lock()
        self._token = secrets.token_hex(4)
        self._drawn: OrderedDict[Shown, tuple[int, dict[str, Any]]] = OrderedDict()
        self._told: tuple[int, dict[str, Any]] = -1, {}
        self._history = lru_cache(8)(self._play_again)
        self._view: RunView | None = None

    def look(self, shown: Shown) -> tuple[str, dict[str, Any]]:
        """A tag that changes whenever the data change, and all data of the run, with its curves as ``shown``."""
        with self._lock:
            self._metrics.read()
            state = self._state()
            version = self._metrics.version
            if self._told[0] != version:
                self._told = version, self._tell()
            if self._drawn.get(shown, (None,))[0] != version:
                self._drawn[shown] = version, self._draw(shown)
                if len(self._drawn) > VIEWS:
                    self._drawn.popitem(last=False)
            tag = f'"{self._token}-{shown.axis}-{shown.low}-{shown.high}-{shown.smoothing}-{version}-{state}"'
            return tag, {**self._told[1], **self._drawn[shown][1], "state": state}

    def settings(self) -> dict[str, str]:
        """The settings of the run: name of the flag → value as JSON."""
        config = {name: value for name, value in self._run.config.to_json().items() if name not in NO_SETTINGS}
        train, own = config.pop("train"), config.pop("algorithm_config")
        return {name.replace("_", "-"): json.dumps(value) for name, value in {**config, **train, **own}.items()}

    def rows(self, name: str) -> list[tuple[float, ...]]:
        """All points of a curve: minutes, steps, updates, value; NaN if something was not recorded."""
        with self._lock:
            self._metrics.read()
            columns = [*(self._metrics.at(name, axis) for axis in LABELS), self._metrics.values(name)]
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def games(self) -> dict[str, Any]:
        """The game's rules for the page and the games that can be replayed, or the reason why there are none."""
        try:
            game = self._rules()
        except Missing as reason:
            return {"why": str(reason)}
        return {"rules": {"game": game.name, "players": game.num_players, "pass": game.pass_action,
                          "reward_range": game.reward_range,
                          "names": [game.action_name(action) for action in range(game.num_actions)]},
                **Recordings(self.folder, game).list()}

    def positions(self, episode: int, start: int) -> dict[str, Any]:
        """Positions of a game from ply ``start`` on, at most ``POSITIONS``."""
        history = self._history(episode)
        length = len(history.actions)
        if not 0 <= start <= length:
            raise UserError(f"That game has {length} moves; there is no position {start}.")
        plies = range(start, min(length + 1, start + POSITIONS))
        with self._lock:  # positions are replayed on one shared board
            return {"episode": episode, "length": length,
                    "positions": [view(history, history.position(ply)) for ply in plies]}

    def _play_again(self, episode: int) -> GameHistory:
        return Recordings(self.folder, self._rules()).history(episode)

    def _rules(self) -> Game:
        try:
            game = self._run.config.environment.game
        except UserError as reason:  # its code is not trusted or fails; the curves do not need it
            raise Missing(str(reason)) from None
        if game is None:
            raise Missing(f"{self._run.config.game} is a Gymnasium environment: replay its episodes with "
                          f"myosu episodes {self._run.folder} .")
        return game

    def _state(self) -> str:
        """"running", "finished", "stopped" (neither), "starting" (before the first record), "waiting" (not started) or
        "gone"."""
        if not self.folder.exists():
            return "gone"
        if not self._metrics.latest:
            return "starting" if self._run.is_locked() else "waiting"
        if self._metrics.latest.get("phase") == "finished":
            return "finished"
        return "running" if self._quiet() < QUIET_SECONDS or self._run.is_locked() else "stopped"

    def _quiet(self) -> float:
        return time.time() - _written(self._file)

    def _as_doctor(self) -> RunView:
        """The run as the doctor sees it. Its environment and presets are read only once."""
        if self._view is None:
            self._view = view_run(self.folder, self._run.config, self._metrics)
        else:
            self._view = with_new_games(self._view, self.folder)
        return self._view

    def _draw(self, shown: Shown) -> dict[str, Any]:
        curves, smoothed = {}, {}
        for name in self._metrics.names:
            points = self._metrics.points(name, shown.axis)
            points = points[(points[:, 0] >= shown.low) & (points[:, 0] <= shown.high)]
            curves[name] = _rounded(thin(points))
            if shown.smoothing and len(points):
                width = shown.smoothing * (points[-1, 0] - points[0, 0])
                smoothed[name] = _rounded(thin(smooth(points, width)))
        return {"curves": curves, "smoothed": smoothed}

    def _collected(self) -> float | None:
        """Fraction of ``learning_starts`` collected so far; None once updates have begun."""
        latest, needed = self._metrics.latest, self._run.config.algorithm_config.get("learning_starts")
        if not latest or latest.get("update") or not needed:
            return None
        return min(1.0, latest.get("replay_positions", 0) / needed)

    def _tell(self) -> dict[str, Any]:
        metrics, train = self._metrics, self._run.config.train
        latest = metrics.latest
        seconds = latest.get("seconds", 0.0)
        done = {"minutes": seconds / 60, "updates": latest.get("update", 0), "games": latest.get("games", 0),
                "env_steps": latest.get("env_steps", 0)}
        limits = {name: (done[name], limit) for name in LIMITS if (limit := getattr(train, name)) is not None}
        config = self._run.config
        return {
            "name": self.name, "game": config.game, "algorithm": Path(config.algorithm).stem,
            "players": config.num_players,
            "written": _written(self._file), "phase": latest.get("phase", ""), "seconds": seconds,
            "left": time_left(seconds, limits), "done": done,
            "share": min(1.0, max((part / limit for part, limit in limits.values()), default=0.0)),
            "began": _written(self.folder / "config.json"), "collected": self._collected(),
            "evaluations": [{name: line[name] for name in _EVALUATED if name in line}
                            | {"minutes": x_value(line, "minutes")} for line in metrics.evaluations[-TABLE:]],
            "findings": [{"check": finding.check.replace("-", " "), "severity": finding.severity,
                          "message": finding.message, "cause": finding.cause, "advice": finding.advice,
                          "confidence": finding.confidence, "curves": curves_of(finding, metrics.names)}
                         for finding in examine_run(self._as_doctor())],
        }


class Gallery:
    """The runs that a server shows, by number. Runs in the same folders can be added."""

    def __init__(self, folders: list[Path]) -> None:
        self.runs = [Watched(folder) for folder in folders]

    def others(self) -> list[str]:
        """Names of the runs in the same folders that are not shown, newest first."""
        return list(self._beside())[:OFFERED]

    def add(self, name: str) -> int:
        """Show the run with this name, one of ``others``. Returns its number. Raises UserError."""
        shown = [run.name for run in self.runs]
        if name in shown:
            return shown.index(name)
        folder = self._beside().get(name)  # never open a path from a request
        if folder is None:
            raise Missing("There is no other run of that name in these folders.")
        self.runs.append(Watched(folder))
        return len(self.runs) - 1

    def csv(self, names: list[str], runs: list[int]) -> str:
        """All points of the curves ``names`` of these runs, one per line."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["run", "curve", *LABELS, "value"])
        for run, name in product(map(self.run, runs), names):
            writer.writerows((run.name, name, *("" if math.isnan(x) else x for x in row[:-1]), row[-1])
                             for row in run.rows(name))
        return out.getvalue()

    def _beside(self) -> dict[str, Path]:
        shown = {run.name for run in self.runs}
        files = {file.parent.name: file for parent in {run.folder.parent for run in self.runs}
                 for file in parent.glob("*/config.json") if file.parent.name not in shown}
        return {name: file.parent for name, file in sorted(files.items(), key=lambda item: -_written(item[1]))}

    def run(self, number: int) -> Watched:
        if not 0 <= number < len(self.runs):
            raise Missing("There is no such run on this server.")
        return self.runs[number]


def parse_axis(text: str) -> XAxis:
    for axis in LABELS:
        if text == axis:
            return axis
    raise UserError(f"x must be {', '.join(LABELS)}.")


def parse_shown(x: str, low: str, high: str, smoothing: str) -> Shown:
    """Parse the parameters of a request. Raises UserError."""
    try:
        shown = Shown(parse_axis(x), float(low), float(high), float(smoothing))
    except ValueError:
        raise UserError("from, to and smoothing must be numbers.") from None
    if not (0 <= shown.low < shown.high and 0 <= shown.smoothing <= 1):
        raise UserError("from must be 0 or more and less than to, and smoothing from 0 to 1.")
    return shown


def _written(file: Path) -> float:
    """Time of the last change in seconds since 1970; 0 if there is no such file."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _rounded(points: np.ndarray) -> list[list[float]]:
    return [[_short(x), _short(y)] for x, y in points.tolist()]


def _short(value: float) -> float:
    """Round to the precision of a chart."""
    return round(value, 6 - math.frexp(value)[1] * 3 // 10) if value else 0.0
