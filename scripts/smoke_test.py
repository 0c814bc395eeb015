"""Tests a fresh `pip install myosu` in an empty environment: the command, a training run, an evaluation, and an agent
called from Python. Takes less than a minute.

    python -m venv empty && empty/bin/pip install dist/*.whl && empty/bin/python -I scripts/smoke_test.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    os.chdir(tempfile.mkdtemp(prefix="myosu-smoke-"))
    run_commands()
    train_and_play()


def run_commands() -> None:
    """The commands that a new user types first."""
    for arguments in (["--version"], [], ["train", "--help"], ["demo", "--terminal"]):
        said = subprocess.run([sys.executable, *["-I"] * sys.flags.isolated, "-m", "myosu", *arguments], check=True,
                              input="quit\n", capture_output=True, text=True).stdout
        assert said.strip(), arguments


def train_and_play() -> None:
    """Train an agent and call it from Python."""
    import myosu

    run = myosu.train("CartPole-v1", algorithm="ppo", env_steps=12_000, run="runs/first", evaluate_every=0, quiet=True)
    agent = myosu.load("runs/first")
    action = agent.act([0.0, 0.0, 0.0, 0.0])
    report = myosu.evaluate(agent, games=20)

    assert action in (0, 1)
    assert run.env_steps >= 12_000 and report["mean_reward"] > 60, report  # random play has 22
    print(f"myosu {myosu.__version__} from {Path(myosu.__file__).parent}: CartPole {report['mean_reward']:.0f} steps "
          f"after {run.env_steps} steps and {run.seconds:.0f} s of training")


if __name__ == "__main__":
    main()
