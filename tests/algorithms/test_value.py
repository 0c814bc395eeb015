"""The value network: what it learns from, its error by hand, and that it finds values that are known."""

import numpy as np
import pytest
import torch
from test_recordings import write

from myosu import load, train
from myosu.algorithms import load_algorithm, value
from myosu.envs.playback import Move
from myosu.envs.registry import load_environment
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.evaluation.prediction import predict
from myosu.evaluation.recorded_play import play_block
from myosu.players.player import RandomPlayer
from myosu.runs.checkpoint import Checkpoints, find_checkpoint

SPEC = EnvSpec((3,), np.float32, 2, 2, (-1.0, 1.0), 100)
CONFIG = value.Config(hidden=(16,), batch_size=64, learning_rate=0.01, positions_per_game=0, held_out=0.0)


def game_of(length, winner, chosen=None, mark=0.0):
    """Moves of both seats in turn; the last one decides."""
    reward = np.array([winner, -winner], np.float64)
    return [Move(np.array([mark, ply, ply % 2], np.float32), np.ones(2, bool), np.array(ply), ply % 2,
                 reward if ply == length - 1 else np.zeros(2), ply == length - 1, False,
                 chosen is None or ply in chosen) for ply in range(length)]


def test_outcomes_are_from_the_movers_view():
    [rows] = value.make_rows(CONFIG, SPEC, game_of(5, 1))
    assert rows["outcome"].tolist() == [1, -1, 1, -1, 1]
    [rows] = value.make_rows(CONFIG, SPEC, game_of(4, -1, chosen={1, 2}))
    assert rows["outcome"].tolist() == [1, -1] and rows["observation"][:, 1].tolist() == [1, 2]
    # Rewards on the way: who has had them does not get them again.
    moves = game_of(3, 1)
    moves[0] = moves[0]._replace(rewards=np.array([0.5, -0.5]))
    assert value.make_rows(CONFIG, SPEC, moves)[0]["outcome"].tolist() == [1.5, -1, 1]
    assert value.make_rows(CONFIG, SPEC, game_of(5, 1)[:4]) == [], "an unfinished game has no outcome"
    assert value.make_rows(CONFIG, SPEC, []) == value.make_rows(CONFIG, SPEC, game_of(3, 1, chosen=set())) == []


def test_sampled_position_of_a_game_is_deterministic():
    config = value.Config(positions_per_game=1)
    games = [game_of(length, 1) for length in range(10, 60)]
    drawn = [value.make_rows(config, SPEC, game)[0]["observation"][:, 1] for game in games]
    assert all(len(plies) == 1 for plies in drawn)
    assert drawn == [value.make_rows(config, SPEC, game)[0]["observation"][:, 1] for game in games]
    assert [value.kept_plies(config, game).tolist() for game in games] == [plies.tolist() for plies in drawn]
    shares = [plies[0] / len(game) for plies, game in zip(drawn, games, strict=True)]
    assert 0.35 < np.mean(shares) < 0.65 and len(set(shares)) > 20, "positions must come from the whole game"


def test_loss_is_half_the_squared_error():
    learner = value.make_learner(CONFIG, SPEC, None, 0)
    with torch.no_grad():
        learner.value.head.weight.zero_()
        learner.value.head.bias.fill_(np.arctanh(0.5))
    batch = {"observation": np.zeros((3, 3), np.float32), "outcome": np.array([1, -1, 0.5], np.float32)}
    np.testing.assert_allclose(learner._measure(batch)["loss"].detach(), [0.125, 1.125, 0.0], atol=1e-6)


def trained(outcome_of, updates=300):
    """What is learnt of 200 games whose first number decides who wins."""
    replay = value.make_replay(CONFIG, SPEC)
    for seed, mark in enumerate(np.random.default_rng(0).uniform(-1, 1, 200)):
        for rows in value.make_rows(CONFIG, SPEC, game_of(2 + seed % 5, outcome_of(mark), mark=mark)):
            replay.add(rows, 0)
    learner = value.make_learner(CONFIG, SPEC, None, 0)
    for k in range(updates):
        told = learner.update(replay, k / updates)
    assert "held_out_loss" not in told
    observation = np.array([[mark, ply, 0] for mark in (-0.8, 0.8) for ply in (0, 0)], np.float32)
    return value.make_agent(CONFIG, SPEC, learner.weights()).analyze(observation, np.ones((4, 2), bool))


