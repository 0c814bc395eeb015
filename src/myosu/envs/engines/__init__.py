"""Games in engines of their own, Godot and Unity, as Gymnasium environments: ``docs/studio.md``.

``godot:PROJECT`` and ``unity:BUILD`` name them; ``find_engine`` is what ``EnvMaker`` asks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import gymnasium

from myosu.errors import UserError
from myosu.trust import ENGINES


def find_engine(name: str) -> Callable[..., gymnasium.Env] | None:
    """What makes the environment ``godot:PROJECT`` or ``unity:BUILD``; None for another name."""
    kind, colon, path = name.partition(":")
    if not colon or kind not in ENGINES:
        return None
    if kind == "godot":
        from myosu.envs.engines.godot import GodotEnv

        return partial(GodotEnv, path)
    try:
        from myosu.envs.engines.unity import UnityEnv
    except ImportError as error:
        raise UserError(f"Unity games need the package {error.name}: pip install \"myosu[unity]\"") from error
    return partial(UnityEnv, path)


def absolute_engine(name: str) -> str:
    """An engine's name whose project or build is found from any folder; other names as they are."""
    kind, colon, path = name.partition(":")
    return f"{kind}:{Path(path).absolute()}" if colon and kind in ENGINES and path else name
