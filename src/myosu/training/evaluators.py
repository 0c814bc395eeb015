"""Evaluation of checkpoints during training, in a separate process or in turn with the learner."""

from __future__ import annotations

import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from myosu.envs.python_objects import pack_object, unpack_object
from myosu.errors import UserError
from myosu.evaluation.episodes import play_both_seats, play_episodes
from myosu.evaluation.match import play_match
from myosu.players.agent import AgentPlayer, load_agent
from myosu.players.opponents import make_opponent
from myosu.processes import end, end_with, spawn
from myosu.randomness import prepare_process, randomness_kept

#: Seconds between two polls for the result of an evaluation.
LOOK_SECONDS = 0.05
#: An evaluation is truncated after this many steps in all its episodes, because an agent may loop for ever.
EVALUATION_STEPS = 200_000


def evaluate_checkpoint(path: Path, games: int, seed: int) -> dict[str, Any]:
    """Evaluate the agent in ``path``: a match against its run's ``evaluation_opponent``, or episodes in a single-player
    environment. Returns the JSON of the result."""
    agent, environment, config = load_agent(path, seed=seed)
    if environment.opponent_inside:
        return play_both_seats(environment, agent, config.train.evaluation_opponent, games, seed, EVALUATION_STEPS)
    if environment.spec.num_players == 1:
        return play_episodes(environment, agent, games, seed, EVALUATION_STEPS).to_json()
    game = environment.rules
    with closing(make_opponent(config.train.evaluation_opponent, game, seed=seed)) as opponent:
        return play_match(game, AgentPlayer(game, agent, path.name), opponent, games, seed=seed).to_json()


class EvaluatorInTurn:
    def __init__(self) -> None:
        self._result: dict[str, Any] | None = None

    @property
    def pending(self) -> int | None:
        return None if self._result is None else self._result["update"]

    def submit(self, update: int, path: Path, games: int, seed: int) -> None:
        # Training must not depend on when the match is played.
        with randomness_kept():
            try:
                result = evaluate_checkpoint(path, games, seed)
            except UserError as error:  # a failing engine does not end the training
                result = {"error": str(error)}
            self._result = {"update": update, **result}

    def poll(self, timeout: float = 0.0) -> dict[str, Any] | None:
        result, self._result = self._result, None
        return result

    def close(self) -> None:
        pass


class EvaluatorProcess:
    """Evaluates in a separate process, one checkpoint at a time. game: its name in the run's configuration."""

    def __init__(self, game: str) -> None:
        self._game = game
        self.pending: int | None = None
        self._process: Any = None
        self._looked = 0.0

    def submit(self, update: int, path: Path, games: int, seed: int) -> None:
        if self._process is None or not self._process.is_alive():
            self._process, self._connection = spawn(_evaluate, pack_object(self._game))
        self._connection.send((update, path, games, seed))
        self.pending = update

    def poll(self, timeout: float = 0.0) -> dict[str, Any] | None:
        """The result of an evaluation that has ended: its JSON with ``update``, or ``update`` and ``error``; None if
        there is none. Without a ``timeout`` it polls only every ``LOOK_SECONDS``, because polling takes as long as a
        step of CartPole."""
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


def _evaluate(connection: Connection, parent: int, packed_object: bytes) -> None:
    end_with(parent)
    prepare_process(0)
    try:
        unpack_object(packed_object)
        while True:
            update, path, games, seed = connection.recv()
            try:
                result = evaluate_checkpoint(path, games, seed)
            except Exception as error:
                result = {"error": f"{type(error).__name__}: {error}"}
            connection.send({"update": update, **result})
    except (EOFError, ConnectionError):
        pass
