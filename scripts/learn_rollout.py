"""Learns a rollout policy from a folder of SGF games, and evaluates it on a held-out fifth.

    .venv/bin/python scripts/learn_rollout.py FOLDER POLICY.npz [--epochs 8]

Games with the same first eight moves are held out together, so that no held-out opening was trained on.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np

from myosu.errors import UserError
from myosu.games.go.rollout_learning import fit_of, learn_rollout_policy
from myosu.games.go.sgf import GoRecord, read_folder

OPENING, HELD_OUT = 8, 0.2


def split_by_opening(records: list[GoRecord], seed: int = 0) -> tuple[list[GoRecord], list[GoRecord]]:
    """(training games, held-out games)."""
    openings: dict[tuple[int, ...], list[GoRecord]] = {}
    for record in records:
        openings.setdefault(tuple(record.actions[:OPENING]), []).append(record)
    groups = list(openings.values())
    random.Random(seed).shuffle(groups)
    held_out: list[GoRecord] = []
    while groups and len(held_out) < HELD_OUT * len(records):
        held_out += groups.pop()
    return [record for group in groups for record in group], held_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    records, left_out = read_folder(options.folder)
    for line in left_out:
        print(line)
    learnt_from, held_out = split_by_opening(records)
    policy = learn_rollout_policy(learnt_from, options.epochs)
    policy.save(options.policy)
    print(f"{len(learnt_from)} games learnt from, {len(held_out)} held out")
    # The interval resamples whole games, because the moves of one game are not independent.
    parts = [fit_of(policy, [record]) for record in held_out if record.chosen().any()]
    parts = [part for part in parts if part.positions]
    counts = np.array([part.positions for part in parts])
    for name in ("top1", "top5", "log_likelihood", "uniform"):
        values = np.array([getattr(part, name) for part in parts]) * counts
        draws = np.random.default_rng(0).integers(len(parts), size=(1000, len(parts)))
        low, high = np.quantile(values[draws].sum(1) / counts[draws].sum(1), (0.025, 0.975))
        print(f"{name:>15} {values.sum() / counts.sum():7.4f}  (95 %: {low:.4f} to {high:.4f})")
    print(f"on the games learnt from: {asdict(fit_of(policy, learnt_from))}")
    print(f"tactics {policy.tactics.round(2).tolist()}, near {(policy.near - policy.near[0]).round(2).tolist()}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
