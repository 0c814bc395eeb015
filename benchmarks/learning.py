"""How fast an agent learns, measured the same way for every library. Runs in any environment: imports nothing of Myosu.

Everything follows from a run's evaluations: the steps that it had made, its training seconds (of the wall's clock,
without the evaluations) and the mean return of greedy episodes; where other work disturbs the clock, the processor's
seconds of the process that trains say more.
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

#: How long to learn, as Stable-Baselines3's zoo has it.
STEPS = {("CartPole-v1", "ppo"): 100_000, ("CartPole-v1", "dqn"): 50_000,
         ("LunarLander-v3", "ppo"): 1_000_000, ("LunarLander-v3", "dqn"): 100_000}
#: Mean returns that count as having learned: Gymnasium's own mark, and for CartPole what is most.
THRESHOLDS = {"CartPole-v1": [475.0, 500.0], "LunarLander-v3": [200.0]}


class Evaluation(NamedTuple):
    steps: int
    seconds: float
    mean_return: float
    processor_seconds: float


def steps_per_second(evaluations: list[Evaluation], seconds: str = "seconds") -> float:
    """The median of the windows between evaluations: what disturbs a few of them does not count."""
    windows = pairwise([Evaluation(0, 0.0, 0.0, 0.0), *evaluations])
    return median((after.steps - before.steps) / (getattr(after, seconds) - getattr(before, seconds))
                  for before, after in windows)


def first_reaching(evaluations: list[Evaluation], threshold: float) -> Evaluation | None:
    return next((evaluation for evaluation in evaluations if evaluation.mean_return >= threshold), None)


class Greedy:
    """Episodes of an agent that explores no more, all played at once. ``act``: a batch of observations to actions."""

    def __init__(self, environment: str, episodes: int, seed: int, act: Callable[[np.ndarray], np.ndarray]) -> None:
        self._envs = [gymnasium.make(environment) for _ in range(episodes)]
        for k, env in enumerate(self._envs):
            env.reset(seed=1_000_000 + 1000 * seed + k)  # once: every evaluation starts from other states
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
    """Counts training seconds from its making on, and stands still during evaluations."""

    def __init__(self, mean_return: Callable[[], float], every: int) -> None:
        self.evaluations: list[Evaluation] = []
        self._mean_return = mean_return
        self._every = every
        self._seconds = np.zeros(2)
        self._running_since = _now()

    def tick(self, steps: int, last: bool = False) -> None:
        """To be called whenever the agent has learned from the ``steps`` that it has made so far."""
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
    """Sets torch's threads to the number with which ``work`` is done soonest."""
    work()  # what happens only once in a process, imports for example, happens here
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
    """The options that all runs share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", choices=environments)
    parser.add_argument("--algorithm", choices=algorithms, default=algorithms[0])
    parser.add_argument("--steps", type=int, help="as many as the zoo's settings say")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="of several the quickest is found and used")
    parser.add_argument("--evaluate-every", type=int, help="steps; 50 times a run")
    parser.add_argument("--episodes", type=int, default=50, help="of an evaluation")
    parser.add_argument("--threshold", type=float, nargs="+", help="mean returns to be reached")
    args = parser.parse_args()
    args.steps = args.steps or STEPS[args.environment, args.algorithm]
    args.evaluate_every = args.evaluate_every or args.steps // 50
    args.threshold = args.threshold or THRESHOLDS[args.environment]
    return args


def report(args: argparse.Namespace, threads: int, evaluations: list[Evaluation]) -> str:
    """One line of JSON."""
    reached = {threshold: first_reaching(evaluations, threshold) for threshold in args.threshold}
    return json.dumps({
        "algorithm": args.algorithm, "environment": args.environment, "seed": args.seed, "threads": threads,
        "steps": evaluations[-1].steps, "seconds": evaluations[-1].seconds,
        "steps_per_second": steps_per_second(evaluations),
        "reached": {f"{threshold:g}": found and found._asdict() for threshold, found in reached.items()},
        "evaluations": evaluations})
