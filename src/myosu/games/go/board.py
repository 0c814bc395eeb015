"""Stones, chains and liberties of a Go board, updated incrementally.

A *point* is an index: the board is stored row by row inside a border one point wide, so that the four neighbours of a
point are at offsets −width, −1, +1, +width and edges need no test. Every function takes ``board``, a record with the
fields of ``board_fields`` and possibly more: game states and the scratch boards of playouts share this code.

Liberties are counted as *pseudo-liberties*: once per adjacent stone of the chain. ``as_liberty`` packs a count of 1,
the point and its square into one integer, so that adding or removing a liberty is one addition. A chain without
liberties then holds 0, and one whose only liberty is ``point`` holds a multiple of ``as_liberty(point)`` (by the
Cauchy–Schwarz inequality, no other set has this mean and mean square).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from myosu.games.game import compiled

EMPTY, BLACK, WHITE, BORDER = 0, 1, 2, 3
#: "No point": index 0 lies in the border.
NOWHERE = 0
#: Bits of the number of pseudo-liberties (at most 4 · 361) and of the sum of their points (at most 440 each).
COUNT_BITS, SUM_BITS = 11, 20
COUNT_MASK = (1 << COUNT_BITS) - 1
#: The lower bit of each of the four neighbours in ``around``.
EACH_NEAR = 0b01010101


def board_fields(size: int) -> list[tuple[Any, ...]]:
    """Fields of a board record.

    stones: EMPTY, BLACK, WHITE or BORDER. chain: for each stone, the head of its chain (one of its points). link: for
    each stone, the next stone of its chain, as a circular list. liberties, length: at each head, the pseudo-liberties
    and the number of stones of its chain. around: the occupants of the eight points around an inner point, two bits
    each, in the order of ``step_to``. ko: the point that may not be retaken immediately.
    """
    points = (size + 2) ** 2
    return [("liberties", np.int64, (points,)), ("chain", np.int16, (points,)), ("link", np.int16, (points,)),
            ("length", np.int16, (points,)), ("around", np.uint16, (points,)), ("stones", np.int8, (points,)),
            ("ko", np.int16)]


@compiled
def width_of(board):
    """Offset from one row to the next; the board itself is two points narrower."""
    return np.int64(math.sqrt(len(board.stones)))


@compiled
def point_of(cell, width):
    """The point of a cell; cells are numbered row by row, without the border."""
    size = width - 2
    return (cell // size + 1) * width + cell % size + 1


@compiled
def as_liberty(point):
    point = np.int64(point)
    return 1 + (point << COUNT_BITS) + (point * point << (COUNT_BITS + SUM_BITS))


@compiled
def step_to(k, width):
    """Offset to the ``k``-th of the eight points around: up, left, right, down, then the diagonals from top left."""
    row = (-1, 0, 0, 1, -1, -1, 1, 1)[k]
    return row * width + (0, -1, 1, 0, -1, 1, -1, 1)[k]


@compiled
def clear(board):
    width = width_of(board)
    board.stones[:] = BORDER
    for cell in range((width - 2) ** 2):
        board.stones[point_of(cell, width)] = EMPTY
    board.around[:] = 0
    board.chain[:] = 0
    board.link[:] = 0
    board.length[:] = 0
    board.liberties[:] = 0
    board.ko = NOWHERE
    for cell in range((width - 2) ** 2):
        point = point_of(cell, width)
        for k in range(8):
            board.around[point] |= board.stones[point + step_to(k, width)] << 2 * k


@compiled
def last_liberty_is(board, head, point):
    """Whether ``point``, a liberty of the chain, is its only one."""
    liberties = board.liberties[head]
    return liberties == (liberties & COUNT_MASK) * as_liberty(point)


@compiled
def count_pseudo_liberties(board, head):
    """(count, sum of points, sum of squared points) of a chain's pseudo-liberties."""
    liberties = board.liberties[head]
    return liberties & COUNT_MASK, liberties >> COUNT_BITS & (1 << SUM_BITS) - 1, liberties >> COUNT_BITS + SUM_BITS


@compiled
def in_atari(board, head):
    """Whether the chain has exactly one liberty."""
    count, total, squares = count_pseudo_liberties(board, head)
    return count * squares == total * total


@compiled
def last_liberty(board, head):
    """The only liberty of a chain in atari."""
    count, total, _ = count_pseudo_liberties(board, head)
    return total // count


@compiled
def copy_board(board, scratch):
    """Copy the board fields to ``scratch``, another record."""
    scratch.stones[:] = board.stones
    scratch.chain[:] = board.chain
    scratch.around[:] = board.around
    scratch.link[:] = board.link
    scratch.length[:] = board.length
    scratch.liberties[:] = board.liberties
    scratch.ko = board.ko


@compiled
def breathes(board, point, colour):
    """Whether ``colour`` may play on the empty ``point`` without suicide: the stone has a liberty or captures."""
    around, width = np.int64(board.around[point]), width_of(board)
    if ~(around | around >> 1) & EACH_NEAR:
        return True
    for step in (-width, -1, 1, width):
        occupant = around & 3
        around >>= 2
        if occupant != BORDER and (occupant == colour) != last_liberty_is(board, board.chain[point + step], point):
            return True
    return False


