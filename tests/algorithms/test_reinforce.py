"""REINFORCE against earlier versions: baseline and gradient by hand, the pool, both seats, and that it learns."""

import dataclasses

import numpy as np
import pytest
import torch

from myosu.algorithms import cloning, load_algorithm, reinforce
from myosu.envs.playback import play_through
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.evaluation.match import play_match
from myosu.players.agent import AgentPlayer, load_agent
from myosu.players.player import RandomPlayer
from myosu.replay.games import GameReplay
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.run import open_run
from myosu.training.start import create_run
from myosu.training.trainer import train
from toy_runs import last_weights, same_weights

TICTACTOE = load_environment("tictactoe")
SPEC = TICTACTOE.spec
CONFIG = reinforce.resolve(reinforce.Config(channels=16, blocks=1, hidden=(32,), num_envs=32, pool_every=5,
                                            learning_rate=1e-2), SPEC, False)


def test_baseline_is_the_mean_of_other_games_of_the_seat():
    outcomes, seats = np.array([1, -1, 1, 0, 1, -1.0]), np.array([0, 0, 0, 1, 1, 0])
    # Seat 0 has 1, −1, 1, −1; the others of the first: (−1 + 1 − 1) / 3.
    assert reinforce.leave_one_out(outcomes, seats) == pytest.approx([4 / 3, -4 / 3, 4 / 3, -1, 1, -4 / 3])
    assert reinforce.leave_one_out(np.array([1.0, -1.0]), np.array([0, 1])).tolist() == [1.0, -1.0]


def game(action, outcome, seat, length=1):
    legal = np.zeros((length, 9), bool)
    legal[:, :3] = True
    return {"observation": np.zeros((length, *SPEC.observation_shape), SPEC.observation_dtype), "legal_actions": legal,
            "action": np.full(length, action), "outcome": np.full(length, outcome, np.float32),
            "seat": np.full(length, seat, np.int8)}


def test_gradient_equals_the_papers_formula():
    """Four games, all from the first seat, of one move each in the same position; three legal actions, equally likely.
    For each, ∂ log π(a) / ∂ logit_b = 1[a = b] − 1/3."""
    config = dataclasses.replace(CONFIG, num_envs=4, batch_size=4)
    replay = reinforce.make_replay(config, SPEC)
    for action, outcome in ((0, 1), (0, 1), (1, -1), (2, -1)):
        replay.add(game(action, outcome, 0), 0)
    learner = reinforce.make_learner(config, SPEC, None, 0)
    with torch.no_grad():
        for parameter in learner.policy.parameters():
            parameter.zero_()
    told = learner.update(replay, 0.0)
    advantages = np.array([4, 4, -4, -4]) / 3
    expected = sum(a * (np.eye(3)[k] - 1 / 3) for a, k in zip(advantages, (0, 0, 1, 2), strict=True)) / 4
    # The loss falls along the gradient: Adam's first step goes its way, and illegal actions have no part in it.
    bias = learner.policy.head.out.bias if not learner.policy.head.by_cell else None
    gradient = learner.policy.head.out.bias.grad if bias is None else bias.grad
    if bias is None:  # one bias for all cells: their sum, which is 0
        assert float(gradient) == pytest.approx(-expected.sum(), abs=1e-6)
    else:
        np.testing.assert_allclose(gradient[:3], -expected, atol=1e-6)
    assert told["loss"] == pytest.approx(-(advantages * np.log(1 / 3)).sum() / 4, abs=1e-6)
    assert (told["policy_entropy"], told["outcome"]) == (pytest.approx(np.log(3)), 0.0)


def test_winning_actions_become_more_likely():
    """The gradient at logits that differ, against the formula."""
    config = dataclasses.replace(CONFIG, num_envs=4, batch_size=4, learning_rate=1e-2)
    replay = reinforce.make_replay(config, SPEC)
    for action, outcome in ((0, 1), (0, 1), (1, -1), (1, -1)):
        replay.add(game(action, outcome, 0), 0)
    learner = reinforce.make_learner(config, SPEC, None, 0)
    rows = game(0, 1, 0)
    before = reinforce.probabilities(learner.policy, rows["observation"], rows["legal_actions"])[0]
    for _ in range(10):
        learner.update(replay, 0.0)
    after = reinforce.probabilities(learner.policy, rows["observation"], rows["legal_actions"])[0]
    assert after[0] > before[0] + 0.05 and after[1] < before[1] - 0.05 and (after[3:] == 0).all()


def test_newest_games_are_found_after_the_ring_wraps():
    replay = GameReplay({"action": ((), np.int64)}, 11)
    for number, length in enumerate((3, 2, 4, 1, 3, 2)):
        replay.add({"action": 10 * number + np.arange(length)}, 0)
        games = [replay.columns["action"][rows].tolist() for rows in replay.last_games(2)]
        assert games[-1] == (10 * number + np.arange(length)).tolist() and len(games) == min(2, number + 1)
        if number:
            assert games[0][0] == 10 * (number - 1)
    assert (replay.total_positions, replay.positions) == (6, 6), "games are counted, not moves"


