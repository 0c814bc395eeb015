"""Plays the games of a league until a limit is reached."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from myosu.arena.league import League
from myosu.arena.schedule import expected_gains, expected_seconds, next_pairing
from myosu.arena.workers import Block, Workers
from myosu.evaluation.ratings import fit

#: Openings that two players play in parallel, because agents search a batch of games faster than single ones.
BLOCK = 4


def play_league(league: League, games: float, seconds: float, workers: int,
                tell: Callable[[int, list[str]], None] = lambda played, notices: None) -> None:
    """Play until there are ``games`` games in total, ``seconds`` have passed, or no pairing has a new game to play.

    Whenever a process is idle, the ratings are fitted again, and the process plays the pairing whose games reduce their
    uncertainty most: per game if ``games`` is finite, else per second.

    tell(games played, notices for the user) is called often.
    """
    deadline = time.monotonic() + seconds
    pool = Workers(league, workers)
    try:
        while True:
            while pool.idle() and time.monotonic() < deadline:
                block = _next_block(league, pool.under_way(), games)
                if block is None:
                    break
                pool.start(block)
            if not pool.under_way() or time.monotonic() >= deadline:
                return
            for pair in pool.finished(timeout=min(0.5, max(0.0, deadline - time.monotonic()))):
                league.add(pair)
            tell(2 * len(league.pairs), pool.notices)
            pool.notices.clear()
    finally:
        pool.close()


def _next_block(league: League, under_way: list[Block], games: float) -> Block | None:
    n = len(league.entrants)
    pending = np.zeros((n, n))
    for block in under_way:
        pending[block.i, block.j] += 2 * len(block.openings)
    missing = games - 2 * len(league.pairs) - pending.sum()
    if missing <= 0:
        return None
    gains = expected_gains(fit(league.results()), pending + pending.T, league.names.index("random"))
    if games == math.inf:
        gains /= expected_seconds(*league.costs())
    allowed = np.ones((n, n), np.bool_)
    count = min(BLOCK, int(min(missing, 2 * BLOCK) + 1) // 2)
    while (pairing := next_pairing(gains, allowed)) is not None:
        taken = {number for block in under_way if (block.i, block.j) == pairing for number in block.openings}
        if openings := league.next_openings(*pairing, count, taken):
            return Block(*pairing, tuple(openings))
        allowed[pairing] = False
    return None
