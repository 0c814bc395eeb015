"""Tests whether training changes the network: compares the weights of the oldest and the newest checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from myosu.doctor.finding import Finding
from myosu.doctor.run_view import found
from myosu.errors import UserError
from myosu.runs.checkpoint import Checkpoints, open_checkpoint
from myosu.runs.run import open_run

#: Minimum number of updates between the two checkpoints.
_UPDATES = 100


def weights_change(folder: Path, seconds: float) -> Finding | None:
    """Compare the weight matrices of the oldest and the newest checkpoint."""
    paths = Checkpoints(open_run(folder).checkpoints).paths()
    first, last = (open_checkpoint(path) for path in (paths[0], paths[-1])) if len(paths) > 1 else (None, None)
    if first is None or last is None or last.update - first.update < _UPDATES:
        raise UserError(f"there are no two checkpoints with {_UPDATES} updates between them")
    return judge_weights(first.weights(), last.weights(), last.update - first.update)


def judge_weights(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], updates: int) -> Finding | None:
    """Find weight matrices that did not change. Vectors are left out: biases, normalisation statistics, and numbers
    that a policy stores next to its network."""
    shared = [name for name, weight in before.items() if weight.ndim > 1 and name in after
              and after[name].shape == weight.shape]
    same = [name for name in shared if torch.equal(before[name], after[name])]
    if not shared or not same:
        return None
    if len(same) == len(shared):
        return found("error", "frozen-weights", f"in {updates:,} updates not one of {len(shared)} weight matrices "
                     "changed.", "the network does not learn: gradients do not reach it, or no step of the optimizer "
                     "is made.", "In an algorithm of your own look for a missing optimizer.step(), for "
                     "requires_grad=False, for a .detach() or torch.no_grad() around the loss, and whether the "
                     "optimizer was given the parameters of this network. Otherwise raise --learning-rate.", 0.97)
    return found("info", "frozen-layers", f"in {updates:,} updates {len(same)} of {len(shared)} weight matrices did "
                 f"not change: {', '.join(same[:4])}{' …' if len(same) > 4 else ''}.", "no gradient reaches them.",
                 "Right for a part that is not meant to learn; otherwise look for a .detach() before the loss.", 0.5)
