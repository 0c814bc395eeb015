"""Converts ML-Agents' messages to spaces, observations and masks, and actions to messages."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from PIL import Image

from myosu.envs.engines.engine_env import joint_space
from myosu.envs.engines.process import EngineLost
from myosu.envs.engines.unity_messages import CONTINUOUS, PNG, AgentAction, Observation
from myosu.errors import UserError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def action_space(brain: Any) -> spaces.Space:
    """Action space of a ``BrainParametersProto``; with both kinds, a Tuple of the continuous and the discrete actions.
    Raises UserError if it has no actions."""
    spec = brain.action_spec
    continuous, branches = spec.num_continuous_actions, list(spec.discrete_branch_sizes)
    if not continuous and not branches:  # games before API 1.3
        sizes = list(brain.vector_action_size_deprecated)
        if brain.vector_action_space_type_deprecated == CONTINUOUS:
            continuous = sum(sizes)
        else:
            branches = sizes
    if not continuous and not branches:
        raise UserError(f"The behaviour {brain.brain_name} has no actions.")
    return joint_space(continuous, branches)


def components_of(space: spaces.Space) -> int:
    """Number of continuous actions."""
    box = space[0] if isinstance(space, spaces.Tuple) else space
    return box.shape[0] if isinstance(box, spaces.Box) else 0


def branches_of(space: spaces.Space) -> list[int]:
    """Number of choices of each branch; [] without discrete actions."""
    space = space[1] if isinstance(space, spaces.Tuple) else space
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    return space.nvec.tolist() if isinstance(space, spaces.MultiDiscrete) else []


def observation_space(observations: Sequence[Any]) -> spaces.Space:
    """Observation space of an agent's ``ObservationProto``s: uint8 for images, else float32; several are a Dict."""
    parts = [_space(observation) for observation in observations]
    if not parts:
        raise UserError("The agent has no observations: give it a sensor.")
    return parts[0] if len(parts) == 1 else spaces.Dict(dict(zip(observation_names(observations), parts, strict=True)))


def observation_names(observations: Sequence[Any]) -> list[str]:
    names = [observation.name for observation in observations]
    return [name if name and names.count(name) == 1 else f"observation{place}" for place, name in enumerate(names)]


