"""Experiments that need play or training: their judgements on given numbers, and each experiment once for real."""

import numpy as np
import pytest

from myosu.doctor import short_runs, verdict
from myosu.doctor.experiments import judge_search, search_against_prior
from myosu.doctor.short_runs import judge_match, judge_settings, known_good_settings
from myosu.errors import UserError
from web_runs import untrained_run

DIFFERING = {"learning_rate": (0.3, 3e-4), "layer_norm": (False, True)}


def test_search_that_loses_to_its_prior_is_reported():
    won = np.array([1.0] * 30 + [-1.0] * 10)
    assert judge_search(won, 16) is None
    assert judge_search(np.zeros(40), 16) is None, "draws are no loss against the prior"
    assert judge_search(np.array([1.0, -1.0] * 30), 16) is None
    assert judge_search(np.array([1.0] * 66 + [-1.0] * 114), 16).check == "search"
    assert judge_search(np.array([1.0] * 22 + [-1.0] * 38), 16) is None, "the same win rate in too few games"
    found = judge_search(-won, 16)
    assert found.check == "search" and "wins 25% of 40 games" in found.message and "loses 75%" in found.message
    with pytest.raises(UserError, match="only 20 games"):
        judge_search(-won[:20], 16)


def test_settings_worse_than_known_good_ones_are_reported():
    rng = np.random.default_rng(0)
    poor, good = rng.normal(10, 3, 200), np.r_[rng.normal(20, 5, 60), rng.normal(80, 30, 60)]
    found = judge_settings(poor, good, DIFFERING)
    assert found.check == "settings" and "learning_rate = 0.3 (known good: 0.0003)" in found.cause
    assert "--learning-rate 0.0003" in found.advice and "--layer-norm" not in found.advice
    assert judge_settings(good, poor, DIFFERING) is None and judge_settings(good, good, DIFFERING) is None
    for seed in range(50):  # equal settings are never reported
        rng = np.random.default_rng(seed)
        assert judge_settings(rng.normal(50, 20, 100), rng.normal(50, 20, 80), DIFFERING) is None
    with pytest.raises(UserError, match="only 5 and 120 episodes"):
        judge_settings(poor[:5], good, DIFFERING)
    assert judge_match(0.55, 80, DIFFERING) is None
    assert "wins 90% of 80 games" in judge_match(0.9, 80, DIFFERING).message


def state(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_known_good_settings_are_compared_in_short_runs(tmp_path, monkeypatch):
    folder = untrained_run(tmp_path / "run", "snake", learnt_by=("ppo", {"learning_rate": 0.3, "channels": 4,
                                                                           "blocks": 0, "hidden": (8,)}))
    before = state(folder)
    with pytest.raises(UserError, match=r"two short runs need 0\.7 minutes"):
        known_good_settings(folder, 10.0)
    monkeypatch.setattr(short_runs, "_SECONDS", 0.5)
    tried = []
    monkeypatch.setattr(short_runs, "judge_settings", lambda own, good, differing: tried.append((own, good, differing)))
    assert known_good_settings(folder, 4.0) is None
    (own, good, differing), = tried
    assert own.ndim == good.ndim == 1 and differing["learning_rate"][0] == 0.3
    assert state(folder) == before


def test_search_plays_against_its_prior(tmp_path):
    folder = untrained_run(tmp_path / "run", "tictactoe")
    assert search_against_prior(folder, 3.0) is None, "search does not lose to an untrained prior"
    with pytest.raises(UserError, match="only for agents that search"):
        search_against_prior(untrained_run(tmp_path / "snake", "snake"), 1.0)


def test_time_is_shared_between_experiments(tmp_path, monkeypatch):
    given, said = [], []

    def greedy(folder, seconds):
        given.append(seconds)

    monkeypatch.setattr(verdict, "EXPERIMENTS", (greedy, greedy, greedy))
    monkeypatch.setattr(verdict._Examination, "_examine_environment", lambda self: None)
    monkeypatch.setattr(verdict.Helper, "call", lambda self, function, *arguments, seconds: function(*arguments))
    found = verdict.examine_folder(untrained_run(tmp_path / "run", "tictactoe"), 0.5, said.append)
    assert given == pytest.approx([20 / 3, 10, 20], abs=0.5) and found.healthy[-3:] == ["greedy"] * 3
    assert said[0].startswith("Trying greedy, for 7 s at most")
