"""Trains CartPole with CleanRL's unmodified ppo.py; prints one line of JSON.

    sh scripts/setup_cleanrl.sh
    .venv-cleanrl/bin/python benchmarks/cleanrl_run.py CartPole-v1 [--seed 0] [--threads 1 2]

ppo.py is a script without functions to call, so it runs as a command. A replacement of TensorBoard's writer is notified
of its updates, and nothing is logged. It uses Stable-Baselines3's settings, except that its clip range is constant.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import runpy
import sys
import types
from collections.abc import Callable

import numpy as np
import torch

from learning import Clock, Greedy, arguments, quickest_threads, report

SETTINGS = {"num-envs": 8, "num-steps": 32, "num-minibatches": 1, "update-epochs": 20, "gae-lambda": 0.8, "gamma": 0.98,
            "ent-coef": 0.0, "learning-rate": 1e-3, "anneal-lr": True, "clip-coef": 0.2, "clip-vloss": False,
            "cuda": False}
PROBE_STEPS = 2048


def run(environment: str, steps: int, seed: int, learned: Callable[[int, bool], None]) -> None:
    """Run ppo.py; ``learned(steps so far, whether the training is over)`` is called after every update."""

    class Writer:
        def __init__(self, *_: object) -> None: ...
        def add_text(self, *_: object) -> None: ...

        def add_scalar(self, tag: str, _: object, step: int) -> None:
            self.step = step
            if tag == "charts/SPS":  # the last scalar that ppo.py writes in an update
                learned(step, False)

        def close(self) -> None:
            learned(self.step, True)

    board = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = Writer  # type: ignore[attr-defined]
    sys.modules[board.__name__] = board
    options = {"env-id": environment, "total-timesteps": steps, "seed": seed, **SETTINGS}
    script = importlib.util.find_spec("cleanrl.ppo").origin
    own_arguments = sys.argv
    sys.argv = [script, *(f"--{name}={value}" for name, value in options.items())]
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        runpy.run_path(script, run_name="__main__")
    sys.argv = own_arguments


def act(observations: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        # While ppo.py runs, it is the main module, and its agent is a global variable there.
        return sys.modules["__main__"].agent.actor(torch.from_numpy(observations)).argmax(1).numpy()


def main() -> None:
    args = arguments(__doc__, ["CartPole-v1"], ["ppo"])
    threads = quickest_threads(args.threads, lambda: run(args.environment, PROBE_STEPS, args.seed, lambda *_: None))
    greedy = Greedy(args.environment, args.episodes, args.seed, act)
    clock = Clock(greedy.mean_return, args.evaluate_every)
    run(args.environment, args.steps, args.seed, clock.tick)
    print(report(args, threads, clock.evaluations))


if __name__ == "__main__":
    main()
