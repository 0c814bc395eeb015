"""Reads and writes demonstrations in ML-Agents' ``.demo`` files.

A file holds the metadata in its first 32 bytes, the behaviour from byte 33 on, then pairs of observation and action.
The reward and the done flag in a pair belong to the action in the *previous* pair; a pair whose done flag is set has
the final observation and a placeholder action. There are ``number_steps`` pairs; Unity's writer puts a copy of the
metadata after them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from gymnasium import spaces

from myosu.envs.engines.engine_env import joint_space
from myosu.envs.engines.process import EngineLost
from myosu.envs.engines.unity_messages import (
    PNG,
    AgentInfo,
    AgentInfoActionPair,
    BrainParameters,
    DemonstrationMeta,
)
from myosu.envs.engines.unity_values import (
    action_space,
    branches_of,
    components_of,
    observation_names,
    read_action,
    read_mask,
    read_observation,
    write_action,
    write_observation,
)
from myosu.envs.playback import Move
from myosu.envs.vector import EnvSpec, observation_parts
from myosu.errors import UserError
from myosu.runs.games import GameRecord

SUFFIX = ".demo"
VERSION = 1
#: Size of the metadata, offset of the behaviour, and the greatest length of a name in the metadata by Unity's writer.
_META, _BEGIN, _MAX_NAME = 32, 33, 16


@dataclass
class DemoFile:
    """The messages of a file, unchanged. There are ``number_steps`` pairs."""

    meta: Any
    brain: Any
    pairs: list[Any]

    @classmethod
    def read(cls, path: Path) -> DemoFile:
        """Read a file. Raises UserError if it cannot be read, or is not a complete ``.demo`` file."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.") from error
        try:
            meta, _ = _message(DemonstrationMeta, data[:_META], 0)
            if meta.api_version != VERSION:
                raise UserError(f"{path} is a demonstration of version {meta.api_version}, not {VERSION} (or not a "
                                ".demo file).")
            brain, place = _message(BrainParameters, data, _BEGIN)
            pairs = []
            for _ in range(meta.number_steps):
                pair, place = _message(AgentInfoActionPair, data, place)
                pairs.append(pair)
        except _Short:
            raise UserError(f"{path} is truncated, or not a .demo file: it ends before its last step. Copy it "
                            "again, or record it again.") from None
        except DecodeError as error:
            raise UserError(f"{path} is damaged, or not a .demo file: {error}.") from error
        return cls(meta, brain, pairs)

    def write(self, path: Path) -> None:
        """Write a file, byte for byte as Unity's writer does."""
        meta = self.meta.SerializeToString()
        head = _delimited(self.meta)
        if len(head) > _META:
            raise UserError(f"The name {self.meta.demonstration_name!r} of the demonstration is too long: up to "
                            f"{_MAX_NAME} letters are allowed.")
        with path.open("wb") as file:
            file.write(head.ljust(_BEGIN, b"\0") + _delimited(self.brain))
            file.writelines(_delimited(pair) for pair in self.pairs)
            file.write(meta)


def read_demo(path: str | Path, spec: EnvSpec) -> list[GameRecord]:
    """Read the episodes in a file, for an environment of ``spec``; the last one may be incomplete. Raises UserError if
    their observations or actions do not match the spec, or if there is no episode."""
    file = DemoFile.read(Path(path))
    nothing = UserError(f"{path} has no episodes: it holds {len(file.pairs)} observations, and no action that "
                        "led to another one.")
    if len(file.pairs) < 2:
        raise nothing
    try:
        actions = action_space(file.brain)
        _check_actions(actions, spec)
        episodes: list[list[Move]] = [[]]
        for pair, following in zip(file.pairs, file.pairs[1:], strict=False):
            if pair.agent_info.done:
                continue  # the next pair begins an episode
            info = following.agent_info
            cut = info.done and info.max_step_reached
            action = read_action(pair.action_info, actions)
            action = action if spec.action_shape else action[0]
            episodes[-1].append(Move(_row(pair.agent_info.observations, spec), _legal(pair.agent_info, actions, spec),
                                     action, 0, np.array([info.reward + info.group_reward], np.float64),
                                     info.done and not cut, cut))
            if info.done:
                episodes.append([])
    except (EngineLost, ValueError) as error:
        raise UserError(f"{path} does not fit the environment, or is damaged: {error}.") from error
    episodes = [episode for episode in episodes if episode]
    if not episodes:
        raise nothing
    return [GameRecord.of_moves(episode, index) for index, episode in enumerate(episodes)]


