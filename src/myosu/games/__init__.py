"""Rules of games. One file a game; ``load_game`` finds it by name, entry point or path."""

from myosu.games.game import Game, Symmetries, compiled
from myosu.games.registry import game_names, load_game

__all__ = ["Game", "Symmetries", "compiled", "game_names", "load_game"]
