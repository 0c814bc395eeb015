"""Compares Myosu with mctx + pgx (Othello self-play) and with LightZero (Connect Four MuZero), on one core.

    sh scripts/setup_mctx.sh; sh scripts/setup_lightzero.sh
    .venv/bin/python benchmarks/side_by_side.py mctx [--batch 256] [--simulations 16]
    .venv/bin/python benchmarks/side_by_side.py lightzero

Every side is a process that stays alive, so that compilation is not measured. They take turns for a few seconds each,
``--rounds`` times, pinned to the same core. Prints medians and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent


def python_of(venv: str, name: str) -> Path:
    """The Python interpreter of the virtual environment of ``name``."""
    python = HERE.parent / venv / "bin" / "python"
    if not python.exists():
        sys.exit(f"{name} needs the environment {venv}: run its script in scripts/ first (setup_*.sh).")
    return python


class Side:
    """A worker process that measures once per line it receives."""

    def __init__(self, name: str, venv: str, script: str, *options: object) -> None:
        self.name = name
        environment = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", WANDB_MODE="disabled")
        self.process = subprocess.Popen(
            [python_of(venv, name), HERE / script, *map(str, options), "--serve"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        self._read()

    def measure(self) -> dict[str, float]:
        assert self.process.stdin is not None
        self.process.stdin.write("measure\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} stopped. Run it by itself to see why: {' '.join(map(str, self.process.args))}")
        return json.loads(line)


def compare(myosu: Side, others: list[Side], rounds: int, metrics: list[str], targets: list[float]) -> None:
    """Compare Myosu with the fastest of ``others``, round by round."""
    rows = [[side.measure() for side in (myosu, *others)] for _ in range(rounds)]
    for side in (myosu, *others):
        side.close()
    for metric, target in zip(metrics, targets, strict=True):
        for k, side in enumerate((myosu, *others)):
            rates = [row[k][metric] for row in rows]
            print(f"  {side.name:44} {metric}: {median(rates):10,.1f}  ({min(rates):,.1f} to {max(rates):,.1f})")
        ratios = [row[0][metric] / max(other[metric] for other in row[1:]) for row in rows]
        print(f"  {'ratio to the fastest':44} {median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f}); "
              f"target {target:g}", flush=True)


def beside_mctx(args: argparse.Namespace) -> None:
    network = ("--simulations", args.simulations, "--channels", args.channels, "--blocks", args.blocks,
               "--seconds", args.seconds)
    print(f"Othello, Gumbel MuZero, {args.blocks} + {args.blocks} blocks of {args.channels} channels, "
          f"{args.simulations} simulations, {args.batch} parallel games")
    myosu = Side("Myosu", ".venv", "myosu_selfplay.py", "--envs", args.batch, *network)
    others = [Side(f"mctx + pgx, {dtype}", ".venv-mctx", "pgx_mctx.py", "--batch", args.batch, "--dtype", dtype,
                   *network) for dtype in ("float32", "bfloat16")]
    compare(myosu, others, args.rounds, ["simulations_per_second"], [5.0])


def beside_lightzero(args: argparse.Namespace) -> None:
    # LightZero's prediction network also has a residual block; together with its dynamics' block that equals Myosu's
    # two.
    print("Connect Four, MuZero (PUCT), five 64-channel convolutions per model step, 50 simulations, batches of 256, "
          "6.25 updates per game")
    myosu = Side(f"Myosu, {args.envs} parallel games", ".venv", "myosu_selfplay.py", "--game", "connect_four",
                 "--search", "puct", "--simulations", 50, "--channels", 64, "--blocks", 2, "--envs", args.envs,
                 "--learn", "--seconds", args.seconds)
    others = [Side(f"LightZero, {envs} parallel games", ".venv-lightzero", "lightzero_connect4.py", "--envs", envs,
                   "--seconds", args.seconds) for envs in args.lightzero_envs]
    compare(myosu, others, args.rounds, ["collection_steps_per_second", "end_to_end_steps_per_second"], [10.0, 4.0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sides = parser.add_subparsers(required=True)
    mctx = sides.add_parser("mctx")
    mctx.add_argument("--batch", type=int, default=256)
    mctx.add_argument("--simulations", type=int, default=16)
    mctx.add_argument("--channels", type=int, default=32)
    mctx.add_argument("--blocks", type=int, default=2)
    mctx.add_argument("--seconds", type=float, default=3.0)
    mctx.set_defaults(run=beside_mctx)
    lightzero = sides.add_parser("lightzero")
    lightzero.add_argument("--envs", type=int, default=64, help="Myosu's parallel games")
    lightzero.add_argument("--lightzero-envs", type=int, nargs="+", default=[8, 64],
                           help="LightZero's parallel games; its default is 8")
    lightzero.add_argument("--seconds", type=float, default=6.0)
    lightzero.set_defaults(run=beside_lightzero)
    for side in (mctx, lightzero):
        side.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"{platform.machine()}, {os.cpu_count()} cores, one used; {args.rounds} rounds of {args.seconds:g} s")
    args.run(args)


if __name__ == "__main__":
    main()
