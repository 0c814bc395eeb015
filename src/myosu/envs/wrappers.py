"""A wrapper for algorithms that need observations in one array: ``myosu.envs.wrappers:OneArray``."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from myosu.envs.spaces import Layout
from myosu.envs.vector import EnvSpec, observation_parts


class OneArray(gymnasium.ObservationWrapper):
    """Convert observations of any supported kind to one float32 array.

    Images of the same size are concatenated to [C, H, W], channels first, and every other number becomes a constant
    plane. Without images the array is [D]. Values are divided by the largest absolute value that their space allows,
    if that is finite and greater than 1. An ``action_mask`` in the observations is available as ``action_masks()``.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self._layout = Layout(env.observation_space, env.action_space, "OneArray")
        spec = self._layout.spec(1)
        self._row = np.zeros((1, *spec.observation_shape), spec.observation_dtype)
        self._plan = _plan(spec)
        self._mask: Any = None
        if self._layout.mask_key is not None:
            self.action_masks = self._masks
        shape = self._joined().shape
        self.observation_space = spaces.Box(-np.inf, np.inf, shape, np.float32)

    def observation(self, observation: Any) -> np.ndarray:
        self._layout.write(self._row, observation)
        if self._layout.mask_key is not None:
            self._mask = np.array(observation[self._layout.mask_key])
        return self._joined()

    def _masks(self) -> np.ndarray:
        return self._mask

    def _joined(self) -> np.ndarray:
        parts = [(part[0].astype(np.float32) / scale, place) for part, (scale, place) in
                 zip(observation_parts(self._row).values(), self._plan, strict=True)]
        pictures = [np.moveaxis(part, -1, 0) if place == "last" else part for part, place in parts if place]
        numbers = np.concatenate([np.ravel(part) for part, place in parts if not place] or [np.zeros(0, np.float32)])
        if not pictures:
            return numbers
        planes = np.broadcast_to(numbers[:, None, None], (len(numbers), *pictures[0].shape[1:]))
        return np.concatenate([*pictures, planes])


def _plan(spec: EnvSpec) -> list[tuple[float, str]]:
    """The divisor of each part, and the place of its channels: "first" or "last" in images of the same size as the
    first image, "" in all other parts."""
    size: tuple[int, ...] | None = None
    found = []
    for part, (low, high) in zip(spec.parts().values(), spec.observation_bounds, strict=True):
        shape, greatest = part.shape[1:], max(-low, high)
        place = ""
        if len(shape) == 3:
            last = spec.channels_last(shape)
            cells = shape[:2] if last else shape[1:]
            size = size or cells
            place = ("last" if last else "first") if cells == size else ""
        found.append((greatest if 1 < greatest < np.inf else 1.0, place))
    return found
