"""Measures the quality of the value targets in a Connect Four run's replay: target_truth.py RUN [--positions N]

Positions of its newest games, from the thirteenth disc on, are solved exactly (``perfect_connect_four.py``). Prints the
correlation of possible value targets (outcome, search value, λ-returns) with the exact values.
"""

import argparse
from pathlib import Path

import numpy as np
from perfect_connect_four import FIRST_PLY, PHASES, UNKNOWN, worth_of_moves

from myosu.algorithms import load_settings, muzero
from myosu.games.connect_four import GAME
from myosu.replay.unroll import value_targets
from myosu.runs.checkpoint import find_checkpoint

NEWEST = 40_000
#: Name → (λ, weight of the search value).
TARGETS = {"outcome": (1.0, 0.0), "search": (1.0, 1.0), "half of each": (1.0, 0.5)} | {
    f"λ = {td_lambda}": (td_lambda, 1 - td_lambda) for td_lambda in (0.5, 0.7, 0.8, 0.9, 0.95)}


def states_of(observation: np.ndarray) -> np.ndarray:
    """Game states [n] from observations [n, 2, 6, 7]."""
    states = np.zeros(len(observation), GAME.state_dtype)
    rows, columns = observation.shape[2:]
    for player, planes in (("own", 0), ("opponent", 1)):
        for row, column in np.ndindex(rows, columns):
            states[player] |= observation[:, planes, row, column].astype(np.uint64) << np.uint64(
                7 * column + rows - 1 - row)
    return states


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--positions", type=int, default=1500)
    arguments = parser.parse_args()

    checkpoint = find_checkpoint(arguments.run)
    replay = muzero.make_replay(load_settings(checkpoint.config), checkpoint.config.environment.spec)
    replay.load(arguments.run / "replay", checkpoint.manifest["replay"])
    observation = replay.columns["observation"]
    rows = (replay.cursor - 1 - np.arange(min(NEWEST, replay.positions))) % replay.capacity
    rows = rows[observation[rows].sum((1, 2, 3)) >= FIRST_PLY]
    rows = np.random.default_rng(0).choice(rows, min(arguments.positions, len(rows)), replace=False)
    worth = worth_of_moves(states_of(observation[rows]), most=1_000_000)
    solved = worth[:, 0] != UNKNOWN
    rows, worth = rows[solved], worth[solved]
    truth, discs = worth.max(axis=1), observation[rows].sum((1, 2, 3))
    played = worth[np.arange(len(rows)), replay.columns["action"][rows]] == truth
    print(f"{len(rows)} positions; the played move keeps the best outcome in {played.mean():.1%}")
    print("correlation with the truth, by discs " + ", ".join(f"{low}–{high - 1}" for low, high in PHASES))
    for name, (td_lambda, search_weight) in TARGETS.items():
        target = value_targets(replay, rows, -1.0, 0, search_weight, td_lambda)
        phases = ((discs >= low) & (discs < high) for low, high in PHASES)
        print(f"{name:14}" + "  ".join(f"{np.corrcoef(target[at], truth[at])[0, 1]:.2f}" for at in phases)
              + f"   mean squared error {np.mean((target - truth) ** 2):.2f}")


if __name__ == "__main__":
    main()
