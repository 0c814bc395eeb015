"""AlphaGo's input features (Silver et al. 2016, extended data table 2) as binary planes. Counts n are one-hot over
eight planes, for n = 1, …, 7 and "8 or more".

| planes | 1 where |
|---|---|
| 0 OWN, 1 OPPONENT, 2 FREE | there is a stone of the mover, of the opponent, none |
| 3 ONES | everywhere (convolutions pad with 0) |
| 4–11 AGE | the stone has been there for n plies |
| 12–19 LIBERTIES | the stone's chain has n liberties |
| 20–27 CAPTURES | a move here captures n stones |
| 28–35 SELF_ATARI | a move here makes a chain of n stones with one liberty |
| 36–43 LIBERTIES_AFTER | a move here makes a chain with n liberties |
| 44 LADDER_CAPTURE | a move here captures a chain with two liberties in a ladder |
| 45 LADDER_ESCAPE | a move here saves a chain from atari, and no ladder captures it |
| 46 SENSIBLE | a move here is legal and does not fill one of the mover's eyes |
| 47 BLACK_TO_PLAY | everywhere, if the mover is Black |

The paper's constant plane of zeros is omitted. Move features are computed for legal moves only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from myosu.games.game import compiled
from myosu.games.go.board import (
    BLACK,
    EMPTY,
    NOWHERE,
    WHITE,
    board_fields,
    breathes,
    copy_board,
    in_atari,
    is_eye,
    last_liberty,
    last_liberty_is,
    place,
    point_of,
    width_of,
)
from myosu.games.go.legal import is_legal

OWN, OPPONENT, FREE, ONES = range(4)
AGE, LIBERTIES, CAPTURES, SELF_ATARI, LIBERTIES_AFTER = range(4, 44, 8)
LADDER_CAPTURE, LADDER_ESCAPE, SENSIBLE, BLACK_TO_PLAY = range(44, 48)
FEATURES = 48
#: Limits of a ladder search: plies (enough to cross a 19×19 board) and positions. Beyond them a ladder counts as
#: broken.
LADDER_PLIES, LADDER_POSITIONS = 80, 500


@compiled
def count_liberties(board, head, most):
    """(count, first, second): the exact number of the chain's liberties, capped at ``most`` ≤ 8, and two of them,
    NOWHERE if there are fewer."""
    stones, width, stone = board.stones, width_of(board), np.int64(head)
    found, count = np.empty(8, np.int64), 0
    found[0] = found[1] = NOWHERE
    while count < most:
        for step in (-width, -1, 1, width):
            if stones[stone + step] == EMPTY and count < most and stone + step not in found[:count]:
                found[count] = stone + step
                count += 1
        stone = np.int64(board.link[stone])
        if stone == head:
            break
    return count, found[0], found[1]


@compiled
def after_move(board, point, colour):
    """(captured, length, liberties) of a move: the number of captured stones, and the stones and liberties (capped at
    8) of the resulting chain. The move must not be suicide."""
    stones, width, chain = board.stones, width_of(board), board.chain
    heads, found = np.zeros(4, np.int64), np.empty(8, np.int64)
    taken, length, liberties = 0, 1, 0
    for k, step in enumerate((-width, -1, 1, width)):
        near = point + step
        head = np.int64(chain[near])
        if head == NOWHERE:
            if stones[near] == EMPTY:
                found[liberties] = near
                liberties += 1
        elif head not in heads[:k]:
            heads[k] = head
            if stones[near] == colour:
                length += board.length[head]
            elif last_liberty_is(board, head, point):
                taken += board.length[head]
    for k, step in enumerate((-width, -1, 1, width)):
        stone = point if heads[k] == NOWHERE or stones[point + step] != colour else heads[k]
        start = stone
        while liberties < 8:
            for around in (-width, -1, 1, width):
                near = stone + around
                free = (stones[near] == EMPTY and near != point) or (
                    stones[near] == BLACK + WHITE - colour and last_liberty_is(board, chain[near], point))
                if free and liberties < 8 and near not in found[:liberties]:
                    found[liberties] = near
                    liberties += 1
            if stone == point:
                break
            stone = np.int64(board.link[stone])
            if stone == start:
                break
    return taken, length, liberties


@compiled
def _list_answers(board, prey, moves):
    """The escapes of a chain in atari: extending to its last liberty, or capturing an adjacent chain in atari. Writes
    up to eight ``moves`` and returns their number."""
    stones, width, stone, count = board.stones, width_of(board), np.int64(prey), 1
    moves[0] = last_liberty(board, board.chain[prey])
    while True:
        for step in (-width, -1, 1, width):
            head = board.chain[stone + step]
            if stones[stone + step] == BLACK + WHITE - stones[prey] and in_atari(board, head):
                point = last_liberty(board, head)
                if count < len(moves) and point not in moves[:count]:
                    moves[count] = point
                    count += 1
        stone = np.int64(board.link[stone])
        if stone == prey:
            return count


@compiled
def caught_in_ladder(boards, prey, first):
    """Whether the chain of the stone ``prey`` on ``boards[0]`` is captured in a ladder, with its opponent to move.
    first: the opponent's first move; NOWHERE: either liberty. The other boards are scratch: ``boards[n]`` is the
    position after n plies; at even plies the opponent is to move.
    """
    liberties, one, another = count_liberties(boards[0], np.int64(boards[0].chain[prey]), 3)
    if liberties != 2:
        return liberties == 1
    runner = np.int64(boards[0].stones[prey])
    moves, left = np.empty((len(boards), 8), np.int64), np.zeros(len(boards), np.int64)
    moves[0, 0], moves[0, 1], left[0] = one, another, 2
    if first != NOWHERE:
        moves[0, 0], left[0] = first, 1
    ply, positions = 0, 0
    while True:
        hunting = ply % 2 == 0
        caught = not hunting  # the result if the player to move has no further move to try
        if left[ply] > 0:
            left[ply] -= 1
            board, point = boards[ply], moves[ply, left[ply]]
            colour = BLACK + WHITE - runner if hunting else runner
            if point == board.ko or not breathes(board, point, colour):
                continue
            after = boards[ply + 1]
            copy_board(board, after)
            place(after, point, colour)
            positions += 1
            if hunting:
                ply += 1
                left[ply] = _list_answers(after, prey, moves[ply])
                continue
            liberties, one, another = count_liberties(after, np.int64(after.chain[prey]), 3)
            if liberties == 1:
                continue
            if liberties == 2 and ply + 3 < len(boards) and positions < LADDER_POSITIONS:
                ply += 1
                moves[ply, 0], moves[ply, 1], left[ply] = one, another, 2
                continue
            caught = False
        # The result holds at this ply, and at every earlier ply at which the player to move wants it.
        while True:
            if ply == 0:
                return caught
            ply -= 1
            if caught != (ply % 2 == 0):
                break


@compiled
def _captures_in_ladder(board, point, colour, boards):
    """Whether a move starts a ladder that captures a chain with two liberties."""
    stones, width = board.stones, width_of(board)
    for step in (-width, -1, 1, width):
        head = np.int64(board.chain[point + step])
        if stones[point + step] == BLACK + WHITE - colour and count_liberties(board, head, 3)[0] == 2:
            copy_board(board, boards[0])
            if caught_in_ladder(boards, point + step, point):
                return True
    return False


@compiled
def _escapes(board, point, colour, boards):
    """Whether a move saves a chain of the mover's from atari, ladders included."""
    stones, width = board.stones, width_of(board)
    for step in (-width, -1, 1, width):
        if stones[point + step] == colour and last_liberty_is(board, board.chain[point + step], point):
            copy_board(board, boards[0])
            place(boards[0], point, colour)
            return not caught_in_ladder(boards, point, NOWHERE)
    return False


