"""Input that the commands refuse: one message with what to do, exit code 2, and nothing is left behind."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import myosu.training.trainer
from myosu import cli
from myosu.algorithms import load_algorithm
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.games import load_game
from myosu.players.opponents import make_opponent
from myosu.runs.checkpoint import Checkpoints
from myosu.runs.config import TrainConfig
from myosu.training.start import configure, create_run
from myosu.training.trainer import train
from toy_runs import TOY

ENVIRONMENTS = '''
import gymnasium
import numpy as np


class Line(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    steps = made = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(2, np.float32), 1.0, self.steps == 5, False, {}


class FailsInReset(Line):
    def reset(self, *, seed=None, options=None):
        raise RuntimeError("no map")


class FailsInStep(Line):
    def step(self, action):
        raise RuntimeError("no motor")


class FailsLater(Line):
    def step(self, action):
        FailsLater.made += 1
        if FailsLater.made == 40:
            raise RuntimeError("worn out")
        return super().step(action)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a module of environments that fail."""
    monkeypatch.chdir(tmp_path)
    name = f"failing_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(ENVIRONMENTS)
    yield tmp_path, name
    sys.modules.pop(name, None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def refused(arguments: list[str], capsys) -> str:
    """The message of a command that must refuse its input."""
    assert cli.run(arguments) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in err and out == ""
    return err


SMALL = ["--algorithm", "ppo", "--num-envs", "2", "--rollout-steps", "32", "--batch-size", "32", "--env-steps", "64",
         "--evaluate-every", "0", "--quiet", "--run", "run"]


@pytest.mark.parametrize("name, message", [("FailsInReset", "no map"), ("FailsInStep", "no motor")])
def test_a_training_that_fails_at_its_start_leaves_no_folder(folder, capsys, name, message):
    path, module = folder
    assert message in refused(["train", f"{module}:{name}", *SMALL], capsys)
    assert not (path / "run").exists()


def test_a_training_that_fails_after_episodes_keeps_them(folder, capsys):
    path, module = folder
    assert "worn out" in refused(["train", f"{module}:FailsLater", *SMALL], capsys)
    assert (path / "run" / "games.jsonl").read_text()


def test_a_run_that_was_there_is_kept_if_resuming_it_fails(folder, capsys, monkeypatch):
    path, module = folder
    run = create_run(configure(f"{module}:Line", "ppo"), path / "run")

    def fails(*arguments):
        raise UserError("no GPU")

    monkeypatch.setattr(myosu.training.trainer, "train", fails)
    assert "no GPU" in refused(["train", "--resume", str(run.folder), "--trust"], capsys)
    assert (run.folder / "config.json").is_file()


@pytest.mark.parametrize("text, message", [
    ("class Oops(:\n", "line 1: SyntaxError"), ("import not_there_at_all\n", "line 1: ModuleNotFoundError"),
    ("raise SystemExit(0)\n", "line 1: SystemExit"), ("x = 1\n", "does not define Config, SOURCE"),
    ("\0", "null bytes")], ids=["syntax", "import", "exit", "empty", "bytes"])
def test_errors_in_an_algorithms_own_file_are_reported(folder, capsys, text, message):
    path, _ = folder
    (path / "mine.py").write_text(text)
    told = refused(["train", "tictactoe", "--algorithm", "mine.py", "--updates", "1", "--run", "run"], capsys)
    assert "mine.py" in told and message in told and "None" not in told
    assert not (path / "run").exists()


def test_two_algorithm_files_with_the_same_name_are_different(tmp_path):
    text = Path(TOY).read_text()
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(f"{text}\nNAME = {name!r}\n")
    assert [load_algorithm(str(tmp_path / name / "mine.py")).NAME for name in "ab"] == ["a", "b"]


def test_a_mistyped_environment_of_a_module_is_suggested(folder, capsys):
    _, module = folder
    told = refused(["train", f"{module}:FailInStep", *SMALL], capsys)
    assert f"Did you mean {module}:FailsInStep?" in told


@pytest.mark.parametrize("name", ["", "-v1"])
def test_a_name_without_a_word_imports_no_packages(name):
    with pytest.raises(UserError, match=f"There is no game or environment {name!r}") as told:
        load_environment(name)
    assert "cannot be imported" not in str(told.value)


@pytest.mark.parametrize("name", ["minutes", "checkpoint_every_minutes"])
def test_infinite_times_are_refused(name):
    with pytest.raises(UserError, match=f"{name} must be above 0 and finite, not inf"):
        TrainConfig(**{"updates": 1, name: float("inf")})


@pytest.mark.parametrize("number", ["0", "-3", "many"])
def test_simulations_after_a_runs_folder_must_be_a_number(tmp_path, number):
    with pytest.raises(UserError, match="comes the number of simulations"):
        make_opponent(f"{tmp_path}:{number}", load_game("tictactoe"))


def test_full_memory_names_only_settings_that_a_resumed_run_can_change(folder, monkeypatch):
    path, module = folder
    run = create_run(configure(f"{module}:Line", "ppo"), path / "run")

    def fails(*arguments):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(myosu.training.trainer, "Trainer", fails)
    monkeypatch.setattr(Checkpoints, "latest", lambda self: self)
    with pytest.raises(UserError, match=r"Lower --actors, then resume with: .*, or start a new run with a lower num_e"):
        train(run, quiet=True)


@pytest.mark.slow
def test_training_goes_on_when_the_reader_of_its_output_ends(folder):
    """As in ``myosu train … | head -1``."""
    path, module = folder
    words = [word for word in SMALL if word != "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "myosu", "train", f"{module}:Line", *words],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (0, "")
    assert list((path / "run" / "checkpoints").glob("update-*"))


def test_a_table_whose_reader_has_ended_is_no_error():
    process = subprocess.Popen([sys.executable, "-m", "myosu", "games"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (0, "")


def test_a_full_disk_leaves_no_folder(folder, monkeypatch):
    path, module = folder

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    config = configure(f"{module}:Line", "ppo")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        create_run(config, path / "run")
    assert not (path / "run").exists()


def test_a_path_that_is_too_long_is_reported(folder, capsys):
    _, module = folder
    assert "File name too long" in refused(["train", f"{module}:Line", *SMALL, "--run", "x" * 300], capsys)
    with pytest.raises(UserError, match="There is no file"):
        load_environment("x" * 300 + ".py")


def test_a_folder_whose_name_is_not_utf8_is_refused(folder):
    path, module = folder
    with pytest.raises(UserError, match="is not valid UTF-8"):
        create_run(configure(f"{module}:Line", "ppo"), path / "a\udcffb")
    assert len(list(path.iterdir())) <= 2  # the module, and its compiled form


@pytest.mark.parametrize("frames", ["0", "100000000"])
def test_frame_stacks_have_a_limit(frames, capsys):
    assert f"--frame-stack {frames}: it must be from 1 to" in refused(
        ["train", "CartPole-v1", "--frame-stack", frames], capsys)


@pytest.mark.parametrize("arguments", ["arena tictactoe random greedy --minutes nan",
                                       "record tictactoe -o out --player random --temperature nan",
                                       "record tictactoe -o out --player random --temperature inf"])
def test_numbers_that_are_not_finite_are_refused(arguments, folder, capsys):
    path, _ = folder
    assert arguments.split()[-1] in refused(arguments.split(), capsys)
    assert len(list(path.iterdir())) == 1
