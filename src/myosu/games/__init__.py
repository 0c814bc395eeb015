"""Rules of games, one file per game. ``load_game`` finds a game by name, entry point or path.

The package is callable: ``myosu.games()`` returns ``game_names()``.
"""

import sys
from types import ModuleType

from myosu.games.game import Game, Symmetries, compiled
from myosu.games.registry import game_names, load_game

__all__ = ["Game", "Symmetries", "compiled", "game_names", "load_game"]


class _Games(ModuleType):
    def __call__(self) -> list[str]:
        return game_names()


sys.modules[__name__].__class__ = _Games
