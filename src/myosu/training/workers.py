"""Who plays and who evaluates: processes of one thread each, or in turn with the learner.

A worker process asks, the learner's process answers: a thread an actor takes what came and replies with newer weights.
An answer that does not come is all that it takes to hold an actor back. Weights and episodes travel over pipes, so a
worker that is killed at any moment damages nothing, and one whose parent is gone ends by itself.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load, save

from myosu.algorithms import load_algorithm, load_settings
from myosu.algorithms.interface import Actor
from myosu.envs.workers import WorkerVectorEnv
from myosu.errors import UserError
from myosu.evaluation.episodes import play_episodes
from myosu.evaluation.match import play_match
from myosu.players.agent import load_agent
from myosu.players.players import AgentPlayer, RandomPlayer
from myosu.processes import end, end_with, spawn
from myosu.randomness import derive_seed, prepare_process, randomness_kept
from myosu.replay.episode import Experience
from myosu.runs.config import RunConfig
from myosu.runs.state import Weights
from myosu.training.start import actor_count

#: An actor reports when it has rows for a batch, and at least so often (seconds), for newer weights.
REPORT_SECONDS = 1.0
#: So many actors may fail one after another before any of them delivers a game.
MAX_FAILURES = 3
#: Seconds between looks whether a match has ended.
LOOK_SECONDS = 0.05


class Report(NamedTuple):
    """From an actor. version: of the weights it has. notices: what a person should know. error: why it ends, and
    whether the user can mend that."""

    version: int
    experience: Experience | None = None
    notices: tuple[str, ...] = ()
    error: str = ""
    mendable: bool = False


def make_actor(config: RunConfig, start: int) -> Actor:
    """The ``start``-th actor that the run ever started: no two of a run play the same games."""
    settings, seed = load_settings(config), config.train.seed
    environment = config.environment
    env = environment.make(settings.num_envs, derive_seed(seed, 1, start), config.train.env_workers)
    return load_algorithm(config.algorithm).make_actor(settings, env, derive_seed(seed, 2, start))


def evaluate_checkpoint(path: Path, games: int, seed: int) -> dict[str, Any]:
    """The JSON of a match of the agent in ``path`` against a random player, or of episodes that it plays alone."""
    agent, environment, _ = load_agent(path, seed=seed)
    if environment.spec.num_players == 1:
        return play_episodes(environment, agent, games, seed).to_json()
    game = environment.rules
    return play_match(game, AgentPlayer(game, agent, path.name), RandomPlayer(game, seed), games, seed=seed).to_json()


def env_notices(actor: Actor) -> tuple[str, ...]:
    """What the actor's environments have to tell: a line for each worker process that was replaced."""
    return tuple(actor.env.notices()) if isinstance(actor.env, WorkerVectorEnv) else ()


# --- in turn


class ActorInTurn:
    """One actor in the learner's process: a step whenever something new is wanted."""

    restarts = 0
    starts = 1

    def __init__(self, config: RunConfig) -> None:
        self.env_restarts = 0
        self.actor = make_actor(config, 0)

    def collect(self, wait: bool) -> list[Experience]:
        return [self.actor.step()] if wait else []

    def publish(self, weights: Weights, version: int) -> None:
        self.actor.load_weights(weights, version)

    def hold(self, back: bool) -> None:
        """Nothing to do: the learner asks for every step."""

    def notices(self) -> list[str]:
        found = env_notices(self.actor)
        self.env_restarts += len(found)
        return list(found)

    def close(self) -> None:
        self.actor.env.close()


class EvaluatorInTurn:
    def __init__(self) -> None:
        self._result: dict[str, Any] | None = None

    @property
    def pending(self) -> int | None:
        return None if self._result is None else self._result["update"]

    def submit(self, update: int, path: Path, games: int, seed: int) -> None:
        # Whether the match is played before or after a checkpoint must not matter to the training.
        with randomness_kept():
            self._result = {"update": update, **evaluate_checkpoint(path, games, seed)}

    def poll(self, timeout: float = 0.0) -> dict[str, Any] | None:
        result, self._result = self._result, None
        return result

    def close(self) -> None:
        pass


# --- processes


