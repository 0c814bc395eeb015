"""Chance within a game: a stream of random numbers in the field ``chance`` (uint64) of its record."""

import numpy as np

from myosu.games.game import compiled
from myosu.games.playout import mix64


@compiled
def start_chance(state, seed):
    # Twice, so that the game shares no number with a random player of the same seed.
    state.chance = mix64(mix64(np.uint64(seed)))


@compiled
def draw_below(state, count):
    """A random int64 from 0 to ``count`` − 1."""
    state.chance += np.uint64(1)
    return np.int64(((mix64(state.chance) >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32))


@compiled
def draw_unit(state):
    """A random float64 from 0 up to, and without, 1."""
    state.chance += np.uint64(1)
    return np.float64(mix64(state.chance) >> np.uint64(11)) * (1.0 / 9007199254740992.0)
