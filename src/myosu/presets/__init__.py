"""The default algorithm and settings for an environment. ``ALGORITHM/NAME.toml`` beside this file holds fields of the
algorithm's ``Config``. Environments without a file of their own use that of their kind: ``ALGORITHM/atari.toml`` is
for all games with the frames of ``--atari``, ``board.toml`` for two-player board games, ``categories.toml`` for
environments that are observed as categories (``Discrete``, ``MultiDiscrete``), ``vectors.toml`` for those observed as a
vector of numbers, ``environment.toml`` for environments of any kind (all but native games)."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from myosu.envs.making import ATARI, WRAPPERS
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.runs.config import from_dict

#: Names of the presets that are not for one environment.
KINDS = ("atari", "board", "categories", "vectors", "environment")


def default_algorithm(environment: Environment, opponent: str | None = None) -> str:
    """MuZero for two-player games, in which planning pays; PPO for everything else, and against an ``opponent``."""
    return "muzero" if environment.spec.num_players == 2 and opponent is None else "ppo"


def load_preset(algorithm: str, environment: Environment, config: Any, own: str | Path | None = None
                ) -> dict[str, Any]:
    """The fields of ``config`` (the algorithm's ``Config``) that the preset sets; empty if there is no preset. An
    environment with arguments or wrappers counts as another environment of the same kind.

    own: the path of a file of the same form, which takes the place of what is here. Raises UserError if it is no such
    file, or holds settings that the algorithm does not have.
    """
    if own is not None:
        return _read(algorithm, Path(own), config)
    spec, game = environment.spec, environment.game
    board = spec.num_players == 2 and len(spec.observation_shape) == 3 and spec.observation_dtype == np.uint8
    vector = len(spec.observation_shape) == 1 and np.dtype(spec.observation_dtype).names is None
    categories = vector and spec.observation_dtype == np.uint8 and spec.observation_bounds == ((0.0, 1.0),)
    kwargs = environment.maker.kwargs if environment.maker is not None else {}
    wrappers = [wrapper["wrapper"] for wrapper in kwargs.get(WRAPPERS, [])]
    itself = game.name if game else environment.name.rpartition(":")[2].replace("/", "-")
    for name in (*[itself] * (not kwargs), *["atari"] * (ATARI in wrappers), *["board"] * board,
                 *["categories"] * categories, *["vectors"] * (vector and not categories),
                 *["environment"] * (game is None)):
        file = files(__name__) / algorithm / f"{name}.toml"
        if file.is_file():
            return _typed(tomllib.loads(file.read_text(encoding="utf-8")), config, file)
    return {}


def _read(algorithm: str, file: Path, config: Any) -> dict[str, Any]:
    try:
        fields = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"The preset {file} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # tomllib's own, and bytes that are no text
        raise UserError(f"The preset {file} is not valid TOML: {error}.") from None
    known = [field.name for field in dataclasses.fields(config)]
    for name in fields.keys() - set(known):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(known)}."
        raise UserError(f"The preset {file} sets {name}, which {algorithm} does not have. {hint}")
    return _typed(fields, config, file)


def _typed(fields: dict[str, Any], config: Any, where: object) -> dict[str, Any]:
    made = from_dict(config, fields, where)
    return {name: getattr(made, name) for name in fields}
