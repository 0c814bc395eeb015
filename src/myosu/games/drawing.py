"""Pictures of positions with NumPy alone: smooth discs, bars and tiles on a uint8 [height, width, 3] array."""

from __future__ import annotations

from functools import cache

import numpy as np

Colour = tuple[int, int, int]


def canvas(height: int, width: int, colour: Colour) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def disc(image: np.ndarray, y: float, x: float, radius: float, colour: Colour) -> None:
    """Draw a disc around pixel coordinates (``y``, ``x``), which must lie inside the image with all of the disc."""
    top, left, size = int(y - radius), int(x - radius), int(2 * radius) + 2
    rows, columns = np.ogrid[top:top + size, left:left + size]
    distance = np.hypot(rows + 0.5 - y, columns + 0.5 - x)
    _blend(image[top:top + size, left:left + size], np.clip(radius + 0.5 - distance, 0, 1), colour)


def bar(image: np.ndarray, start: tuple[float, float], end: tuple[float, float], radius: float, colour: Colour) -> None:
    """Draw a straight bar, horizontal or vertical, between two centres (y, x), without the round ends."""
    (top, bottom), (left, right) = (sorted(pair) for pair in zip(start, end, strict=True))
    if top == bottom:
        top, bottom = top - radius, bottom + radius
    else:
        left, right = left - radius, right + radius
    image[round(top):round(bottom), round(left):round(right)] = colour


def tile(image: np.ndarray, top: int, left: int, size: int, colour: Colour, raised: bool = False) -> None:
    """Draw a square with round corners; ``raised`` lights it from above."""
    shade = np.linspace(1.14, 0.86, size)[:, None, None] if raised else 1.0
    _blend(image[top:top + size, left:left + size], _rounded(size), np.minimum(np.array(colour) * shade, 255))


@cache
def _rounded(size: int) -> np.ndarray:
    """float64 [size, size]: how much of each pixel a tile covers. One pixel stays free around it."""
    radius = size / 5
    from_middle = np.abs(np.arange(size) + 0.5 - size / 2) - (size / 2 - 1 - radius)
    outside = np.maximum(from_middle, 0)
    return np.clip(radius + 0.5 - np.hypot(outside[:, None], outside), 0, 1)


def _blend(part: np.ndarray, cover: np.ndarray, colour: np.ndarray | Colour) -> None:
    part[:] = part + (np.asarray(colour) - part) * cover[..., None] + 0.5