def actor_of(config=CONFIG, seed=0):
    actor = reinforce.make_actor(config, TICTACTOE.make(config.num_envs, seed), seed)
    actor.load_weights(reinforce.make_learner(config, SPEC, None, seed).weights(), 0)
    return actor


def test_iterations_have_whole_games_and_the_learners_moves():
    actor = actor_of()
    for first in (0, 1):
        played = actor.step()
        assert len(played.episodes) == len(played.sequences) == 32
        assert played.steps == sum(episode.length for episode in played.episodes)
        for episode, rows in zip(played.episodes, played.sequences, strict=True):
            seat = int(rows["seat"][0])
            assert (rows["outcome"] == episode.returns[seat]).all()
            assert rows["action"].tolist() == episode.actions[seat::2]
            own = [move for move in play_through(TICTACTOE, episode.seed, episode.actions)
                   if move.seat == seat]
            assert np.array_equal([move.observation for move in own], rows["observation"])
        assert np.mean([rows["seat"][0] for rows in played.sequences]) == 0.5, first


def test_pool_starts_with_the_first_policy_and_grows():
    actor = actor_of()
    first = actor.pool[0]
    learner = reinforce.make_learner(CONFIG, SPEC, None, 7)
    for version in range(1, 13):
        actor.load_weights(learner.weights(), version)
    assert len(actor.pool) == 3 and same_weights(actor.pool[0], first)
    assert same_weights(actor.pool[1], learner.weights())
    drawn = []
    actor.opponent.load_state_dict = lambda weights: drawn.append(next(k for k, w in enumerate(actor.pool)
                                                                       if w is weights))
    for _ in range(60):
        actor.step()
    assert set(drawn) == {0, 1, 2} and np.bincount(drawn).min() > 8, "drawn evenly"


def test_restored_actor_continues_exactly():
    one, other = actor_of(), actor_of(seed=3)
    one.step()
    other.load_state_dict(one.state_dict())
    for _ in range(2):
        a, b = one.step(), other.step()
        assert [e.actions for e in a.episodes] == [e.actions for e in b.episodes]


def reinforced(folder, **train_settings):
    config = dataclasses.replace(CONFIG, num_envs=64, batch_size=64, learning_starts=64)
    run = create_run(RunConfig("tictactoe", "reinforce", config, TrainConfig(
        **{"updates": 100, "evaluate_every": 0, "deterministic": True} | train_settings)), folder)
    train(run, quiet=True)
    return folder


def wins_against_chance(folder):
    """How often the policy, which draws its moves, wins in 400 games; chance itself wins 43 %."""
    agent, environment, _ = load_agent(folder)
    player = AgentPlayer(environment.rules, agent, "reinforced")
    player.draw_moves(1.0)
    result = play_match(environment.rules, player, RandomPlayer(environment.rules, 1), 400)
    return result.overall.win_rate


@pytest.mark.slow
def test_learns_to_beat_random_play_unless_the_sign_is_wrong(tmp_path, monkeypatch):
    good = wins_against_chance(reinforced(tmp_path / "good"))
    right = reinforce.leave_one_out
    monkeypatch.setattr(reinforce, "leave_one_out", lambda outcomes, seats: -right(outcomes, seats))
    bad = wins_against_chance(reinforced(tmp_path / "bad"))
    assert good > 0.65 > 0.4 > bad, (good, bad)


def test_resumed_run_is_exact_and_start_loads_the_given_policy(tmp_path):
    whole = reinforced(tmp_path / "whole", updates=6)
    parts = reinforced(tmp_path / "parts", updates=3)
    train(open_run(parts, updates=6), quiet=True)
    assert same_weights(last_weights(whole), last_weights(parts))
    config = reinforce.resolve(reinforce.Config(start=str(whole)), SPEC, False)
    assert (config.channels, config.blocks, config.hidden, config.batch_size) == (16, 1, (32,), 64)
    assert same_weights(reinforce.make_learner(config, SPEC, None, 5).weights(), last_weights(whole))


def test_unsupported_games_and_settings_are_refused(tmp_path):
    assert load_algorithm("reinforce") is reinforce
    with pytest.raises(UserError, match="needs a two-player game"):
        reinforce.resolve(reinforce.Config(), load_environment("snake").spec, False)
    with pytest.raises(UserError, match="must be even"):
        reinforce.Config(num_envs=5)
    other = create_run(RunConfig("connect_four", "cloning", cloning.Config(), TrainConfig(updates=1)), tmp_path / "c4")
    train_config = reinforce.Config(start=str(other.folder))
    with pytest.raises(UserError, match="checkpoint"):
        reinforce.resolve(train_config, SPEC, False)
