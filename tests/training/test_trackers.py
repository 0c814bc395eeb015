"""Trackers receive the records of the run's folder, and their failures never stop a training."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from myosu import cli
from myosu.errors import UserError
from myosu.training.trackers import BACKENDS, TRACKERS, Tracker, require_tracker, tracking
from toy_runs import toy_run

EVALUATION = {"update": 5, "mean_reward": 0.5, "mean_reward_ci95": [0.25, 0.75], "opponent": "random", "games": 4}
RECORD = {"update": 7, "phase": "training", "loss/value": 0.125, "env_steps": 90, "learner_wait_share": float("nan")}


@pytest.fixture
def stand_in(monkeypatch):
    """Stand-in for wandb and trackio, which have the same interface. Returns the recorded calls."""
    told = SimpleNamespace(inits=[], logs=[], finished=0, broken=False)

    class Run:
        id = "abc"

        def log(self, numbers):
            if told.broken:
                raise ConnectionError("the network is down")
            told.logs.append(numbers)

        def finish(self):
            told.finished += 1

    for name in ("wandb", "trackio"):
        module = ModuleType(name)
        module.init = lambda **given: told.inits.append(given) or Run()
        monkeypatch.setitem(sys.modules, name, module)
    return told


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_tracker_receives_records_and_evaluations(stand_in, tmp_path, name):
    run = toy_run(tmp_path / "mine", updates=1)
    with tracking(run, name) as (tracker,):
        tracker.on_start(run.folder, print)
        tracker.on_record(RECORD)
        tracker.on_evaluation(EVALUATION)
    (given,) = stand_in.inits
    assert given["project"] == "myosu" and given["name"] == "mine"
    assert given["config"]["game"] == "tictactoe" and given["config"]["seed"] == 0
    assert str(tmp_path) not in json.dumps(given["config"]), "local paths must not be sent"
    assert stand_in.logs == [
        {"loss/value": 0.125, "run/env_steps": 90.0, "update": 7},
        {"evaluation/mean_reward": 0.5, "evaluation/games": 4.0, "evaluation/mean_reward_low": 0.25,
         "evaluation/mean_reward_high": 0.75, "update": 5}]
    assert stand_in.finished == 1


def test_resumed_run_keeps_its_tracker_id(stand_in, tmp_path):
    run = toy_run(tmp_path / "mine", updates=1)
    for _ in range(2):
        tracker = Tracker(run, "wandb")
        tracker.on_start(run.folder, print)
        tracker.close()
    assert [given["id"] for given in stand_in.inits] == [None, "abc"]


def test_failing_tracker_is_reported_once_and_dropped(stand_in, tmp_path, caplog):
    run = toy_run(tmp_path / "mine", updates=1)
    stand_in.broken = True
    with tracking(run, "wandb") as (tracker,):
        tracker.on_start(run.folder, print)
        for _ in range(3):
            tracker.on_record(RECORD)
    assert [record.getMessage() for record in caplog.records] == [
        "wandb failed (ConnectionError: the network is down) and is disabled. Training continues; everything is in "
        "the run's folder."]
    assert stand_in.finished == 0


def test_tracker_that_fails_to_start_stops_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(BACKENDS, "wandb", lambda *_: 1 / 0)
    run = toy_run(tmp_path / "mine", updates=1)
    with tracking(run, "wandb") as (tracker,):
        tracker.on_start(run.folder, print)
        assert tracker.on_record(RECORD) is None
    assert "ZeroDivisionError" in caplog.text


def test_training_finishes_although_the_tracker_fails(stand_in, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    stand_in.broken = True
    command = "train CartPole-v1 --algorithm ppo --env-steps 256 --evaluate-every 0 --track trackio --run mine --quiet"
    assert cli.run(command.split()) == 0
    assert caplog.text.count("trackio failed") == 1
    assert (tmp_path / "mine/checkpoints").is_dir() and (tmp_path / "mine/trackers.json").is_file()


def test_missing_or_unknown_trackers_are_refused_at_start(monkeypatch, tmp_path, capsys):
    for name in TRACKERS:
        monkeypatch.setitem(sys.modules, name, None)  # makes its import fail
        with pytest.raises(UserError, match=rf"pip install 'myosu\[{name}\]'"):
            require_tracker(name)
    with pytest.raises(UserError, match="no tracker 'comet'"):
        require_tracker("comet")
    monkeypatch.chdir(tmp_path)
    assert cli.run(["train", "CartPole-v1", "--track", "mlflow"]) == 2
    assert "pip install" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_mlflow_s_own_store_has_the_numbers(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    run = toy_run(tmp_path / "mine", updates=1)
    for _ in range(2):  # the second time like a resumed run
        with tracking(run, "mlflow") as (tracker,):
            tracker.on_start(run.folder, print)
            tracker.on_record(RECORD)
            tracker.on_evaluation(EVALUATION)
    client = MlflowClient()
    experiment = client.get_experiment_by_name("myosu")
    (kept,) = client.search_runs([experiment.experiment_id])
    assert kept.info.run_name == "mine" and kept.info.status == "FINISHED"
    assert kept.data.params["game"] == "tictactoe"
    assert kept.data.metrics["evaluation/mean_reward"] == 0.5
    assert [entry.step for entry in client.get_metric_history(kept.info.run_id, "loss/value")] == [7, 7]