def write_demo(path: Path, name: str, spec: EnvSpec, episodes: Iterable[Iterable[Move]]) -> int:
    """Write single-player episodes, with their observations as numbers. Returns their number.

    Moves do not contain the final observation of an episode: the one before it is written again. Raises UserError if
    there is no episode.
    """
    path = path.absolute()  # replaying the episodes may change the working directory
    brain = BrainParameters(brain_name=name, is_training=True)
    branches = spec.action_branches or ((spec.num_actions,) if spec.num_actions else ())
    brain.action_spec.num_continuous_actions = spec.components
    brain.action_spec.num_discrete_actions = len(branches)
    brain.action_spec.discrete_branch_sizes.extend(branches)
    actions = action_space(brain)
    pairs, returns = [], []
    for number, episode in enumerate(episodes):
        info, earned = AgentInfo(id=number), 0.0
        move = None
        for move in episode:
            _show(info, move)
            pairs.append(AgentInfoActionPair(agent_info=info, action_info=write_action(move.action, actions)))
            earned += float(move.rewards[0])
            info = AgentInfo(id=number, reward=move.rewards[0], done=move.terminated or move.truncated,
                             max_step_reached=move.truncated)
        if move is None:
            continue
        _show(info, move)
        if not info.done:  # recording stopped here: mark an end, so that the next episode is not joined to it
            info.done = info.max_step_reached = True
        nothing = write_action(np.zeros_like(move.action), actions)
        pairs.append(AgentInfoActionPair(agent_info=info, action_info=nothing))
        returns.append(earned)
    if not returns:
        raise UserError(f"There are no episodes to write to {path}.")
    meta = DemonstrationMeta(api_version=VERSION, demonstration_name=name[:_MAX_NAME], number_steps=len(pairs),
                             number_episodes=len(returns), mean_reward=np.mean(returns))
    DemoFile(meta, brain, pairs).write(path)
    return len(returns)


# --- messages


class _Short(Exception):
    """The data end in the middle of a message."""


def _message(kind: Any, data: bytes, place: int) -> tuple[Any, int]:
    """Read a message that is preceded by its length. Returns it and the offset after it."""
    length = shift = 0
    while True:
        if place >= len(data) or shift > 28:
            raise _Short
        length |= (data[place] & 0x7F) << shift
        shift += 7
        place += 1
        if not data[place - 1] & 0x80:
            break
    if place + length > len(data):
        raise _Short
    return kind.FromString(data[place:place + length]), place + length


def _delimited(message: Any) -> bytes:
    data = message.SerializeToString()
    length, head = len(data), bytearray()
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(head) + bytes([length]) + data


# --- values


def _check_actions(actions: spaces.Space, spec: EnvSpec) -> None:
    branches = list(spec.action_branches) or ([spec.num_actions] if spec.num_actions else [])
    if branches_of(actions) != branches or components_of(actions) != spec.components:
        raise ValueError(f"its actions are {actions}, those of the environment are "
                         f"{joint_space(spec.components, branches)}")


def _row(observations: Any, spec: EnvSpec) -> np.ndarray:
    """Convert an observation to the environment's, [*observation_shape]. Raises ValueError if it does not fit."""
    row = np.zeros((1, *spec.observation_shape), spec.observation_dtype)
    parts = {name.lstrip("/"): part for name, part in observation_parts(row).items()}
    names = observation_names(observations)
    if len(parts) == 1:
        names = names if len(names) != 1 else list(parts)
    if set(names) != parts.keys():
        raise ValueError(f"its observations are {', '.join(names)}, those of the environment are {', '.join(parts)}")
    for name, observation in zip(names, observations, strict=True):
        part, shape = parts[name], tuple(observation.shape)
        if shape != (part.shape[1:] or (1,)):
            raise ValueError(f"its observations are {list(shape)}, those of the environment are {list(part.shape[1:])}")
        picture = observation.compression_type == PNG
        given = read_observation([observation], spaces.Box(0, 255, shape, np.uint8) if picture else
                                 spaces.Box(-np.inf, np.inf, shape, np.float32))
        if not np.isfinite(given).all():
            raise ValueError("its observations hold NaN or infinity")
        with np.errstate(invalid="ignore"):
            part[0] = given.reshape(part.shape[1:])
        if part.dtype.kind != "f" and not np.array_equal(part[0], given.reshape(part.shape[1:])):
            raise ValueError(f"its observations are not numbers of {part.dtype}, as the environment's are")
    return row[0]


def _legal(info: Any, actions: spaces.Space, spec: EnvSpec) -> np.ndarray:
    if not spec.num_actions:
        return np.zeros(0, np.bool_)
    return read_mask(info.action_mask, branches_of(actions)).astype(np.bool_)


def _show(info: Any, move: Move) -> None:
    """Write a move's observation and action mask into ``info``."""
    for name, part in observation_parts(move.observation[None]).items():
        info.observations.append(write_observation(part[0], name.lstrip("/")))
    info.action_mask.extend((~move.legal_actions).tolist())
