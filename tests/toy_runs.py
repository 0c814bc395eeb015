"""Runs of the toy algorithm, for the tests of training; as a script, a concurrent one in a folder, new or not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from safetensors.torch import load_file

from myosu.algorithms import load_algorithm, muzero
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.run import Run, open_run
from myosu.training.start import create_run
from myosu.training.trainer import train

TOY = str(Path(__file__).with_name("toy_algorithm.py"))


def toy_run(folder: Path, settings: dict | None = None, **limits) -> Run:
    defaults = {"deterministic": True, "evaluate_every": 0, "actors": 1}
    return create_run(RunConfig("tictactoe", TOY, load_algorithm(TOY).Config(**settings or {}),
                                TrainConfig(**defaults | limits)), folder)


def othello_run(folder: Path, **limits) -> Run:
    """A run of the smallest MuZero, which knows next to nothing of Othello, trained."""
    settings = muzero.Config(channels=8, blocks=1, atoms=11, simulations=4, considered_actions=4, num_envs=4,
                             batch_size=8, unroll_steps=2, learning_starts=200, replay_capacity=1000, device="cpu",
                             precision="float32")
    run = create_run(RunConfig("othello", "muzero", settings, TrainConfig(
        **{"updates": 4, "deterministic": True, "evaluate_every": 0, "keep_every": 1} | limits)), folder)
    train(run, quiet=True)
    return run


def last_weights(folder: Path) -> dict:
    paths = sorted((folder / "checkpoints").glob("update-*"))
    return load_file(paths[-1] / "weights.safetensors")


def same_weights(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def in_fork(action) -> int:
    """Run ``action`` in a forked process; its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    return pid


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if folder.exists():
        run = open_run(folder)
    else:
        run = toy_run(folder, updates=int(sys.argv[2]), deterministic=False, actors=2, checkpoint_every_minutes=0.005)
    train(run, handle_signals=True)
