"""Processor time of this checkout beside another one's (an earlier commit), in turn, for the same work.

    git worktree add ../before COMMIT
    python benchmarks/before_after.py ../before [--rounds 5] [--only ppo dqn]

Deterministic trainings do the same number of steps on both sides. A ratio over 1: this checkout is faster.
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
#: Arguments of `myosu train`. By their replay ratios "selfplay" is nearly all searches, "learner" nearly all updates.
WORK = {
    "selfplay": ["othello", "--updates", "12", "--replay-ratio", "0.25"],
    "learner": ["othello", "--updates", "600", "--replay-ratio", "32"],
    "ppo": ["CartPole-v1", "--algorithm", "ppo", "--env-steps", "60000"],
    "dqn": ["CartPole-v1", "--algorithm", "dqn", "--env-steps", "20000"],
    "muesli": ["CartPole-v1", "--algorithm", "muesli", "--env-steps", "30000"],
}


def processor_seconds(checkout: Path, arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", "from myosu.cli import main; main()", "train", *arguments, "--seed", "0",
                        "--deterministic", "--evaluation-games", "4", "--run", f"{folder}/run"],
                       env=os.environ | {"PYTHONPATH": str(checkout / "src")}, cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(WORK), default=list(WORK))
    args = parser.parse_args()
    for name in args.only:
        for checkout in (args.before, HERE):
            processor_seconds(checkout.resolve(), WORK[name])  # compiles
        ratios = []
        for round_ in range(args.rounds):
            sides = [args.before.resolve(), HERE]
            seconds = {side: processor_seconds(side, WORK[name]) for side in (sides if round_ % 2 else sides[::-1])}
            ratios.append(seconds[sides[0]] / seconds[HERE])
            print(f"{name}: {seconds[sides[0]]:.1f} s before, {seconds[HERE]:.1f} s here", flush=True)
        print(f"{name}: {statistics.median(ratios):.3f} times as fast ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
