"""Settings that suit a game: ``ALGORITHM/GAME.toml`` beside this file holds fields of the algorithm's ``Config``."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from myosu.training.config import from_dict


def load_preset(algorithm: str, game: str, config: Any) -> dict[str, Any]:
    """The fields of ``config`` (the algorithm's ``Config``) that the preset of ``game`` sets; empty without one."""
    file = files(__name__) / algorithm / f"{game}.toml"
    if not file.is_file():
        return {}
    fields = tomllib.loads(file.read_text(encoding="utf-8"))
    made = from_dict(config, fields)
    return {name: getattr(made, name) for name in fields}
