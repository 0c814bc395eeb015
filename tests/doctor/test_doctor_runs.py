"""Runs: every planted fault is found, healthy runs get no finding, and damaged files are reported."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import myosu
from faults.other_runs import OTHER_HEALTHY_RUNS, OTHER_RUN_FAULTS
from faults.run_faults import HEALTHY_RUNS, RUN_FAULTS, Rows, alone, muzero
from faults.third_runs import THIRD_HEALTHY_RUNS, THIRD_RUN_FAULTS
from gym_toys import Broken
from myosu import cli
from myosu.doctor.experiments import count_dead_units, judge_dead, judge_fit, judge_seats, judge_values
from myosu.doctor.run import examine_run
from myosu.doctor.run_folder import read_run
from myosu.errors import UserError
from web_runs import untrained_run

ALL_HEALTHY = HEALTHY_RUNS | OTHER_HEALTHY_RUNS | THIRD_HEALTHY_RUNS


@pytest.mark.parametrize("fault", [*RUN_FAULTS, *OTHER_RUN_FAULTS, *THIRD_RUN_FAULTS], ids=str)
def test_planted_faults_are_reported(fault):
    findings = examine_run(fault.make())
    assert fault.verdict(findings) == "found", [str(finding) for finding in findings]
    named = next(finding for finding in findings if finding.check in fault.checks)
    assert any(character.isdigit() for character in named.message) and named.cause and named.advice
    assert 0.3 <= named.confidence <= 1


@pytest.mark.parametrize("name", ALL_HEALTHY)
def test_healthy_runs_cause_no_warnings(name):
    assert [str(finding) for finding in examine_run(ALL_HEALTHY[name]()) if finding.severity != "info"] == []


def test_deviation_of_returns_is_over_all_games():
    """Within a record of one game the deviation is 0, which caused false alarms for healthy tic-tac-toe and Othello
    runs."""
    seen = [(19, 12.2, 8.4), (4, 6.4, 4.4), (1, 0.0, 11.7), (1, 0.0, 4.4), (11, 9.8, 7.5), (54, 10.3, 7.5),
            (20, 9.6, 7.6), (21, 11.3, 8.0), (11, 11.2, 8.0), (8, 11.2, 8.8), (2, 16.5, 14.4), (1, 0.0, 6.8),
            (1, 0.0, 12.5), (24, 7.5, 5.4), (76, 12.5, 9.5), (23, 10.3, 7.2), (4, 0.0, 7.5), (1, 0.0, 7.0),
            (17, 12.2, 10.7), (110, 11.6, 8.4)]
    rows = [{"update": k, "seconds": 5.0 * k, "env_steps": 60 * k, "games": sum(games for games, *_ in seen[:k + 1]),
             "selfplay/reward_first_std": deviation, "selfplay/value_error": error}
            for k, (games, deviation, error) in enumerate(seen)]
    run = muzero()
    assert examine_run(type(run)("muzero", run.settings, Rows(rows))) == []


def test_flat_evaluations_are_reported():
    """By the standard errors, 97 % of runs that learn nothing are reported."""
    told = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        flat = alone(seed, returns=50 + 10 * rng.normal(size=600), evaluations=50 + 10 * rng.normal(size=10))
        told.append("evaluation-flat" in [finding.check for finding in examine_run(flat)])
    assert np.mean(told) >= 0.9


def test_policy_that_recovers_causes_no_findings():
    """As in a healthy PPO run on CartPole: 494, then 200, then 500 again."""
    course = np.array([20.0, 494, 493, 200, 230, 285, 340, 361, 500])
    for evaluations in range(1, len(course) + 1):
        run = alone(0, "ppo", evaluations=course[:evaluations])
        assert [finding.check for finding in examine_run(run)] == [], evaluations


def test_values_that_disagree_with_returns_are_reported():
    rng = np.random.default_rng(0)
    returns = rng.normal(size=500)
    assert judge_values(returns + 0.5 * rng.normal(size=500), returns) is None
    assert judge_values(-returns, returns).check == "value-sign"
    assert judge_values(1e4 + rng.normal(size=500), returns).check == "value-scale"
    assert judge_values(0.01 * 200 * returns, 200 * returns, scale=0.01) is None
    assert judge_values(-0.01 * returns, returns) is None, "nothing is learnt yet"
    assert judge_values(-returns[:50], returns[:50]) is None, "50 positions are too few for a finding"


def test_dead_units_are_counted():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 1))
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net[0].bias.fill_(10.0)
        net[2].bias.fill_(10.0)
        net[2].bias[:9] = -100.0
    assert count_dead_units(lambda: net(x)) == [(0, 8), (9, 10)]
    assert "9 of 10 units of layer 2" in judge_dead([(0, 8), (9, 10)]).message
    assert judge_dead([(0, 8), (7, 10)]) is None


def test_failure_to_fit_one_batch_is_reported():
    falls = [{"value_loss": loss} for loss in np.geomspace(3, 0.3, 50)]
    assert judge_fit(falls) is None
    assert judge_fit([{"value_loss": 3.0}] * 50).check == "fit"
    assert judge_fit([{"td_error": loss} for loss in (1.0, 3.0, np.nan)]).severity == "error"


def test_weak_second_seat_is_reported():
    assert judge_seats(np.array([0.95, 0.9]), 30) is None
    assert "second player's moves" in judge_seats(np.array([0.95, 0.3]), 30).cause
    assert judge_seats(np.array([0.9, 0.5]), 4) is None, "four games are too few for a finding"
    assert judge_seats(np.array([0.88, 0.51]), 100) and not judge_seats(np.array([0.88, 0.51]), 100, advantage=0.3)
    assert judge_seats(np.array([0.98, 0.25]), 100, advantage=0.6), "the same mistake in random games excuses nothing"


# --- folders


@pytest.fixture
def folder(tmp_path):
    return untrained_run(tmp_path / "run", "tictactoe")


def test_run_without_records_is_examined(folder, capsys):
    read = read_run(folder)
    run, missing = read.view, read.missing
    assert run.num_players == 2 and run.num_actions == 9 and run.reward_range == (-1, 1)
    assert any("no records" in part for part in missing) and any("no game" in part for part in missing)
    assert cli.run(["doctor", str(folder), "--minutes", "0"]) == 2
    assert "it has no records yet, so only its settings could be judged" in capsys.readouterr().out


def test_damaged_lines_are_skipped(folder):
    good = {"returns": [1.0, -1.0], "length": 7, "truncated": False, "env_steps": 7, "weights_version": 0}
    (folder / "games.jsonl").write_text(json.dumps(good) + "\nnonsense\n[]\n{}\n" + json.dumps(good) + '\n{"returns')
    assert len(read_run(folder).view.games) == 2


def test_missing_or_damaged_run_is_reported(folder, tmp_path, capsys):
    assert cli.run(["doctor", str(tmp_path)]) == 2 and "There is no run" in capsys.readouterr().err
    before = (folder / "config.json").read_text()
    (folder / "config.json").write_text('{"half')
    assert cli.run(["doctor", str(folder)]) == 2 and "is damaged" in capsys.readouterr().err
    # From another version: an unknown setting, a missing game.
    data = json.loads(before) | {"game": "nosuchgame"}
    data["algorithm_config"]["forgotten"] = 3
    (folder / "config.json").write_text(json.dumps(data))
    assert cli.run(["doctor", str(folder), "--minutes", "0", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert any("nosuchgame" in part for part in told["unread"])


def test_doctor_does_not_change_the_run_folder(folder):
    def state():
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}

    before = state()
    assert cli.run(["doctor", str(folder), "--minutes", "0"]) == 2  # it has no records
    assert state() == before


def test_myosu_doctor_function(folder):
    verdict = myosu.doctor(folder, minutes=0)
    assert verdict.findings == [] and "nothing looks wrong" in str(verdict) and not verdict.failed
    assert verdict.incomplete
    assert any("no records" in part for part in verdict.missing)
    said = []
    verdict = myosu.doctor(Broken, env_kwargs={"habit": "nan"}, say=said.append)
    assert verdict.failed and "contract" in [finding.check for finding in verdict.findings] and len(said) == 1
    with pytest.raises(UserError, match=r"minutes -1: it must be 0 or more"):
        myosu.doctor(folder, minutes=-1)
    with pytest.raises(UserError, match="nosuch"):
        myosu.doctor("nosuchgame")
