"""Measures how fast an agent learns, in the same way for every library. Does not import Myosu, so it runs in any
virtual environment.

All figures are derived from a run's evaluations: steps so far, training time (wall-clock time without the evaluations)
and mean return of greedy episodes. If other processes disturb the wall-clock time, use the CPU time of the training
process.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

#: Training steps, as in Stable-Baselines3's zoo.
STEPS = {("CartPole-v1", "ppo"): 100_000, ("CartPole-v1", "dqn"): 50_000,
         ("LunarLander-v3", "ppo"): 1_000_000, ("LunarLander-v3", "dqn"): 100_000,
         ("MiniGrid-Empty-Random-5x5-v0", "ppo"): 100_000, ("ALE/Pong-v5", "ppo"): 10_000_000}
#: Mean returns that count as solved: Gymnasium's reward threshold, and for CartPole also the maximum.
THRESHOLDS = {"CartPole-v1": [475.0, 500.0], "LunarLander-v3": [200.0], "MiniGrid-Empty-Random-5x5-v0": [0.9],
              "ALE/Pong-v5": [18.0]}


def make_env(environment: str) -> gymnasium.Env:
    """The environment as Myosu makes it; Atari games as with --atari, MiniGrid as vectors."""
    if environment.startswith("MiniGrid-"):
        from minigrid.wrappers import FlatObsWrapper

        return FlatObsWrapper(gymnasium.make(environment))
    if not environment.startswith("ALE/"):
        return gymnasium.make(environment)
    import ale_py

    gymnasium.register_envs(ale_py)
    frames = gymnasium.wrappers.AtariPreprocessing(gymnasium.make(environment, frameskip=1), noop_max=30)
    return gymnasium.wrappers.FrameStackObservation(frames, 4)


class Evaluation(NamedTuple):
    steps: int
    seconds: float
    mean_return: float
    processor_seconds: float


def steps_per_second(evaluations: list[Evaluation], seconds: str = "seconds") -> float:
    """Median over the intervals between evaluations, which is robust to a few disturbed intervals."""
    windows = pairwise([Evaluation(0, 0.0, 0.0, 0.0), *evaluations])
    return median((after.steps - before.steps) / (getattr(after, seconds) - getattr(before, seconds))
                  for before, after in windows)


def first_reaching(evaluations: list[Evaluation], threshold: float) -> Evaluation | None:
    return next((evaluation for evaluation in evaluations if evaluation.mean_return >= threshold), None)


class Greedy:
    """Mean return of greedy episodes, played in parallel. act: maps a batch of observations to actions."""

    def __init__(self, environment: str, episodes: int, seed: int, act: Callable[[np.ndarray], np.ndarray]) -> None:
        self._envs = [make_env(environment) for _ in range(episodes)]
        for k, env in enumerate(self._envs):
            env.reset(seed=1_000_000 + 1000 * seed + k)  # seed once, so that each evaluation starts from other states
        self._act = act

    def mean_return(self) -> float:
        total = 0.0
        playing = [(env, env.reset()[0]) for env in self._envs]
        while playing:
            actions = self._act(np.stack([observation for _, observation in playing]))
            steps = [(env, *env.step(action)) for (env, _), action in zip(playing, actions, strict=True)]
            total += sum(float(reward) for _, _, reward, *_ in steps)
            playing = [(env, observation) for env, observation, _, terminated, truncated, _ in steps
                       if not (terminated or truncated)]
        return total / len(self._envs)


class Clock:
    """Counts training time from its construction on, and is paused during evaluations."""

    def __init__(self, mean_return: Callable[[], float], every: int) -> None:
        self.evaluations: list[Evaluation] = []
        self._mean_return = mean_return
        self._every = every
        self._seconds = np.zeros(2)
        self._running_since = _now()

    def tick(self, steps: int, last: bool = False) -> None:
        """Call this after every update, with the number of ``steps`` so far."""
        before = self.evaluations[-1].steps if self.evaluations else 0
        if steps - before < (1 if last else self._every):
            return
        self._seconds += _now() - self._running_since
        seconds, processor_seconds = self._seconds.tolist()
        self.evaluations.append(Evaluation(steps, seconds, self._mean_return(), processor_seconds))
        self._running_since = _now()


def _now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def quickest_threads(candidates: list[int], work: Callable[[], Any]) -> int:
    """Set torch's number of threads to the one with which ``work`` is fastest."""
    work()  # warm-up: one-time costs, for example imports
    seconds = {}
    for threads in candidates:
        torch.set_num_threads(threads)
        start = time.perf_counter()
        work()
        seconds[threads] = time.perf_counter() - start
    best = min(candidates, key=seconds.__getitem__)
    torch.set_num_threads(best)
    return best


def arguments(description: str | None, environments: list[str], algorithms: list[str]) -> argparse.Namespace:
    """The command-line options of all runs."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", choices=environments)
    parser.add_argument("--algorithm", choices=algorithms, default=algorithms[0])
    parser.add_argument("--steps", type=int, help="default: that of the zoo's settings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="if several are given, the fastest is used")
    parser.add_argument("--evaluate-every", type=int, help="steps between evaluations; default: 50 evaluations per run")
    parser.add_argument("--episodes", type=int, default=50, help="episodes per evaluation")
    parser.add_argument("--threshold", type=float, nargs="+", help="mean returns to reach")
    args = parser.parse_args()
    args.steps = args.steps or STEPS[args.environment, args.algorithm]
    args.evaluate_every = args.evaluate_every or args.steps // 50
    args.threshold = args.threshold or THRESHOLDS[args.environment]
    return args


def report(args: argparse.Namespace, threads: int, evaluations: list[Evaluation]) -> str:
    """Print the results as one line of JSON."""
    reached = {threshold: first_reaching(evaluations, threshold) for threshold in args.threshold}
    return json.dumps({
        "algorithm": args.algorithm, "environment": args.environment, "seed": args.seed, "threads": threads,
        "steps": evaluations[-1].steps, "seconds": evaluations[-1].seconds,
        "steps_per_second": steps_per_second(evaluations),
        "reached": {f"{threshold:g}": found and found._asdict() for threshold, found in reached.items()},
        "evaluations": evaluations})
