"""Predictions of recorded games, compared with calculations by hand."""

import json

import numpy as np
import pytest
from test_recordings import write

from myosu.algorithms import cloning
from myosu.algorithms.interface import Analysis
from myosu.cli import run as myosu
from myosu.envs.native import game_spec
from myosu.envs.registry import Environment, load_environment
from myosu.errors import UserError
from myosu.evaluation.prediction import predict
from myosu.games.go import make_game
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.games import GameRecord
from myosu.training.start import create_run
from myosu.training.trainer import train

GO2 = make_game(2, komi=0.5)
ENVIRONMENT = Environment("go2", game_spec(GO2), game=GO2)
#: Four points and a pass.
POLICY = np.array([0.4, 0.3, 0.15, 0.05, 0.1], np.float32)


class Fixed:
    """An agent with the same policy and value in every position."""

    has_memory = False

    def __init__(self, policy=POLICY, value=0.5):
        self.policy, self.value = policy, value

    def analyze(self, observation, legal_actions):
        n = len(observation)
        return Analysis(np.zeros(n, int), np.tile(self.policy, (n, 1)), np.full(n, self.value, np.float32), None, [])


def record(actions, unchosen=(), winner=1.0):
    return GameRecord(seed=0, actions=list(actions), returns=[winner, -winner], terminated=True, truncated=False,
                      unchosen=list(unchosen), adjudicated=True)


def test_accuracies_and_errors_use_chosen_moves_only():
    found = predict(Fixed(), ENVIRONMENT, [record([0, 1, 4, 2]), record([3, 0, 4, 4], unchosen=[0], winner=-1.0)])
    # Counted moves: 0, 1, 2 of the first game and 0 of the second. Passes are counted only for the value.
    assert (found.games, found.positions) == (2, 7)
    assert (found.top1, found.top5) == (pytest.approx(2 / 4), 1.0)
    assert found.log_likelihood == pytest.approx(np.log([0.4, 0.3, 0.15, 0.4]).mean())
    # The player to move wins at plies 0 and 2 of the first game, 1 and 3 of the second: ½ (1 − ½)², else ½ (−1 − ½)².
    assert found.value_error == pytest.approx((4 * 0.125 + 3 * 1.125) / 7)
    assert found.by_stage == [(0, 7, pytest.approx(found.value_error))]
    assert found.top1_ci95[0] <= found.top1 <= found.top1_ci95[1]


def test_long_games_are_evaluated_in_batches(monkeypatch):
    games = [record([0, 1, 4, 2]), record([3, 0, 4, 4], unchosen=[0], winner=-1.0)]
    whole = predict(Fixed(), ENVIRONMENT, games)
    asked = []

    class Counting(Fixed):
        def analyze(self, observation, legal_actions):
            asked.append(len(observation))
            return super().analyze(observation, legal_actions)

    monkeypatch.setattr("myosu.evaluation.prediction.AT_ONCE", 3)
    assert predict(Counting(), ENVIRONMENT, games) == whole and asked == [3, 1, 3]


def test_ties_of_a_uniform_policy_are_not_hits():
    """Ties are not hits: if all five actions are equal, the played one is ranked third."""
    found = predict(Fixed(np.full(5, 0.2, np.float32), 0.0), ENVIRONMENT, [record([0, 1])])
    assert (found.top1, found.top5, found.value_error) == (0.0, 1.0, 0.5)


def test_intervals_count_games_not_moves():
    """If all moves of a game have the same result, the interval depends on the number of games."""
    games = [record([0, 1, 0 + 2, 3], unchosen=[1, 2, 3]) if k % 2 else record([1, 0], unchosen=[1]) for k in range(40)]
    low, high = predict(Fixed(), ENVIRONMENT, games).top1_ci95
    assert low == pytest.approx(0.5 - 1.96 * np.sqrt(0.25 / 40), abs=0.03) and high == pytest.approx(1 - low, abs=0.05)


def test_missing_games_to_compare_are_reported():
    with pytest.raises(UserError, match="no game to compare"):
        predict(Fixed(), ENVIRONMENT, [record([0, 1], unchosen=[0, 1])])
    with pytest.raises(UserError, match="no move except passes"):
        predict(Fixed(), ENVIRONMENT, [record([4, 4])])


def test_predict_command_compares_with_held_out_games(tmp_path, capsys):
    games = [GameRecord(seed=0, actions=[a, b, c], returns=[1.0, -1.0], terminated=True, truncated=False,
                        index=9 * a + b, adjudicated=True)
             for a in range(9) for b in range(9) for c in (max({0, 1, 2} - {a, b}),) if a != b]
    folder = write(tmp_path / "r", *games)
    config = cloning.Config(recordings=(str(folder),), channels=8, batch_size=32, held_out=0.3)
    run = create_run(RunConfig("tictactoe", "cloning", config, TrainConfig(updates=5, evaluate_every=0)),
                     tmp_path / "run")
    train(run, quiet=True)
    counts = {}
    for part in ("held-out", "learnt-from", "all"):
        capsys.readouterr()
        assert myosu(["evaluate", str(run.folder), "--recordings", str(folder), "--part", part, "--json"]) == 0
        counts[part] = json.loads(capsys.readouterr().out)["games"]
    assert counts["all"] == len(games) == counts["held-out"] + counts["learnt-from"] and counts["held-out"] > 5
    assert myosu(["evaluate", str(run.folder), "--recordings", str(folder)]) == 0
    assert "held-out games" in capsys.readouterr().out
    assert myosu(["evaluate", str(run.folder), "--recordings", str(tmp_path / "nothing")]) == 2
    assert "no recorded games" in capsys.readouterr().err
    assert load_environment("tictactoe").spec.num_actions == 9
