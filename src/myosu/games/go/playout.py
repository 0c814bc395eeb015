"""Random playouts to the end of the game, at full speed.

A player never fills its own eyes and passes only if no other move is left. Simple ko is forbidden, but longer
repetitions are not checked. A playout is truncated after three times as many moves as the board has points, and scored
by area.
"""

from __future__ import annotations

import numpy as np

from myosu.games.chance import draw_below
from myosu.games.game import compiled
from myosu.games.go.board import (
    BLACK,
    EMPTY,
    NOWHERE,
    WHITE,
    area,
    board_fields,
    breathes,
    is_eye,
    place,
    width_of,
)


def playout_dtype(size: int) -> np.dtype:
    """A board with ``empties``, a list of its empty points, and ``index``, each point's position in that list."""
    points = (size + 2) ** 2
    return np.dtype([("empties", np.int16, (size * size,)), ("index", np.int16, (points,)), ("empty_count", np.int16),
                     ("chance", np.uint64), *board_fields(size)], align=True)


@compiled
def list_empties(scratch):
    stones, width = scratch.stones, width_of(scratch)
    count = 0
    for point in range(width + 1, width * width - width - 1):
        if stones[point] == EMPTY:
            scratch.empties[count] = point
            scratch.index[point] = count
            count += 1
    scratch.empty_count = count


@compiled
def place_and_list(scratch, point, colour):
    """``place``, which also updates the list of empty points."""
    count = scratch.empty_count - 1
    moved, index = scratch.empties[count], scratch.index[point]
    scratch.empties[index] = moved
    scratch.index[moved] = index
    stone, taken = place(scratch, point, colour)
    for _ in range(taken):
        scratch.empties[count] = stone
        scratch.index[stone] = count
        count += 1
        stone = scratch.link[stone]
    scratch.empty_count = count


@compiled
def random_move(scratch, colour):
    """A random legal move of ``colour`` that fills no eye; NOWHERE if there is none. (The search starts at a random
    position of the list, so the choice is not exactly uniform.)"""
    count = np.int64(scratch.empty_count)
    if count == 0:
        return NOWHERE
    start = draw_below(scratch, count)
    for k in range(count):
        index = start + k
        if index >= count:
            index -= count
        point = np.int64(scratch.empties[index])
        if point != scratch.ko and breathes(scratch, point, colour) and not is_eye(scratch, point, colour):
            return point
    return NOWHERE


@compiled
def random_playout(scratch, colour):
    """Play ``scratch`` to the end, with ``colour`` to move. Returns (Black's area minus White's, moves)."""
    passes, moves, width = 0, 0, width_of(scratch)
    longest = 3 * (width - 2) ** 2
    while passes < 2 and moves < longest:
        point = random_move(scratch, colour)
        if point == NOWHERE:
            passes += 1
            scratch.ko = NOWHERE
        else:
            passes = 0
            place_and_list(scratch, point, colour)
        colour = BLACK + WHITE - colour
        moves += 1
    return area(scratch), moves