def _space(observation: Any) -> spaces.Space:
    shape = tuple(observation.shape)
    if observation.compression_type == PNG:
        return spaces.Box(0, 255, shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def read_observation(observations: Sequence[Any], space: spaces.Space) -> Any:
    """Convert an agent's ``ObservationProto``s to an observation in ``space``. Raises EngineLost if they do not fit."""
    names = observation_names(observations)
    if (set(names) != set(space) if isinstance(space, spaces.Dict) else len(names) != 1):
        raise EngineLost(f"the game sent the observations {', '.join(names) or '(none)'}, which it did not have before")
    if not isinstance(space, spaces.Dict):
        return _array(observations[0], space)
    return {name: _array(observation, space[name]) for name, observation in zip(names, observations, strict=True)}


def _array(observation: Any, space: spaces.Space) -> np.ndarray:
    assert space.shape is not None
    if observation.compression_type == PNG:
        return read_image(observation.compressed_data, space.shape, list(observation.compressed_channel_mapping))
    data = np.array(observation.float_data.data, np.float32)
    if tuple(observation.shape) != space.shape or data.size != np.prod(space.shape, dtype=int):
        raise EngineLost(f"the game sent an observation of {data.size} numbers {list(observation.shape)} where "
                         f"{list(space.shape)} was expected")
    return data.reshape(space.shape)


def read_image(data: bytes, shape: tuple[int, ...], mapping: list[int]) -> np.ndarray:
    """Decode concatenated PNG images to uint8 [*shape].

    ``mapping`` has the target channel of each PNG channel (−1: ignored); PNG channels with the same target are
    averaged. Without a mapping, a greyscale image is the mean of red, green and blue.

    ``shape`` is [H, W, C] up to ML-Agents 2 and [C, H, W] later, which the size of the images tells. Raises EngineLost.
    """
    try:
        planes = np.concatenate([np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in _pictures(data)],
                                axis=2).astype(np.float32)
    except (OSError, ValueError, struct.error) as error:
        raise EngineLost(f"the game sent an image that is not a PNG ({error})") from error
    first = len(shape) == 3 and shape[1:] == planes.shape[:2] and shape[:2] != planes.shape[:2]
    if len(shape) != 3 or (shape[1:] if first else shape[:2]) != planes.shape[:2]:
        raise EngineLost(f"the game sent an image of {list(planes.shape[:2])} for an observation {list(shape)}")
    channels = shape[0] if first else shape[2]
    if not mapping:
        mapping = [0, 0, 0] if channels == 1 else [*range(channels), *[-1] * planes.shape[2]]
    places = np.array(mapping[:planes.shape[2]])
    means = [planes[:, :, np.flatnonzero(places == channel)] for channel in range(channels)]
    if any(part.shape[2] == 0 for part in means):
        raise EngineLost(f"the game sent {planes.shape[2]} image channels for an observation {list(shape)}")
    picture = np.stack([np.rint(part.mean(axis=2)) for part in means], axis=0 if first else 2)
    return picture.astype(np.uint8)


def _pictures(data: bytes) -> list[bytes]:
    """Split concatenated PNG files; each ends with its IEND chunk."""
    found, begin = [], 0
    while begin < len(data):
        if not data.startswith(_SIGNATURE, begin):
            raise ValueError("no PNG signature")
        place, kind = begin + len(_SIGNATURE), b""
        while kind != b"IEND":
            length, kind = struct.unpack_from(">I4s", data, place)
            place += 12 + length  # length, kind, data and checksum
        found.append(data[begin:place])
        begin = place
    if not found:
        raise ValueError("no bytes")
    return found


def read_mask(forbidden: Sequence[bool], branches: list[int]) -> np.ndarray:
    """Action mask, int8 [sum of branches], 1 if legal. ``forbidden`` is the inverse; if empty, all are legal."""
    if forbidden and len(forbidden) != sum(branches):
        raise EngineLost(f"the game sent an action mask of {len(forbidden)} for {sum(branches)} actions")
    return 1 - np.array(forbidden or [False] * sum(branches), np.int8)


def write_action(action: Any, space: spaces.Space) -> Any:
    """Convert an action, or its numbers in one array, to an ``AgentActionProto``. Games before API 1.3 read the
    deprecated field."""
    numbers = np.concatenate([np.ravel(part) for part in (action if isinstance(action, tuple) else (action,))])
    components = components_of(space)
    return AgentAction(continuous_actions=numbers[:components].tolist(),
                       discrete_actions=numbers[components:].astype(int).tolist(),
                       vector_actions_deprecated=numbers.tolist())


def read_action(action: Any, space: spaces.Space) -> np.ndarray:
    """Inverse of ``write_action``: float32 [components + branches], or int64 [branches] without continuous actions.
    Raises ValueError if the size does not fit."""
    numbers = [*action.continuous_actions, *action.discrete_actions] or list(action.vector_actions_deprecated)
    components = components_of(space)
    size = components + len(branches_of(space))
    if len(numbers) != size:
        raise ValueError(f"an action of {len(numbers)} numbers where {size} were expected")
    return np.array(numbers, np.float32 if components else np.int64)


def default_action(space: spaces.Space, mask: np.ndarray | None) -> np.ndarray:
    """Action of an agent that is not trained: zero for continuous actions, the first legal choice of each branch."""
    choices = [] if mask is None else np.split(mask, np.cumsum(branches_of(space))[:-1])
    return np.array([*[0] * components_of(space), *[part.argmax() for part in choices]])


def write_observation(array: np.ndarray, name: str) -> Any:
    """Convert an array of numbers to an ``ObservationProto``."""
    return Observation(shape=array.shape or (1,), float_data={"data": np.ravel(array).astype(np.float32).tolist()},
                       name=name)
