"""Whoever can move in a game: chance, search, an agent, an engine that speaks GTP."""
