"""Games in the engines Godot and Unity as Gymnasium environments (``docs/studio.md``).

Their names are ``godot:PROJECT`` and ``unity:BUILD``; ``EnvMaker`` finds them with ``find_engine``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import gymnasium

from myosu.errors import UserError
from myosu.trust import ENGINES


def find_engine(name: str) -> Callable[..., gymnasium.Env] | None:
    """The function that makes the environment ``godot:PROJECT`` or ``unity:BUILD``; None for other names."""
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
    """The name with the path of its project or build made absolute; names of other environments are unchanged."""
    kind, colon, path = name.partition(":")
    return f"{kind}:{Path(path).absolute()}" if colon and kind in ENGINES and path else name
