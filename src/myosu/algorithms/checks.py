"""Checks that algorithms share."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from myosu.envs.vector import EnvSpec
from myosu.errors import UserError


def check_ranges(config: Any, ranges: dict[str, tuple[float, float]]) -> None:
    """Raises UserError if a field of ``config`` is outside its range, which includes both ends. Names that a subclass
    made class constants are skipped."""
    settable = {field.name for field in fields(config)}
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if name in settable and not low <= value <= high:
            raise UserError(f"{name} = {value} is impossible: it must be from {low} to {high}.")


def check_learning_starts(config: Any) -> None:
    """Raises UserError if the replay cannot hold the positions that the first update waits for."""
    if config.learning_starts > config.replay_capacity:
        raise UserError(f"learning_starts = {config.learning_starts} is more than replay_capacity = "
                        f"{config.replay_capacity}: lower learning_starts or raise replay_capacity.")


def check_not_mixed(algorithm: str, spec: EnvSpec) -> None:
    """Raises UserError if actions combine continuous components and choices."""
    if spec.components and spec.num_actions:
        raise UserError(f"{algorithm} supports continuous actions or discrete ones; here they are mixed, "
                        f"{spec.components} continuous components with {len(spec.action_branches)} choices. SAC "
                        "supports that: --algorithm sac.")


def check_model_fits(algorithm: str, spec: EnvSpec) -> None:
    """Raises UserError if ``nets.muzero``, the model of ``algorithm``, does not support the environment's spaces."""
    if spec.action_shape:
        raise UserError(f"{algorithm} supports only discrete actions; here an action has several parts or is "
                        "continuous. PPO supports those: --algorithm ppo.")
    if np.dtype(spec.observation_dtype).names:
        raise UserError(f"{algorithm} does not support dictionary or tuple observations. Flatten them by "
                        "gymnasium.wrappers.FlattenObservation, or use PPO, which supports them.")
    if len(spec.observation_shape) == 3 and spec.channels_last(spec.observation_shape):
        raise UserError(f"{algorithm} reads images as [channels, height, width]; here they are channels-last, "
                        f"{spec.observation_shape}. Transpose them in a gymnasium.ObservationWrapper by "
                        "numpy.moveaxis(observation, -1, 0), or use PPO or DQN, which read both.")
