"""Gymnasium environments in worker processes, one in each, stepped in lockstep or asynchronously.

Observations are in shared memory; pipes carry only short messages. A worker that dies or hangs is replaced and its
episode is truncated; the other environments are not affected.
"""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import cloudpickle
import numpy as np

from myosu.envs.gym_env import (
    EnvSource,
    EpisodeLog,
    SingleEnv,
    as_maker,
    play_again,
    row_at,
    row_type,
    step_of,
)
from myosu.envs.vector import EnvSpec, Step
from myosu.errors import UserError, describe
from myosu.processes import end, end_with, spawn

#: Seconds that a worker has in addition to its timeout, to start and make its environment.
START_SECONDS = 60.0
#: Number of consecutive failures of a worker, without a result in between, that are tolerated.
MAX_FAILURES = 5


class WorkerVectorEnv:
    """``num_envs`` Gymnasium environments, each in a single-threaded worker process (``myosu.envs.vector.VectorEnv``).

    env: an ``EnvMaker``, or a name or function from which one is made with ``kwargs``. Episodes are the same as those
        of ``GymVectorEnv`` with the same ``seed``, as long as no worker is replaced.
    timeout: seconds that a step or a reset may take before the worker counts as hung.
    min_ready: number of environments that ``recv`` waits for by default; None: all whose results are pending.
    restarts: number of workers and engines replaced so far.

    If a worker is lost, its episode is truncated, with reward 0 and the last observation that ``recv`` returned as the
    final observation.

    ``__init__``, ``send`` and ``recv`` raise UserError when an environment raises or breaks a rule, and when a worker
    fails repeatedly.
    """

    def __init__(self, env: EnvSource, num_envs: int, seed: int = 0, kwargs: Mapping[str, Any] | None = None,
                 timeout: float = 60.0, min_ready: int | None = None) -> None:
        make = as_maker(env, kwargs)
        self.num_envs, self.restarts, self._min_ready = num_envs, 0, min_ready
        self._name, self._seed, self._timeout = make.name, seed, timeout
        try:  # pickle cannot pickle classes and functions of a notebook or the main script
            self._make = cloudpickle.dumps(make)
        except Exception as error:
            raise UserError(f"{make.name} cannot be sent to a worker process: {type(error).__name__}: {error}. Give a "
                            "function that creates everything it needs itself.") from error
        self._notices: list[str] = []
        self._log = EpisodeLog(num_envs)
        self._memory: SharedMemory | None = None
        self._spec: EnvSpec | None = None
        #: Environments whose results were not received yet, in the order sent, and which of them are ready.
        self._sent: list[int] = []
        self._ready: set[int] = set()
        self._workers = [_Worker() for _ in range(num_envs)]
        try:
            for index in range(num_envs):
                self._start(index)
                self._sent.append(index)
            self._wait_for(num_envs)
        except BaseException:
            self.close()
            raise
        self._sent, self._ready = [], set()
        assert self._spec is not None
        self.spec = self._spec
        rows = row_type(self.spec)
        try:
            _check_room(num_envs * rows.itemsize)
        except BaseException:
            self.close()
            raise
        self._memory = SharedMemory(create=True, size=num_envs * rows.itemsize)
        self._rows: np.ndarray = np.ndarray(num_envs, rows, self._memory.buf)
        self._last: np.ndarray = np.zeros((num_envs, *self.spec.observation_shape), self.spec.observation_dtype)

    def reset(self) -> None:
        self.start(np.zeros(self.num_envs, np.int64))

    def start(self, episodes: np.ndarray) -> None:
        """Like ``reset``, but begin with the episodes of these numbers, int64 [num_envs]."""
        self._log.start(episodes)
        self._wait_for(len(self._sent))
        self._ready.clear()
        self._sent = list(range(self.num_envs))
        for index, worker in enumerate(self._workers):
            worker.lost = False
            self._request(index, start=True)

    def send(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        self._rows["action"][env_ids] = actions
        self._log.act(self._rows["action"][env_ids], env_ids)
        for index in env_ids.tolist():
            assert index not in self._sent, f"environment {index} has not answered the previous action"
            self._sent.append(index)
            self._request(index, start=False)

    def recv(self, min_ready: int | None = None) -> Step:
        assert self._sent, "recv() without send()"
        self._wait_for(min(min_ready or self._min_ready or self.num_envs, len(self._sent)))
        ids = np.array([index for index in self._sent if index in self._ready])
        self._sent = [index for index in self._sent if index not in self._ready]
        self._ready.clear()
        step = step_of(self._rows, ids)
        for place, index in enumerate(ids.tolist()):
            worker = self._workers[index]
            if worker.lost:
                step.truncated[place], worker.lost = True, False
                step.final_observation[place] = self._last[index]
            elif step.terminated[place] or step.truncated[place]:
                self._log.end(ids[place:place + 1])
        self._last[ids] = step.observation
        return step

    def state_dict(self) -> dict[str, Any]:
        return self._log.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        play_again(self, state)

    def notices(self) -> list[str]:
        """Messages for the user since the last call: which workers and engines were replaced, and why."""
        notices, self._notices = self._notices, []
        return notices

    def close(self) -> None:
        """End the workers. Those that do not end within 5 seconds are killed."""
        for worker in self._workers:
            if worker.connection is not None:
                worker.connection.close()
        patience = time.monotonic() + 5
        for worker in self._workers:
            if worker.process is not None:
                end(worker.process, max(0.0, patience - time.monotonic()))
        self._workers = []
        if self._memory is not None:
            del self._rows
            self._memory.close()
            self._memory.unlink()
            self._memory = None

    def _start(self, index: int) -> None:
        worker = self._workers[index]
        worker.process, worker.connection = spawn(_work, self._make, index, self._seed)
        if self._memory is not None:  # the worker reads it after it has made its environment
            self._request(index, start=True)
        worker.deadline = time.monotonic() + self._timeout + START_SECONDS

    def _request(self, index: int, start: bool) -> None:
        """Ask a worker to begin an episode, or to take the action in the environment's row."""
        worker = self._workers[index]
        assert self._memory is not None
        worker.acting = not start
        worker.deadline = time.monotonic() + self._timeout
        with suppress(OSError):  # it has died, which ``_wait_for`` notices
            worker.connection.send((self._memory.name, int(self._log.episodes[index])) if start else None)

    def _wait_for(self, count: int) -> None:
        """Wait until ``count`` of the pending environments are ready, and note all that are. Replaces workers that
        died or hang."""
        while len(self._ready) < count:
            waiting = {self._workers[index].connection: index for index in self._sent if index not in self._ready}
            soonest = min(self._workers[index].deadline for index in waiting.values())
            for connection in wait(list(waiting), max(0.0, soonest - time.monotonic())):
                self._hear(waiting.pop(connection))
            for index in waiting.values():
                if self._workers[index].deadline < time.monotonic():
                    self._replace(index, hung=True)

    def _hear(self, index: int) -> None:
        worker = self._workers[index]
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            self._replace(index, hung=False)
            return
        if isinstance(message, str):
            raise UserError(message)
        if isinstance(message, EnvSpec):
            self._spec = self._spec or message
            if message != self._spec:
                raise UserError(f"{self._name}: two environments differ in their spaces or limits ({self._spec} and "
                                f"{message}). Environments that train together must be alike.")
            if self._memory is not None:
                return  # a replaced worker; its first observation follows
        elif message:  # notices: its engine was restarted
            self._notices += message
            self.restarts += len(message)
        worker.failures = 0
        self._ready.add(index)

    def _replace(self, index: int, hung: bool) -> None:
        worker = self._workers[index]
        worker.connection.close()
        end(worker.process, 0.0 if hung else 5.0)
        reason = f"did not answer within {self._timeout:g} s" if hung else _reason(worker.process.exitcode)
        notice = f"{self._name} (environment {index}, episode {self._log.episodes[index]}): its worker {reason}"
        worker.failures += 1
        if worker.failures > MAX_FAILURES:
            raise UserError(f"{notice}, {worker.failures} times without an answer. Try the environment alone, and "
                            "give it more time (timeout) if it is only slow.")
        self._notices.append(f"{notice}; it was restarted.")
        self.restarts += 1
        worker.lost = worker.lost or worker.acting
        self._log.end(np.array([index]))  # go on with another seed, because this one may have caused the failure
        self._start(index)


@dataclass
class _Worker:
    """A worker process. acting: it was sent an action. lost: its loss truncated an episode, which was not received yet.
    failures: consecutive failures without a result."""

    process: Any = None
    connection: Any = None
    deadline: float = 0.0
    acting: bool = False
    lost: bool = False
    failures: int = 0


def _work(connection: Connection, parent: int, make: bytes, index: int, seed: int) -> None:
    """Main function of a worker: make the environment, send its spec, then reset and step on request."""
    end_with(parent)
    memory: SharedMemory | None = None
    try:
        env = SingleEnv(pickle.loads(make), index, seed)
        connection.send(env.spec)
        while True:
            start = connection.recv()
            if start is not None and memory is None:
                memory = SharedMemory(start[0])
                rows = row_type(env.spec)
                row = row_at(np.ndarray(1, rows, memory.buf, offset=index * rows.itemsize), 0)
            if start is not None:
                env.start(row, start[1])
            else:
                env.step(row)
            connection.send(env.notices())
    except (EOFError, ConnectionError):
        env.close()  # the parent closed the connection
    except Exception as error:
        with suppress(OSError):
            connection.send(str(error) if isinstance(error, UserError) else describe(error))
    finally:
        if memory is not None:
            del row
            memory.close()


def _check_room(size: int) -> None:
    """Raise UserError if fewer than ``size`` bytes of shared memory are free: writing there would kill this process."""
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return
    free = found.f_bavail * found.f_frsize
    if size > free:
        raise UserError(f"Worker processes need {size / 2**20:,.0f} MiB of shared memory, and /dev/shm has "
                        f"{free / 2**20:,.0f} free: make it larger (docker run --shm-size), lower num_envs, or leave "
                        "out --env-workers.")


def _reason(exitcode: int) -> str:
    return f"was ended by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"ended (exit code {exitcode})"
