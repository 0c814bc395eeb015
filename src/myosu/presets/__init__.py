"""The algorithm and the settings that suit an environment. ``ALGORITHM/NAME.toml`` beside this file holds fields of the
algorithm's ``Config``, and ``ALGORITHM/board.toml`` those for a board game for two that has no file of its own."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import numpy as np

from myosu.envs.registry import Environment
from myosu.runs.config import from_dict


def default_algorithm(environment: Environment, opponent: str | None = None) -> str:
    """MuZero for games for two, which reward planning; PPO for everything else, and against an ``opponent``."""
    return "muzero" if environment.spec.num_players == 2 and opponent is None else "ppo"


def load_preset(algorithm: str, environment: Environment, config: Any) -> dict[str, Any]:
    """The fields of ``config`` (the algorithm's ``Config``) that the preset for it sets; empty without one."""
    spec, game = environment.spec, environment.game
    board = spec.num_players == 2 and len(spec.observation_shape) == 3 and spec.observation_dtype == np.uint8
    own = game.name if game else environment.name.rpartition(":")[2].replace("/", "-")
    for name in (own, *["board"] * board):
        file = files(__name__) / algorithm / f"{name}.toml"
        if file.is_file():
            fields = tomllib.loads(file.read_text(encoding="utf-8"))
            made = from_dict(config, fields)
            return {name: getattr(made, name) for name in fields}
    return {}
