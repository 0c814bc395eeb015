"""Steps of the rules per second on one core, with legal mask, observation and a random legal choice.

    python benchmarks/rules.py [GAME ...]
"""

import sys
import time

from myosu.games import game_names, load_game
from myosu.games.playout import random_games


def steps_per_second(name: str, runs: int = 200, seconds: float = 0.005) -> float:
    """The best of many short runs: other processes only ever make one slower, and few fall into so short a time."""
    game = load_game(name)
    random_games(game, 10)  # compiles
    start = time.perf_counter()
    random_games(game, 2000)
    games = max(1, int(2000 * seconds / (time.perf_counter() - start)))
    best = 0.0
    for seed in range(runs):
        start = time.perf_counter()
        steps = random_games(game, games, seed).lengths.sum()
        best = max(best, steps / (time.perf_counter() - start))
    return best


if __name__ == "__main__":
    for name in sys.argv[1:] or game_names():
        print(f"{name:>16} {steps_per_second(name) / 1e6:8.2f} M steps/s")
