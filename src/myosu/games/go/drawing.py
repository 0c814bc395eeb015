"""Images of a Go board, with a ring on the last stone."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from myosu.games.drawing import canvas, cell, copy_cells, disc, panel, ring

LINES, WOOD = (92, 66, 34), (222, 178, 108)


def stone_grid(state) -> np.ndarray:
    """int8 [size, size]: 0 empty, 1 black, 2 white."""
    width = math.isqrt(len(state["stones"]))
    return state["stones"].reshape(width, width)[1:-1, 1:-1]


def draw(state, pixels: int | None = None) -> np.ndarray:
    """An image of the position, uint8 [H, W, 3], with ``pixels`` between adjacent lines."""
    stones = stone_grid(state)
    size = len(stones)
    pixels = pixels or max(24, 400 // size)
    margin = pixels // 2
    empty, black, white = _boards(size, pixels)
    image = empty.copy()
    copy_cells(image, black, np.argwhere(stones == 1), pixels, margin)
    copy_cells(image, white, np.argwhere(stones == 2), pixels, margin)
    row, column = divmod(int(state["last"]), size + 2)
    if row:
        middle = pixels / 2
        ring(cell(image, row - 1, column - 1, pixels, margin), middle, middle, pixels / 5, pixels / 14,
             (250, 250, 250) if stones[row - 1, column - 1] == 1 else (30, 30, 34))
    return image


@cache
def _boards(size: int, pixels: int) -> tuple[np.ndarray, ...]:
    """Images of the empty board, of a board full of black stones, and of a board full of white stones."""
    margin, side, half = pixels // 2, size * pixels, pixels // 2
    empty = canvas(side + 2 * margin, side + 2 * margin, WOOD)
    panel(empty, 0, 0, side + 2 * margin, side + 2 * margin, 6, WOOD, raised=True)
    first, last = margin + half, margin + half + (size - 1) * pixels
    for k in range(size):
        place = first + k * pixels
        empty[place, first:last + 1] = empty[first:last + 1, place] = LINES
    for row in _stars(size):
        for column in _stars(size):
            disc(empty, first + row * pixels + 0.5, first + column * pixels + 0.5, 0.09 * pixels, LINES)
    black, white = empty.copy(), empty.copy()
    for row, column in np.ndindex(size, size):
        _stone(cell(black, row, column, pixels, margin), (22, 23, 27), (70, 73, 82))
        _stone(cell(white, row, column, pixels, margin), (226, 225, 220), (255, 255, 255))
    return empty, black, white


def _stars(size: int) -> tuple[int, ...]:
    """Rows and columns of the star points."""
    if size < 7:
        return (size // 2,) if size % 2 else ()
    edge = 3 if size > 11 else 2
    return (edge, size // 2, size - 1 - edge) if size % 2 else (edge, size - 1 - edge)


def _stone(image: np.ndarray, face: tuple[int, int, int], light: tuple[int, int, int]) -> None:
    size = len(image)
    disc(image, 0.54 * size, 0.52 * size, 0.42 * size, (60, 40, 20), softness=0.14 * size, opacity=0.45)
    disc(image, 0.5 * size, 0.5 * size, 0.45 * size, face)
    disc(image, 0.36 * size, 0.38 * size, 0.12 * size, light, softness=0.3 * size, opacity=0.7)
