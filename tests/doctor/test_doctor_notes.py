"""The thirteen notes and the diary's bugs, planted as their authors had them.

Each must be found by the check, or the judgement of the run, that docs/doctor.md lists for it.
"""

import dataclasses
import json
import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import RecordEpisodeStatistics, TransformReward

from faults.bases import Garden, Pig, Stones
from faults.env_faults import GardenBytes, GardenNote, PigList, StonesMany
from faults.other_faults import Bonus, snake_note
from faults.other_runs import OTHER_RUN_FAULTS
from faults.run_faults import MUZERO, Rows, alone, muzero
from myosu import cli
from myosu.doctor import check_gym, prediction, verdict
from myosu.doctor.finding import Finding
from myosu.doctor.run import examine_run
from myosu.doctor.run_folder import read_run
from myosu.envs.gym_env import EnvMaker
from web_runs import untrained_run

check_module = sys.modules["myosu.doctor.check_gym"]


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    monkeypatch.setattr(check_module, "_LIMIT_SECONDS", 0.1)
    monkeypatch.setattr(check_module, "_TRIAL_SECONDS", 0.3)
    monkeypatch.setattr(check_module, "_RECORD_SECONDS", 0.02)
    monkeypatch.setattr(prediction, "_FEW", 10**9)


class PigTensor(Pig):
    """Observations cast to a tensor (note 2)."""

    def observe(self):
        return torch.from_numpy(super().observe())


class PigArrays(Pig):
    """Observations as a list of arrays (note 1)."""

    def observe(self):
        return [np.float32(value) for value in super().observe()]


class StonesFlat(Stones):
    """A board of rank 2, MultiBinary([9, 9]) (notes 3 and 4)."""

    size = 9

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.MultiBinary([9, 9])

    def observe(self):
        return self.board.astype(np.int8)


def recorded_below(wrapper):
    return lambda: wrapper(RecordEpisodeStatistics(gymnasium.make("CartPole-v1")))


NOTES = {
    "1 a list of arrays": (PigArrays, "observation-dtype"), "1 a list of numbers": (PigList, "observation-dtype"),
    "2 a tensor": (PigTensor, "observation-dtype"), "3, 4 a board of rank 2": (StonesFlat, "layout"),
    "5 hundreds of actions": (StonesMany, "useless-moves"), "6 dying pays": (GardenNote, "early-end"),
    "6 dying pays in Snake": (snake_note, "early-end"), "7 no picture": (Garden, "render"),
    "8 bytes divided": (GardenBytes, "integer-division"), "11 recorded below": (recorded_below(Bonus), "wrapper-order"),
    "12 losses of thousands": (lambda: TransformReward(Garden(), lambda reward: 20.0 * reward), "reward-scale"),
}


@pytest.mark.parametrize("note", NOTES)
def test_notes_are_reported_with_advice(note):
    make, check = NOTES[note]
    found = [finding for finding in check_gym(EnvMaker(make), 15) if finding.check == check]
    assert found and found[0].advice, note


def test_scores_recorded_before_normalisation_are_not_a_fault():
    """As CleanRL records them."""
    below = check_gym(EnvMaker(recorded_below(gymnasium.wrappers.NormalizeReward)), 15)
    assert [finding.severity for finding in below if finding.check == "wrapper-order"] == ["info"]
    outside = check_gym(EnvMaker(lambda: RecordEpisodeStatistics(Bonus(gymnasium.make("CartPole-v1")))), 15)
    assert "wrapper-order" not in [finding.check for finding in outside]


def test_finished_run_that_was_still_improving_is_reported():
    def ended(evaluations):
        run = alone(0, evaluations=np.asarray(evaluations, float))
        run.metrics.latest = {**run.metrics.latest, "phase": "finished"}
        return [finding for finding in examine_run(run) if finding.check == "still-rising"]

    found = ended(np.linspace(30, 400, 9))
    assert "--resume" in found[0].advice and found[0].severity == "info"
    assert ended([30, 200, 300, 380, 400, 410, 405, 411, 408]) == [] and ended(np.full(9, 100.0)) == []
    assert examine_run(alone(0, evaluations=np.linspace(30, 400, 9))) == [], "the run has not finished"


def test_large_first_player_advantage_is_reported():
    diary = next(fault for fault in OTHER_RUN_FAULTS if "diary's collector" in str(fault)).make()
    found = next(finding for finding in examine_run(diary) if finding.check == "seats")
    assert "the second player's moves" in found.cause and "-2 to 19" in found.message


def test_zero_model_loss_weights_are_reported():
    run = muzero(0, settings={"ssl_loss_weight": 0.0, "reconstruction_loss_weight": 0.0})
    assert examine_run(run) == [], "there are no known good settings to compare with"
    (found,) = examine_run(dataclasses.replace(run, known_good=MUZERO | {"ssl_loss_weight": 2.0}))
    assert found.check == "model-loss" and found.advice == "Set --ssl-loss-weight 2." and found.severity == "warning"
    lines = [{**line, "win_rate": 1.0} for line in run.evaluations]
    won = dataclasses.replace(run, known_good=MUZERO | {"ssl_loss_weight": 2.0}, metrics=Rows(run.metrics.records,
                                                                                              lines))
    assert [finding.severity for finding in examine_run(won)] == ["info"]


# --- bad input


def test_unreadable_configuration_is_reported_beside_findings(tmp_path, capsys):
    """Findings from the records are printed; the exit code shows that the examination is incomplete."""
    folder = untrained_run(tmp_path / "run", "tictactoe")
    rows = [{"kind": "training", "update": k, "seconds": 5.0 * k, "games": k, "env_steps": 9 * k, "samples": k,
             "phase": "training", "loss/value_loss": float("nan") if k > 4 else 1.0} for k in range(9)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for broken in ('{"half', json.dumps(json.loads((folder / "config.json").read_text()) | {"train": {"of_2031": 1}})):
        (folder / "config.json").write_text(broken)
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert cli.run(["doctor", str(folder)]) == 2
        told = capsys.readouterr().out
        assert "loss/value_loss has not been finite" in told and "config.json" in told
        assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert read_run(folder).view.algorithm == ""


def test_run_without_updates_is_reported(tmp_path, capsys):
    folder = untrained_run(tmp_path / "run", "tictactoe")
    row = {"kind": "training", "update": 0, "seconds": 300.0, "games": 3, "env_steps": 27, "samples": 0,
           "phase": "waiting for games", "replay_positions": 27}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert cli.run(["doctor", str(folder), "--minutes", "0"]) == 0
    assert "no update has been made" in capsys.readouterr().out


@pytest.mark.parametrize("check", ["crash", "hang"])
def test_experiments_are_skipped_if_the_environment_crashes(tmp_path, monkeypatch, check):
    folder = untrained_run(tmp_path / "run", "tictactoe")
    monkeypatch.setattr(verdict, "examine_apart", lambda *_: ("tictactoe", True, [
        Finding("error", check, "It is gone.")]))
    monkeypatch.setattr(verdict, "EXPERIMENTS", [pytest.fail])
    found = verdict.examine_folder(folder, 1.0, lambda _: None)
    assert found.failed and found.incomplete and any("the environment fails" in part for part in found.missing)
