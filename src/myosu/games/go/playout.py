"""Games played to their end at random, as quickly as they can be: what a rollout is worth with no knowledge at all.

A playout never fills an eye of its own and passes only when nothing else is left; it forbids to retake a ko at once,
but does not look for longer repetitions, and it is cut after three times as many moves as the board has points. Then
the area counts, as in the game.
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
    """A board with ``empties``, its empty points in any order, and ``index``, where each stands among them."""
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
    """``place``, with the list of empty points kept."""
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
    """A point where ``colour`` may play without filling an eye, each as likely as the next one's gap; NOWHERE: none."""
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
    """Play ``scratch`` to its end, ``colour`` to move. Returns (area, moves): Black's points less White's."""
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
