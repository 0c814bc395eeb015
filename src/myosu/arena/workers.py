"""Single-threaded processes that play the games of a league."""

from __future__ import annotations

import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from myosu.arena.entrants import Entrant
from myosu.arena.league import League, Pair
from myosu.errors import UserError
from myosu.evaluation.match import play_openings
from myosu.games import load_game
from myosu.players.opponents import make_opponent
from myosu.players.player import Player
from myosu.processes import end, end_with, spawn
from myosu.randomness import derive_seed, prepare_process

#: This many workers may die in a row without a finished game.
MAX_DEATHS = 3


@dataclass(frozen=True)
class Block:
    """Openings that two players, with the indices i < j in the league, play at once."""

    i: int
    j: int
    openings: tuple[int, ...]


@dataclass
class _Worker:
    process: Any
    connection: Connection
    block: Block | None = None


@dataclass
class Workers:
    """``count`` processes for ``league``. One that dies is replaced, and its games can be played again."""

    league: League
    count: int
    notices: list[str] = field(default_factory=list)
    _workers: list[_Worker] = field(default_factory=list)
    _deaths: int = 0

    def under_way(self) -> list[Block]:
        return [worker.block for worker in self._workers if worker.block is not None]

    def idle(self) -> int:
        return self.count - len(self.under_way())

    def start(self, block: Block) -> None:
        """Assign ``block`` to an idle worker."""
        worker = next((worker for worker in self._workers if worker.block is None), None)
        if worker is None:
            worker = _Worker(*spawn(_play, self.league.settings["game"], self.league.seed))
            self._workers.append(worker)
        worker.block = block
        entrants = self.league.entrants[block.i], self.league.entrants[block.j]
        openings = [(number, self.league.openings[number % len(self.league.openings)]) for number in block.openings]
        with suppress(OSError):  # ``finished`` notices that it died
            worker.connection.send((*entrants, openings))

    def finished(self, timeout: float) -> list[Pair]:
        """Results that arrive within ``timeout`` seconds. Raises UserError if a player failed."""
        pairs: list[Pair] = []
        for connection in wait([worker.connection for worker in self._workers], timeout):
            worker = next(worker for worker in self._workers if worker.connection is connection)
            try:
                answer = worker.connection.recv()
            except (EOFError, OSError):
                self._bury(worker)
                continue
            if isinstance(answer, str):
                raise UserError(answer)
            self._deaths, worker.block = 0, None
            pairs += answer
        return pairs

    def close(self) -> None:
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers:
            end(worker.process)
        self._workers = []

    def _bury(self, worker: _Worker) -> None:
        worker.connection.close()
        end(worker.process)
        self._workers.remove(worker)
        self._deaths += 1
        what = f"A worker died (exit code {worker.process.exitcode}); its games are played again."
        if self._deaths >= MAX_DEATHS:
            raise UserError(f"{what} It was the last of {self._deaths} that finished no game.")
        self.notices.append(what)


def _play(connection: Connection, parent: int, game_name: str, seed: int) -> None:
    end_with(parent)
    prepare_process(seed)
    game = load_game(game_name)
    lasting: dict[str, Player] = {}

    def player(entrant: Entrant, chance: int) -> Player:
        """Agents and engines are cached: they start slowly and keep nothing between games. Stochastic players are made
        anew, so that a game does not depend on earlier games of this process."""
        if not entrant.repeats:
            return make_opponent(entrant.text, game, seed=chance)
        if entrant.text not in lasting:
            lasting[entrant.text] = make_opponent(entrant.text, game)
        return lasting[entrant.text]

    try:
        while True:
            first, second, openings = connection.recv()
            start = time.perf_counter()
            try:
                numbers, actions = zip(*openings, strict=True)
                names = list(f"{first.text}\n{second.text}".encode())
                chances = (derive_seed(seed, numbers[0], side, *names) for side in (0, 1))
                players = map(player, (first, second), chances)
                rewards, histories = play_openings(game, next(players), next(players), list(actions))
            except UserError as error:
                connection.send(str(error))
                continue
            except Exception:
                connection.send(traceback.format_exc())
                continue
            seconds = (time.perf_counter() - start) / len(numbers)
            connection.send([
                Pair(first.name, second.name, number, tuple(rewards[k].tolist()),
                     (histories[2 * k], histories[2 * k + 1]), round(seconds, 3)) for k, number in enumerate(numbers)])
    except (EOFError, ConnectionError):
        pass
    finally:
        for lasting_player in lasting.values():
            lasting_player.close()
