"""Environment steps a second of actors on a Ray cluster beside actors behind pipes, in turns; and the memory of Ray.

    RAY_AUTH_TOKEN_PATH=… python benchmarks/cluster.py HOST:PORT [--game tictactoe] [--actors 1] [--rounds 3]

The cluster (scripts/cluster.sh head) is on this machine. While one side plays, the other's actors are held.
"""

import argparse
import statistics
import time
from pathlib import Path

from myosu.algorithms import algorithm_of, load_settings
from myosu.sources.processes import ActorProcesses
from myosu.sources.ray import ClusterActors, require_cluster
from myosu.training.start import configure


def steps_per_second(source, seconds: float) -> float:
    source.hold(False)
    collect(source, 1.5)  # the other side's last reports are over, this side's first are in
    began = time.monotonic()
    steps = collect(source, seconds)
    passed = time.monotonic() - began
    source.hold(True)
    collect(source, 1.5)
    return steps / passed


def collect(source, seconds: float) -> int:
    steps, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        steps += sum(experience.steps for experience in source.collect(wait=True))
    return steps


def ray_memory() -> float:
    """MiB (proportional set size) of Ray's own processes, without its actors."""
    total = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            if b"site-packages/ray/" in command or (command.startswith(b"ray::") and b"_NodeActor" not in command):
                lines = (path / "smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except OSError:
            continue
    return total / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cluster")
    parser.add_argument("--game", default="tictactoe")
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    config = configure(options.game, "muzero")
    require_cluster(config, options.cluster)
    environment = config.environment
    weights = algorithm_of(config).make_learner(load_settings(config), environment.spec, environment.symmetries,
                                                0).weights()
    sides = {"pipes": ActorProcesses(config, options.actors),
             "cluster": ClusterActors(config, options.cluster, options.actors)}
    try:
        for source in sides.values():
            source.publish(weights, 0)
            while not collect(source, 0.5):
                pass
            source.hold(True)
        print(f"Ray's own processes: {ray_memory():.0f} MiB")
        ratios = []
        for _ in range(options.rounds):
            rates = {name: steps_per_second(source, options.seconds) for name, source in sides.items()}
            ratios.append(rates["cluster"] / rates["pipes"])
            print(", ".join(f"{name} {rate:,.0f} steps/s" for name, rate in rates.items()), f"ratio {ratios[-1]:.2f}",
                  flush=True)
        print(f"median ratio {statistics.median(ratios):.2f}")
    finally:
        for source in sides.values():
            source.close()


if __name__ == "__main__":
    main()
