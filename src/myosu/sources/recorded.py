"""Games that other runs recorded, played again from their seeds and actions: a learner without an actor."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from myosu.algorithms import algorithm_of, load_settings
from myosu.envs.playback import Move
from myosu.errors import UserError
from myosu.replay.episode import Episode, Experience
from myosu.runs.config import RunConfig
from myosu.runs.demo import SUFFIX, read_demo
from myosu.runs.episodes import EpisodeIndex
from myosu.runs.games import GameRecord
from myosu.runs.run import open_run
from myosu.runs.state import State, Weights


class RecordedGames:
    """Each recorded episode of the runs and ``.demo`` files that the setting ``recordings`` names, once, in order
    (``source.Source``). Like an actor in turn it plays one whenever the learner waits.

    Raises UserError where a run is missing, or is of another game.
    """

    parallel = False
    slack = 0

    def __init__(self, config: RunConfig) -> None:
        self.exhausted = False
        self.starts = self.restarts = self.env_restarts = 0
        self.nodes: dict[str, dict[str, float]] = {}
        self._settings, self._environment = load_settings(config), config.environment
        self._make_rows = algorithm_of(config).make_rows
        for folder in self._settings.recordings:
            if folder.endswith(SUFFIX):
                continue
            other = open_run(folder).config
            if (other.game, other.env_kwargs) != (config.game, config.env_kwargs):
                raise UserError(f"The games in {folder} are of {other.game}, not of {config.game} with the same "
                                "arguments.")
        self._read = self._left_out = 0
        self._records = self._all()
        self._notices: list[str] = []

    def _all(self) -> Iterator[GameRecord | list[Move]]:
        for folder in self._settings.recordings:
            if folder.endswith(SUFFIX):
                yield from read_demo(Path(folder), self._environment.spec)
                continue
            yield from EpisodeIndex(Path(folder)).with_actions()

    def publish(self, weights: Weights, version: int) -> None:
        """Nobody acts."""

    def wants_weights(self, waiting: bool) -> bool:
        return False

    def collect(self, wait: bool) -> list[Experience]:
        if not wait or self.exhausted:
            return []
        record = next(self._records, None)
        if record is None:
            self.exhausted = True
            if self._left_out > 1:
                self._notices.append(f"{self._left_out} of {self._read} recorded games were left out.")
            return []
        self._read += 1
        if isinstance(record, list):  # of a file: it has no seed, so the run's list of episodes cannot have it
            return [self._experience(0, record, [])]
        try:
            moves = list(record.moves(self._environment))
        except UserError as error:
            if not self._left_out:
                self._notices.append(f"The recorded game {record.index} is left out: {error}")
            self._left_out += 1
            return []
        episode = Episode(np.array([move.action for move in moves]), np.array([move.seat for move in moves], np.int8),
                          tuple(record.returns), tuple(record.raw_returns), record.seed or 0, record.truncated,
                          record.weights_version)
        return [self._experience(record.weights_version, moves, [episode])]

    def _experience(self, weights_version: int, moves: list[Move], episodes: list[Episode]) -> Experience:
        rows = self._make_rows(self._settings, self._environment.spec, moves)
        return Experience(weights_version, len(moves), rows, episodes)

    def hold(self, back: bool) -> None:
        """Nothing to do: the learner asks for every game."""

    def waits(self) -> dict[str, float]:
        return {}

    def notices(self) -> list[str]:
        notices, self._notices = self._notices, []
        return notices

    def state_dict(self) -> State:
        return {"starts": self.starts, "restarts": self.restarts, "read": self._read, "left_out": self._left_out,
                "exhausted": self.exhausted}

    def load_state_dict(self, state: State) -> None:
        self._read, self._left_out, self.exhausted = state["read"], state["left_out"], state["exhausted"]
        self._records = islice(self._all(), self._read, None)

    def close(self) -> None:
        """Nothing is open."""
