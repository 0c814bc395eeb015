"""Converts observations of Gymnasium spaces to arrays, and arrays to actions of Gymnasium spaces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from myosu.envs.vector import EnvSpec
from myosu.errors import UserError

#: Key of the action mask in a dictionary of observations, as in PettingZoo and RLlib: one number for each action. It is
#: not part of the observation.
MASK = "action_mask"
#: Largest finite float32. Networks calculate in float32, where larger values become infinite.
GREATEST = float(np.finfo(np.float32).max)


class BadValue(Exception):
    """An invalid observation. Arguments: what is wrong, and the remedy."""


class Layout:
    """Shapes and dtypes of the observations and actions of two Gymnasium spaces in Myosu's arrays.

    left_out: names of the parts of observations that no network reads, such as texts.
    mask_key: key of the action mask in the observation; None if it has none.
    """

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, name: str) -> None:
        """Raises UserError if no part of the observation is supported, or the action space is not."""
        self.observation_space, self.action_space, self.name = observation_space, action_space, name
        self.left_out: list[str] = []
        self.branches, self.low, self.high = self._actions()
        self.num_actions = sum(self.branches)
        self.mask_key = self._find_mask()
        self._only: Any = None  # key of the only part besides the mask
        if self.mask_key is not None and len(_fields(observation_space)) == 2:
            self._only = next(key for _, key, _ in _fields(observation_space) if key != self.mask_key)
        #: The observation space, or its only part besides the mask.
        self._read = observation_space if self._only is None else observation_space[self._only]  # type: ignore[index]
        found = self._layout(self._read, "")
        if found is None:
            raise UserError(f"{name}: the observation space {observation_space} is not supported. Box, Discrete, "
                            "MultiDiscrete, MultiBinary and Dict or Tuple of these are. A wrapper of your own "
                            "(gymnasium.ObservationWrapper) can convert other spaces: --wrapper module:Class")
        self.shape, self.dtype = found

    def spec(self, max_steps: int) -> EnvSpec:
        single = isinstance(self.action_space, spaces.Discrete)
        return EnvSpec(self.shape, self.dtype, self.num_actions, 1, (-math.inf, math.inf), max_steps,
                       action_branches=() if single else self.branches, action_low=self.low, action_high=self.high,
                       observation_bounds=tuple(self._bounds(self._read)))

    def write(self, target: np.ndarray, observation: Any) -> None:
        """Copy an observation into ``target[0]``. Raises BadValue."""
        what = "the observation"
        if self._only is not None:
            observation, what = _part(self.observation_space, observation, self._only, what)
        self._write(target, self._read, observation, what)

    # --- actions

    def _actions(self) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
        """Number of choices of each branch, and the lower and upper bounds of continuous and mixed actions."""
        space = self.action_space
        boxes, branches = _continuous(space), _choices(space)
        if boxes and branches is not None:
            low, high = (np.concatenate([np.ravel(getattr(box, end)) for box in boxes]).tolist()
                         for end in ("low", "high"))
            return branches, (*low, *(0.0 for _ in branches)), (*high, *(n - 1.0 for n in branches))
        if branches is None:
            raise UserError(f"{self.name}: the action space {space} is not supported{_unsupported(space)}. Discrete, "
                            "MultiDiscrete, MultiBinary, Box of floats, and Tuple and Dict of these are; a wrapper of "
                            "your own (gymnasium.ActionWrapper) can convert other spaces: --wrapper "
                            "module:Class")
        return branches, (), ()

    def _find_mask(self) -> Any:
        space = self.observation_space
        if not isinstance(space, spaces.Dict) or len(space) < 2 or MASK not in space.spaces:
            return None
        part, count = space[MASK], self.num_actions
        fits = isinstance(part, (spaces.Box, spaces.MultiBinary)) and int(np.prod(part.shape)) == count and (
            np.dtype(part.dtype).kind in "biu" or isinstance(part, spaces.MultiBinary))
        return MASK if fits and count else None

    # --- observations

    def _layout(self, space: spaces.Space, place: str) -> tuple[tuple[int, ...], np.dtype] | None:
        """Shape and dtype of one observation; None if no part of it is supported. Categories are one-hot encoded,
        because numbers would give them an order."""
        if isinstance(space, (spaces.Box, spaces.MultiBinary)):
            assert space.shape is not None and space.dtype is not None
            return space.shape, np.dtype(space.dtype)
        if isinstance(space, spaces.Discrete):
            return (int(space.n),), np.dtype(np.uint8)
        if isinstance(space, spaces.MultiDiscrete):
            return (int(space.nvec.sum()),), np.dtype(np.uint8)
        parts = []
        for field, key, part in _fields(space):
            if self._is_mask(space, key):
                continue
            found = self._layout(part, f"{place}[{key!r}]")
            if found is None:
                if not _fields(part):
                    self.left_out.append(f"{place}[{key!r}] ({_short(part)})")
                continue
            parts.append((field, found[1], found[0]))
        return ((), np.dtype(parts, align=True)) if parts else None

    def _bounds(self, space: spaces.Space) -> list[tuple[float, float]]:
        """Minimum and maximum of each part, in the order of the layout."""
        if isinstance(space, spaces.Box):
            return [(float(space.low.min()), float(space.high.max()))] if space.low.size else [(0.0, 0.0)]
        if isinstance(space, (spaces.Dict, spaces.Tuple)):
            return [bounds for _, key, part in _fields(space) if not self._is_mask(space, key)
                    for bounds in self._bounds(part)]
        return [(0.0, 1.0)] if _is_read(space) else []

    def _is_mask(self, space: spaces.Space, key: Any) -> bool:
        return space is self.observation_space and self.mask_key is not None and key == self.mask_key

    def _write(self, target: np.ndarray, space: spaces.Space, value: Any, what: str) -> None:
        if isinstance(space, (spaces.Box, spaces.MultiBinary)):
            _write_array(target, value, what)
        elif isinstance(space, (spaces.Dict, spaces.Tuple)):
            assert target.dtype.names is not None
            for field, key, part in _fields(space):
                if field in target.dtype.names:
                    self._write(target[field], part, *_part(space, value, key, what))
        else:
            assert isinstance(space, (spaces.Discrete, spaces.MultiDiscrete))
            try:
                fits = space.contains(np.asarray(value)[()])
            except (ValueError, TypeError):
                fits = False
            if not fits:
                raise BadValue(f"{what} is {value!r}, outside its space {space}.", "Correct one of the two.")
            _one_hot(target[0], space, value)


def native_action(space: spaces.Space, action: np.ndarray) -> Any:
    """Convert an action of Myosu's arrays, [*action_shape], to one of the type that ``space.sample()`` returns."""
    if isinstance(space, spaces.Discrete):
        return space.dtype.type(int(action) + int(space.start))  # type: ignore[union-attr]
    if isinstance(space, spaces.Box):
        return np.clip(action.reshape(space.shape), space.low, space.high).astype(space.dtype)
    if isinstance(space, spaces.MultiDiscrete):
        return (action.reshape(space.shape) + space.start).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return action.reshape(space.shape).astype(space.dtype)
    assert isinstance(space, (spaces.Tuple, spaces.Dict))
    components = sum(int(np.prod(box.shape)) for box in _continuous(space))
    return _from_numbers(space, iter(action[:components].tolist()), iter(action[components:].tolist()))


