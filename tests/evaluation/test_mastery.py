"""Passing a game and mastering it, beside recorded experts."""

import json

import numpy as np
import pytest

from myosu.algorithms import ppo
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.evaluation.episodes import EpisodesResult
from myosu.evaluation.mastery import expert_steps, mastery
from myosu.evaluation.recording import Settings, record_games
from myosu.runs.config import RunConfig, TrainConfig


def result(lengths, won):
    returns = np.where(won, 1.0, -1.0)
    return EpisodesResult("bubble", (-2.0, 2.0), returns, returns, np.array(lengths), np.zeros(len(lengths), bool), 0.0,
                          60, 0.5).to_json()


def test_a_lost_game_counts_as_the_longest():
    """Two won in 20 and 30 steps, two lost after 60 and, early, after 10: (20 + 30 + 60 + 60) / 4."""
    report = result([20, 30, 60, 10], np.array([True, True, False, False]))
    assert report["mean_steps_to_win"] == 42.5 and report["success_rate"] == 0.5
    assert report["mean_success_length"] == 25


@pytest.fixture
def experts(tmp_path):
    record_games(tmp_path / "experts", "bubble", Settings(("greedy",)), 3, jobs=1)
    lines = [json.loads(line) for line in (tmp_path / "experts" / "games.jsonl").read_text().splitlines()]
    return tmp_path / "experts", np.mean([line["length"] for line in lines])


CONFIG = RunConfig("bubble", "ppo", ppo.Config(), TrainConfig(updates=1))


def test_mastering_is_to_need_no_more_steps_than_experts(experts):
    folder, steps = experts
    environment = load_environment("bubble")
    assert expert_steps(folder, environment, "bubble", {}).mean() == steps
    won = np.ones(10, bool)
    for lengths, passed, mastered in (([int(steps)] * 10, True, True), ([int(steps) + 1] * 10, True, False)):
        report = mastery(result(lengths, won), environment, CONFIG, folder)
        assert (report["passed"], report["mastered"]) == (passed, mastered)
        assert report["expert_games"] == 3 and report["expert_steps_to_win"] == steps
    won[:2] = False
    assert not mastery(result([5] * 10, won), environment, CONFIG, folder)["passed"]


def test_what_cannot_be_mastered_is_told(experts):
    with pytest.raises(UserError, match="snake is no game for one that can be won"):
        expert_steps(experts[0], load_environment("snake"), "snake", {})
    with pytest.raises(UserError, match="no game for one"):
        expert_steps(experts[0], load_environment("CartPole-v1"), "CartPole-v1", {})
