"""Trains the agent of `myosu demo`, copies it into the package (src/myosu/demo/agent) and evaluates it.

    python scripts/make_demo.py            # five minutes on two cores; --from RUN uses an existing run
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import myosu
from myosu.runs.checkpoint import find_checkpoint

AGENT = Path(__file__).resolve().parent.parent / "src" / "myosu" / "demo" / "agent"
OPPONENTS = ("random", "greedy", "alphabeta:2", "alphabeta:4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="run", type=Path)
    run = parser.parse_args().run or train(Path(tempfile.mkdtemp()) / "demo")
    shutil.rmtree(AGENT, ignore_errors=True)
    find_checkpoint(run).save_agent(AGENT, half=True)  # so that the wheel stays under 1 MB
    print(f"{AGENT}: {sum(file.stat().st_size for file in AGENT.iterdir()) / 1000:.0f} kB")
    for opponent in OPPONENTS:
        report = myosu.evaluate(AGENT, opponent=opponent, games=100)
        low, high = report["win_rate_ci95"]
        print(f"against {opponent}: {report['win_rate']:.0%} won ({low:.0%} to {high:.0%}), "
              f"{report['draw_rate']:.0%} drawn")


def train(folder: Path) -> Path:
    """The same as: myosu train connect_four --channels 16 --blocks 2 --simulations 32 --minutes 5 --seed 1
    --evaluation-opponent alphabeta:2 --evaluation-games 40"""
    return myosu.train("connect_four", channels=16, blocks=2, simulations=32, minutes=5, seed=1,
                       evaluation_opponent="alphabeta:2", evaluation_games=40, run=folder).folder


if __name__ == "__main__":
    main()