def _from_numbers(space: spaces.Space, components: Iterator[float], choices: Iterator[float]) -> Any:
    """Build an action of ``space`` from the next components and choices, which are separate in Myosu's arrays."""
    if isinstance(space, (spaces.Tuple, spaces.Dict)):
        parts = {key: _from_numbers(part, components, choices) for _, key, part in _fields(space)}
        return parts if isinstance(space, spaces.Dict) else tuple(parts.values())
    if isinstance(space, spaces.Box):
        return native_action(space, np.fromiter(components, np.float32, int(np.prod(space.shape))))
    chosen = np.rint(np.fromiter(choices, np.float64, len(_choices(space) or ()))).astype(np.int64)
    return native_action(space, chosen[0] if isinstance(space, spaces.Discrete) else chosen)


def own_action(space: spaces.Space, action: Any) -> np.ndarray:
    """Inverse of ``native_action``: an action of ``space`` as an array [*action_shape]."""
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        found = np.asarray(action, np.int64) - space.start
        return found if isinstance(space, spaces.Discrete) else np.ravel(found)
    if isinstance(space, spaces.Box):
        return np.ravel(np.asarray(action, np.float32))
    if isinstance(space, spaces.MultiBinary):
        return np.ravel(np.asarray(action, np.int64))
    parts = [np.ravel(own_action(part, action[key])) for _, key, part in _fields(space)]
    parts.sort(key=lambda part: part.dtype.kind != "f")  # components come first
    return np.concatenate(parts, dtype=parts[0].dtype)