def test_known_values_are_learnt():
    analysis = trained(np.sign)
    assert analysis.value[0] < -0.5 and analysis.value[2] > 0.5
    assert np.allclose(analysis.policy, 0.5)
    flipped = trained(lambda mark: -np.sign(mark))
    assert flipped.value[0] > 0.5 and flipped.value[2] < -0.5


def test_held_out_games_are_tested_but_not_learnt():
    replay = value.make_replay(CONFIG, SPEC)
    [rows] = value.make_rows(CONFIG, SPEC, game_of(30, 1))
    replay.add(rows | {"held_out": np.ones(30, bool)}, 0)
    learner = value.make_learner(CONFIG, SPEC, None, 0)
    before = learner.weights()
    told = learner.update(replay, 0.0)
    assert list(told) == ["held_out_loss"] and all(before[name].equal(w) for name, w in learner.weights().items())


def test_the_checkpoint_with_the_least_held_out_loss_is_used(tmp_path):
    """One position of each of a few games of chance: after 150 updates the network knows them by heart."""
    environment = load_environment("tictactoe")
    players = RandomPlayer(environment.rules, 0), RandomPlayer(environment.rules, 1)
    records = play_block(environment.rules, players, range(60), range(60))
    folder = write(tmp_path / "r", *records)
    settings = {"recordings": (str(folder),), "positions_per_game": 1, "held_out": 0.4, "symmetries": False,
                "learning_starts": 10**6, "replay_ratio": 1e5, "batch_size": 64, "learning_rate": 0.01}
    train("tictactoe", "value", updates=3, run=tmp_path / "run", quiet=True, **settings)
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    early, loss = checkpoints.best(), checkpoints.least_held_out_loss()
    train(resume=tmp_path / "run", updates=150, quiet=True)
    assert checkpoints.latest() != early == checkpoints.best() and checkpoints.least_held_out_loss() == loss
    assert find_checkpoint(tmp_path / "run").path == early, "a value network's run means its best checkpoint"
    assert find_checkpoint(tmp_path / "run" / "checkpoints" / "latest").path == checkpoints.latest()


def test_held_out_loss_by_hand():
    learner, replay = value.make_learner(CONFIG, SPEC, None, 0), value.make_replay(CONFIG, SPEC)
    with torch.no_grad():
        learner.value.head.weight.zero_()
        learner.value.head.bias.fill_(np.arctanh(0.5))
    assert learner.held_out_loss(replay) is None
    for length, held_out in ((3, True), (4, False)):
        [rows] = value.make_rows(CONFIG, SPEC, game_of(length, 1))
        replay.add(rows | {"held_out": np.full(length, held_out)}, 0)
    # Outcomes 1, −1, 1 and the value ½ everywhere.
    assert learner.held_out_loss(replay) == pytest.approx((0.125 + 1.125 + 0.125) / 3)


def test_learns_who_wins_at_tictactoe(tmp_path, capsys):
    """On games of chance that were not learnt from; with its sign turned it is worse than knowing nothing."""
    environment = load_environment("tictactoe")
    players = RandomPlayer(environment.rules, 0), RandomPlayer(environment.rules, 1)
    records = play_block(environment.rules, players, range(1500), range(1500))
    folder = write(tmp_path / "r", *records[:1200])
    run = train("tictactoe", "value", recordings=(str(folder),), positions_per_game=0, channels=16, blocks=1,
                updates=300, learning_starts=10**6, replay_ratio=1000.0, batch_size=128, run=tmp_path / "run").folder
    out = capsys.readouterr().out
    assert "myosu evaluate" in out and "myosu play" not in out, "a value network cannot play"
    agent, unseen = load(run).agent, records[1200:]
    learnt = predict(agent, environment, unseen).value_error
    agent.value.head.weight.data *= -1
    agent.value.head.bias.data *= -1
    turned = predict(agent, environment, unseen).value_error
    agent.value.head.weight.data *= 0
    agent.value.head.bias.data *= 0
    nothing = predict(agent, environment, unseen).value_error
    assert learnt < 0.92 * nothing < nothing < turned, (learnt, nothing, turned)


def test_unbounded_outcomes_and_invalid_settings_are_refused():
    assert load_algorithm("value") is value and not value.PLAYS
    with pytest.raises(UserError, match="range of outcomes"):
        value.resolve(value.Config(), EnvSpec((3,), np.float32, 2, 1, (-np.inf, np.inf), 100), False)
    with pytest.raises(UserError, match="positions_per_game = -1"):
        value.Config(positions_per_game=-1)
