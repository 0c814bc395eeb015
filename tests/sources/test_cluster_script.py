"""`scripts/cluster.sh up` and `down`, with a fake ssh and a fake ray that logs its arguments. The test of separate
hosts (test_ray_hosts.py) does not use these commands."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "cluster.sh"


@pytest.fixture
def run(tmp_path):
    """A function that runs the script with a temporary home. Each host is a folder there; `log` has the arguments and
    working folders of ray."""
    programs = {"ray": f'echo "$PWD: $*" >> {tmp_path}/log',
                "ssh": f'[ "$1" != 10.0.0.9 ] || exit 255\ncd {tmp_path}/$1 && HOME=$PWD sh -c "$2"'}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    for host in ("10.0.0.2", "10.0.0.3"):
        there = tmp_path / host / "myosu"
        (there / ".venv" / "bin").mkdir(parents=True)
        (there / ".venv" / "bin" / "ray").symlink_to(tmp_path / "ray")
        (there / "scripts").symlink_to(SCRIPT.parent)

    def run(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(["sh", str(SCRIPT), *words], capture_output=True, text=True, cwd=tmp_path,
                              env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)})
    return run


def test_every_listed_host_gets_the_token_and_joins(tmp_path, run):
    (tmp_path / "hosts").write_text("# the lab\n10.0.0.1\n\n10.0.0.2 myosu\n10.0.0.3\n")
    done = run("up", "hosts")
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "log").read_text().splitlines()
    assert "start --head" in log[0] and "--node-ip-address=10.0.0.1" in log[0]
    for line, host in zip(log[1:], ("10.0.0.2", "10.0.0.3"), strict=True):
        assert line.startswith(f"{tmp_path}/{host}/myosu: start --address=10.0.0.1:6379 --node-ip-address={host}")
        token = tmp_path / host / ".ray" / "auth_token"
        assert token.read_text() == (tmp_path / ".ray" / "auth_token").read_text() != ""
        assert token.stat().st_mode & 0o077 == 0
    assert run("down", "hosts").returncode == 0
    assert [line.split(": ")[1] for line in (tmp_path / "log").read_text().splitlines()[3:]] == ["stop"] * 3


def test_unreachable_host_is_named_and_the_others_join(tmp_path, run):
    (tmp_path / "hosts").write_text("10.0.0.1\n10.0.0.9\n10.0.0.2\n")
    done = run("up", "hosts")
    assert done.returncode == 1 and "10.0.0.9 did not join" in done.stderr
    assert "10.0.0.2" in (tmp_path / "log").read_text().splitlines()[-1]


def test_missing_hosts_file_is_reported(run):
    done = run("up", "nowhere")
    assert done.returncode == 2 and "cannot read the file of hosts nowhere" in done.stderr
