"""Checkpoints are whole or not there, and say themselves when somebody changed them."""

import errno
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from myosu.errors import UserError
from myosu.players.agent import load_agent
from myosu.runs.checkpoint import Checkpoint, Checkpoints, find_checkpoint
from myosu.runs.run import open_run
from myosu.runs.state import load_state, save_state
from myosu.training.trainer import train
from toy_runs import toy_run


@pytest.fixture
def run(tmp_path) -> Path:
    """Three checkpoints, the last two of which can be resumed from."""
    folder = tmp_path / "run"
    train(toy_run(folder, updates=60, evaluate_every=20, evaluation_games=10, keep_every=20), quiet=True)
    return folder


def test_state_is_restored_exactly(tmp_path):
    generator = np.random.default_rng(5)
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))])
    optimiser.param_groups[0]["params"][0].sum().backward()
    optimiser.step()
    state = {
        "rng": generator.bit_generator.state,  # Integers of 128 bits.
        "optimiser": optimiser.state_dict(),  # Integer keys.
        "arrays": [np.arange(6, dtype=np.uint64).reshape(2, 3).T, np.array(7, np.int8), np.zeros((0, 4), np.float16)],
        "half": torch.ones(2, 2, dtype=torch.bfloat16),
        "plain": [None, (True, (1, [2])), 2**100, -1.5, float("inf"), "text", {}, []],
    }
    save_state(tmp_path, state)
    loaded = load_state(tmp_path)
    assert loaded["rng"] == state["rng"] and loaded["plain"] == state["plain"]
    for a, b in zip(state["arrays"], loaded["arrays"], strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
    assert loaded["half"].dtype == torch.bfloat16 and loaded["half"].equal(state["half"])
    assert loaded["optimiser"]["param_groups"] == state["optimiser"]["param_groups"]
    assert loaded["optimiser"]["state"][0]["exp_avg"].equal(state["optimiser"]["state"][0]["exp_avg"])


def test_unsupported_state_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"state\.actor\.1 is a set"):
        save_state(tmp_path, {"actor": [0, {1, 2}]})


def test_latest_two_are_resumable_and_the_rest_keep_weights(run):
    found = [find_checkpoint(path) for path in Checkpoints(run / "checkpoints").paths()]
    assert [checkpoint.update for checkpoint in found] == [20, 40, 60]
    assert [checkpoint.resumable for checkpoint in found] == [False, True, True]
    assert {path.name for path in found[0].path.iterdir()} == {"manifest.json", "weights.safetensors"}
    named = {name for checkpoint in found[1:] for name in checkpoint.manifest["replay_files"]}
    assert {path.name for path in (run / "replay").iterdir()} == named


def test_keep_every_keeps_the_first_at_or_after_each_multiple(tmp_path):
    train(toy_run(tmp_path / "run", updates=100, evaluate_every=10, evaluation_games=4, keep_every=35), quiet=True)
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    best = int(checkpoints.best().name.removeprefix("update-"))
    updates = {int(path.name.removeprefix("update-")) for path in checkpoints.paths()}
    assert updates == {40, 70, 90, 100, best}


def test_best_and_latest_and_run_and_checkpoint_load(run):
    evaluations = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()
                   if '"evaluation"' in line]
    best = max(evaluations, key=lambda line: (line["mean_reward"], line["update"]))["update"]
    assert find_checkpoint(run / "checkpoints" / "best").update == best
    assert find_checkpoint(run / "checkpoints" / "latest").update == 60 == find_checkpoint(run).update
    agent, environment, config = load_agent(run / "checkpoints" / "update-00000020")
    game = environment.rules
    assert game.name == "tictactoe" and config.train.updates == 60
    states = game.new_states(3)
    observation, legal = np.empty((3, *game.observation_shape), game.observation_dtype), np.empty((3, 9), np.bool_)
    game.batch.observe(states, observation)
    game.batch.legal_actions(states, legal)
    assert agent.act(observation, legal)[0].shape == (3,)


