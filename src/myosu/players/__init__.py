"""Players of two-player games: random, alpha-beta, MCTS, trained agents, GTP engines."""
