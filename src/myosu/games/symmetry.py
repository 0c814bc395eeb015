"""Symmetry groups of rectangular boards as permutations."""

import numpy as np

from myosu.games.game import Symmetries


def board_symmetries(height: int, width: int, extra_actions: int = 0) -> Symmetries:
    """The eight (square) or four (rectangle) symmetries of a board whose actions are its cells in row order.

    The last ``extra_actions`` are not cells (a pass) and are mapped to themselves.
    """
    cells = np.arange(height * width).reshape(height, width)
    turns = (0, 1, 2, 3) if height == width else (0, 2)
    grids = [np.rot90(board, turn) for board in (cells, cells[:, ::-1]) for turn in turns]
    permutations = np.stack([grid.reshape(-1) for grid in grids]).astype(np.int64)
    extra = np.tile(np.arange(height * width, height * width + extra_actions), (len(permutations), 1))
    return Symmetries(cells=permutations, actions=np.concatenate([permutations, extra], axis=1).astype(np.int64))