def test_wrong_game_and_missing_checkpoints_are_refused(run, tmp_path):
    with pytest.raises(UserError, match="plays tictactoe, not othello"):
        load_agent(run, game="othello")
    with pytest.raises(UserError, match="no run or checkpoint"):
        load_agent(tmp_path / "nowhere")
    with pytest.raises(UserError, match="neither a run nor a checkpoint"):
        load_agent(tmp_path)
    (run / "checkpoints" / "update-00000070").mkdir()
    with pytest.raises(UserError, match=r"manifest\.json is missing.* previous good checkpoint is .*update-00000060"):
        load_agent(run)
    (run / "checkpoints" / "best.json").unlink()
    with pytest.raises(UserError, match="no best checkpoint"):
        load_agent(run / "checkpoints" / "best")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def edit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, edit, Path.unlink])
@pytest.mark.parametrize("name", ["weights.safetensors", "state.safetensors", "state.json", "manifest.json", "replay"])
def test_damage_is_reported_and_previous_checkpoint_offered(run, name, damage):
    latest, previous = find_checkpoint(run), run / "checkpoints" / "update-00000040"
    file = latest.path / name if name != "replay" else run / "replay" / next(iter(latest.manifest["replay_files"]))
    damage(file)
    with pytest.raises(UserError) as caught:
        train(open_run(run, updates=80), quiet=True)
    assert str(file) in str(caught.value) and f"--resume {previous}" in str(caught.value)
    if name in ("weights.safetensors", "manifest.json"):
        with pytest.raises(UserError, match=name):
            load_agent(run)
    assert train(open_run(previous, updates=80), quiet=True).updates == 80


def test_checkpoints_contain_no_pickles(run):
    for path in run.rglob("*"):
        assert path.suffix in ("", ".json", ".jsonl", ".safetensors", ".0") or "tfevents" in path.name
        if path.suffix == ".json":
            json.loads(path.read_text())


@pytest.mark.parametrize("call", [5, 7])
def test_no_space_left_keeps_the_previous_checkpoint(run, monkeypatch, call):
    before = find_checkpoint(run)
    real, count = os.fsync, 0

    def full(descriptor):
        nonlocal count
        count += 1
        if count >= call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    resumed = open_run(run, updates=80)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space is left") as caught:
        train(resumed, quiet=True)
    monkeypatch.undo()
    assert str(before.path) in str(caught.value)
    assert not [path for path in run.rglob("*") if path.name.endswith(".part")]
    assert find_checkpoint(run).path == before.path
    assert train(open_run(run), quiet=True).updates == 80


def test_full_disk_keeps_a_resumable_checkpoint(tmp_path):
    """The real thing, where this process may mount: safetensors tells of it in other words than the system."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("may not mount a small disk")
    try:
        with pytest.raises(UserError, match="No space is left"):
            train(toy_run(disk / "run", updates=5000, checkpoint_every_minutes=0.001), quiet=True)
        assert find_checkpoint(disk / "run").resumable
    finally:
        subprocess.run(["umount", disk], check=True)


def test_weights_of_another_network_are_refused(run, monkeypatch):
    monkeypatch.setattr(Checkpoint, "weights", lambda self: {"another.weight": torch.zeros(3)})
    with pytest.raises(UserError, match="another version of Myosu"):
        load_agent(run)


def test_resuming_with_weights_of_another_network_is_refused(tmp_path, monkeypatch):
    train(toy_run(tmp_path / "run", updates=20), quiet=True)
    state = find_checkpoint(tmp_path / "run").state()
    state["learner"]["model"] = {"another.weight": torch.zeros(3)}
    monkeypatch.setattr(Checkpoint, "state", lambda self: state)
    with pytest.raises(UserError, match="another version of Myosu"):
        train(open_run(tmp_path / "run", updates=40), quiet=True)
