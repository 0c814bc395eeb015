"""Results of PPO and DQN without flags in small third-party environments (Pendulum and MountainCarContinuous have
presets): the mean return of 100 episodes after a fixed number of steps, its median over seeds, and whether it reaches
the target.

    pip install minigrid flappy-bird-gymnasium
    python benchmarks/small_environments.py                                 # all of them with seeds 0 to 4
    python benchmarks/small_environments.py --only FrozenLake Taxi --seeds 0 1 2

Runs are limited by steps, not time, so other programs on the machine do not affect the results. The interval is from
the minimum to the maximum over seeds: with five seeds, it contains the median of all seeds with 94 % probability.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple


class Row(NamedTuple):
    """Name and flags as in the command; number of training steps; target: mean return per episode."""

    name: str
    steps: int
    target: float
    flags: str = ""
    algorithm: str = "ppo"


ROWS = [
    Row("FrozenLake-v1", 50_000, 0.7),
    Row("FrozenLake8x8-v1", 200_000, 0.6),
    Row("Taxi-v4", 100_000, 7.5),
    Row("CliffWalking-v1", 100_000, -14, "--max-episode-steps 200"),
    Row("Acrobot-v1", 100_000, -85),
    Row("Pendulum-v1", 100_000, -250),
    Row("MountainCarContinuous-v0", 100_000, 90),
    Row("MiniGrid-Empty-5x5-v0", 20_000, 0.93),
    Row("MiniGrid-Empty-5x5-v0", 15_000, 0.9, algorithm="dqn"),
    Row("MiniGrid-DoorKey-5x5-v0", 60_000, 0.93),
    Row("MiniGrid-LavaGapS5-v0", 100_000, 0.9),
    Row("FlappyBird-v0", 100_000, 20),
    Row("FlappyBird-v0", 100_000, 20, "--env-kwargs '{\"use_lidar\": false}'"),
]


def mean_return(row: Row, seed: int, more: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        myosu("train", row.name, *shlex.split(row.flags), "--algorithm", row.algorithm,
              "--env-steps", row.steps, "--seed", seed, "--evaluate-every", 0, "--run", run, "--quiet", *more)
        return json.loads(myosu("evaluate", run, "--games", 100, "--json"))["mean_reward"]


def myosu(*words: object) -> str:
    """Run a command and return its output."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
    done = subprocess.run([sys.executable, "-m", "myosu.cli", *map(str, words)], capture_output=True, text=True,
                          env=environment)
    if done.returncode:
        sys.exit(f"myosu {' '.join(map(str, words))} failed:\n{done.stderr}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="WORD", default=[""], help="names that contain one of these")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    args, more = parser.parse_known_args()  # the rest goes to myosu train
    for row in ROWS:
        label = f"{row.algorithm} {row.name} {row.flags}".strip()
        if not any(word.lower() in label.lower() for word in args.only):
            continue
        found = sorted(mean_return(row, seed, more) for seed in args.seeds)
        print(f"{label}, {row.steps // 1000} k steps: {median(found):.4g} [{found[0]:.4g}, {found[-1]:.4g}], target "
              f"{row.target:g}: {'reached' if median(found) >= row.target else 'missed'}  "
              f"({', '.join(f'{value:.4g}' for value in found)})", flush=True)


if __name__ == "__main__":
    main()
