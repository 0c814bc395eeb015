"""What a player sees in a position at a glance: the hand-made features of the AlphaGo paper (its extended data table 2),
each as a plane of zeros and ones. Numbers from 1 to 8 have a plane each, the last one for 8 and more.

| planes | 1 where |
|---|---|
| 0 OWN, 1 OPPONENT, 2 FREE | there is a stone of the mover, of the opponent, none |
| 3 ONES | on the board (outside it, what convolutions see is 0) |
| 4–11 AGE | the stone has been there for so many plies |
| 12–19 LIBERTIES | the stone's chain has so many liberties |
| 20–27 CAPTURES | a move here takes so many stones |
| 28–35 SELF_ATARI | a move here leaves so many of the mover's stones with one liberty |
| 36–43 LIBERTIES_AFTER | a move here makes a chain with so many liberties |
| 44 LADDER_CAPTURE | a move here takes a chain of two liberties in a ladder |
| 45 LADDER_ESCAPE | a move here takes a chain out of atari, and no ladder follows |
| 46 SENSIBLE | a move here is legal and fills none of the mover's eyes |
| 47 BLACK_TO_PLAY | the mover is Black: everywhere |

The paper has a plane of zeros as well, which tells nothing, and no plane for a move that takes nothing. Features of
moves are found for legal moves alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from myosu.games.game import compiled
from myosu.games.go.board import (
    BLACK,
    BORDER,
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
#: Plies that a ladder is read: those across a 19×19 board are no longer. One that is, or that takes more than so many
#: positions, counts as broken.
LADDER_PLIES, LADDER_POSITIONS = 80, 500


@compiled
def count_liberties(board, head, most):
    """Of a chain, (number, one, another): the exact number of liberties, counted up to ``most`` (at most 8), and the
    first two found, NOWHERE if there are fewer."""
    stones, width, stone = board.stones.ravel(), width_of(board), np.int64(head)
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
    """(taken, length, liberties) of a move: the stones that it takes, and of the chain that it makes the stones and the
    liberties, counted up to 8. The move is no suicide."""
    stones, width, chain = board.stones.ravel(), width_of(board), board.chain
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
def caught_in_ladder(boards, depth, prey, first, positions):
    """Whether the chain of the stone ``prey`` on ``boards[depth]``, with two liberties or fewer, is taken when its
    opponent moves and puts it in atari again and again. boards: scratch, overwritten from depth + 1 on. first: where
    the opponent begins, NOWHERE: on either liberty. positions [1]: how many have been looked at, counted here.
    """
    board = boards[depth]
    colour, width = np.int64(board.stones.ravel()[prey]), width_of(board)
    hunter = BLACK + WHITE - colour
    count, one, another = count_liberties(board, np.int64(board.chain[prey]), 3)
    if count == 1:
        return True
    if count > 2 or depth + 2 >= len(boards) or positions[0] > LADDER_POSITIONS:
        return False
    for attack in (one, another):
        if (first != NOWHERE and attack != first) or attack == board.ko or not breathes(board, attack, hunter):
            continue
        hunted = boards[depth + 1]
        copy_board(board, hunted)
        place(hunted, attack, hunter)
        # The chain runs to its last liberty, or takes a chain in atari beside it.
        free, stone = False, prey
        answer = last_liberty(hunted, hunted.chain[prey])
        while not free:
            for step in (0, -width, -1, 1, width):
                if step != 0:
                    if hunted.stones.ravel()[stone + step] != hunter or not in_atari(hunted, hunted.chain[stone + step]):
                        continue
                    answer = last_liberty(hunted, hunted.chain[stone + step])
                elif stone != prey:
                    continue
                if answer != hunted.ko and breathes(hunted, answer, colour):
                    positions[0] += 1
                    copy_board(hunted, boards[depth + 2])
                    place(boards[depth + 2], answer, colour)
                    if not caught_in_ladder(boards, depth + 2, prey, NOWHERE, positions):
                        free = True
                        break
            stone = np.int64(hunted.link[stone])
            if stone == prey:
                break
        if not free:
            return True
    return False


@compiled
def _captures_in_ladder(board, point, colour, boards, positions):
    """Whether a move begins a ladder that takes a chain with two liberties."""
    stones, width = board.stones.ravel(), width_of(board)
    for step in (-width, -1, 1, width):
        if stones[point + step] == BLACK + WHITE - colour and not in_atari(board, board.chain[point + step]):
            if count_liberties(board, np.int64(board.chain[point + step]), 3)[0] == 2:
                copy_board(board, boards[0])
                positions[0] = 0
                if caught_in_ladder(boards, 0, point + step, point, positions):
                    return True
    return False


@compiled
def _escapes(board, point, colour, boards, positions):
    """Whether a move saves a chain of the mover's from atari, ladders included."""
    stones, width = board.stones.ravel(), width_of(board)
    for step in (-width, -1, 1, width):
        if stones[point + step] == colour and last_liberty_is(board, board.chain[point + step], point):
            copy_board(board, boards[0])
            place(boards[0], point, colour)
            positions[0] = 0
            return not caught_in_ladder(boards, 0, point, NOWHERE, positions)
    return False


@compiled
def _age(recent, occupant):
    """Positions in a row, the newest first, in which the point held ``occupant``: 1 to 8."""
    age = 1
    while age < 8 and recent >> 2 * age & 3 == occupant:
        age += 1
    return age


@compiled
def _observe(state, out, boards):
    width, own, stones = width_of(state), np.int64(state.player + 1), state.stones.ravel()
    positions = np.zeros(1, np.int64)
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
            continue  # a suicide leaves nothing to count
        taken, length, liberties = after_move(state, point, own)
        if taken > 0:
            out[CAPTURES + min(taken, 8) - 1, row, column] = 1
        if liberties == 1:
            out[SELF_ATARI + min(length, 8) - 1, row, column] = 1
        out[LIBERTIES_AFTER + liberties - 1, row, column] = 1
        out[LADDER_CAPTURE, row, column] = _captures_in_ladder(state, point, own, boards, positions)
        out[LADDER_ESCAPE, row, column] = _escapes(state, point, own, boards, positions)


def make_observe_features(size: int) -> Callable:
    """observe(state, out uint8 [FEATURES, size, size]) of a game of Go, compiled."""
    board_dtype = np.dtype(board_fields(size), align=True)

    @compiled
    def observe_features(state, out):
        _observe(state, out, np.empty(LADDER_PLIES, board_dtype))

    return observe_features