def _continuous(space: spaces.Space) -> list[spaces.Box]:
    """The continuous parts of an action space, in their order."""
    if isinstance(space, spaces.Box):
        return [space] if space.dtype.kind == "f" and space.shape != (0,) else []
    return [box for _, _, part in _fields(space) for box in _continuous(part)]


def _choices(space: spaces.Space) -> tuple[int, ...] | None:
    """Number of choices of each branch of an action: empty if it is continuous, None if it is not supported."""
    if isinstance(space, spaces.Box):
        return () if _continuous(space) else None
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    if isinstance(space, spaces.MultiDiscrete):
        return tuple(np.ravel(space.nvec).tolist())
    if isinstance(space, spaces.MultiBinary):
        return (2,) * int(np.prod(space.shape))
    parts = [_choices(part) for _, _, part in _fields(space)]
    return tuple(n for part in parts for n in part or ()) if parts and None not in parts else None


def _fields(space: spaces.Space) -> list[tuple[str, Any, spaces.Space]]:
    """Name in the record, key and space of each part of a Dict or Tuple; empty for other spaces."""
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        return []
    items = list(space.items() if isinstance(space, spaces.Dict) else enumerate(space))
    names = [str(key) for key, _ in items]
    return [(name if name and names.count(name) == 1 else f"part{place}", key, part)
            for place, (name, (key, part)) in enumerate(zip(names, items, strict=True))]


def _part(space: spaces.Space, value: Any, key: Any, what: str) -> tuple[Any, str]:
    """A part of an observation, and its name in messages. Raises BadValue."""
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or key not in value:
            raise BadValue(f"{what} has no {key!r}.", "It must be a dictionary with all keys of its space.")
    elif not isinstance(value, (tuple, list)) or len(value) != len(space):  # type: ignore[arg-type]
        raise BadValue(f"{what} is {value!r}.", f"It must be a tuple of {len(space)}, as its space is.")  # type: ignore[arg-type]
    return value[key], f"{what}[{key!r}]"


def _write_array(target: np.ndarray, value: Any, what: str) -> None:
    try:
        array = np.asarray(value)
    except ValueError:
        raise BadValue(f"{what} is not an array.", f"It must be {target.dtype} {list(target.shape[1:])}.") from None
    if array.shape != target.shape[1:] or array.dtype.kind not in "biuf":
        raise BadValue(f"{what} is {array.dtype} {list(array.shape)}.", f"By its space it must be {target.dtype} "
                       f"{list(target.shape[1:])}: correct one of the two.")
    if array.dtype.kind == "f" and not _fits_float32(array).all():
        wrong = array[~_fits_float32(array)].ravel()[0]
        if not np.isfinite(wrong):
            raise BadValue(f"{what} holds NaN or infinity.", "Look for divisions by zero and for values that grow "
                           "without bound.")
        raise BadValue(f"{what} holds {wrong:.4g}, which is infinite for a network (float32).", "Clip it to a "
                       "meaningful bound, such as the end of a sensor's range.")
    target[0] = array
    if target.dtype.kind != "f" and array.dtype != target.dtype and not (target[0] == array).all():
        raise BadValue(f"{what} ({array.dtype}) loses its values in the {target.dtype} of its space.",
                       "Give the Box the dtype of the values.")


def _fits_float32(array: np.ndarray) -> np.ndarray:
    return np.isfinite(array) if array.itemsize <= 4 else np.abs(array) <= GREATEST  # isfinite is faster


def _one_hot(target: np.ndarray, space: spaces.Discrete | spaces.MultiDiscrete, value: Any) -> None:
    counts = np.ravel(space.n if isinstance(space, spaces.Discrete) else space.nvec)
    target[:] = 0
    target[np.ravel(np.asarray(value, np.int64) - space.start) + np.cumsum(counts) - counts] = 1


def _is_read(space: spaces.Space) -> bool:
    return isinstance(space, (spaces.Box, spaces.MultiBinary, spaces.Discrete, spaces.MultiDiscrete))


def _unsupported(space: spaces.Space) -> str:
    """Text that names the first unsupported part of an action space; otherwise empty."""
    wrong = [f"[{key!r}] ({_short(part)})" for _, key, part in _fields(space) if _choices(part) is None]
    return f", for its part {wrong[0]}" if wrong else ""


def _short(space: spaces.Space) -> str:
    return type(space).__name__
