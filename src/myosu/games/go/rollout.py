"""The rollout policy: a linear softmax over local features of each move, fast enough to play games to the end.

The logit of a move is the sum of the weights of

- ``pattern``: the eight points around it,
- ``response``: the same pattern with separate weights, if one of the eight points is the opponent's last move,
- ``place``: the distances from the edges of the board,
- ``near``: the distance from the last move,
- ``tactics``: capturing a chain of one stone, or of more; saving a chain from atari; self-atari (its weight is at most
  0, and it does not apply to moves that capture).

Patterns are invariant under the eight symmetries and under exchange of colours. Moves that fill an eye are not played.
AlphaGo's rollout policy has 12-point response patterns and nakade features instead.

``choose`` samples from the softmax without evaluating every move: the weights of ``pattern`` and ``place`` are stored
for both colours and updated around every changed stone; ``response``, ``near`` and ``tactics`` are applied to the few
points concerned; self-atari and legality are checked only for the sampled move (rejection sampling).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np

from myosu.errors import UserError
from myosu.games.chance import draw_unit
from myosu.games.game import compiled
from myosu.games.go.board import (
    BLACK,
    BORDER,
    EMPTY,
    NOWHERE,
    WHITE,
    area,
    board_fields,
    breathes,
    copy_board,
    in_atari,
    is_eye,
    last_liberty,
    last_liberty_is,
    place,
    step_to,
    width_of,
)
from myosu.games.go.features import after_move

#: Indices of ``tactics``.
TAKES_ONE, TAKES_MORE, SAVES, SELF_ATARI = range(4)
PATTERNS, PLACES, NEARS = 1 << 16, 100, 6


@dataclass(frozen=True)
class RolloutPolicy:
    """Logits, float32: pattern and response [65536] by canonical code, place [100] by ``place_of``, near [6] by
    ``nearness``, tactics [4]."""

    pattern: np.ndarray
    response: np.ndarray
    place: np.ndarray
    near: np.ndarray
    tactics: np.ndarray

    @classmethod
    def zeros(cls) -> RolloutPolicy:
        """The uniform policy."""
        return cls(*(np.zeros(n, np.float32) for n in (PATTERNS, PATTERNS, PLACES, NEARS, 4)))

    def weights(self) -> tuple[np.ndarray, ...]:
        """Exponentiated weights for ``choose``: pattern and response [2, 65536] by player and raw code, 0 for eyes;
        place [100] and tactics [4]; near [6], relative to far away."""
        codes = canonical_codes()
        by_pattern, by_response = np.exp(self.pattern[codes]), np.exp(self.response[codes])
        by_pattern[eyes()] = 0
        return by_pattern, by_response, np.exp(self.place), np.exp(self.near - self.near[0]), np.exp(self.tactics)

    def save(self, path: Path) -> None:
        np.savez_compressed(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> RolloutPolicy:
        """Load a policy. Raises UserError if the file is not a rollout policy."""
        try:
            with np.load(path, allow_pickle=False) as found:
                policy = cls(*(found[field.name] for field in fields(cls)))
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{path} holds no rollout policy: {error}") from None
        wanted = cls.zeros()
        for field in fields(cls):
            shape = getattr(policy, field.name).shape
            if shape != getattr(wanted, field.name).shape:
                raise UserError(f"{path} holds no rollout policy: {field.name} has shape {shape}.")
        return policy


@cache
def canonical_codes() -> np.ndarray:
    """int64 [2, 65536]: the canonical form of an ``around`` code, with Black or White to move: the minimum over the
    eight symmetries, with colours exchanged if White is to move."""
    codes = np.arange(PATTERNS)
    cells = [codes >> 2 * k & 3 for k in range(8)]
    steps = [divmod(step_to(k, 3) + 4, 3) for k in range(8)]
    turns = []
    for mirrored in (False, True):
        for turn in range(4):
            places = []
            for row, column in steps:
                row, column = row - 1, (1 - column if mirrored else column - 1)
                for _ in range(turn):
                    row, column = column, -row
                places.append(steps.index((row + 1, column + 1)))
            turns.append(np.sum([cells[k] << 2 * to for k, to in enumerate(places)], axis=0))
    least = np.min(np.stack(turns), axis=0)
    exchanged = (codes & 0x5555) << 1 | (codes & 0xAAAA) >> 1
    return np.stack([least, least[exchanged]])


@cache
def eyes() -> np.ndarray:
    """bool [2, 65536]: whether an ``around`` code is an eye of Black, of White."""
    board = np.zeros(1, np.dtype([("around", np.uint16, (1,))], align=True))
    return _find_eyes(board, np.zeros((2, PATTERNS), np.bool_))


@compiled
def _find_eyes(boards, found):
    for code in range(PATTERNS):
        boards[0].around[0] = code
        for player in range(2):
            found[player, code] = is_eye(boards[0], 0, player + 1)
    return found


@compiled
def place_of(point, width):
    """Index of the smaller and the larger distance from the edges of the board."""
    size = width - 2
    row, column = point // width - 1, point % width - 1
    row, column = min(row, size - 1 - row), min(column, size - 1 - column)
    return 10 * min(row, column) + max(row, column)


@compiled
def nearness(point, last, width):
    """0 if far from the last move, else Δrow + Δcolumn + max(Δrow, Δcolumn) − 1, from 1 to 5."""
    if last == NOWHERE:
        return 0
    rows, columns = abs(point // width - last // width), abs(point % width - last % width)
    distance = rows + columns + max(rows, columns)
    return 0 if distance > 6 else distance - 1


@compiled
def tactics_of(board, point, colour):
    """bool [4]: the ``tactics`` features of a move, which must not be suicide."""
    found, stones, width = np.zeros(4, np.bool_), board.stones, width_of(board)
    for step in (-width, -1, 1, width):
        occupant, head = stones[point + step], board.chain[point + step]
        if head != NOWHERE and last_liberty_is(board, head, point):
            if occupant == colour:
                found[SAVES] = True
            elif board.length[head] == 1:
                found[TAKES_ONE] = True
            else:
                found[TAKES_MORE] = True
    taken, _, liberties = after_move(board, point, colour)
    found[SELF_ATARI] = taken == 0 and liberties == 1
    return found


def rollout_dtype(size: int) -> np.dtype:
    """A board with the weights of every point for both players (0 on stones), their sums by row, and the points whose
    weights are changed temporarily for one move, with their old weights."""
    points = (size + 2) ** 2
    return np.dtype([("weight", np.float64, (2, points)), ("row_sum", np.float64, (2, size + 2)),
                     ("old_weight", np.float64, (points,)), ("changed", np.int16, (points,)),
                     ("changes", np.int16), ("last", np.int16), ("chance", np.uint64), *board_fields(size)], align=True)


@compiled
def start_rollout(board, last, scratch, weights):
    """Initialise ``scratch``, a record of ``rollout_dtype``, with the position ``board``, whose last move was
    ``last``."""
    copy_board(board, scratch)
    width = width_of(board)
    scratch.weight[:] = 0
    scratch.row_sum[:] = 0
    scratch.changes = 0
    scratch.last = last
    for point in range(width + 1, width * width - width - 1):
        _weigh(scratch, point, weights)


@compiled
def _weigh(scratch, point, weights):
    """Recompute the weights of a point."""
    by_pattern, _, by_place, _, _ = weights
    occupant = scratch.stones[point]
    if occupant == BORDER:
        return
    width = width_of(scratch)
    row, code = point // width, scratch.around[point]
    factor = by_place[place_of(point, width)] if occupant == EMPTY else 0.0
    for player in range(2):
        weight = by_pattern[player, code] * factor
        scratch.row_sum[player, row] += weight - scratch.weight[player, point]
        scratch.weight[player, point] = weight


@compiled
def play_in_rollout(scratch, point, colour, weights):
    width = width_of(scratch)
    stone, taken = place(scratch, point, colour)
    _weigh(scratch, point, weights)
    for k in range(8):
        _weigh(scratch, point + step_to(k, width), weights)
    for _ in range(taken):
        _weigh(scratch, stone, weights)
        for k in range(8):
            _weigh(scratch, stone + step_to(k, width), weights)
        stone = np.int64(scratch.link[stone])
    scratch.last = point


@compiled
def _change(scratch, player, point, weight):
    """Set a point's weight until the next ``_restore``."""
    count = scratch.changes
    scratch.changed[count] = point
    scratch.old_weight[count] = scratch.weight[player, point]
    scratch.changes = count + 1
    scratch.row_sum[player, point // width_of(scratch)] += weight - scratch.weight[player, point]
    scratch.weight[player, point] = weight


@compiled
def _restore(scratch, player):
    width = width_of(scratch)
    for index in range(scratch.changes - 1, -1, -1):
        point, weight = np.int64(scratch.changed[index]), scratch.old_weight[index]
        scratch.row_sum[player, point // width] += weight - scratch.weight[player, point]
        scratch.weight[player, point] = weight
    scratch.changes = 0


@compiled
def _heed_last_move(scratch, player, weights):
    """Apply ``near`` and ``response`` to the weights around the last move."""
    _, by_response, _, by_near, _ = weights
    width, last = width_of(scratch), np.int64(scratch.last)
    row, column = last // width, last % width
    for r in range(max(1, row - 3), min(width - 2, row + 3) + 1):
        rows = abs(r - row)
        reach = 3 if rows == 0 else 2 if rows <= 2 else 0
        for c in range(max(1, column - reach), min(width - 2, column + reach) + 1):
            point = r * width + c
            weight = scratch.weight[player, point]
            if weight > 0.0:
                weight *= by_near[nearness(point, last, width)]
                if rows <= 1 and abs(c - column) <= 1:
                    weight *= by_response[player, scratch.around[point]]
                _change(scratch, player, point, weight)


@compiled
def _heed_atari(scratch, player, weights):
    """Apply ``tactics`` except self-atari. Each feature counts once per point, for any number of chains."""
    tactics, width = weights[4], width_of(scratch)
    for head in range(width + 1, width * width - width - 1):
        if scratch.chain[head] == head and scratch.stones[head] != EMPTY and in_atari(scratch, head):
            point = last_liberty(scratch, head)
            kind = _kind_of(scratch, head, player)
            first = True
            for step in (-width, -1, 1, width):
                other = np.int64(scratch.chain[point + step])
                if other != NOWHERE and other < head and last_liberty_is(scratch, other, point):
                    first &= _kind_of(scratch, other, player) != kind
            weight = scratch.weight[player, point]
            if first and weight > 0.0:
                _change(scratch, player, point, weight * tactics[kind])


@compiled
def _kind_of(scratch, head, player):
    if scratch.stones[head] == player + 1:
        return SAVES
    return TAKES_ONE if scratch.length[head] == 1 else TAKES_MORE


@compiled
def choose(scratch, colour, weights):
    """A point sampled from the policy; NOWHERE if every move is illegal or fills an eye."""
    player, width, self_atari = colour - 1, width_of(scratch), weights[4][SELF_ATARI]
    if scratch.last != NOWHERE:
        _heed_last_move(scratch, player, weights)
    _heed_atari(scratch, player, weights)
    chosen = NOWHERE
    while chosen == NOWHERE:
        total = 0.0
        for row in range(1, width - 1):
            total += scratch.row_sum[player, row]
        if total < 1e-9:
            break
        left, row = draw_unit(scratch) * total, 1
        while row < width - 2 and left >= scratch.row_sum[player, row]:
            left -= scratch.row_sum[player, row]
            row += 1
        point, end = row * width + 1, row * width + width - 2
        while point < end and left >= scratch.weight[player, point]:
            left -= scratch.weight[player, point]
            point += 1
        if scratch.weight[player, point] <= 0.0 or point == scratch.ko or not breathes(scratch, point, colour):
            _change(scratch, player, point, 0.0)
        elif self_atari >= 1.0 or draw_unit(scratch) < self_atari or not _is_self_atari(scratch, point, colour):
            chosen = point
    _restore(scratch, player)
    return chosen


@compiled
def _is_self_atari(scratch, point, colour):
    """Whether a move captures nothing and leaves its chain with one liberty."""
    around, free = np.int64(scratch.around[point]), 0
    for k in range(4):
        free += around >> 2 * k & 3 == EMPTY
    if free > 1:
        return False
    taken, _, liberties = after_move(scratch, point, colour)
    return taken == 0 and liberties == 1


@compiled
def rollout(scratch, colour, weights):
    """Play ``scratch`` to the end by the policy. Returns (Black's area minus White's, moves), like
    ``random_playout``."""
    passes, moves, width = 0, 0, width_of(scratch)
    longest = 3 * (width - 2) ** 2
    while passes < 2 and moves < longest:
        point = choose(scratch, colour, weights)
        if point == NOWHERE:
            passes += 1
            scratch.ko = NOWHERE
            scratch.last = NOWHERE
        else:
            passes = 0
            play_in_rollout(scratch, point, colour, weights)
        colour = BLACK + WHITE - colour
        moves += 1
    return area(scratch), moves
