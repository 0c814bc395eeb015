"""The doctor during training: planted faults are reported once, and healthy runs get no finding at any time."""

import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import myosu
from faults.run_faults import HEALTHY_RUNS, RUN_FAULTS, Rows
from myosu.doctor import attending
from myosu.doctor.attending import RunDoctor, read_findings
from myosu.doctor.run import examine_run
from web_runs import untrained_run

#: Some seeds of each kind of healthy run.
SOME = [name for name in HEALTHY_RUNS if int(name.split()[-1]) % 5 == 0]


def until(view, records):
    """The run as it was after ``records`` records."""
    rows = view.metrics.records[:records]
    latest = rows[-1]
    return dataclasses.replace(
        view, metrics=Rows(rows, [line for line in view.metrics.evaluations if line["update"] <= latest["update"]]),
        games=[game for game in view.games if game["index"] < latest["games"]])


@pytest.mark.parametrize("name", SOME)
def test_healthy_run_causes_no_findings_at_any_time(name):
    whole = HEALTHY_RUNS[name]()
    for records in range(1, 61, 3):
        assert [str(found) for found in examine_run(until(whole, records)) if found.severity != "info"] == [], records


@pytest.mark.parametrize(("kind", "share"), [
    ("learning rate × 100", 0.2), ("support too wide", 0.2), ("replay too small", 0.2), ("absurd replay ratio", 0.1),
    ("too few simulations", 0.1), ("values explode", 1.0), ("entropy collapse", 1.0), ("not finite", 0.8),
    ("reward without information", 1.0)])
def test_fault_is_reported_once_the_records_show_it(kind, share):
    for fault in (fault for fault in RUN_FAULTS if fault.kind == kind):
        whole = fault.make()
        when = next(records for records in range(1, 61) if fault.verdict(examine_run(until(whole, records))) == "found")
        assert when <= 60 * share, str(fault)


# --- during a training


class Clock:
    """A clock that advances by ``step`` at each reading."""

    def __init__(self, step=0.0):
        self.now, self.step = 0.0, step

    def monotonic(self):
        self.now += self.step
        return self.now


@pytest.fixture
def folder(tmp_path):
    return untrained_run(tmp_path / "run", "tictactoe")


def attend(folder, monkeypatch, judgements, seconds=1000.0):
    """The messages when successive examinations find ``judgements``."""
    monkeypatch.setattr(attending, "time", Clock(seconds))
    said, found = [], iter(judgements)
    doctor = RunDoctor()
    doctor._examine = lambda: next(found)
    doctor.on_start(folder, said.append)
    monkeypatch.setattr(attending, "SHARE", 10.0)
    for k in range(len(judgements)):
        doctor.on_record({"update": k, "seconds": 5.0 * k, "phase": "training"})
    return said


def test_each_finding_is_printed_once_and_saved(folder, monkeypatch):
    lr = attending.Finding("warning", "learning-rate", "it is 1", "Lower it.", cause="too high", confidence=0.9)
    passing = attending.Finding("warning", "seats", "by chance")
    note = attending.Finding("info", "action-space", "large")
    said = attend(folder, monkeypatch, [[lr, note], [passing, note], [lr, note], [lr, passing], [lr], [lr]])
    assert len(said) == 1 and "it is 1" in said[0] and "myosu doctor" in said[0]
    written = read_findings(folder)
    assert [(line["check"], line["update"], line["cause"]) for line in written] == [("learning-rate", 3, "too high")]
    # Resumed: earlier findings are not repeated, and damaged lines do no harm.
    with open(folder / attending.FILE, "a") as file:
        file.write('nonsense\n[]\n{"check": 1}\n')
    assert attend(folder, monkeypatch, [[lr], [lr], [lr]]) == []


def test_doctor_errors_do_not_stop_training(folder, monkeypatch):
    said = []
    doctor = RunDoctor()
    doctor._examine = lambda: 1 / 0
    monkeypatch.setattr(attending, "time", Clock(1000.0))
    doctor.on_start(folder, said.append)
    for k in range(3):
        doctor.on_record({"update": k, "seconds": 5.0 * k, "phase": "training"})
    assert len(said) == 1 and "ZeroDivisionError" in said[0]


def test_doctor_keeps_to_its_share_of_the_time(folder, monkeypatch):
    """Each examination takes 0.1 s; records come every 5 s."""
    clock, examined = Clock(), []
    monkeypatch.setattr(attending, "time", clock)

    def examine():
        clock.now += 0.1
        examined.append(clock.now)
        return []

    doctor = RunDoctor()
    doctor._examine = examine
    doctor.on_start(folder, pytest.fail)
    for k in range(200):
        clock.now += 5.0
        doctor.on_record({"update": k, "seconds": clock.now, "phase": "training"})
    assert 0.003 < 0.1 * len(examined) / clock.now < 0.01


class Noise(gymnasium.Env):
    """Rewards that depend neither on observations nor on actions."""

    observation_space, action_space = spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), {}

    def step(self, action):
        self.steps += 1
        return (self.np_random.uniform(-1, 1, 3).astype(np.float32), float(self.np_random.normal()), False,
                self.steps == 10, {})


def train(folder, monkeypatch, *environment, record_seconds=0.25, **settings):
    """The checks reported during a short training with a record every ``record_seconds``, each examined."""
    monkeypatch.setattr("myosu.training.trainer.RECORD_SECONDS", record_seconds)
    monkeypatch.setattr(attending, "SHARE", 10.0)
    run = myosu.train(*environment, run=folder, quiet=True, evaluation_games=20, seed=1, **settings)
    return {finding["check"] for finding in read_findings(run.folder)}


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "settings"), [
    (("CartPole-v1", "ppo"), {"env_steps": 10_000, "evaluate_every": 100}),
    (("CartPole-v1", "dqn"), {"env_steps": 3_000, "evaluate_every": 500, "actors": 0}),
    (("tictactoe",), {"updates": 60, "evaluate_every": 20, "actors": 0}),
], ids=["ppo", "dqn", "tictactoe"])
def test_healthy_training_causes_no_findings(tmp_path, monkeypatch, environment, settings):
    assert train(tmp_path / "run", monkeypatch, *environment, **settings) == set()


@pytest.mark.parametrize(("environment", "settings", "checks"), [
    (("CartPole-v1", "ppo"), {"learning_rate": 0.1, "env_steps": 6000}, {"learning-rate"}),
    ((Noise, "ppo"), {"env_steps": 30_000, "evaluate_every": 0, "rollout_steps": 32, "record_seconds": 0.05},
     {"value", "reward-information"}),
], ids=["learning rate", "noise"])
def test_planted_fault_is_reported_during_training(tmp_path, monkeypatch, environment, settings, checks):
    assert train(tmp_path / "run", monkeypatch, *environment, **settings) & checks
