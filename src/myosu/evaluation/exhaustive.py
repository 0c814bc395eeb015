"""Evaluation of a player against every possible reply, in games small enough to enumerate."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from myosu.errors import UserError
from myosu.games.game import Game
from myosu.players.player import RESIGNS, History, Player, legal_mask

MAX_LINES = 200_000


@dataclass(frozen=True)
class SeatReport:
    """Results over all lines of play with the player in one seat."""

    games: int
    wins: int
    draws: int
    losses: int
    losing_lines: list[History]


def walk_all_replies(game: Game, player: Player, seat: int) -> SeatReport:
    """Play ``player`` in ``seat`` against every sequence of the opponent's legal actions.

    Raises UserError if more than ``MAX_LINES`` lines are open at the same time.
    """
    states, totals = game.new_states(1), np.zeros(1)
    histories: list[History] = [[]]
    ended_totals: list[float] = []
    losing: list[History] = []
    to_play = np.empty(1, np.int8)
    game.batch.to_play(states, to_play)
    mover = int(to_play[0])
    while len(states):
        legal = legal_mask(game, states)
        if mover == seat:
            lines, actions = np.arange(len(states)), player.choose(states, histories)
            if not (actions != RESIGNS).all():
                raise UserError(f"{player.name} resigned a game of {game.name}; its other lines are not tried.")
            if not legal[lines, actions].all():
                raise UserError(f"{player.name} played an illegal move in {game.name}.")
        else:
            lines, actions = np.nonzero(legal)
        if len(lines) > MAX_LINES:
            raise UserError(f"{game.name} is too large to try every reply: more than {MAX_LINES} lines are open "
                            f"after {len(histories[0]) + 1} plies.")
        states = states[lines]
        rewards, ended = np.empty(len(lines), np.float32), np.empty(len(lines), np.bool_)
        game.batch.step(states, actions.astype(np.int64), rewards, ended)
        histories = [[*histories[line], action] for line, action in zip(lines, actions.tolist(), strict=True)]
        totals = totals[lines] + (rewards if mover == seat else -rewards)
        ended |= len(histories[0]) >= game.max_plies
        ended_totals += totals[ended].tolist()
        losing += [histories[i] for i in np.flatnonzero(ended & (totals < 0))]
        going = np.flatnonzero(~ended)
        states, totals, histories = states[going], totals[going], [histories[i] for i in going]
        mover = 1 - mover
    results = np.array(ended_totals)
    return SeatReport(games=len(results), wins=int((results > 0).sum()), draws=int((results == 0).sum()),
                      losses=len(losing), losing_lines=losing)


def losing_lines(game: Game, player: Player) -> list[History]:
    """All games that ``player`` loses, from either seat, over all replies of the opponent."""
    return [line for seat in (0, 1) for line in walk_all_replies(game, player, seat).losing_lines]


def never_loses(game: Game, player: Player) -> bool:
    return not losing_lines(game, player)


def exhaustive_report(game: Game, player: Player) -> dict[str, Any]:
    """The output of ``myosu evaluate --opponent exhaustive``: wins, draws and losses over all lines, per seat."""
    if game.num_players != 2:
        raise UserError(f"{game.name} is a single-player game; there are no replies to try.")
    start = time.perf_counter()
    seats = [walk_all_replies(game, player, seat) for seat in (0, 1)]
    lines = [line for seat in seats for line in seat.losing_lines]

    def counts(reports: list[SeatReport]) -> dict[str, Any]:
        total = sum(r.games for r in reports)
        return {"games": total, **{key + "_rate": sum(getattr(r, plural) for r in reports) / total
                                   for key, plural in (("win", "wins"), ("draw", "draws"), ("loss", "losses"))}}

    return {"game": game.name, "player": player.name, "opponent": "exhaustive", **counts(seats),
            "losses": len(lines), "losing_lines": [[game.action_name(a) for a in line] for line in lines],
            "first_seat": counts(seats[:1]), "second_seat": counts(seats[1:]),
            "seconds": round(time.perf_counter() - start, 3)}
