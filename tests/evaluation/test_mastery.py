"""Passing and mastering a game, in comparison with recorded experts."""

import json

import numpy as np
import pytest

from myosu.algorithms import ppo
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.evaluation.episodes import EpisodesResult
from myosu.evaluation.mastery import expert_steps, mastery
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.games import GameRecord


def result(lengths, won):
    returns = np.where(won, 1.0, -1.0)
    return EpisodesResult("bubble", (-2.0, 2.0), returns, returns, np.array(lengths), np.zeros(len(lengths), bool), 0.0,
                          60, 0.5).to_json()


def test_a_lost_game_counts_the_longest_length():
    """Two games won in 20 and 30 steps, two lost after 60 and 10: (20 + 30 + 60 + 60) / 4."""
    report = result([20, 30, 60, 10], np.array([True, True, False, False]))
    assert report["mean_steps_to_win"] == 42.5 and report["success_rate"] == 0.5
    assert report["mean_success_length"] == 25


@pytest.fixture
def experts(tmp_path):
    """A recording of two games won after 20 and 24 shots, and one lost after 7."""
    folder = tmp_path / "experts"
    folder.mkdir()
    (folder / "recording.json").write_text(json.dumps({"game": "bubble", "kwargs": {}, "rewards": "score",
                                                       "settings": {}}))
    games = [GameRecord(seed=k, actions=[0] * length, returns=[earned], terminated=True, truncated=False, index=k)
             for k, (length, earned) in enumerate(((20, 0.9), (24, 0.8), (7, -1.8)))]
    (folder / "games.jsonl").write_text("".join(json.dumps(game.to_line()) + "\n" for game in games))
    return folder


CONFIG = RunConfig("bubble", "ppo", ppo.Config(), TrainConfig(updates=1))


def test_mastered_means_no_more_steps_than_experts(experts):
    environment = load_environment("bubble")
    assert expert_steps(experts, environment, "bubble", {}).tolist() == [20, 24, 60]
    won, steps = np.ones(10, bool), (20 + 24 + 60) / 3
    for lengths, mastered in (([34] * 10, True), ([35] * 10, False)):
        report = mastery(result(lengths, won), environment, CONFIG, experts)
        assert report["passed"] and report["mastered"] == mastered
        assert report["expert_games"] == 3 and report["expert_steps_to_win"] == pytest.approx(steps)
    won[:2] = False
    report = mastery(result([5] * 10, won), environment, CONFIG, experts)
    assert report["mastered"] and not report["passed"], "8 of 10 won, in (8 · 5 + 2 · 60) / 10 = 16 steps"


def test_mastery_of_unsuitable_games_is_refused(experts):
    with pytest.raises(UserError, match="snake is not a single-player game that can be won"):
        expert_steps(experts, load_environment("snake"), "snake", {})
    with pytest.raises(UserError, match="not a single-player game"):
        expert_steps(experts, load_environment("CartPole-v1"), "CartPole-v1", {})
