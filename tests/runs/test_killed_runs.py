"""Killed at any moment, also while it writes a checkpoint, no run is lost and nothing is left behind."""

from __future__ import annotations

import subprocess

import pytest
from killed_runs import kill_runs

from myosu import cli
from myosu.runs.checkpoint import find_checkpoint
from myosu.runs.run import open_run
from myosu.training.trainer import train
from toy_runs import toy_run

pytestmark = pytest.mark.slow


def test_killed_runs_lose_no_checkpoint_and_leave_no_parts(tmp_path):
    result = kill_runs(12, 1, tmp_path)
    assert result.faults == [] and result.kills == 12 and result.in_checkpoint >= 3


def test_partial_files_are_removed_at_the_next_start(tmp_path):
    run = tmp_path / "run"
    train(toy_run(run, updates=20), quiet=True)
    parts = [run / "checkpoints" / ".update-00000001.part", run / ".config.json.part", run / ".metrics.jsonl.part",
             run / "checkpoints" / ".best.json.part", run / "replay" / "block-00000-000009.safetensors.tmp",
             run / "videos" / ".part-episode-000001.mp4"]
    (run / "videos").mkdir()
    parts[0].mkdir()
    (parts[0] / "weights.safetensors").write_bytes(bytes(1000))
    for part in parts[1:]:
        part.touch()
    train(open_run(run, updates=30), quiet=True)
    assert [part for part in parts if part.exists()] == []


@pytest.fixture
def read_only(tmp_path):
    """A folder on a disk that cannot be written, with a run in it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("may not mount a disk")
    try:
        train(toy_run(disk / "run", updates=20, evaluate_every=10, evaluation_games=4), quiet=True)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def test_read_only_folders_are_reported_in_one_sentence(read_only, capsys):
    run = str(read_only / "run")
    assert cli.run(["plot", run, "-o", str(read_only.parent / "x.png")]) == 0  # to be read is enough
    assert find_checkpoint(run).state()
    capsys.readouterr()
    for command in (["train", "tictactoe", "--run", str(read_only / "new"), "--updates", "5"],
                    ["train", "--resume", run, "--updates", "100000"], ["train", "--resume", run],
                    ["plot", run, "-o", str(read_only / "x.png")], ["plot", run, "-o", str(read_only / "x.svg")],
                    ["arena", "tictactoe", "greedy", "--league", str(read_only / "league"), "--games", "4"],
                    ["episodes", run, "--video", "0"]):
        assert cli.run(command) == 2, command
        error = capsys.readouterr().err
        assert "cannot be written: " in error and "Read-only file system" in error, (command, error)
        assert error.count("\n") == 1, (command, error)


def test_second_run_in_the_same_folder_is_refused(tmp_path):
    """The lock comes before the first file: whoever comes second is told, and has changed nothing."""
    held = toy_run(tmp_path / "run", updates=5)
    with pytest.raises(Exception, match="already holds a run"):
        toy_run(tmp_path / "run", updates=6)
    assert open_run(tmp_path / "run").config == held.config
