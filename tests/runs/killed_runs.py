"""Kill a training again and again, at random moments and while it writes checkpoints, and see what is lost.

    python tests/runs/killed_runs.py --kills 200

The training is deterministic. Each run is killed and resumed until it ends; it must then have the weights, games and
evaluations of one that was never killed, and its folder nothing that the other has not. After every kill the run can be
read, and its newest checkpoint is as whole and as new as before.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from myosu.errors import UserError
from myosu.runs.checkpoint import Checkpoints, find_checkpoint
from myosu.runs.metrics import read_evaluations
from myosu.runs.recordings import open_recording
from myosu.runs.run import open_run
from myosu.training.trainer import train
from toy_runs import in_fork, last_weights, same_weights, toy_run

LIMITS = {"updates": 80, "evaluate_every": 40, "evaluation_games": 4, "keep_every": 40,
          "checkpoint_every_minutes": 1e-9}
#: Calls of the system of which one is the last.
CALLS = ("replace", "rename", "fsync", "unlink", "rmdir", "mkdir", "open")
DURING_CHECKPOINT = 0.25


@dataclass
class Kills:
    """kills, and those of them while a checkpoint was written; runs that ended; what went wrong."""

    kills: int
    in_checkpoint: int
    runs: int
    faults: list[str]


def kill_runs(count: int, seed: int, folder: Path) -> Kills:
    """Until ``count`` kills; the last run is brought to its end."""
    rng = random.Random(seed)
    whole = folder / "whole"
    train(toy_run(folder / "first", **LIMITS), quiet=True)  # compiles
    start = time.monotonic()
    train(toy_run(whole, **LIMITS), quiet=True)
    seconds = time.monotonic() - start
    result = Kills(0, 0, 0, [])
    while result.kills < count:
        run = folder / f"run-{result.runs}"
        toy_run(run, **LIMITS)
        _bring_to_its_end(run, count, seconds, rng, result)
        result.runs += 1
        result.faults += [f"{run.name}: {fault}" for fault in _differences(whole, run)]
    return result


def _bring_to_its_end(run: Path, count: int, seconds: float, rng: random.Random, result: Kills) -> None:
    newest = -1
    while True:
        spared = result.kills >= count
        in_checkpoint = result.in_checkpoint < DURING_CHECKPOINT * (result.kills + 1)
        moment, call = rng.uniform(0, 0.5 * seconds), rng.randrange(1, 60)

        def attack(in_checkpoint: bool = in_checkpoint, spared: bool = spared, moment: float = moment,
                   call: int = call) -> None:
            if not spared:
                _die_in_checkpoint(call) if in_checkpoint else _die_after(moment)
            try:
                train(open_run(run), quiet=True)
            except UserError as error:  # it had done everything, and was killed before its process ended
                if "has reached its end" not in str(error):
                    raise

        _, status = os.waitpid(in_fork(attack), 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):  # its traceback has been printed
                result.faults.append(f"{run.name}: it ended with exit code {os.WEXITSTATUS(status)}")
            return
        result.kills += 1
        result.in_checkpoint += in_checkpoint
        try:
            newest = _look(run, newest)
        except (UserError, AssertionError) as error:
            result.faults.append(f"{run.name}, after {result.kills} kills: {error}")


def _die_after(seconds: float) -> None:
    # As sudden as SIGKILL: no handler of Python's sees it.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))


def _die_in_checkpoint(call: int) -> None:
    """At the ``call``-th call of the system that writing checkpoints makes."""
    made = 0
    writing = False

    def counted(original):
        def called(*arguments, **options):
            nonlocal made
            made += writing
            if made == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)
        return called

    def marked(original):
        def called(*arguments, **options):
            nonlocal writing
            writing = True
            try:
                return original(*arguments, **options)
            finally:
                writing = False
        return called

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    for name in ("write", "retain", "set_best"):
        setattr(Checkpoints, name, marked(getattr(Checkpoints, name)))


def _look(run: Path, newest: int) -> int:
    """What somebody sees who looks between two trainings; the update of the newest checkpoint."""
    folder = open_run(run)
    open_recording(run).best(3), read_evaluations(run / "metrics.jsonl")
    latest = Checkpoints(folder.checkpoints).latest()
    if latest is None:
        assert newest < 0, "its checkpoints are gone"
        return newest
    checkpoint = find_checkpoint(latest)
    checkpoint.weights(), checkpoint.state()
    checkpoint.check_replay(folder.replay)
    assert checkpoint.update >= newest, f"its newest checkpoint is of update {checkpoint.update}, it was {newest}"
    return checkpoint.update


def _differences(whole: Path, run: Path) -> list[str]:
    """What a run that was killed has otherwise than one that was not."""
    found = []
    if not same_weights(last_weights(whole), last_weights(run)):
        found.append("its weights are others")
    games = [[record.to_line() for record in open_recording(folder).last(10**6)] for folder in (whole, run)]
    if games[0] != games[1]:
        found.append("its games are others")
    known = [[(line["update"], line["mean_reward"]) for line in read_evaluations(folder / "metrics.jsonl")]
             for folder in (whole, run)]
    if known[0] != known[1]:
        found.append(f"its evaluations are {known[1]} instead of {known[0]}")
    if extra := sorted(_paths(run) - _paths(whole)):
        found.append(f"left behind: {', '.join(extra)}")
    checkpoints = map(find_checkpoint, Checkpoints(run / "checkpoints").paths())
    wanted = {name for checkpoint in checkpoints if checkpoint.resumable
              for name in checkpoint.manifest["replay"]["files"] if name}
    if extra := sorted({path.name for path in (run / "replay").iterdir()} - wanted):
        found.append(f"left behind in replay/: {', '.join(extra)}")
    return found


def _paths(run: Path) -> set[str]:
    """Of all but the replay, whose files are numbered, and TensorBoard's, one for each start."""
    return {str(path.relative_to(run)) for path in run.rglob("*") if not {"replay", "tensorboard"} & set(path.parts)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        result = kill_runs(options.kills, options.seed, Path(folder))
    for fault in result.faults:
        print(fault)
    print(f"{result.kills} kills, {result.in_checkpoint} of them while a checkpoint was written; {result.runs} runs "
          f"ended, {len(result.faults)} faults")
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
