"""Images of positions, in NumPy: anti-aliased shapes on uint8 [height, width, 3] arrays.

Shapes are drawn once, on sprites and boards cached by ``functools.cache``. A position is composed by copying cells,
which takes a fraction of a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

Colour = tuple[int, int, int]


def canvas(height: int, width: int, colour: Colour) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def disc(image: np.ndarray, y: float, x: float, radius: float, colour: Colour, softness: float = 1,
         opacity: float = 1) -> None:
    """Draw a disc centred at (``y``, ``x``) in pixels, whose edge fades over ``softness`` pixels."""
    stroke(image, (y, x), (y, x), radius, colour, softness, opacity)


def ring(image: np.ndarray, y: float, x: float, radius: float, width: float, colour: Colour) -> None:
    """Draw a circle of line width ``width`` centred at (``y``, ``x``) in pixels."""
    rows, columns = _pixels(image)
    _blend(image, width / 2 - np.abs(np.hypot(rows - y, columns - x) - radius) + 0.5, colour)


def stroke(image: np.ndarray, start: tuple[float, float], end: tuple[float, float], radius: float, colour: Colour,
           softness: float = 1, opacity: float = 1) -> None:
    """Draw a line with round ends between two points (y, x), twice ``radius`` thick."""
    rows, columns = _pixels(image)
    down, right = end[0] - start[0], end[1] - start[1]
    along = (rows - start[0]) * down + (columns - start[1]) * right
    part = np.clip(along / max(down**2 + right**2, 1e-9), 0, 1)  # position of the nearest point on the line, in [0, 1]
    distance = np.hypot(rows - start[0] - part * down, columns - start[1] - part * right)
    _blend(image, (radius - distance) / softness + 0.5, colour, opacity)


def panel(image: np.ndarray, top: float, left: float, height: float, width: float, radius: float, colour: Colour,
          raised: bool = False) -> None:
    """Draw a rectangle with rounded corners; ``raised`` shades it as if lit from above."""
    rows, columns = _pixels(image)
    y = np.maximum(np.abs(rows - top - height / 2) - (height / 2 - radius), 0)
    x = np.maximum(np.abs(columns - left - width / 2) - (width / 2 - radius), 0)
    light = 1.14 - 0.28 * np.clip((rows - top) / height, 0, 1)[..., None] if raised else 1.0
    _blend(image, radius - np.hypot(y, x) + 0.5, np.minimum(np.array(colour) * light, 255))


def cell(image: np.ndarray, row: int, column: int, pixels: int, margin: int = 0) -> np.ndarray:
    """View of one cell, ``pixels`` × ``pixels``, in a board's image."""
    top, left = margin + row * pixels, margin + column * pixels
    return image[top:top + pixels, left:left + pixels]


def copy_cells(image: np.ndarray, source: np.ndarray, cells: Iterable[tuple[int, int]], pixels: int,
               margin: int) -> None:
    """Copy ``cells`` (row, column) from ``source``, another image of the same board."""
    for row, column in cells:
        cell(image, row, column, pixels, margin)[:] = cell(source, row, column, pixels, margin)


def _pixels(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the pixel centres: rows [H, 1], columns [1, W]."""
    rows, columns = np.ogrid[:image.shape[0], :image.shape[1]]
    return rows + 0.5, columns + 0.5


def _blend(image: np.ndarray, cover: np.ndarray, colour: np.ndarray | Colour, opacity: float = 1) -> None:
    image[:] = image + (np.asarray(colour) - image) * (opacity * np.clip(cover, 0, 1))[..., None] + 0.5
