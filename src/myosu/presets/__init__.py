"""The default algorithm and settings for an environment. ``ALGORITHM/NAME.toml`` beside this file holds fields of the
algorithm's ``Config``; ``ALGORITHM/board.toml`` is for two-player board games without a file of their own."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import numpy as np

from myosu.envs.registry import Environment
from myosu.runs.config import from_dict


def default_algorithm(environment: Environment, opponent: str | None = None) -> str:
    """MuZero for two-player games, in which planning pays; PPO for everything else, and against an ``opponent``."""
    return "muzero" if environment.spec.num_players == 2 and opponent is None else "ppo"


def load_preset(algorithm: str, environment: Environment, config: Any) -> dict[str, Any]:
    """The fields of ``config`` (the algorithm's ``Config``) that the preset sets; empty if there is no preset."""
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
