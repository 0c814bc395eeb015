"""Go on boards up to 19×19.

``board``: stones, chains and liberties. ``rules``: the game. ``features``: AlphaGo's input planes. ``playout`` and
``rollout``: fast play to the end, at random and by a linear softmax policy.
"""

from myosu.games.go.rules import GO9, GO9_FEATURES, GO13, GO19, GO19_FEATURES, make_game

__all__ = ["GO9", "GO9_FEATURES", "GO13", "GO19", "GO19_FEATURES", "make_game"]
