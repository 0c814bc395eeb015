"""Decisions per second of a Godot game with random actions: the engine's speed plus Myosu's side of the protocol.

    python benchmarks/godot_steps.py [godot:PROJECT] [--engines 1] [--decisions 5000] [--workers none]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

import myosu
from myosu.processes import one_thread


def main() -> None:
    catch = Path(__file__).parents[1] / "examples" / "godot_catch"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("game", nargs="?", default=f"godot:{catch}")
    parser.add_argument("--engines", type=int, default=1)
    parser.add_argument("--decisions", type=int, default=5000, help="decisions of all engines together")
    parser.add_argument("--workers", choices=["none", "synchronous", "asynchronous"], default="none")
    options = parser.parse_args()
    started = time.perf_counter()
    env = myosu.make(options.game, options.engines, workers=options.workers)
    rng = np.random.default_rng(0)
    env.reset()
    step = env.recv(options.engines)
    print(f"{options.engines} engines ready after {time.perf_counter() - started:.1f} s")
    started, done = time.perf_counter(), 0
    while done < options.decisions:
        env.send(rng.integers(env.spec.num_actions, size=len(step.env_ids)), step.env_ids)
        step = env.recv()
        done += len(step.env_ids)
    seconds = time.perf_counter() - started
    load = os.getloadavg()[0]
    print(f"{done / seconds:,.0f} decisions/s ({done} in {seconds:.1f} s; {os.cpu_count()} cores, load {load:.1f})")
    env.close()


if __name__ == "__main__":
    one_thread()
    main()
