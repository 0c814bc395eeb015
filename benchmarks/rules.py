"""Steps per second of the games' rules on one core, with legal mask, observation and a random legal action.

    python benchmarks/rules.py [GAME ...]
"""

import sys

from myosu.games import game_names, load_game
from myosu.training.bench import rules_rate

if __name__ == "__main__":
    for name in sys.argv[1:] or game_names():
        print(f"{name:>16} {rules_rate(load_game(name)) / 1e6:8.2f} M steps/s")