@compiled
def _age(recent, occupant):
    """Number of consecutive latest positions in which the point held ``occupant``: 1 to 8."""
    age = 1
    while age < 8 and recent >> 2 * age & 3 == occupant:
        age += 1
    return age


@compiled
def _observe(state, out, boards):
    width, own, stones = width_of(state), np.int64(state.player + 1), state.stones
    out[:] = 0
    out[ONES] = 1
    out[BLACK_TO_PLAY] = own == BLACK
    for cell in range((width - 2) ** 2):
        point, row, column = point_of(cell, width), cell // (width - 2), cell % (width - 2)
        occupant = np.int64(stones[point])
        if occupant != EMPTY:
            out[OWN if occupant == own else OPPONENT, row, column] = 1
            out[AGE + _age(np.int64(state.recent[point]), occupant) - 1, row, column] = 1
            out[LIBERTIES + count_liberties(state, np.int64(state.chain[point]), 8)[0] - 1, row, column] = 1
            continue
        out[FREE, row, column] = 1
        if state.over or not is_legal(state, point):
            continue
        out[SENSIBLE, row, column] = not is_eye(state, point, own)
        if not breathes(state, point, own):
            continue  # after a suicide there is no chain to count
        taken, length, liberties = after_move(state, point, own)
        if taken > 0:
            out[CAPTURES + min(taken, 8) - 1, row, column] = 1
        if liberties == 1:
            out[SELF_ATARI + min(length, 8) - 1, row, column] = 1
        out[LIBERTIES_AFTER + liberties - 1, row, column] = 1
        out[LADDER_CAPTURE, row, column] = _captures_in_ladder(state, point, own, boards)
        out[LADDER_ESCAPE, row, column] = _escapes(state, point, own, boards)


def make_observe_features(size: int) -> Callable:
    """Compile ``observe(state, out uint8 [FEATURES, size, size])`` for a game of Go."""
    board_dtype = np.dtype(board_fields(size), align=True)

    @compiled
    def observe_features(state, out):
        _observe(state, out, np.empty(LADDER_PLIES, board_dtype))

    return observe_features
