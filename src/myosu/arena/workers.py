"""Single-threaded processes that play the games of a league."""

from __future__ import annotations

import time
from dataclasses import dataclass

from myosu.arena.entrants import Entrant
from myosu.arena.league import League, Pair
from myosu.evaluation.match import play_openings
from myosu.games import load_game
from myosu.players.opponents import make_opponent
from myosu.players.player import Player
from myosu.processes import Pool
from myosu.randomness import derive_seed, prepare_process


@dataclass(frozen=True)
class Block:
    """Openings that the players with the indices i < j in the league play in parallel."""

    i: int
    j: int
    openings: tuple[int, ...]


class Workers:
    """``count`` worker processes for ``league``. A process that dies is replaced, and its games can be played again."""

    def __init__(self, league: League, count: int) -> None:
        self.league = league
        self._pool = Pool(count, _Players, (league.settings["game"], league.seed))
        self.notices, self.idle, self.close = self._pool.notices, self._pool.idle, self._pool.close

    def under_way(self) -> list[Block]:
        return [block for block, *_ in self._pool.under_way()]

    def start(self, block: Block) -> None:
        """Assign ``block`` to an idle worker."""
        openings = [(number, self.league.openings[number % len(self.league.openings)]) for number in block.openings]
        self._pool.start((block, self.league.entrants[block.i], self.league.entrants[block.j], openings))

    def finished(self, timeout: float) -> list[Pair]:
        """Results that arrive within ``timeout`` seconds. Raises UserError if a player failed."""
        return [pair for pairs in self._pool.finished(timeout) for pair in pairs]


class _Players:
    """Plays blocks in a worker process.

    Agents and engines are cached, because they start slowly and are stateless. Stochastic players are created again for
    every block, so that a game does not depend on earlier games of this process."""

    def __init__(self, game_name: str, seed: int) -> None:
        prepare_process(seed)
        self.game, self.seed = load_game(game_name), seed
        self.lasting: dict[str, Player] = {}

    def __call__(self, task: tuple[Block, Entrant, Entrant, list[tuple[int, tuple[int, ...]]]]) -> list[Pair]:
        start = time.perf_counter()
        _, first, second, openings = task
        numbers, actions = zip(*openings, strict=True)
        names = list(f"{first.text}\n{second.text}".encode())
        chances = (derive_seed(self.seed, numbers[0], side, *names) for side in (0, 1))
        players = map(self._player, (first, second), chances)
        rewards, histories = play_openings(self.game, next(players), next(players), list(actions))
        seconds = (time.perf_counter() - start) / len(numbers)
        return [Pair(first.name, second.name, number, tuple(rewards[k].tolist()),
                     (histories[2 * k], histories[2 * k + 1]), round(seconds, 3)) for k, number in enumerate(numbers)]

    def _player(self, entrant: Entrant, chance: int) -> Player:
        if not entrant.repeats:
            return make_opponent(entrant.text, self.game, seed=chance)
        if entrant.text not in self.lasting:
            self.lasting[entrant.text] = make_opponent(entrant.text, self.game)
        return self.lasting[entrant.text]

    def close(self) -> None:
        for player in self.lasting.values():
            player.close()
