"""A learner and two hosts, each in its own network namespace: one host is killed, and later disconnected.

    ip netns exec HERE python tests/sources/ray_hosts.py FOLDER HERE THERE

The script runs in the namespace HERE, with the cluster's head; a node is in THERE. It prints a JSON object.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from myosu.algorithms import load_algorithm, load_settings
from myosu.sources.ray import ClusterActors
from toy_runs import TOY, toy_run

SCRIPT = Path(__file__).parents[2] / "scripts" / "cluster.sh"
PATIENCE = 400.0
ADDRESSES = "10.77.0.1", "10.77.0.2"
#: Shorter than Ray's, so that a cut link is noticed after some 15 s instead of 40 s.
HEALTH_CHECKS = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "4000"}


def ip(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(["ip", *words], capture_output=True, text=True)


class Hosts:
    """The cluster's head in this namespace and a node in the other one, with one core each."""

    def __init__(self, folder: Path, there: str) -> None:
        self.folder, self.there = folder, there
        self.temporary = f"/tmp/{there}"  # a short path for Ray's sockets, whose paths are limited to 107 characters
        os.environ |= {"RAY_AUTH_TOKEN_PATH": str(folder / "token"), "RAY_AUTH_MODE": "token", "PORT": "6390",
                       "CORES": "1", "RAY": str(Path(sys.executable).with_name("ray"))} | HEALTH_CHECKS
        self.head = self.start([], ["head", ADDRESSES[0]], {"RAY_TMP": self.temporary})
        self.address = f"{ADDRESSES[0]}:6390"
        self.node = self.join()

    def start(self, before: list[str], words: list[str], environment: dict[str, str]) -> subprocess.Popen:
        log = self.folder / f"{words[0]}.log"
        process = subprocess.Popen([*before, "sh", str(SCRIPT), *words, "--block"], stdout=log.open("w"),
                                   stderr=subprocess.STDOUT, env=os.environ | environment)
        until = time.monotonic() + PATIENCE
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        return process

    def join(self) -> subprocess.Popen:
        return self.start(["ip", "netns", "exec", self.there], ["join", self.address, ADDRESSES[1]], {})

    def kill_node(self) -> None:
        """Kill all its processes without notice, as in a power failure."""
        for pid in ip("netns", "pids", self.there).stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        self.node.wait()

    def close(self) -> None:
        self.kill_node()
        self.head.terminate()  # this ends all of its processes
        self.head.wait(60)
        shutil.rmtree(self.temporary, ignore_errors=True)


class Watched:
    """Records what a learner receives. longest_wait: the longest wait for experience, in seconds."""

    def __init__(self, folder: Path, address: str) -> None:
        run = toy_run(folder, {"pause": 0.02}, updates=1, deterministic=False)
        self.actors = ClusterActors(run.config, address, 2)
        settings, spec = load_settings(run.config), run.config.environment.spec
        self.actors.publish(load_algorithm(TOY).make_learner(settings, spec, None, 0).weights(), 3)
        self.seeds: list[int] = []
        self.notices: list[str] = []
        self.longest_wait = 0.0

    def until(self, enough) -> float:
        """Collect until ``enough()`` is true. Returns the seconds that it took."""
        began = now = time.monotonic()
        while not enough():
            assert now - began < PATIENCE, (self.notices, self.actors.nodes)
            experience = self.actors.collect(wait=True)
            self.longest_wait, now = max(self.longest_wait, time.monotonic() - now), time.monotonic()
            self.seeds += [episode.seed for part in experience for episode in part.episodes]
            self.notices += self.actors.notices()
        return time.monotonic() - began

    def playing(self) -> set[str]:
        """The addresses of the hosts that deliver experience."""
        return {address for address, node in (self.actors.nodes or {}).items() if node["env_steps_per_second"] > 0}


def main(folder: Path, here: str, there: str) -> dict:
    hosts = Hosts(folder, there)
    watched = Watched(folder / "run", hosts.address)
    both = set(ADDRESSES)
    try:
        watched.until(lambda: watched.playing() == both)
        watched.longest_wait = 0.0

        hosts.kill_node()
        noticed = watched.until(lambda: ADDRESSES[1] not in watched.actors.nodes)
        began = time.monotonic()
        hosts.node = hosts.join()
        watched.until(lambda: watched.playing() == both)
        killed = noticed, time.monotonic() - began

        ip("-n", here, "link", "set", "eth0", "down")
        noticed = watched.until(lambda: ADDRESSES[1] not in watched.actors.nodes)
        ip("-n", here, "link", "set", "eth0", "up")
        began = time.monotonic()
        hosts.kill_node()  # remaining processes: Ray ends a node that was declared dead when it learns of it
        hosts.node = hosts.join()
        watched.until(lambda: watched.playing() == both)
        return {"killed": killed, "cut": (noticed, time.monotonic() - began), "longest_wait": watched.longest_wait,
                "seeds": watched.seeds, "notices": watched.notices}
    finally:
        watched.actors.close()
        hosts.close()


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *sys.argv[2:])))
