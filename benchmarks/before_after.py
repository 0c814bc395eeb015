"""Compares the processor time of this checkout and another one (an earlier commit), alternating, for the same work.

    git worktree add ../before COMMIT
    python benchmarks/before_after.py ../before [--rounds 5] [--only ppo dqn]

Deterministic training runs without evaluations do the same number of steps on both sides. Each is run at a short and a
full length: the difference gives the training time, and the rest is start-up time. A ratio above 1 means that this
checkout is faster.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
#: Arguments of `myosu train`, with the length last. Because of the replay ratios, "selfplay" is nearly all search and
#: "learner" nearly all updates.
WORK = {
    "selfplay": ["othello", "--replay-ratio", "0.25", "--updates", "12"],
    "learner": ["othello", "--replay-ratio", "32", "--updates", "600"],
    "ppo": ["CartPole-v1", "--algorithm", "ppo", "--env-steps", "60000"],
    "dqn": ["CartPole-v1", "--algorithm", "dqn", "--env-steps", "20000"],
    "muesli": ["CartPole-v1", "--algorithm", "muesli", "--env-steps", "30000"],
}
#: The short run's length as a fraction of the full one; it lasts past the first updates, so everything is compiled and
#: loaded.
SHORT = 1 / 6


def processor_seconds(checkout: Path, arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", "from myosu.cli import main; main()", "train", *arguments, "--seed", "0",
                        "--deterministic", "--evaluate-every", "0", "--run", f"{folder}/run"],
                       env=os.environ | {"PYTHONPATH": str(checkout / "src")}, cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def start_and_training(checkout: Path, arguments: list[str]) -> tuple[float, float]:
    """Processor seconds of start-up, and of the whole training without start-up."""
    *rest, length = arguments
    short, full = (processor_seconds(checkout, [*rest, str(round(int(length) * share))]) for share in (SHORT, 1))
    training = (full - short) / (1 - SHORT)
    return full - training, training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="the checkout to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(WORK), default=list(WORK))
    args = parser.parse_args()
    for name in args.only:
        for checkout in (args.before, HERE):
            processor_seconds(checkout.resolve(), WORK[name])  # compiles
        starts, trainings = [], []
        for round_ in range(args.rounds):
            sides = [args.before.resolve(), HERE]
            taken = {side: start_and_training(side, WORK[name]) for side in (sides if round_ % 2 else sides[::-1])}
            (start, training), (start_here, training_here) = taken[sides[0]], taken[HERE]
            starts.append(start_here - start)
            trainings.append(training / training_here)
            print(f"{name}: training {training:.2f} s before, {training_here:.2f} s here; "
                  f"start {start:.2f} s, {start_here:.2f} s", flush=True)
        print(f"{name}: {statistics.median(trainings):.3f} times as fast ({min(trainings):.3f} to "
              f"{max(trainings):.3f}); starts {statistics.median(starts):+.2f} s later", flush=True)


if __name__ == "__main__":
    main()
