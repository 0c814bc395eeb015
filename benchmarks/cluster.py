"""Environment steps/s of actors on a Ray cluster and of actors behind pipes, alternating; memory overhead of Ray.

    RAY_AUTH_TOKEN_PATH=… python benchmarks/cluster.py HOST:PORT [--game tictactoe] [--actors 1] [--rounds 3]

The cluster (scripts/cluster.sh head) consists of this machine only. While one side plays, the other side's actors are
paused. This process only receives reports. On a crowded machine, use the second ratio: it leaves out the time for which
actors were ready but had no core (Linux's schedstat). Memory is the proportional set size: a page that n processes
share counts as 1/n in each.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections import Counter
from pathlib import Path

from myosu.algorithms import algorithm_of, load_settings
from myosu.processes import one_thread
from myosu.sources.processes import ActorProcesses
from myosu.sources.ray import ClusterActors, require_cluster
from myosu.training.start import configure

TICKS = os.sysconf("SC_CLK_TCK")
#: Text in the command lines of Ray's processes → their names.
RAYS = {"/gcs_server": "GCS", "/raylet/raylet": "raylet", "/dashboard/dashboard.py": "dashboard (minimal)",
        "ray.util.client.server": "client server", "/autoscaler/_private/monitor.py": "autoscaler",
        "/_private/log_monitor.py": "log monitor", "ray::DashboardAgent": "agent", "ray::RuntimeEnvAgent":
        "agent of environments", "ray::_NodeActor": "actor", "ray::IDLE": "idle workers"}


def rays_processes() -> dict[int, str]:
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "ray::" in command[:5] or "/ray/" in command or "ray.util.client" in command:
            found |= {int(path.name): name for mark, name in RAYS.items() if mark in command.split(" --")[0]}
    return found


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def queued_seconds(pid: int) -> float:
    """Seconds for which the main thread of ``pid`` was ready to run but had no core."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def memory(pid: int) -> float:
    """Proportional set size in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def collect(source, seconds: float) -> int:
    """Environment steps received within ``seconds``. ``wait=False``, or the source would also act in this process."""
    steps, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        steps += sum(experience.steps for experience in source.collect(wait=False))
        time.sleep(0.005)
    return steps


class Side:
    """One of the two sources, with its processes and measurements."""

    def __init__(self, source, weights) -> None:
        before = {child.pid for child in multiprocessing.active_children()}
        self.source = source
        source.publish(weights, 0)
        while not collect(source, 0.5):
            pass
        source.hold(True)
        ours = [child.pid for child in multiprocessing.active_children() if child.pid not in before]
        rays = rays_processes() if isinstance(source, ClusterActors) else {}
        self.names = {**dict.fromkeys(ours, "relay" if rays else "actor"), **rays, os.getpid(): "this process"}
        self.actors = [pid for pid, name in self.names.items() if name == "actor"]
        self.rates, self.rates_with_a_core, self.processor = [], [], Counter()
        self.steps = 0

    def play(self, seconds: float) -> None:
        self.source.hold(False)
        collect(self.source, 1.5)  # the other side's last reports and this side's first have arrived
        began, used = time.monotonic(), {pid: processor_seconds(pid) for pid in self.names}
        queued = sum(map(queued_seconds, self.actors))
        steps = collect(self.source, seconds)
        passed, queued = time.monotonic() - began, sum(map(queued_seconds, self.actors)) - queued
        for pid, name in self.names.items():
            self.processor[name] += processor_seconds(pid) - used[pid]
        self.source.hold(True)
        collect(self.source, 1.5)
        self.steps += steps
        self.rates.append(steps / passed)
        self.rates_with_a_core.append(steps / (passed - queued / len(self.actors)))

    def memories(self) -> Counter:
        found = Counter()
        for pid, name in self.names.items():
            found[name] += memory(pid)
        return found


def show(pipes: Side, cluster: Side) -> None:
    piped, rayed = pipes.memories(), cluster.memories()
    print(f"{'':24}{'MiB':>8}{'processor us a step':>22}")
    for kind, side, memories in (("pipes", pipes, piped), ("cluster", cluster, rayed)):
        for name in sorted(memories, key=memories.get, reverse=True):
            size = "" if name == "this process" else f"{memories[name]:.0f}"
            print(f"{kind + ', ' + name:32}{size:>8}{side.processor[name] / side.steps * 1e6:>14.1f}")
    more = rayed["actor"] - piped["actor"]
    relay, own = rayed["relay"], sum(
        size for name, size in rayed.items() if name not in ("actor", "relay", "this process"))
    print(f"Ray adds {own + relay + more:.0f} MiB: its own processes {own:.0f}, the relay {relay:.0f}, its actors "
          f"{more:.0f} more than those behind pipes.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cluster")
    parser.add_argument("--game", default="tictactoe")
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    one_thread()
    config = configure(options.game, "muzero")
    require_cluster(config, options.cluster)
    environment = config.environment
    weights = algorithm_of(config).make_learner(load_settings(config), environment.spec, environment.symmetries,
                                                0).weights()
    sources = ActorProcesses(config, options.actors), ClusterActors(config, options.cluster, options.actors)
    try:
        pipes, cluster = (Side(source, weights) for source in sources)
        for _ in range(options.rounds):
            pipes.play(options.seconds)
            cluster.play(options.seconds)
            print(f"pipes {pipes.rates[-1]:,.0f} steps/s, cluster {cluster.rates[-1]:,.0f}: "
                  f"ratio {cluster.rates[-1] / pipes.rates[-1]:.2f}, while there was a core "
                  f"{cluster.rates_with_a_core[-1] / pipes.rates_with_a_core[-1]:.2f}", flush=True)
        for what, rates in (("", "rates"), (" while there was a core", "rates_with_a_core")):
            ratios = [b / a for a, b in zip(getattr(pipes, rates), getattr(cluster, rates), strict=True)]
            print(f"median ratio{what} {statistics.median(ratios):.2f}")
        show(pipes, cluster)
    finally:
        for source in sources:
            source.close()


if __name__ == "__main__":
    main()
