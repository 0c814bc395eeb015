"""Actors in the learner's process, a thread each: for a card, where a process of its own would wait for the others'.

While one actor's searches are on the card, another takes its games a move on. What they do outside Python lets the
others run, so a few threads keep a card busy.
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

#: Seconds that a thread may keep the interpreter from another that wants it. Python's own choice is a hundred times
#: that, and the learner, which asks for it some thirty times an update, would wait for the actors each time.
SWITCH_SECONDS = 5e-5
#: Seconds between new weights for the actors.
PUBLISH_SECONDS = 2.0
#: Reports that may wait for the learner: more are steps of games that it could not see for a while.
WAITING_REPORTS = 64


class ActorThreads:
    """``count`` actors (``source.Source``). One that fails ends the training."""

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
        """Weights that every actor takes over before its next step; the first call starts the actors."""
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

    def hold(self, back: bool) -> None:
        (self._go.clear if back else self._go.set)()

    def collect(self, wait: bool) -> list[Experience]:
        """What has come in; with ``wait``, stay a moment for the first. Raises what an actor raised."""
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
        """Make room for a report that an actor is about to leave."""
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
