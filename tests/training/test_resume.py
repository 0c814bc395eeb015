"""Training that is killed at any time resumes exactly."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from myosu.algorithms import load_algorithm
from myosu.errors import UserError
from myosu.runs.checkpoint import Checkpoints
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.run import open_run
from myosu.training.start import create_run
from myosu.training.trainer import train
from toy_runs import in_fork, last_weights, same_weights, toy_run

pytestmark = pytest.mark.slow

SCRIPT = str(Path(__file__).parents[1] / "toy_runs.py")
LIMITS = {"updates": 160, "evaluate_every": 40, "evaluation_games": 10, "keep_every": 40}


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def train_under_fire(folder: Path, aim) -> int:
    """Train in forked processes, which ``aim(attempt)`` arranges to be killed, until the run ends. Returns the number
    of kills."""
    for attempt in range(300):
        def attack(attempt: int = attempt) -> None:
            aim(attempt)
            try:
                train(open_run(folder), quiet=True)
            except UserError as error:  # the last kill came after the last checkpoint
                assert attempt and "has reached its end" in str(error), error
        _, status = os.waitpid(in_fork(attack), 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return attempt
        assert os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGALRM)
    raise AssertionError("the run does not advance")


def after_seconds(least: float, most: float):
    def aim(attempt: int) -> None:
        # As abrupt as SIGKILL: no Python handler runs.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, random.Random(attempt).uniform(least, most))
    return aim


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(toy_run(folder, **LIMITS), quiet=True)
    return folder


def test_same_seed_same_weights(whole, tmp_path):
    train(toy_run(tmp_path / "again", **LIMITS), quiet=True)
    train(toy_run(tmp_path / "other", seed=1, **LIMITS), quiet=True)
    assert same_weights(last_weights(whole), last_weights(tmp_path / "again"))
    assert not same_weights(last_weights(whole), last_weights(tmp_path / "other"))


def test_killed_while_it_writes_equals_uninterrupted(whole, tmp_path):
    """SIGKILL at the n-th call that changes files, with a checkpoint as often as possible."""
    folder = tmp_path / "killed"
    toy_run(folder, checkpoint_every_minutes=1e-9, **LIMITS)

    def aim(attempt: int) -> None:
        left = random.Random(attempt).randrange(1, 500)

        def counted(original):
            def call(*args, **kwargs):
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **kwargs)
            return call

        for name in ("replace", "rename", "fsync", "unlink", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))

    kills = train_under_fire(folder, aim)
    assert kills >= 5
    assert same_weights(last_weights(whole), last_weights(folder))
    for name in ("index", "env_steps", "returns", "weights_version"):
        assert [line[name] for line in lines(whole / "games.jsonl")] == [
            line[name] for line in lines(folder / "games.jsonl")]
    found = [(line["update"], line["mean_reward"]) for line in lines(folder / "metrics.jsonl")
             if line["kind"] == "evaluation"]
    assert found == [(line["update"], line["mean_reward"]) for line in lines(whole / "metrics.jsonl")
                     if line["kind"] == "evaluation"]
    assert [update for update, _ in found] == [40, 80, 120, 160]


@pytest.mark.parametrize("algorithm", ["muzero", "alphazero"])
def test_killed_at_random_moments_equals_uninterrupted(algorithm, tmp_path):
    own = {"unroll_steps": 2, "reanalyze_fraction": 0.25} if algorithm == "muzero" else {}
    settings = load_algorithm(algorithm).Config(
        channels=4, blocks=1, num_envs=8, simulations=4, considered_actions=4, atoms=5, learning_starts=50,
        batch_size=8, replay_capacity=1000, replay_ratio=1.0, prioritized=True, **own)

    def run(name: str, **more):
        return create_run(RunConfig("tictactoe", algorithm, settings,
                                    TrainConfig(updates=60, deterministic=True, evaluate_every=0, **more)),
                          tmp_path / name)

    start = time.monotonic()
    train(run("whole"), quiet=True)
    seconds = time.monotonic() - start
    run("killed", checkpoint_every_minutes=1e-9)
    kills = train_under_fire(tmp_path / "killed", after_seconds(0.1 * seconds, 0.7 * seconds))
    assert kills >= 1
    assert same_weights(last_weights(tmp_path / "whole"), last_weights(tmp_path / "killed"))


def test_a_later_limit_continues_counters_and_schedule(tmp_path):
    folder = tmp_path / "run"
    train(toy_run(folder, updates=100), quiet=True)
    with pytest.raises(UserError, match="has reached its end"):
        train(open_run(folder), quiet=True)
    result = train(open_run(folder, updates=200), quiet=True)
    assert result.updates == 200
    records = [line for line in lines(folder / "metrics.jsonl") if "loss/progress" in line]
    assert 0.45 < records[0]["loss/progress"] < 0.55 and 0.7 < records[-1]["loss/progress"] < 0.8
    samples = [line["samples"] for line in lines(folder / "metrics.jsonl")]
    assert samples == sorted(samples) and samples[-1] == 200 * 16
    with pytest.raises(UserError, match="seed of a run cannot be changed"):
        open_run(folder, seed=3)


def test_resume_from_an_earlier_checkpoint_sets_later_ones_aside(tmp_path):
    folder = tmp_path / "run"
    train(toy_run(folder, updates=300, evaluate_every=100, evaluation_games=10), quiet=True)
    weights = last_weights(folder)
    train(open_run(folder / "checkpoints" / "update-00000200"), quiet=True)
    assert (folder / "checkpoints" / "set-aside-update-00000300").is_dir()
    assert same_weights(weights, last_weights(folder))
    assert Checkpoints(folder / "checkpoints").latest().name == "update-00000300"


def processes_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")
def test_concurrent_run_is_killed_then_interrupted_then_finished(tmp_path):
    folder = tmp_path / "run"

    def start() -> subprocess.Popen:
        return subprocess.Popen([sys.executable, SCRIPT, str(folder), "100000000"], stdout=subprocess.PIPE, text=True)

    def saved() -> int:
        latest = Checkpoints(folder / "checkpoints").latest()
        return int(latest.name.removeprefix("update-")) if latest else -1

    first = start()
    wait_for(lambda: saved() > 0)
    children = processes_of(first.pid)
    assert len(children) >= 2
    first.kill()
    first.wait()
    wait_for(lambda: not any(map(alive, children)))

    update = saved()
    second = start()
    wait_for(lambda: saved() > update)
    with pytest.raises(UserError, match="being trained by another process"):
        train(open_run(folder), quiet=True)
    second.send_signal(signal.SIGINT)
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert f"Resuming from {folder}" in output and f"myosu train --resume {folder}" in output

    update = saved()
    result = train(open_run(folder, updates=update + 50), quiet=True)
    assert result.updates == update + 50
    updates = [line["update"] for line in lines(folder / "metrics.jsonl")]
    assert updates == sorted(updates)
    indices = [line["index"] for line in lines(folder / "games.jsonl")]
    assert indices == list(range(len(indices)))
