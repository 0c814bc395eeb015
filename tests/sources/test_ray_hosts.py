"""Two hosts on one machine, in network namespaces (``ray_hosts.py``): loss and return of one of them."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ray_hosts import ADDRESSES, ip

pytestmark = [pytest.mark.slow, pytest.mark.skipif(importlib.util.find_spec("ray") is None,
                                                   reason="Ray is not installed (myosu[ray])")]


@pytest.fixture
def namespaces():
    """The names of two connected network namespaces."""
    here, there = names = [f"myosu{os.getpid()}{side}" for side in "ab"]
    if shutil.which("ip") is None:
        pytest.skip("there is no ip command here (iproute2)")
    try:
        for words in (f"netns add {here}", f"netns add {there}",
                      f"-n {here} link add eth0 type veth peer name eth0 netns {there}",
                      *(f"-n {name} addr add {address}/24 dev eth0"
                        for name, address in zip(names, ADDRESSES, strict=True)),
                      *(f"-n {name} link set {link} up" for name in names for link in ("eth0", "lo"))):
            if (done := ip(*words.split())).returncode:
                pytest.skip(f"network namespaces are not allowed here: ip {words}: {done.stderr.strip()}")
        yield here, there
    finally:
        for name in names:
            ip("netns", "del", name)


def test_training_survives_a_killed_and_a_disconnected_host(tmp_path, namespaces, capsys):
    here, there = namespaces
    script = Path(__file__).with_name("ray_hosts.py")
    done = subprocess.run(["ip", "netns", "exec", here, sys.executable, str(script), str(tmp_path), here, there],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    with capsys.disabled():
        print("\nA node killed: noticed after {:.0f} s, full rate {:.0f} s after its restart.".format(*told["killed"]),
              "A link cut: noticed after {:.0f} s, full rate {:.0f} s after it is back.".format(*told["cut"]),
              f"Longest wait of the learner: {told['longest_wait']:.2f} s.")
    assert len(set(told["seeds"])) == len(told["seeds"]) > 100, "a game was counted twice"
    assert sum(f"{ADDRESSES[1]} was lost" in notice for notice in told["notices"]) >= 2
