"""Actors in threads of the learner's process, for a GPU, on which separate processes would take turns.

While one actor's searches run on the GPU, another steps its environments. Code outside Python releases the interpreter
lock, so a few threads keep a GPU busy.
"""

from __future__ import annotations

import queue
import sys
import threading
import time

from myosu.algorithms import load_settings
from myosu.algorithms.interface import Experience
from myosu.runs.config import RunConfig
from myosu.runs.state import State, Weights
from myosu.sources.actors import env_notices, make_actor
from myosu.sources.stopwatch import Stopwatch

#: Python's switch interval: how long a thread may hold the interpreter lock while another one waits for it. Python's
#: default is a hundred times longer, and the learner, which takes the lock some thirty times an update, would wait that
#: long each time.
SWITCH_SECONDS = 5e-5
#: Seconds between two updates of the actors' weights.
PUBLISH_SECONDS = 2.0
#: Greatest number of reports that wait for the learner; with more of them, it would get experience late.
WAITING_REPORTS = 64


class ActorThreads:
    """``count`` actors in threads (``source.Source``). The failure of one ends the training."""

    exhausted = False
    parallel = True

    def __init__(self, config: RunConfig, count: int) -> None:
        self.starts = self.restarts = self.env_restarts = 0
        self.nodes: dict[str, dict[str, float]] = {}
        self.slack = count * load_settings(config).num_envs * config.environment.spec.max_steps
        self._config, self._count = config, count
        self._published_at = 0.0
        self._inbox: queue.Queue[Experience | BaseException] = queue.Queue(WAITING_REPORTS)
        self._weights: tuple[int, Weights] | None = None
        self._go = threading.Event()
        self._closing = False
        self._notices: list[str] = []
        self._threads: list[threading.Thread] = []
        self._learner_waits, self._actors_wait = Stopwatch(), Stopwatch()

    def publish(self, weights: Weights, version: int) -> None:
        """Set the weights that every actor loads before its next step. The first call starts the actors."""
        self._published_at = time.monotonic()
        self._weights = (version, weights)
        if not self._threads:
            sys.setswitchinterval(SWITCH_SECONDS)
            self._go.set()
            for _ in range(self._count):
                key, self.starts = self.starts, self.starts + 1
                self._threads.append(threading.Thread(target=self._act, args=(key,), name="actor", daemon=True))
                self._threads[-1].start()

    def wants_weights(self, waiting: bool) -> bool:
        return time.monotonic() - self._published_at >= PUBLISH_SECONDS

    def state_dict(self) -> State:
        return {"starts": self.starts, "restarts": self.restarts}

    def load_state_dict(self, state: State) -> None:
        self.starts, self.restarts = state["starts"], state["restarts"]

    def set_paused(self, paused: bool) -> None:
        (self._go.clear if paused else self._go.set)()

    def collect(self, wait: bool) -> list[Experience]:
        """The experience that has arrived. With ``wait``, wait up to 0.1 s for it. Re-raises an actor's error."""
        found: list[Experience] = []
        try:
            if wait:
                with self._learner_waits.running():
                    report = self._inbox.get(timeout=0.1)
            else:
                report = self._inbox.get_nowait()
            while True:
                if isinstance(report, BaseException):
                    raise report
                found.append(report)
                report = self._inbox.get_nowait()
        except queue.Empty:
            return found

    def waits(self) -> dict[str, float]:
        return {"learner_wait": self._learner_waits.seconds, "learner_act": 0.0,
                "actor_wait": self._actors_wait.seconds / self._count}

    def notices(self) -> list[str]:
        notices, self._notices = self._notices, []
        return notices

    def close(self) -> None:
        self._closing = True
        self._go.set()
        deadline = time.monotonic() + 10.0
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < deadline:
            self.drop_waiting()
            time.sleep(0.01)

    def drop_waiting(self) -> None:
        """Empty the queue, so that an actor that waits to put a report into it can end."""
        while not self._inbox.empty():
            self._inbox.get_nowait()

    def _act(self, key: int) -> None:
        try:
            actor, version = make_actor(self._config, key), -1
            while not self._closing:
                assert self._weights is not None
                if self._weights[0] != version:
                    version, weights = self._weights
                    actor.load_weights(weights, version)
                experience = actor.step()
                found = env_notices(actor)
                self._notices += found
                self.env_restarts += len(found)
                with self._actors_wait.running():
                    self._inbox.put(experience)
                    self._go.wait()
            actor.env.close()
        except BaseException as error:
            self._inbox.put(error)
