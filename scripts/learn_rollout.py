"""Learns a rollout policy from a folder of SGF games, and evaluates it on a held-out fifth.

    .venv/bin/python scripts/learn_rollout.py FOLDER POLICY.npz [--epochs 8]

Games with the same first eight moves are held out together, so that no held-out opening was trained on.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from myosu.errors import UserError
from myosu.games.go.rollout_learning import fit_of, fit_with_intervals, learn_rollout_policy
from myosu.games.go.sgf import read_folder
from myosu.runs.recordings import is_held_out

HELD_OUT = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    records, left_out = read_folder(options.folder)
    for line in left_out:
        print(line)
    held_out = [record for record in records if is_held_out(record.actions, 2, HELD_OUT)]
    learnt_from = [record for record in records if not is_held_out(record.actions, 2, HELD_OUT)]
    policy = learn_rollout_policy(learnt_from, options.epochs)
    policy.save(options.policy)
    print(f"{len(learnt_from)} training games, {len(held_out)} held-out games")
    figures = fit_with_intervals(policy, held_out)
    for name in ("top1", "top5", "log_likelihood", "uniform"):
        print(f"{name:>15} {figures[name]:7.4f}  (95 %: {{:.4f}} to {{:.4f}})".format(*figures[f"{name}_ci95"]))
    print(f"on the training games: {asdict(fit_of(policy, learnt_from))}")
    print(f"tactics {policy.tactics.round(2).tolist()}, near {(policy.near - policy.near[0]).round(2).tolist()}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
