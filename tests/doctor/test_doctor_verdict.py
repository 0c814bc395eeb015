"""The order of a verdict, the checks it claims to have made, and findings about rewards, discounts and weights."""

import dataclasses

import numpy as np
import pytest
import torch

from faults.run_faults import alone, muzero
from myosu.doctor.action_effects import Effects, Moment, Trial
from myosu.doctor.finding import Finding
from myosu.doctor.gym_statistics import some_lengths_only
from myosu.doctor.run import examine_run, judge_run
from myosu.doctor.run_games import ENOUGH
from myosu.doctor.verdict import Verdict
from myosu.doctor.weights import judge_weights, weights_change
from myosu.errors import UserError
from web_runs import untrained_run


def told(run):
    return {finding.check: finding for finding in examine_run(run)}


@pytest.mark.parametrize(("discount", "length", "named"), [
    (0.2, 40, True), (0.5, 40, True), (0.7, 500, True),  # horizons of 1.25, 2 and 3.3 steps
    (0.9, 40, False), (0.95, 500, False), (0.99, 500, False), (0.999, 500, False),
    (0.5, 4, False),  # episodes of four moves need no longer horizon
])
def test_too_small_discount_is_reported(discount, length, named):
    run = alone(3, settings={"discount": discount}, lengths=np.full(600, length) + np.arange(600) % 2)
    assert ("discount" in told(run)) == named


def test_negative_discount_is_accepted_in_two_player_games():
    assert "discount" not in told(muzero(3, settings={"discount": -1.0}))


def test_early_ends_under_negative_rewards_are_only_a_note():
    lengths = np.r_[np.full(300, 20), np.full(300, 9)]
    note = told(alone(3, returns=-1.0 * lengths, lengths=lengths))["early-end"]
    assert note.severity == "info" and "after 20 steps at first and after 9 at the end" in note.message
    assert "early-end" not in told(alone(3, returns=1.0 * lengths, lengths=lengths))
    every = np.full(600, 200)
    assert "early-end" not in told(alone(3, returns=-16.0 * every, lengths=every, truncated=np.ones(600, bool)))


def test_few_distinct_lengths_are_not_taken_for_a_time_limit():
    rng = np.random.default_rng(0)
    rounds = rng.choice([9, 18, 27, 36], 600)
    assert "time-limit" not in told(alone(3, "ppo", lengths=rounds, truncated=np.zeros(600, bool)))
    cut = np.where(rng.random(600) < 0.25, 36, rng.integers(8, 33, 600))
    limited = alone(3, "ppo", lengths=cut, truncated=np.zeros(600, bool))
    assert told(limited)["time-limit"].severity == "warning"
    assert told(dataclasses.replace(limited, native=True))["time-limit"].severity == "info", "a native game's limit"


def test_random_play_lengths_are_not_taken_for_a_time_limit():
    catches = np.repeat([27, 36, 45, 54], [20, 15, 10, 6])
    assert some_lengths_only(catches, 6)
    many = np.r_[np.random.default_rng(0).geometric(0.04, 5000).clip(5, 99), np.full(60, 100)]
    assert not some_lengths_only(many, 60) and not some_lengths_only(np.array([12, 30, 33, 50, 50, 50]), 3)


def test_spontaneous_changes_are_not_effects_of_actions():
    """A passenger appears (value 1) whatever the action; only action 0 moves the lift (value 0)."""
    def trial(*values):
        return Trial(np.array(values, np.float64), 0.0, False, False, bytes(values))

    moving = Moment(np.zeros(2), np.array([True, False]), {0: trial(1, 1), 1: trial(0, 1)})
    boarding = Moment(np.zeros(2), np.array([True, True]), {0: trial(0, 1), 1: trial(0, 0)})
    view = Effects([moving, boarding], single=True)
    assert view.depends.all() and view.changes(moving, 0) and not view.changes(moving, 1)
    assert view.changes(boarding, 0) and not view.changes(boarding, 1)


def test_evaluation_noise_is_not_reported_as_a_fall():
    noise = np.random.default_rng(13).normal(size=12)
    assert "evaluation-fell" not in told(alone(3, "ppo", returns=np.full(600, -1200.0) + np.arange(600) % 7,
                                               evaluations=-1200 + 40 * noise))
    rise_and_fall = np.array([20.0, 60, 150, 260, 330, 340, 200, 90, 40, 30, 25, 22])
    assert "evaluation-fell" in told(alone(3, evaluations=rise_and_fall))


def test_only_what_was_examined_is_called_well():
    judged = judge_run(alone(3, evaluations=np.array([20.0, 90.0])))
    well, unjudged = judged.healthy, judged.unjudged
    assert "the replay ratio" in well and "evaluations" not in well and "search values fit the outcomes" not in well
    assert unjudged == ["whether it learns: there are 2 evaluations, at least 6 are needed"]
    few = dataclasses.replace(alone(3), games=alone(3).games[:ENOUGH - 1])
    well, unjudged = judge_run(few).healthy, judge_run(few).unjudged
    assert "how episodes end" not in well and f"only {ENOUGH - 1} games" in unjudged[0]
    well = judge_run(muzero(3)).healthy
    assert "both seats" in well and "how episodes end" not in well


