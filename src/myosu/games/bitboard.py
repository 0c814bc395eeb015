"""Bitboards: a uint64 with one bit per cell."""

import numpy as np

from myosu.games.game import compiled


@compiled
def count_bits(board):
    """Population count of a uint64; int64."""
    pairs = board - ((board >> np.uint64(1)) & np.uint64(0x5555555555555555))
    fours = (pairs & np.uint64(0x3333333333333333)) + ((pairs >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bytes_ = (fours + (fours >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bytes_ * np.uint64(0x0101010101010101)) >> np.uint64(56))