class ActorProcesses:
    """``count`` actors. One that dies is replaced by a new one with other games.

    starts: actors ever started by the run, those before it was resumed included. restarts: replacements.
    env_restarts: worker processes of their environments that were replaced.
    """

    def __init__(self, config: RunConfig, starts: int = 0, restarts: int = 0) -> None:
        self.starts, self.restarts, self.env_restarts = starts, restarts, 0
        self._config = config
        self._inbox: queue.Queue[Experience] = queue.Queue()
        self._ended: queue.Queue[tuple[int, Report | None]] = queue.Queue()
        self._weights: tuple[int, bytes] | None = None
        self._go = threading.Event()
        self._closing = False
        self._failures = 0
        self._notices: list[str] = []
        self._processes: dict[int, Any] = {}
        self._wanted = actor_count(config)

    def publish(self, weights: Weights, version: int) -> None:
        """Weights that every actor gets with its next report; the first call starts the actors."""
        self._weights = (version, save({name: tensor.contiguous() for name, tensor in weights.items()}))
        if not self._processes:
            self._go.set()
            for _ in range(self._wanted):
                self._start()

    def hold(self, back: bool) -> None:
        """Leave the reports of actors without an answer, so that they wait."""
        (self._go.clear if back else self._go.set)()

    def collect(self, wait: bool) -> list[Experience]:
        """What has come in; with ``wait``, stay a moment for the first."""
        self._replace_dead()
        found: list[Experience] = []
        try:
            found.append(self._inbox.get(timeout=0.1) if wait else self._inbox.get_nowait())
            while True:
                found.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        if any(experience.sequences for experience in found):
            self._failures = 0
        return found

    def notices(self) -> list[str]:
        """What a person should know, once."""
        notices, self._notices = self._notices, []
        return notices

    def close(self) -> None:
        self._closing = True
        self._go.set()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            end(process)

    def _start(self) -> None:
        key, self.starts = self.starts, self.starts + 1
        self._processes[key], connection = spawn(_act, self._config.to_json(), key)
        threading.Thread(target=self._serve, args=(key, connection), daemon=True).start()

    def _serve(self, key: int, connection: Connection) -> None:
        """Answer one actor until it is gone."""
        last: Report | None = None
        try:
            while True:
                last = connection.recv()
                if last.error:
                    break
                self._notices += last.notices
                self.env_restarts += len(last.notices)
                if last.experience is not None:
                    self._inbox.put(last.experience)
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

    def _replace_dead(self) -> None:
        while not self._ended.empty():
            key, last = self._ended.get_nowait()
            process = self._processes.pop(key)
            end(process)
            reason = last.error if last and last.error else f"it died (exit code {process.exitcode})"
            if last and last.mendable:
                raise UserError(reason)
            self._failures += 1
            if self._failures > MAX_FAILURES:
                raise RuntimeError(f"{self._failures} actors failed without finishing a game. The last one: {reason}")
            self._notices.append(f"An actor was restarted: {reason.strip().splitlines()[-1]}")
            self.restarts += 1
            self._start()


class EvaluatorProcess:
    """Plays the matches against a random player, one at a time."""

    def __init__(self) -> None:
        self.pending: int | None = None
        self._process: Any = None
        self._looked = 0.0

    def submit(self, update: int, path: Path, games: int, seed: int) -> None:
        if self._process is None or not self._process.is_alive():
            self._process, self._connection = spawn(_evaluate)
        self._connection.send((update, path, games, seed))
        self.pending = update

    def poll(self, timeout: float = 0.0) -> dict[str, Any] | None:
        """The result of a match that has ended: its JSON with ``update``, or ``update`` and ``error``. Without a
        ``timeout`` it is looked for every ``LOOK_SECONDS``: to look takes as long as a step of CartPole."""
        if self.pending is None or (not timeout and time.monotonic() - self._looked < LOOK_SECONDS):
            return None
        self._looked, update = time.monotonic(), self.pending
        try:
            if not self._connection.poll(timeout):
                return None
            result = self._connection.recv()
        except (EOFError, OSError):
            end(self._process)
            result = {"update": update, "error": f"the evaluator died (exit code {self._process.exitcode})"}
            self._process = None
        self.pending = None
        return result

    def close(self) -> None:
        if self._process is not None:
            self._connection.close()
            self._process.terminate()
            end(self._process)


def _prepare_child(parent: int, seed: int) -> None:
    prepare_process(seed)
    end_with(parent)


def _act(connection: Connection, parent: int, config_json: dict[str, Any], start: int) -> None:
    _prepare_child(parent, derive_seed(config_json["train"]["seed"], 4, start))
    try:
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
        pass  # The learner has gone, or wants this actor to.
    except UserError as error:
        connection.send(Report(-1, error=str(error), mendable=True))
    except Exception:
        connection.send(Report(-1, error=traceback.format_exc()))


def _evaluate(connection: Connection, parent: int) -> None:
    _prepare_child(parent, 0)
    try:
        while True:
            update, path, games, seed = connection.recv()
            try:
                result = evaluate_checkpoint(path, games, seed)
            except Exception as error:
                result = {"error": f"{type(error).__name__}: {error}"}
            connection.send({"update": update, **result})
    except (EOFError, ConnectionError):
        pass
