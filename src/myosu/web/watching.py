"""What the watch page shows of a run. It is read only from the run's folder, so a run can be watched while another
process trains in it, after it ended, and even when its folder is deleted."""

from __future__ import annotations

import math
import secrets
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from myosu.doctor.run import examine_run
from myosu.doctor.run_folder import view_run, with_new_games
from myosu.doctor.run_view import RunView
from myosu.doctor.shown import curves_of
from myosu.envs.course import Course
from myosu.errors import UserError
from myosu.games import Game
from myosu.runs.config import LIMITS
from myosu.runs.curves import LABELS, LiveMetrics, course_of, thin
from myosu.runs.curves import Course as Axis
from myosu.runs.run import open_run
from myosu.training.progress import time_left
from myosu.web.recordings import Missing, Recordings
from myosu.web.views import view

#: Seconds without a record (they come about every 5 seconds) after which the lock is tested for a running training.
QUIET_SECONDS = 20.0
#: Number of evaluations in the table, and of positions of a game that are sent at once.
TABLE, POSITIONS = 400, 64
#: What a row of the table has, of one player alone and of two.
_EVALUATED = ("update", "env_steps", "games", "opponent", "mean_reward", "mean_reward_ci95", "win_rate",
              "win_rate_ci95", "draw_rate", "loss_rate", "mean_length")


class Watched:
    """The run in ``folder``, or of a checkpoint in it. Raises UserError where there is none. Threads may share it."""

    def __init__(self, folder: Path) -> None:
        self._run = open_run(folder)
        self.folder = self._run.folder.resolve()
        self.name = self.folder.name
        self._file = self.folder / "metrics.jsonl"
        self._metrics = LiveMetrics(self._file)
        self._lock = threading.Lock()
        self._token = secrets.token_hex(4)
        self._drawn: dict[Axis, tuple[int, dict[str, Any]]] = {}
        self._course = lru_cache(8)(self._play_again)
        self._view: RunView | None = None

    def look(self, axis: Axis) -> tuple[str, dict[str, Any]]:
        """A tag that changes whenever the data change, and all data about the run, with its curves over ``axis``."""
        with self._lock:
            self._metrics.read()
            state = self._state()
            version = self._metrics.version
            if self._drawn.get(axis, (None,))[0] != version:
                self._drawn[axis] = version, self._draw(axis)
            return f'"{self._token}-{axis}-{version}-{state}"', {**self._drawn[axis][1], "state": state}

    def games(self) -> dict[str, Any]:
        """What the page must know of the game, and the games that can be replayed; or the reason why there are none."""
        try:
            game = self._rules()
        except Missing as reason:
            return {"why": str(reason)}
        return {"rules": {"game": game.name, "players": game.num_players, "pass": game.pass_action,
                          "names": [game.action_name(action) for action in range(game.num_actions)]},
                **Recordings(self.folder, game).list()}

    def positions(self, episode: int, start: int) -> dict[str, Any]:
        """Of a game, the positions from ply ``start`` on, as many as are sent at once."""
        course = self._course(episode)
        length = len(course.actions)
        if not 0 <= start <= length:
            raise UserError(f"That game has {length} moves; there is no position {start}.")
        plies = range(start, min(length + 1, start + POSITIONS))
        with self._lock:  # a course plays positions again on one board
            return {"episode": episode, "length": length,
                    "positions": [view(course, course.position(ply)) for ply in plies]}

    def _play_again(self, episode: int) -> Course:
        return Recordings(self.folder, self._rules()).course(episode)

    def _rules(self) -> Game:
        try:
            game = self._run.config.environment.game
        except UserError as reason:  # its code may not run, or fails; the curves do not need it
            raise Missing(str(reason)) from None
        if game is None:
            raise Missing(f"{self._run.config.game} is a Gymnasium environment: its episodes are seen again with "
                          f"myosu episodes {self._run.folder} .")
        return game

    def _state(self) -> str:
        """running, finished, stopped (neither), waiting (for the first record) or gone."""
        if not self.folder.exists():
            return "gone"
        if not self._metrics.latest:
            return "waiting"
        if self._metrics.latest.get("phase") == "finished":
            return "finished"
        return "running" if self._quiet() < QUIET_SECONDS or self._run.is_locked() else "stopped"

    def _written(self) -> float:
        """Seconds since 1970."""
        try:
            return self._file.stat().st_mtime
        except OSError:
            return 0.0

    def _quiet(self) -> float:
        return time.time() - self._written()

    def _as_doctor(self) -> RunView:
        """The run as its doctor sees it; its environment and presets are read once."""
        if self._view is None:
            self._view = view_run(self.folder, self._run.config, self._metrics)
        else:
            self._view = with_new_games(self._view, self.folder)
        return self._view

    def _draw(self, axis: Axis) -> dict[str, Any]:
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
            "written": self._written(), "phase": latest.get("phase", ""), "seconds": seconds,
            "left": time_left(seconds, limits), "done": done,
            "share": min(1.0, max((part / limit for part, limit in limits.values()), default=0.0)),
            "curves": {name: [[_short(x), _short(y)] for x, y in thin(metrics.points(name, axis)).tolist()]
                       for name in metrics.names},
            "evaluations": [{name: line[name] for name in _EVALUATED if name in line}
                            | {"minutes": course_of(line, "minutes")} for line in metrics.evaluations[-TABLE:]],
            "findings": [{"check": finding.check.replace("-", " "), "severity": finding.severity,
                          "message": finding.message, "cause": finding.cause, "advice": finding.advice,
                          "confidence": finding.confidence, "curves": curves_of(finding, metrics.names)}
                         for finding in examine_run(self._as_doctor()) if finding.severity != "info"],
        }


class Gallery:
    """The runs that a server shows, by number."""

    def __init__(self, folders: list[Path]) -> None:
        self.runs = [Watched(folder) for folder in folders]

    def run(self, number: int) -> Watched:
        if not 0 <= number < len(self.runs):
            raise Missing("There is no such run on this server.")
        return self.runs[number]


def parse_axis(text: str) -> Axis:
    for axis in LABELS:
        if text == axis:
            return axis
    raise UserError(f"x must be {', '.join(LABELS)}.")


def _short(value: float) -> float:
    """Rounded to what a picture shows."""
    return round(value, 6 - math.frexp(value)[1] * 3 // 10) if value else 0.0
