"""Whoever can move in a game for two: chance, search, an agent, an engine that speaks GTP."""