@compiled
def place(board, point, colour):
    """Play on the empty ``point`` and remove chains without liberties: the opponent's, or else the own chain (suicide).

    Returns (first, count): the removed stones as a circular list in ``board.link`` from ``first``, and their number.
    """
    width, other = width_of(board), BLACK + WHITE - colour
    chain, link, liberties, length = board.chain, board.link, board.liberties, board.length
    around, lost = np.int64(board.around[point]), as_liberty(point)
    _change(board, point, colour)
    gained, taking, code = np.int64(0), False, around
    for step in (-width, -1, 1, width):
        near, occupant = point + step, code & 3
        code >>= 2
        head = chain[near]
        liberties[head] -= lost  # entry NOWHERE belongs to no chain and is never read
        gained += as_liberty(near) * (occupant == EMPTY)
        taking |= (occupant == other) & (liberties[head] == 0)
    head = point
    chain[point] = point
    link[point] = point
    length[point] = 1
    liberties[point] = gained
    code = around
    for step in (-width, -1, 1, width):
        if code & 3 == colour and chain[point + step] != head:
            head = _join(board, head, np.int64(chain[point + step]))
        code >>= 2
    board.ko = NOWHERE
    first, count = NOWHERE, 0
    if taking:
        for step in (-width, -1, 1, width):
            near = point + step
            if around & 3 == other and chain[near] != NOWHERE and liberties[chain[near]] == 0:
                count += _take(board, near)
                if first == NOWHERE:
                    first = near
                else:
                    _splice(board, first, near)
            around >>= 2
        if count == 1 and length[head] == 1 and liberties[head] == as_liberty(first):
            board.ko = first
    elif liberties[head] == 0:
        first, count = point, _take(board, point)
    return first, count


@compiled
def _change(board, point, colour):
    """Place or remove a stone of ``colour`` (XOR), and update ``around`` of the eight points around it."""
    board.stones[point] ^= colour
    around, width = board.around, width_of(board)
    around[point - width] ^= colour << 6
    around[point - 1] ^= colour << 4
    around[point + 1] ^= colour << 2
    around[point + width] ^= colour
    around[point - width - 1] ^= colour << 14
    around[point - width + 1] ^= colour << 12
    around[point + width - 1] ^= colour << 10
    around[point + width + 1] ^= colour << 8


@compiled
def _join(board, one, other):
    """Merge two chains given by their heads; the shorter one is relabelled. Returns the head of the merged chain."""
    if board.length[one] < board.length[other]:
        one, other = other, one
    board.liberties[one] += board.liberties[other]
    board.length[one] += board.length[other]
    stone = other
    while True:
        board.chain[stone] = one
        stone = np.int64(board.link[stone])
        if stone == other:
            break
    _splice(board, one, other)
    return one


@compiled
def _splice(board, one, other):
    """Join two circular lists."""
    board.link[one], board.link[other] = board.link[other], board.link[one]


@compiled
def _take(board, first):
    """Remove a chain; its points become liberties of the adjacent stones. Returns the number of stones."""
    chain, width, count = board.chain, width_of(board), 0
    stone, colour = first, board.stones[first]
    while True:
        chain[stone] = NOWHERE
        _change(board, stone, colour)
        count += 1
        for step in (-width, -1, 1, width):
            board.liberties[chain[stone + step]] += as_liberty(stone)  # the removed chain's own entry is never read
        stone = np.int64(board.link[stone])
        if stone == first:
            break
    return count


@compiled
def is_eye(board, point, colour):
    """Whether the empty ``point`` is an eye of ``colour``: all neighbours are its stones (or the border), and fewer
    than two of the diagonal points (at the edge none) are the opponent's."""
    around = np.int64(board.around[point])
    own = EACH_NEAR * colour  # the border has the bits of both colours
    if around & own != own:
        return False
    diagonal = around >> 8
    edge = diagonal & diagonal >> 1 & EACH_NEAR
    hostile = (diagonal >> 1 & ~diagonal if colour == BLACK else diagonal & ~diagonal >> 1) & EACH_NEAR
    return hostile & hostile - 1 == 0 and (hostile == 0 or edge == 0)


@compiled
def owners(board):
    """Tromp–Taylor area, int8 [points]: BLACK or WHITE for stones and for empty regions that touch only that colour;
    EMPTY for neutral points."""
    stones, width = board.stones, width_of(board)
    found, queue = np.zeros(width * width, np.int8), np.empty(width * width, np.int16)
    for start in range(width + 1, width * width - width - 1):
        occupant = stones[start]
        if occupant != EMPTY:
            found[start] = occupant
        elif found[start] == EMPTY:
            found[start] = BORDER  # visited
            queue[0] = start
            count, done, touched = 1, 0, 0
            while done < count:
                point = queue[done]
                done += 1
                for step in (-width, -1, 1, width):
                    near = point + step
                    occupant = stones[near]
                    if occupant == EMPTY:
                        if found[near] == EMPTY:
                            found[near] = BORDER
                            queue[count] = near
                            count += 1
                    elif occupant != BORDER:
                        touched |= occupant
            if touched in (BLACK, WHITE):
                for k in range(count):
                    found[queue[k]] = touched
    for point in range(width * width):
        if found[point] == BORDER:
            found[point] = EMPTY
    return found


@compiled
def area(board):
    """Black's area minus White's, without komi."""
    found, points = owners(board), np.int64(0)
    for point in range(len(found)):
        points += (found[point] == BLACK) - (found[point] == WHITE)
    return points
