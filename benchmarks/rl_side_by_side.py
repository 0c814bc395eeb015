"""Compares Myosu with Stable-Baselines3 and CleanRL: steps per second (of wall-clock time, and of the training
process's CPU time), and the time until greedy episodes reach a mean return R.

    sh scripts/setup_sb3.sh; sh scripts/setup_cleanrl.sh
    .venv/bin/python benchmarks/rl_side_by_side.py CartPole-v1 --algorithm ppo --rivals sb3 cleanrl [--rounds 5]

In every round each library trains once from scratch, one after another, in its own process and alone on the machine,
with the round's number as the seed. Other libraries use one or two threads, whichever is faster.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from learning import STEPS, THRESHOLDS, Evaluation, first_reaching, steps_per_second
from side_by_side import HERE, python_of

RIVALS = {"sb3": ("Stable-Baselines3", ".venv-sb3", "sb3_run.py"),
          "cleanrl": ("CleanRL", ".venv-cleanrl", "cleanrl_run.py")}

#: Myosu's settings in addition to its preset: the evaluation interval (in updates) and the number of episodes of the
#: others.
#: MiniGrid has no preset, so it takes the zoo's settings.
MYOSU_FLAGS: dict[tuple[str, str], dict[str, object]] = {
    ("CartPole-v1", "ppo"): {"evaluate-every": 160, "evaluation-games": 50},
    ("CartPole-v1", "dqn"): {"evaluate-every": 250, "evaluation-games": 50},
    ("LunarLander-v3", "ppo"): {"evaluate-every": 1024, "evaluation-games": 50},
    ("LunarLander-v3", "dqn"): {"evaluate-every": 2000, "evaluation-games": 50},
    ("MiniGrid-Empty-Random-5x5-v0", "ppo"): {
        "evaluate-every": 1600, "evaluation-games": 10, "wrapper": "minigrid.wrappers:FlatObsWrapper", "num-envs": 8,
        "rollout-steps": 128, "batch-size": 64, "gae-lambda": 0.95, "discount": 0.99, "epochs": 10, "entropy-weight": 0,
        "learning-rate": 2.5e-4, "clip-range": 0.2, "normalize-observations": True, "normalize-rewards": True},
    ("ALE/Pong-v5", "ppo"): {"evaluate-every": 64, "evaluation-games": 2, "atari": True},
}
#: Arguments for the other libraries in addition to the number of steps.
RIVAL_FLAGS: dict[tuple[str, str], list[object]] = {
    ("MiniGrid-Empty-Random-5x5-v0", "ppo"): ["--evaluate-every", 10_240, "--episodes", 10],
    ("ALE/Pong-v5", "ppo"): ["--evaluate-every", 4096, "--episodes", 2]}


def learn_with_myosu(args: argparse.Namespace, seed: int) -> list[Evaluation]:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        flags = {"algorithm": args.algorithm, "env-steps": args.steps, "seed": seed, "run": run,
                 **MYOSU_FLAGS[args.environment, args.algorithm]}
        output_of([sys.executable, "-m", "myosu.cli", "train", args.environment, "--quiet",
                   *(word for name, value in flags.items() for word in (f"--{name}", value) if word is not True)])
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [Evaluation(line["env_steps"], line["training_seconds"], line["mean_reward"], line["processor_seconds"])
            for line in lines if line["kind"] == "evaluation" and line["env_steps"] > 0]


def learn_with_rival(python: Path, script: str, args: argparse.Namespace, seed: int) -> list[Evaluation]:
    output = output_of([python, HERE / script, args.environment, "--algorithm", args.algorithm, "--steps", args.steps,
                        "--seed", seed, "--threads", 1, 2, *RIVAL_FLAGS.get((args.environment, args.algorithm), [])])
    return [Evaluation(*evaluation) for evaluation in json.loads(output)["evaluations"]]


def output_of(command: list[object]) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS="1"))
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stderr}")
    return done.stdout


def seconds_to(threshold: float, evaluations: list[Evaluation]) -> float:
    found = first_reaching(evaluations, threshold)
    return found.seconds if found else math.inf


def steps_to(threshold: float, evaluations: list[Evaluation]) -> float:
    found = first_reaching(evaluations, threshold)
    return found.steps if found else math.inf


def print_table(rounds: list[dict[str, list[Evaluation]]], thresholds: list[float]) -> None:
    """Medians over the rounds with their range, and the ratio of Myosu's figure to the other's, round by round."""
    measures: dict[str, Callable[[list[Evaluation]], float]] = {
        "steps a second": steps_per_second,
        "… of processor": partial(steps_per_second, seconds="processor_seconds")}
    for threshold in thresholds:
        measures[f"seconds to {threshold:g}"] = partial(seconds_to, threshold)
        measures[f"steps to {threshold:g}"] = partial(steps_to, threshold)
    print(f"{'':18}{'':18}{'median':>10}  {'lowest':>10}  {'highest':>10}  {'Myosu / it':>10}")
    for title, measure in measures.items():
        found = {name: [measure(row[name]) for row in rounds] for name in rounds[0]}
        for name, values in found.items():
            # Rounds in which neither reached the return have no ratio.
            ratios = [own / value for own, value in zip(found["Myosu"], values, strict=True)
                      if not math.isinf(own) or not math.isinf(value)]
            cells = [number(median(values)), number(min(values)), number(max(values)),
                     f"{median(ratios):.2f}" if ratios else "-"]
            print(f"{title:18}{name:18}" + "  ".join(f"{cell:>10}" for cell in cells))


def number(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:,.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", choices=sorted(THRESHOLDS))
    parser.add_argument("--algorithm", choices=["ppo", "dqn"], default="ppo")
    parser.add_argument("--rivals", choices=sorted(RIVALS), nargs="+", default=["sb3"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="default: that of the zoo's settings")
    parser.add_argument("--threshold", type=float, nargs="+", help="mean returns to reach")
    args = parser.parse_args()
    args.steps = args.steps or STEPS[args.environment, args.algorithm]
    args.threshold = args.threshold or THRESHOLDS[args.environment]
    if "cleanrl" in args.rivals and (args.environment, args.algorithm) != ("CartPole-v1", "ppo"):
        parser.error("CleanRL is only run with ppo on CartPole-v1.")

    sides = {"Myosu": learn_with_myosu}
    for rival in args.rivals:
        name, venv, script = RIVALS[rival]
        sides[name] = partial(learn_with_rival, python_of(venv, name), script)
    print(f"{args.environment}, {args.algorithm}, {args.steps:,} steps, {args.rounds} rounds; {platform.machine()}, "
          f"{os.cpu_count()} cores", flush=True)
    rounds: list[dict[str, list[Evaluation]]] = []
    for seed in range(args.rounds):
        rounds.append({})
        for name, learn in sides.items():
            rounds[-1][name] = found = learn(args, seed)
            reached = "".join(f", {threshold:g} after {number(seconds_to(threshold, found))} s"
                              for threshold in args.threshold)
            print(f"  round {seed}: {name:18}{steps_per_second(found):8,.0f} steps/s{reached}, "
                  f"{found[-1].mean_return:.1f} at the end", flush=True)
    print_table(rounds, args.threshold)


if __name__ == "__main__":
    main()
