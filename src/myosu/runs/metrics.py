"""Writes a run's metrics, as JSON lines and for TensorBoard, and its list of games."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from myosu.runs.curves import MetricsLine
from myosu.runs.games import GameLine, GameRecord, append_line
from myosu.runs.reading import read_lines, truncate_lines
from myosu.runs.run import Run
from myosu.runs.videos import find_videos

#: One in this many episodes is recorded with its actions in games.jsonl.
ACTIONS_EVERY = 10
SEATS = ("first", "second")
#: Fields of an evaluation that are written for TensorBoard.
EVALUATED = ("mean_reward", "mean_raw_reward", "win_rate", "draw_rate", "mean_length")


class Rates:
    """Counters per second over the last ``window`` seconds."""

    def __init__(self, window: float = 60.0) -> None:
        self._window = window
        self._samples: deque[tuple[float, dict[str, float]]] = deque()

    def update(self, counters: Mapping[str, float]) -> dict[str, float]:
        now = time.monotonic()
        self._samples.append((now, dict(counters)))
        while now - self._samples[0][0] > self._window and len(self._samples) > 2:
            self._samples.popleft()
        start, first = self._samples[0]
        seconds = max(now - start, 1e-9)
        return {name: (value - first[name]) / seconds if now > start else 0.0 for name, value in counters.items()}


class Metrics:
    """Collects numbers between two records and writes the records. When a run is resumed, lines after the given
    counters are dropped."""

    def __init__(self, run: Run, update: int, env_steps: int, games: int) -> None:
        folder = run.folder
        truncate_lines(folder / "metrics.jsonl", lambda line: line["update"] <= update and (
            line["kind"] == "evaluation" or line.get("env_steps", 0) <= env_steps), MetricsLine)
        truncate_lines(folder / "games.jsonl", lambda line: line["index"] < games, GameLine)
        for index, video in find_videos(folder):
            if index >= games:  # another episode will get this index
                video.unlink()
        self.evaluations = read_evaluations(folder / "metrics.jsonl")
        self._best = max((line["returns"][0] for line in read_lines(folder / "games.jsonl", GameLine)
                          if "actions" in line and line["returns"]), default=-math.inf)
        self._video_every = run.config.train.video_every
        self._metrics = open(folder / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        self._games = open(folder / "games.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=update + 1)
        self._board_update = update
        self._episodes: list[GameRecord] = []
        self._losses: list[dict[str, float]] = []

    def add_episode(self, episode: GameRecord, index: int, env_steps: int) -> GameRecord | None:
        """Write an episode to the run's list. Returns its record if a video of it is due, otherwise None. index: its
        number in the run. env_steps: the run's steps when it arrived."""
        best = len(episode.returns) == 1 and episode.returns[0] > self._best  # a new best episode of a single player
        if best:
            self._best = episode.returns[0]
        filmed = self._video_every > 0 and episode.seed is not None and (best or index % self._video_every == 0)
        record = replace(episode, index=index, env_steps=env_steps)
        if not (best or filmed or index % ACTIONS_EVERY == 0):
            record = replace(record, actions=None, replies=[])
        append_line(self._games, record)
        self._episodes.append(record)
        return record if filmed else None

    def add_losses(self, losses: dict[str, float]) -> None:
        if losses:
            self._losses.append(losses)

    def record(self, counters: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
        """Write a record: ``counters`` (including ``update`` and ``env_steps``), and the mean losses and the statistics
        of the episodes since the last record, which are returned."""
        losses = _means(self._losses)
        played = self._played()
        line = {**counters, **{f"loss/{name}": value for name, value in losses.items()}, **played}
        self._losses, self._episodes = [], []
        self._write({"kind": "training", **line})
        # TensorBoard expects one value per step, and its steps are updates.
        if counters["update"] > self._board_update:
            self._board_update = counters["update"]
            for name, value in line.items():
                if name not in ("update", "phase") and value is not None:
                    self._board.add_scalar(name if "/" in name else f"run/{name}", value, counters["update"])
        return losses, played

    def add_evaluation(self, evaluation: dict[str, Any]) -> None:
        """Write an evaluation: ``update`` and the JSON of a match or of episodes."""
        self.evaluations.append(evaluation)
        self._write({"kind": "evaluation", **evaluation})
        for name in EVALUATED:
            if name in evaluation:
                self._board.add_scalar(f"evaluation/{name}", evaluation[name], evaluation["update"])

    def flush(self) -> None:
        self._metrics.flush()
        self._games.flush()
        self._board.flush()

    def close(self) -> None:
        self._metrics.close()
        self._games.close()
        self._board.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._metrics.write(json.dumps(line) + "\n")
        self._metrics.flush()
        self._games.flush()

    def _played(self) -> dict[str, float]:
        """Statistics of the episodes since the last record: length, reward (per seat if there are two), ``stats``."""
        if not self._episodes:
            return {}
        returns = np.array([episode.returns for episode in self._episodes])
        seats = [f"_{seat}" for seat in SEATS] if returns.shape[1] == 2 else [""]
        place = "selfplay" if len(seats) == 2 else "episodes"
        result = {f"{place}/length": float(np.mean([episode.length for episode in self._episodes]))}
        for seat, rewards in zip(seats, returns.T, strict=True):
            for name in ("min", "max", "mean", "std"):
                result[f"{place}/reward{seat}_{name}"] = float(getattr(np, name)(rewards))
        stats = _means([episode.stats for episode in self._episodes])
        return result | {f"{place}/{name}": value for name, value in stats.items()}


def read_evaluations(file: Path) -> list[dict[str, Any]]:
    """The evaluations in a run's metrics.jsonl, oldest first."""
    return [record for record in read_lines(file, MetricsLine) if record.pop("kind") == "evaluation"]


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
