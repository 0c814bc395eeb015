"""Raw transitions: what happened, step by step, of many environments mixed; returns are made by whoever learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

from myosu.envs.vector import EnvSpec, Step
from myosu.errors import UserError
from myosu.replay.frames import StackedFrames
from myosu.replay.replay import Columns, Replay, Rows

#: Draws that find nothing to learn from, one after another, before it is the replay that is too small.
MAX_DRAWS = 1000


def transition_columns(spec: EnvSpec, action: tuple[tuple[int, ...], Any]) -> Columns:
    """What is stored of a step. action: shape and dtype of what the algorithm stores of an action.

    env_id: which environment of which actor; its rows come in the order of time.
    acted: whether there was an action. The last observation of an episode has a row of its own, where there was none:
        that row is only looked at, as what came after the row before it. Its mask is the last one that is known.
    reward, terminated, truncated: what came of the action.
    """
    return {
        "observation": (spec.observation_shape, spec.observation_dtype),
        "legal_actions": ((spec.num_actions,), np.bool_),
        "action": action,
        "reward": ((), np.float32),
        "terminated": ((), np.bool_),
        "truncated": ((), np.bool_),
        "acted": ((), np.bool_),
        "env_id": ((), np.int64),
    }


def stored_columns(spec: EnvSpec, columns: Columns) -> Columns:
    """``columns`` as ``Transitions`` store them: of several frames at once about one is new in each row."""
    if spec.frame_stack < 2:
        return columns
    (frames, *frame), dtype = columns["observation"]
    return {**columns, "observation": ((1, *frame), dtype), "frames": ((frames,), np.int32)}


class RunningSteps:
    """The step under way in each of ``num_envs`` environments, as an actor keeps it until it is answered.

    ``act`` with what was acted on and how, then ``answer``: the rows of as many environments as have answered.
    first_id: env_ids count from here.
    """

    def __init__(self, columns: Columns, num_envs: int, first_id: int = 0) -> None:
        answered = ("reward", "terminated", "truncated", "acted", "env_id")
        self.steps = {name: np.zeros((num_envs, *shape), dtype) for name, (shape, dtype) in columns.items()
                      if name not in answered}
        self.first_id = first_id

    def act(self, env_ids: np.ndarray, **values: np.ndarray) -> None:
        for name, value in values.items():
            self.steps[name][env_ids] = value

    def answer(self, step: Step) -> Rows:
        """A row for each environment, in the order of ``step``, then the last observations of episodes that ended.
        ``remaining`` is 1 in the last step of an episode, else 0."""
        ended, n = np.flatnonzero(step.terminated | step.truncated), len(step.env_ids)
        ids = np.append(step.env_ids, step.env_ids[ended]) if len(ended) else step.env_ids
        rows = {name: column[ids] for name, column in self.steps.items()}
        rows["env_id"] = ids + self.first_id
        for name in ("reward", "terminated", "truncated"):
            values = getattr(step, name)
            rows[name] = np.append(values, np.zeros(len(ended), values.dtype)) if len(ended) else values
        rows["acted"], rows["remaining"] = np.ones(len(ids), np.bool_), np.zeros(len(ids), np.int32)
        if len(ended):
            for name in self.steps.keys() - {"observation", "legal_actions"}:
                rows[name][n:] = 0
            rows["observation"][n:] = step.final_observation[ended]
            rows["acted"][n:], rows["remaining"][ended] = False, 1
        return rows

    def state_dict(self) -> dict[str, Any]:
        return {"first_id": self.first_id, "steps": {name: column.copy() for name, column in self.steps.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first_id = state["first_id"]
        self.steps = {name: state["steps"][name].copy() for name in self.steps}


class Windows(NamedTuple):
    """Up to n steps from each of B rows. steps: int64 [B, n], the rows they are in, those beyond ``length`` any row.
    length: int64 [B], at least 1. after: int64 [B], the row that shows what came after them. terminated: bool [B], the
    episode ended with the last of them. complete: bool [B], there are n of them or the episode ended; of others more is
    still to come."""

    rows: np.ndarray
    steps: np.ndarray
    length: np.ndarray
    after: np.ndarray
    terminated: np.ndarray
    complete: np.ndarray


class Transitions(Replay):
    """A ring of the rows of ``transition_columns``. ``next_row`` (int32) is where the row that follows in the same
    environment lies, and −1 where there is none yet. A row is younger than what it follows and so outlives it: what
    ``next_row`` says is always there. An observation is stored once.

    A step is a position from the moment on when ``steps`` steps from it, itself included, or the end of the episode are
    known; the last observations of episodes, which have rows too, are none.

    frames_once: observations are frames at once, see ``StackedFrames``.
    """

    def __init__(self, columns: Columns, capacity: int, steps: int = 1, frames_once: bool = False) -> None:
        stacks = columns["observation"] if frames_once else None
        super().__init__({**columns, "observation": ((), np.bool_)} if stacks else columns, capacity)
        if stacks:
            self.columns["observation"] = StackedFrames(capacity, *stacks)
        self.columns["next_row"] = np.full(capacity, -1, np.int32)
        self.steps = steps
        #: Of every environment the latest rows, up to ``steps``, that are no positions yet.
        self._running: dict[int, list[int]] = {}

    def add(self, sequence: Rows, version: int) -> np.ndarray:
        rows = self._next_rows(sequence)
        newest = rows[self.columns["acted"][rows] & (self.columns["next_row"][rows] < 0)]
        for env in self.columns["env_id"][newest].tolist():
            self._running.pop(env, None)  # what is written over its newest row cannot follow it
        self._write(rows, sequence, version)
        self._count(self._link(rows, sequence))
        return rows

    def _link(self, rows: np.ndarray, sequence: Rows) -> int:
        """Note what the new rows follow; how many positions there are by them."""
        before, after, complete = [], [], 0
        for row, env, acted in zip(rows.tolist(), sequence["env_id"].tolist(), sequence["acted"].tolist(), strict=True):
            running = self._running.setdefault(env, [])
            if running:
                before.append(running[-1])
                after.append(row)
            running.append(row)
            if not acted:
                complete += len(self._running.pop(env)) - 1
            elif len(running) > self.steps:
                del running[0]
                complete += 1
        self.columns["next_row"][rows] = -1
        self.columns["next_row"][before] = after
        self.mark_changed(np.array(before, np.int64))
        return complete

    def sample_windows(self, count: int, rng: np.random.Generator) -> Windows:
        """From ``count`` rows, drawn uniformly from those whose windows are complete. Raises UserError if there is
        none."""
        rows = rng.integers(0, self.filled, count)
        for _ in range(MAX_DRAWS):
            windows = self.windows(rows)
            if windows.complete.all():
                return windows
            again = np.flatnonzero(~windows.complete)
            rows[again] = rng.integers(0, self.filled, len(again))
        raise UserError(f"A replay of {self.capacity} positions does not hold {self.steps + 1} that follow each other "
                        "in any environment: raise replay_capacity or lower num_envs.")

    def windows(self, rows: np.ndarray) -> Windows:
        """``steps`` steps from each of the rows int64 [B]."""
        columns = self.columns
        return Windows(rows, *_windows(rows, self.steps, columns["next_row"], columns["acted"], columns["terminated"]))

    def view(self, rows: np.ndarray) -> View:
        return View(self, rows)

    def load(self, folder: Path, manifest: dict[str, Any]) -> None:
        super().load(folder, manifest)
        rows = (self.cursor - self.filled + np.arange(self.filled)) % self.capacity  # the oldest first
        rows = rows[self.columns["acted"][rows] & ~self.windows(rows).complete]
        self._running = {}
        for row, env in zip(rows.tolist(), self.columns["env_id"][rows].tolist(), strict=True):
            self._running.setdefault(env, []).append(row)


class View(Mapping[str, np.ndarray]):
    """Columns of the ``rows`` int64 [n] of a replay, made when they are asked for; ``next_observation`` and
    ``next_legal_actions`` among them: what came after each of these steps."""

    def __init__(self, replay: Transitions, rows: np.ndarray) -> None:
        self._columns, self.rows = replay.columns, rows
        self._made: Rows = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._made:
            column = self._columns[name.removeprefix("next_")]
            rows = self._columns["next_row"].take(self.rows) if name.startswith("next_") else self.rows
            self._made[name] = column.take(rows, axis=0)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*(name for name in self._columns if name != "next_row"), "next_observation",
                     "next_legal_actions"))

    def __len__(self) -> int:
        return len(self._columns) + 1


class Rollout(Transitions):
    """Holds the sequence that came last, and nothing else. Its env_ids count from 0."""

    def add(self, sequence: Rows, version: int) -> np.ndarray:
        self.columns["remaining"][: self.filled] = 0
        self.cursor = self.positions = self.games = self.rows_written = 0
        rows = self._next_rows(sequence)
        self._write(rows, sequence, version)
        self._count(_link_all(sequence["env_id"], sequence["acted"], self.columns["next_row"]))
        return rows


@numba.njit(cache=True)
def _link_all(env_ids, acted, next_row):
    """Write for each of the first rows what follows it in its environment, or −1; how many have something."""
    latest = np.full(env_ids.max() + 1 if len(env_ids) else 0, -1)
    links = 0
    for row, env in enumerate(env_ids):
        next_row[row] = -1
        if latest[env] >= 0:
            next_row[latest[env]] = row
            links += 1
        latest[env] = row if acted[row] else -1
    return links


@numba.njit(cache=True)
def _windows(rows, steps, next_row, acted, terminated):
    """What ``Windows`` has beside its rows."""
    count = len(rows)
    window, length, after = np.empty((count, steps), np.int64), np.ones(count, np.int64), np.empty(count, np.int64)
    over, complete = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for i in range(count):
        row = rows[i]
        window[i, :] = after[i] = row
        if not acted[row]:
            continue
        for k in range(steps):
            following = next_row[row]
            if following < 0:
                break
            window[i, k], length[i], after[i] = row, k + 1, following
            over[i] = terminated[row]
            complete[i] = k + 1 == steps or not acted[following]
            if complete[i]:
                break
            row = following
    return window, length, after, over, complete
