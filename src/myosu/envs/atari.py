"""Standard preprocessing of Atari frames without OpenCV: the wrapper ``myosu.envs.atari:AtariFrames``, which
``--atari`` applies."""

from __future__ import annotations

from typing import Any

import gymnasium
import numba
import numpy as np
from gymnasium import spaces

from myosu.errors import UserError


class AtariFrames(gymnasium.Wrapper):
    """Preprocess Atari frames: greyscale, [84, 84], uint8; frame skip with a pixel-wise maximum over the last two
    frames; 1 to ``noop_max`` no-op frames after a reset (Machado et al. 2018).

    Equal to ``gymnasium.wrappers.AtariPreprocessing`` with the same random numbers, with two exceptions: grey values
    can differ by 1, because sums are rounded in another order, and if a game ends during a frame skip, its last frame
    is shown instead of the one before.

    frame_skip: number of frames for each action. screen_size: height and width in pixels.
    """

    def __init__(self, env: gymnasium.Env, noop_max: int = 30, frame_skip: int = 4, screen_size: int = 84) -> None:
        """Raises UserError if ``env`` is not an Atari game, or skips frames itself."""
        super().__init__(env)
        game: Any = env.unwrapped
        if not hasattr(game, "ale"):
            raise UserError(f"{type(game).__name__} is not an Atari game (ALE): leave out --atari.")
        if getattr(game, "_frameskip", 1) != 1:
            raise UserError(f"The environment skips frames by itself (frameskip = {game._frameskip}): make it with "
                            "frameskip = 1.")
        self._noop_max, self._frame_skip = noop_max, frame_skip
        height, width = game.ale.getScreenDims()
        self._screens = np.zeros((2, height, width), np.uint8)
        self._areas = (*_areas(height, screen_size), *_areas(width, screen_size))
        self._size = screen_size
        self.observation_space = spaces.Box(0, 255, (screen_size, screen_size), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        _, info = self.env.reset(seed=seed, options=options)
        idle = self.env.unwrapped.np_random.integers(1, self._noop_max + 1) if self._noop_max else 0
        for _ in range(idle):
            _, _, terminated, truncated, _ = self.env.step(0)
            if terminated or truncated:
                _, info = self.env.reset(seed=seed, options=options)
        self._look(0)
        return self._shown(self._screens[0]), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        earned, frames = 0.0, 0
        for frames in range(1, self._frame_skip + 1):
            _, reward, terminated, truncated, info = self.env.step(action)
            earned += float(reward)
            if frames == self._frame_skip - 1:
                self._look(1)
            if terminated or truncated:
                break
        self._look(0)
        before = self._screens[1] if 1 < frames == self._frame_skip else self._screens[0]
        return self._shown(before), earned, bool(terminated), bool(truncated), info

    def _look(self, place: int) -> None:
        self.env.unwrapped.ale.getScreenGrayscale(self._screens[place])  # type: ignore[attr-defined]

    def _shown(self, before: np.ndarray) -> np.ndarray:
        shown = np.empty((self._size, self._size), np.uint8)
        _shrink(self._screens[0], before, *self._areas, shown)
        return shown


def _areas(pixels: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights to resize ``pixels`` to ``size`` by area averaging, along one axis.

    Returns the first source pixel that each target pixel overlaps, int64 [size], and the fractions of the target pixel
    that lie in this source pixel and in the following ones, float32 [size, most].
    """
    edges = np.arange(size + 1) * (pixels / size)
    first = np.floor(edges[:-1] + 1e-9).astype(np.int64)
    most = int((np.ceil(edges[1:] - 1e-9) - first).max())
    cells = first[:, None] + np.arange(most)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return first, (np.maximum(overlap, 0.0) * (size / pixels)).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _shrink(now, before, first_row, row_shares, first_column, column_shares, shown):
    """Resize the pixel-wise maximum of two screens into ``shown`` by area averaging."""
    height, width = now.shape
    rows = np.zeros((len(first_row), width), np.float32)
    for i in range(len(first_row)):
        for k in range(row_shares.shape[1]):
            row, share = min(first_row[i] + k, height - 1), row_shares[i, k]
            for column in range(width):
                rows[i, column] += share * np.float32(max(now[row, column], before[row, column]))
    for i in range(len(first_row)):
        for j in range(len(first_column)):
            total = np.float32(0.0)
            for k in range(column_shares.shape[1]):
                total += column_shares[j, k] * rows[i, min(first_column[j] + k, width - 1)]
            shown[i, j] = np.uint8(np.rint(total))
