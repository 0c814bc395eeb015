"""Actors in separate single-threaded processes.

An actor sends a report and waits for the reply: in the learner's process, one thread per actor receives the report and
replies with newer weights. To pause an actor, the reply is delayed. Weights and episodes travel over pipes, so killing
an actor at any moment damages nothing, and an actor whose parent has ended exits.

If the actors are too slow for the learner, the learner's process acts too, one step at a time, instead of waiting. This
balances playing and learning on any processor.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from safetensors.torch import load, save

from myosu.algorithms import load_settings
from myosu.algorithms.interface import Actor, Experience
from myosu.envs.python_objects import pack_object, unpack_object
from myosu.errors import UserError
from myosu.processes import end, end_with, exit_on_sigterm, spawn
from myosu.randomness import derive_seed, prepare_process
from myosu.runs.config import RunConfig
from myosu.runs.state import State, Weights
from myosu.sources import MAX_FAILURES
from myosu.sources.actors import env_notices, make_actor
from myosu.sources.in_turn import ActorInTurn
from myosu.sources.stopwatch import Stopwatch

#: An actor reports when it has rows for a batch, or after this many seconds, to get newer weights.
REPORT_SECONDS = 1.0
#: Seconds between two updates of the actors' weights.
PUBLISH_SECONDS = 2.0


class Report(NamedTuple):
    """A report of an actor. version: of its weights. notices: messages for the user. error: why the actor ends, ""
    if it does not. fixable: whether the user can fix the error."""

    version: int
    experience: Experience | None = None
    notices: tuple[str, ...] = ()
    error: str = ""
    fixable: bool = False


class ActorProcesses:
    """``count`` actor processes (``source.Source``). An actor that dies is replaced by a new one with other games.

    If the learner waits and no experience has arrived, an actor in the learner's own process takes a step. It does so
    only in native games without an opponent, because other environments and opponents could end or block the process,
    and only if there are more cores than actors, because it would slow them down. Its unfinished games are lost with
    the process, as those of the other actors are.
    """

    exhausted = False
    parallel = True
    who = "An actor"

    def __init__(self, config: RunConfig, count: int) -> None:
        self.starts = self.restarts = self.env_restarts = 0
        self.nodes: dict[str, dict[str, float]] = {}
        # The unfinished games of all actors may end at the same time.
        self.slack = count * load_settings(config).num_envs * config.environment.spec.max_steps
        self._config, self._count = config, count
        self._inbox: queue.Queue[Experience] = queue.Queue()
        self._ended: queue.Queue[tuple[int, Report | None]] = queue.Queue()
        self._weights: tuple[int, bytes] | None = None
        self._go = threading.Event()
        self._closing = False
        self._failures = 0
        self._notices: list[str] = []
        self._processes: dict[int, Any] = {}
        self._published_at = 0.0
        self._acts_here = (config.environment.game is not None and config.opponent is None
                           and count < (os.cpu_count() or 1))
        self._here: ActorInTurn | None = None
        self._version_here = -1
        self._learner_waits, self._learner_acts, self._actors_wait = Stopwatch(), Stopwatch(), Stopwatch()

    def publish(self, weights: Weights, version: int) -> None:
        """Every actor gets the weights in reply to its next report."""
        self._published_at = time.monotonic()
        self._weights = (version, save({name: tensor.contiguous() for name, tensor in weights.items()}))
        if not self._processes:
            self._go.set()
            for _ in range(self._count):
                self._start()

    def wants_weights(self, waiting: bool) -> bool:
        return time.monotonic() - self._published_at >= PUBLISH_SECONDS

    def set_paused(self, paused: bool) -> None:
        """Pause the actors by delaying the replies to their reports, or resume them."""
        (self._go.clear if paused else self._go.set)()

    def collect(self, wait: bool) -> list[Experience]:
        """The experience that has arrived. With ``wait`` and none, take a step with the learner's own actor, or wait
        up to 0.1 s for the others."""
        self._replace_dead()
        found = self._received()
        if wait and not found:
            if self._acts_here:
                with self._learner_acts.running():
                    found = self._act_here()
            else:
                with self._learner_waits.running():
                    found = self._received(timeout=0.1)
        if any(experience.sequences for experience in found):
            self._failures = 0
        return found

    def _received(self, timeout: float = 0.0) -> list[Experience]:
        found: list[Experience] = []
        try:
            found.append(self._inbox.get(timeout=timeout) if timeout else self._inbox.get_nowait())
            while True:
                found.append(self._inbox.get_nowait())
        except queue.Empty:
            return found

    def _act_here(self) -> list[Experience]:
        try:
            if self._here is None:
                self._here = ActorInTurn(self._config)
                self._here.starts, self.starts = self.starts, self.starts + 1
            assert self._weights is not None
            if self._version_here != self._weights[0]:
                self._version_here, weights = self._weights
                self._here.publish(load(weights), self._version_here)
            return self._here.collect(wait=True)
        except UserError:
            raise
        except Exception as error:  # the actor processes continue
            self._acts_here = False
            self._notices.append(f"The learner's process has stopped acting: {type(error).__name__}: {error}")
            return []

    def waits(self) -> dict[str, float]:
        return {"learner_wait": self._learner_waits.seconds, "learner_act": self._learner_acts.seconds,
                "actor_wait": self._actors_wait.seconds / self._count}

    def notices(self) -> list[str]:
        """New messages for the user; each is returned once."""
        notices, self._notices = self._notices, []
        return notices

    def state_dict(self) -> State:
        return {"starts": self.starts, "restarts": self.restarts}

    def load_state_dict(self, state: State) -> None:
        self.starts, self.restarts = state["starts"], state["restarts"]

    def close(self) -> None:
        self._closing = True
        self._go.set()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            end(process)
        if self._here is not None:
            self._here.close()

    def _start(self) -> None:
        key, self.starts = self.starts, self.starts + 1
        self._processes[key], connection = spawn(_act, self._config.to_json(), pack_object(self._config.game), key)
        threading.Thread(target=self._serve, args=(key, connection), daemon=True).start()

    def _serve(self, key: int, connection: Connection) -> None:
        """Reply to the reports of one actor until it has ended."""
        last: Report | None = None
        try:
            while True:
                last = connection.recv()
                if last.error:
                    break
                self._receive(last)
                with self._actors_wait.running():
                    self._go.wait()
                if self._closing:
                    break
                weights = self._weights
                assert weights is not None
                connection.send(weights if weights[0] != last.version else None)
        except (EOFError, OSError):
            pass
        connection.close()
        self._ended.put((key, last))

    def _receive(self, report: Report) -> None:
        self._notices += report.notices
        self.env_restarts += len(report.notices)
        if report.experience is not None:
            self._inbox.put(report.experience)

    def _replace_dead(self) -> None:
        while not self._ended.empty():
            key, last = self._ended.get_nowait()
            process = self._processes.pop(key)
            end(process)
            reason = last.error if last and last.error else f"it died (exit code {process.exitcode})"
            if last and last.fixable:
                raise UserError(reason)
            self._failures += 1
            if self._failures > MAX_FAILURES:
                raise RuntimeError(f"{self._failures} actors failed without finishing a game. The last one: {reason}")
            self._notices.append(f"{self.who} was restarted: {reason.strip().splitlines()[-1]}")
            self.restarts += 1
            self._start()


def _act(connection: Connection, parent: int, config_json: dict[str, Any], packed_object: bytes, start: int) -> None:
    end_with(parent)
    prepare_process(derive_seed(config_json["train"]["seed"], 4, start))
    exit_on_sigterm()  # the environments are closed first
    actor: Actor | None = None
    try:
        unpack_object(packed_object)
        config = RunConfig.from_json(config_json)
        actor, enough = make_actor(config, start), load_settings(config).batch_size
        version = -1
        experience: Experience | None = None
        while True:
            connection.send(Report(version, experience, env_notices(actor)))
            if (reply := connection.recv()) is not None:
                version, data = reply
                actor.load_weights(load(data), version)
            reported = time.monotonic()
            experience = actor.step()
            while experience.rows < enough and time.monotonic() - reported < REPORT_SECONDS:
                experience.extend(actor.step())
    except (EOFError, ConnectionError):
        pass  # the learner has ended, or closed the connection to end this actor
    except UserError as error:
        connection.send(Report(-1, error=str(error), fixable=True))
    except Exception:
        connection.send(Report(-1, error=traceback.format_exc()))
    finally:
        if actor is not None:
            actor.env.close()
