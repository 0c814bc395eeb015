"""Go on boards up to 19×19. ``board``: stones and chains; ``rules``: the game; ``features``: what a player sees in a
position; ``playout`` and ``rollout``: games to their end, at random and by a small policy."""

from myosu.games.go.rules import GO9, GO9_FEATURES, GO13, GO19, GO19_FEATURES, make_game

__all__ = ["GO9", "GO9_FEATURES", "GO13", "GO19", "GO19_FEATURES", "make_game"]
