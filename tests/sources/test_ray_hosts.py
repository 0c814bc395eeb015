"""Two hosts on one machine: the learner's, and one in a network namespace of its own that is killed and cut off."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from myosu.algorithms import load_algorithm, load_settings
from myosu.sources.ray import ClusterActors
from toy_runs import TOY, toy_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(importlib.util.find_spec("ray") is None,
                                                   reason="Ray is not installed (myosu[ray])")]
SCRIPT = Path(__file__).parents[2] / "scripts" / "cluster.sh"
PATIENCE = 400.0
NAMESPACE, NETWORK = f"myosu{os.getpid()}", f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
HERE, THERE = f"{NETWORK}.1", f"{NETWORK}.2"
LINK = f"my{os.getpid()}a"


def ip(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(["ip", *words], capture_output=True, text=True)


class Hosts:
    """The head on this machine and a node in the namespace, with one core each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"), "RAY_AUTH_MODE": "token", "PORT": "6390", "CORES": "1",
            "RAY": str(Path(sys.executable).with_name("ray"))}
        self.temporary = f"/tmp/{NAMESPACE}"  # Ray's sockets lie there; their paths may have 107 characters only
        self.head = self.start([], ["head", HERE], {"RAY_TMP": self.temporary})
        self.address = f"{HERE}:6390"
        self.node = self.join()

    def start(self, before: list[str], words: list[str], environment: dict[str, str]) -> subprocess.Popen:
        log = self.folder / f"{words[0]}.log"
        process = subprocess.Popen([*before, "sh", str(SCRIPT), *words, "--block"], stdout=log.open("w"),
                                   stderr=subprocess.STDOUT, env=self.environment | environment)
        until = time.monotonic() + PATIENCE
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        return process

    def join(self) -> subprocess.Popen:
        return self.start(["ip", "netns", "exec", NAMESPACE], ["join", self.address, THERE], {})

    def kill_node(self) -> None:
        """As if its power failed: nothing says goodbye."""
        for pid in ip("netns", "pids", NAMESPACE).stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        self.node.wait()

    def close(self) -> None:
        self.kill_node()
        self.head.terminate()  # it ends all of its processes
        self.head.wait(60)
        shutil.rmtree(self.temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    if shutil.which("ip") is None or ip("netns", "add", NAMESPACE).returncode:
        pytest.skip("network namespaces are not allowed here")
    before = dict(os.environ)
    try:
        for words in (f"link add {LINK} type veth peer name eth0 netns {NAMESPACE}", f"addr add {HERE}/24 dev {LINK}",
                      f"link set {LINK} up", f"-n {NAMESPACE} addr add {THERE}/24 dev eth0",
                      f"-n {NAMESPACE} link set eth0 up", f"-n {NAMESPACE} link set lo up"):
            if (done := ip(*words.split())).returncode:
                pytest.skip(f"ip {words}: {done.stderr.strip()}")
        hosts = Hosts(tmp_path_factory.mktemp("hosts"))
        os.environ |= hosts.environment
        yield hosts
        hosts.close()
    finally:
        os.environ.clear()
        os.environ |= before
        ip("link", "del", LINK)
        ip("netns", "del", NAMESPACE)


class Watched:
    """What a learner receives. longest_wait: seconds that it ever waited for experience."""

    def __init__(self, folder: Path, address: str) -> None:
        run = toy_run(folder, updates=1, deterministic=False)
        self.actors = ClusterActors(run.config, address, 2)
        settings, spec = load_settings(run.config), run.config.environment.spec
        self.actors.publish(load_algorithm(TOY).make_learner(settings, spec, None, 0).weights(), 3)
        self.seeds: list[int] = []
        self.notices: list[str] = []
        self.longest_wait = 0.0

    def until(self, enough) -> float:
        """Seconds until ``enough()``."""
        began = now = time.monotonic()
        while not enough():
            assert now - began < PATIENCE, (self.notices, self.actors.nodes)
            experience = self.actors.collect(wait=True)
            self.longest_wait, now = max(self.longest_wait, time.monotonic() - now), time.monotonic()
            self.seeds += [episode.seed for part in experience for episode in part.episodes]
            self.notices += self.actors.notices()
        return time.monotonic() - began

    def playing(self) -> set[str]:
        """The hosts that deliver."""
        return {address for address, node in (self.actors.nodes or {}).items() if node["env_steps_per_second"] > 0}


def test_a_host_that_is_killed_and_one_that_is_cut_off(tmp_path, hosts, capsys):
    watched = Watched(tmp_path / "run", hosts.address)
    try:
        watched.until(lambda: watched.playing() == {HERE, THERE})
        watched.longest_wait = 0.0

        hosts.kill_node()
        lost = watched.until(lambda: THERE not in watched.actors.nodes)
        began = time.monotonic()
        hosts.node = hosts.join()
        watched.until(lambda: watched.playing() == {HERE, THERE})
        again = time.monotonic() - began

        ip("link", "set", LINK, "down")
        cut = watched.until(lambda: THERE not in watched.actors.nodes)
        ip("link", "set", LINK, "up")
        began = time.monotonic()
        hosts.kill_node()  # what is left of it: Ray ends a node that was declared dead, once it hears of it
        hosts.node = hosts.join()
        watched.until(lambda: watched.playing() == {HERE, THERE})
        back = time.monotonic() - began
        with capsys.disabled():
            print(f"\nA node killed: noticed after {lost:.0f} s, full rate {again:.0f} s after its restart. "
                  f"A link cut: noticed after {cut:.0f} s, full rate {back:.0f} s after it is back. "
                  f"Longest wait of the learner: {watched.longest_wait:.2f} s.")
        assert len(set(watched.seeds)) == len(watched.seeds) > 100, "a game was counted twice"
        assert sum(f"{THERE} was lost" in notice for notice in watched.notices) >= 2
    finally:
        watched.actors.close()
