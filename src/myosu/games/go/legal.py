"""Legality of moves: no suicide (unless allowed) and positional superko."""

from __future__ import annotations

import numpy as np

from myosu.games.game import compiled
from myosu.games.go.board import BLACK, EMPTY, WHITE, breathes, last_liberty_is, width_of
from myosu.games.playout import mix64


@compiled
def key_of(point, colour):
    """Zobrist key of a stone; a position's hash is the XOR of its stones' keys."""
    return mix64(np.uint64(4 * point + colour))


@compiled
def _chain_key(state, head):
    key, stone, colour = np.uint64(0), head, state.stones[head]
    while True:
        key ^= key_of(stone, colour)
        stone = np.int64(state.link[stone])
        if stone == head:
            return key


@compiled
def _repeats(state, point, colour):
    """Whether a move repeats an earlier position (superko).

    Unless the move is suicide, the stone stays, so a repetition is possible only on a point where ``colour`` had a
    stone before that was captured.
    """
    suicide = not breathes(state, point, colour)
    if not suicide and not state.held[point] & colour:
        return False
    stones, width = state.stones, width_of(state)
    key = state.hashes[state.ply] ^ key_of(point, colour)
    dying, heads = colour if suicide else BLACK + WHITE - colour, np.zeros(4, np.int64)
    if suicide:
        key ^= key_of(point, colour)
    for k, step in enumerate((-width, -1, 1, width)):
        head = np.int64(state.chain[point + step])
        if stones[point + step] == dying and (suicide or last_liberty_is(state, head, point)):
            if head not in heads:
                key ^= _chain_key(state, head)
            heads[k] = head
    seen = False
    for ply in range(state.ply + 1):
        seen |= state.hashes[ply] == key  # no early exit, so that the loop vectorises
    return seen


@compiled
def is_legal(state, point):
    """Whether the player to move may play on ``point``."""
    colour = state.player + 1
    if state.stones[point] != EMPTY or not (state.suicide or breathes(state, point, colour)):
        return False
    return not _repeats(state, point, colour)
