"""A replay of raw environment steps, interleaved from many environments; learners compute the returns."""

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

#: Failed draws in a row after which the replay is reported as too small.
MAX_DRAWS = 1000


def transition_columns(spec: EnvSpec, action: tuple[tuple[int, ...], Any]) -> Columns:
    """The columns of a step. action: shape and dtype of actions as the algorithm stores them.

    env_id: identifies the environment and its actor; the rows of one environment are in chronological order.
    acted: whether an action was taken. The final observation of an episode has its own row without an action, which
        serves only as the next observation of the previous row. Its action mask is that of the last step.
    reward, terminated, truncated: results of the action.
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
    """``columns`` as ``Transitions`` stores them: with frame stacking about one frame per row is new."""
    if spec.frame_stack < 2:
        return columns
    (frames, *frame), dtype = columns["observation"]
    return {**columns, "observation": ((1, *frame), dtype), "frames": ((frames,), np.int32)}


class RunningSteps:
    """The current step of each of ``num_envs`` environments, kept by an actor until the environment has answered.

    Call ``act`` with the observations, actions and other columns, then ``answer``, which returns the rows of those
    environments that have answered. first_id: env_ids count from here.
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
        """A row for each environment, in the order of ``step``, then the final observations of episodes that ended.
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
    """Windows of up to n steps from each of B rows.

    steps: int64 [B, n], the rows of these steps; arbitrary rows beyond ``length``. length: int64 [B], at least 1.
    after: int64 [B], the row of the next observation. terminated: bool [B], whether the last step terminated the
    episode. complete: bool [B], whether the window has n steps or the episode ended; otherwise steps are still to come.
    """

    rows: np.ndarray
    steps: np.ndarray
    length: np.ndarray
    after: np.ndarray
    terminated: np.ndarray
    complete: np.ndarray


class Transitions(Replay):
    """A ring buffer with the columns of ``transition_columns``, in which every observation is stored once.

    The column ``next_row`` (int32) is the next row of the same environment, or −1 if there is none yet. A row is
    overwritten before its successor, so ``next_row`` is always valid.

    A step counts as a position once ``steps`` steps from it, itself included, or the end of its episode are known. The
    rows of final observations are no positions.

    frames_once: observations are stacked frames, see ``StackedFrames``.
    """

    def __init__(self, columns: Columns, capacity: int, steps: int = 1, frames_once: bool = False) -> None:
        stacks = columns["observation"] if frames_once else None
        super().__init__({**columns, "observation": ((), np.bool_)} if stacks else columns, capacity)
        if stacks:
            self.columns["observation"] = StackedFrames(capacity, *stacks)
        self.columns["next_row"] = np.full(capacity, -1, np.int32)
        self.steps = steps
        #: For each environment, its latest rows (at most ``steps``) that are no positions yet.
        self._running: dict[int, list[int]] = {}

    def add(self, sequence: Rows, version: int) -> np.ndarray:
        rows = self._next_rows(sequence)
        newest = rows[self.columns["acted"][rows] & (self.columns["next_row"][rows] < 0)]
        for env in self.columns["env_id"][newest].tolist():
            self._running.pop(env, None)  # its newest row is overwritten, so nothing can follow it
        self._write(rows, sequence, version)
        self._count(self._link(rows, sequence))
        return rows

    def _link(self, rows: np.ndarray, sequence: Rows) -> int:
        """Link the new rows to their predecessors. Returns the number of positions that they complete."""
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
        self._connect(rows, before, after)
        self.mark_changed(np.array(before, np.int64))
        return complete

    def _connect(self, new: np.ndarray, before: list[int], after: list[int]) -> None:
        """Set the links of the ``new`` rows, and of the rows ``before`` to their successors ``after``."""
        self.columns["next_row"][new] = -1
        self.columns["next_row"][before] = after

    def sample_windows(self, count: int, rng: np.random.Generator) -> Windows:
        """Windows from ``count`` rows, sampled uniformly among those whose windows are complete. Raises UserError if
        there are none."""
        rows = rng.integers(0, self.filled, count)
        for _ in range(MAX_DRAWS):
            windows = self.windows(rows)
            if windows.complete.all():
                return windows
            again = np.flatnonzero(~windows.complete)
            rows[again] = rng.integers(0, self.filled, len(again))
        raise UserError(f"A replay of {self.capacity} positions does not hold {self.steps + 1} consecutive ones "
                        "of any environment: raise replay_capacity or lower num_envs.")

    def windows(self, rows: np.ndarray) -> Windows:
        """Windows of up to ``steps`` steps from each of the rows int64 [B]."""
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
    """Columns of the ``rows`` int64 [n] of a replay, gathered on access, and ``next_observation`` and
    ``next_legal_actions``, the observation and action mask after each step."""

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
    """Holds only the sequence added last. Its env_ids count from 0."""

    def add(self, sequence: Rows, version: int) -> np.ndarray:
        self.columns["remaining"][: self.filled] = 0
        self.cursor = self.positions = self.games = self.rows_written = 0
        rows = self._next_rows(sequence)
        self._write(rows, sequence, version)
        self._count(_link_all(sequence["env_id"], sequence["acted"], self.columns["next_row"]))
        return rows


@numba.njit(cache=True)
def _link_all(env_ids, acted, next_row):
    """Write ``next_row`` of the first rows: the next row of the same environment, or −1. Returns the number of links.
    """
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
    """The fields of ``Windows`` after ``rows``."""
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