def test_value_range_is_compared_with_discounted_returns():
    """Muesli's preset for CartPole: 1 a step, discounted by 0.995, is at most 184, although episodes earn 500."""
    settings = {"atoms": 51, "discount": 0.995, "value_range": [0.0, 220.0]}
    lengths = np.r_[np.full(300, 20), np.full(300, 500)]
    assert "support" not in told(alone(3, returns=1.0 * lengths, lengths=lengths, settings=settings))
    found = told(alone(3, returns=1.0 * lengths, lengths=lengths, settings=settings | {"value_range": [0.0, 150.0]}))
    assert "discounted returns reach ±183.7, but values are limited to ±150" in found["support"].message
    weak = alone(3, returns=np.full(600, 1.0) + np.arange(600) % 2, lengths=lengths, settings=settings)
    assert "support" in told(weak) and "support" not in told(dataclasses.replace(weak, known_good=settings))


def test_known_good_replay_ratio_is_not_reported():
    """SAC's preset for Pendulum samples every position 256 times."""
    run = alone(3, settings={"replay_ratio": 256.0})
    assert "replay-ratio" not in told(dataclasses.replace(run, known_good={"replay_ratio": 256.0}))
    assert "replay-ratio" in told(dataclasses.replace(run, known_good={"replay_ratio": 64.0}))


def test_evaluations_at_their_limit_are_not_called_rising():
    """As of PPO on CartPole: 156, then 500 of 500 at each evaluation, without any deviation."""
    for course in ([155.6, *[500.0] * 14], [20.0, 480, 499, 499.5, 499.6, 499.7, 500, 500, 500]):
        run = alone(3, "ppo", evaluations=np.array(course))
        exact = [line | {"mean_reward_ci95": [line["mean_reward"]] * 2} for line in run.evaluations]
        run.metrics.evaluations[:] = exact
        run.metrics.latest["phase"] = "finished"
        assert "still-rising" not in told(run)


def test_game_that_the_first_player_learns_to_win_is_no_fault():
    """Like Nim with 21 stones, which the first player soon wins always; random games are even."""
    returns = np.where((np.arange(4000) < 100) & (np.arange(4000) % 2 > 0), -1.0, 1.0)
    run = muzero(4, returns=returns)
    assert "seats" not in told(run)
    assert "seats" not in told(dataclasses.replace(run, games=run.games[2000:])), "the first games are not known"
    assert "seats" in told(muzero(4, returns=np.ones(4000))), "won from the first game on"


def test_first_players_advantage_is_no_fault_of_the_second():
    """At random, 58 % of tic-tac-toe games are won by the first player and 29 % by the second."""
    early = np.array([1.0] * 116 + [-1.0] * 58 + [0.0] * 26)
    run = muzero(3, win_rates=(0.88, 0.46))
    games = [game | {"returns": [earned, -earned]} for game, earned in zip(run.games, early, strict=False)]
    assert "seats" in told(run) and "seats" not in told(dataclasses.replace(run, games=games + run.games[200:]))


def test_text_of_a_verdict_shows_small_pictures():
    gone = np.r_[np.linspace(0.8, 0.1, 8), np.full(52, 1e-4)]
    run = alone(3, "ppo", curves={"episodes/policy_entropy": gone})
    text = str(Verdict("run", judge_run(run).findings, [], [], run))
    assert "█▇▅▃" + 28 * "▁" + "  episodes/policy_entropy, 0.8 at first, 0.0001 at last" in text


def test_verdict_sentence_contains_the_advice():
    rate = Finding("warning", "x", "it is 1.", "Set --learning-rate 0.1.", cause="the rate is too high.")
    note = Finding("info", "y", "every step costs 1.", "Pay for it.")
    run = alone(3)
    assert Verdict("run", [rate, note], [], [], run).sentence == "the rate is too high. Set --learning-rate 0.1."
    assert Verdict("run", [note], [], [], run).sentence.endswith("certainly wrong, but check this: every step costs 1.")
    assert Verdict("run", [], [], [], run).sentence == "nothing looks wrong."


def test_weights_that_never_change_are_reported():
    before = {"body.weight": torch.randn(4, 3), "head.weight": torch.randn(2, 4), "head.bias": torch.zeros(2)}
    frozen = judge_weights(before, {**before, "head.bias": torch.ones(2)}, 500)
    assert frozen.severity == "error" and frozen.check == "frozen-weights" and "not one of 2" in frozen.message
    part = judge_weights(before, {**before, "head.weight": torch.randn(2, 4)}, 500)
    assert part.severity == "info" and "body.weight" in part.message
    assert judge_weights(before, {name: weight + 1e-3 for name, weight in before.items()}, 500) is None


def test_weights_check_needs_two_checkpoints(tmp_path):
    folder = untrained_run(tmp_path / "run", "tictactoe")
    with pytest.raises(UserError, match="no two checkpoints"):
        weights_change(folder, 1.0)
