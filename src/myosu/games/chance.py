"""Random numbers for games with chance. The generator's state is the field ``chance`` (uint64) of the game's record."""

import numpy as np

from myosu.games.game import compiled
from myosu.games.playout import mix64


@compiled
def start_chance(state, seed):
    # Mixed twice, so that the stream differs from that of a random player with the same seed.
    state.chance = mix64(mix64(np.uint64(seed)))


@compiled
def draw_below(state, count):
    """A uniform int64 in [0, count)."""
    state.chance += np.uint64(1)
    return np.int64(((mix64(state.chance) >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32))


@compiled
def draw_unit(state):
    """A uniform float64 in [0, 1)."""
    state.chance += np.uint64(1)
    return np.float64(mix64(state.chance) >> np.uint64(11)) * (1.0 / 9007199254740992.0)
