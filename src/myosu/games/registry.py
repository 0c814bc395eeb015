"""Finding a game by its name (an entry point of the group ``myosu.games``) or by the path of its file."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path

from myosu.errors import UserError
from myosu.games.game import Game


def game_names() -> list[str]:
    """Names of all registered games."""
    return sorted({entry.name for entry in entry_points(group="myosu.games")})


def load_game(name: str) -> Game:
    """The game called ``name``; ``name`` may be a path to a file that defines ``GAME``.

    Raises UserError when there is no such game.
    """
    if name.endswith(".py"):
        return _load_file(Path(name))
    found = {entry.name: entry for entry in entry_points(group="myosu.games")}
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known games: {', '.join(sorted(found))}."
        raise UserError(f"There is no game {name!r}. {hint} A game of your own: give the path of its .py file.")
    return found[name].load().GAME


def _load_file(path: Path) -> Game:
    if not path.is_file():
        raise UserError(f"There is no game file {str(path)!r}.")
    spec = importlib.util.spec_from_file_location(f"myosu_game_{path.stem}", path.resolve())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not isinstance(getattr(module, "GAME", None), Game):
        raise UserError(f"{path} defines no GAME = Game(...).")
    return module.GAME
