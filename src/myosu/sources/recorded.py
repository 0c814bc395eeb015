"""Recorded games as a source of experience, replayed from their seeds and actions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from myosu.algorithms import algorithm_of, load_settings
from myosu.algorithms.interface import Experience
from myosu.errors import UserError
from myosu.runs.config import RunConfig
from myosu.runs.games import GameRecord
from myosu.runs.recordings import open_recording
from myosu.runs.state import State, Weights


class RecordedGames:
    """The games of the setting ``recordings`` (``open_recording``), each once, in order (``source.Source``). Like
    ``ActorInTurn``, it replays one game whenever the learner waits.

    Raises UserError if a folder is missing or holds another game.
    """

    parallel = False
    slack = 0

    def __init__(self, config: RunConfig) -> None:
        self.exhausted = False
        self.starts = self.restarts = self.env_restarts = 0
        self.nodes: dict[str, dict[str, float]] = {}
        self._settings, self._environment = load_settings(config), config.environment
        self._make_rows = algorithm_of(config).make_rows
        self._recordings = [open_recording(source, self._environment.spec) for source in self._settings.recordings]
        for recording in self._recordings:
            recording.require(self._environment, config.game, config.env_kwargs)
        self._read = self._left_out = self._learnable = 0
        self._first_problem = ""
        self._records = self._all()
        self._notices: list[str] = []

    def _all(self) -> Iterator[GameRecord]:
        for recording in self._recordings:
            yield from recording.records()

    def publish(self, weights: Weights, version: int) -> None:
        """Does nothing: there is no actor."""

    def wants_weights(self, waiting: bool) -> bool:
        return False

    def collect(self, wait: bool) -> list[Experience]:
        if not wait or self.exhausted:
            return []
        record = next(self._records, None)
        if record is None:
            if self._read == self._left_out:
                where = ", ".join(self._settings.recordings) or "recordings, which is empty"
                why = (f"all {self._read} were left out. {self._first_problem}" if self._read else
                       "name folders of recorded games with --recordings.")
                raise UserError(f"There is no game to learn from in {where}: {why}")
            if not self._learnable:
                raise UserError(f"There is nothing to learn from in {', '.join(self._settings.recordings)}: the "
                                f"{self._read - self._left_out} games that could be read are all held out for testing, "
                                "or nobody chose a move in them. Record more, or hold out a smaller fraction.")
            self.exhausted = True
            if self._left_out > 1:
                self._notices.append(f"{self._left_out} of {self._read} recorded games were left out.")
            return []
        self._read += 1
        try:
            moves = list(record.moves(self._environment))
        except UserError as error:
            if not self._left_out:
                self._first_problem = f"The first: {error}"
                self._notices.append(f"The recorded game {record.index} is left out: {error}")
            self._left_out += 1
            return []
        rows = self._make_rows(self._settings, self._environment.spec, moves)
        self._learnable += sum(int((~part["held_out"]).sum()) if "held_out" in part else len(moves) for part in rows)
        return [Experience(record.weights_version, len(moves), rows, [replace(record, observed=None)])]

    def set_paused(self, paused: bool) -> None:
        """Does nothing: games are replayed only when the learner asks for one."""

    def waits(self) -> dict[str, float]:
        return {}

    def notices(self) -> list[str]:
        notices, self._notices = self._notices, []
        return notices

    def state_dict(self) -> State:
        return {"starts": self.starts, "restarts": self.restarts, "read": self._read, "left_out": self._left_out,
                "learnable": self._learnable, "exhausted": self.exhausted}

    def load_state_dict(self, state: State) -> None:
        self._read, self._left_out, self.exhausted = state["read"], state["left_out"], state["exhausted"]
        self._learnable = state.get("learnable", 1)  # earlier versions did not count them
        self._records = islice(self._all(), self._read, None)

    def close(self) -> None:
        """Does nothing: no file stays open."""
