"""Reward against a random player over minutes of training, with its interval: plot_learning.py RUN ... -o FILE.png"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from myosu.training.metrics import read_evaluations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--title", default="")
    arguments = parser.parse_args()
    figure, axes = plt.subplots(figsize=(8, 4), dpi=150)
    for run in arguments.runs:
        evaluations = read_evaluations(run / "metrics.jsonl")
        minutes = [entry["training_seconds"] / 60 for entry in evaluations]
        low, high = zip(*(entry["mean_reward_ci95"] for entry in evaluations), strict=True)
        rewards = [entry["mean_reward"] for entry in evaluations]
        line, = axes.plot(minutes, rewards, marker="o", markersize=3, label=run.name)
        axes.fill_between(minutes, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set_xlim(left=0)
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("mean reward against random")
    axes.set_title(arguments.title)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(arguments.runs) > 1:
        axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(arguments.output)


if __name__ == "__main__":
    main()
