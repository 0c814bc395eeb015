"""Muesli: values that are known exactly, what is stored and learnt from, resuming, and that it learns."""

import dataclasses
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import myosu.envs.probes  # noqa: F401
from gym_toys import Endless, Forbidden
from in_turn import InTurn, InTwoGroups, returns
from myosu import kernels
from myosu.algorithms import load_algorithm, muesli
from myosu.algorithms.muesli import absorbing_values, unrolled_steps
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.native import NativeVectorEnv
from myosu.envs.vector import EnvSpec
from myosu.errors import NonFiniteLoss, UserError
from myosu.games import load_game
from probe_values import PROBES

pytestmark = pytest.mark.slow

TINY = muesli.Config(channels=32, atoms=21, value_range=(-2.0, 2.0), discount=0.5, num_envs=16, sequence_length=6,
                     batch_size=96, learning_starts=192, replay_capacity=2000, replay_ratio=16.0, unroll_steps=2,
                     learning_rate=1e-2, tau=0.2, device="cpu")


def values(loop, observations):
    learner = loop.learner
    with torch.no_grad():
        _, logits, _ = learner.target.initial(torch.tensor(observations, dtype=torch.float32)[:, None])
        return learner.support.mean(logits).numpy()


def learnt(env, steps=2000, **settings):
    config = dataclasses.replace(TINY, **settings)
    return InTurn(muesli, config, GymVectorEnv(env, config.num_envs, 0), 0).run(steps)


def legal(loop, count):
    return np.ones((count, loop.env.spec.num_actions), np.bool_)


@pytest.mark.parametrize("probe", PROBES)
def test_probes_reach_their_exact_values(probe):
    observations, expected, actions = PROBES[probe]
    loop = learnt(f"myosu/Probe{probe}-v0")
    found = values(loop, observations)
    assert np.abs(found - expected).max() < 0.05, found
    observation = np.array(observations, np.float32)[:, None]
    assert loop.agent().act(observation, legal(loop, len(observation)))[0].tolist() == actions


@pytest.mark.parametrize("settings", [
    {"lookahead_actions": 1}, {"retrace": False}, {"sequence_starts": 3},
    {"cmpo_loss_weight": 0.0, "model_loss_weight": 0.0}])
def test_hardest_probe_is_learnt_without_each_part(settings):
    observations, expected, actions = PROBES["Both"]
    loop = learnt("myosu/ProbeBoth-v0", **settings)
    assert np.abs(values(loop, observations) - expected).max() < 0.1, values(loop, observations)
    observation = np.array(observations, np.float32)[:, None]
    assert loop.agent().act(observation, legal(loop, 2))[0].tolist() == actions


def test_learns_with_the_plain_kernels(monkeypatch):
    monkeypatch.setattr(kernels, "PLAIN", True)
    monkeypatch.setattr(muesli.Learner, "_gradients", None)  # nobody may ask for them
    observations, expected, _ = PROBES["Both"]
    loop = learnt("myosu/ProbeBoth-v0")
    assert np.abs(values(loop, observations) - expected).max() < 0.1, values(loop, observations)


def test_truncated_episodes_are_bootstrapped():
    loop = learnt(Endless, value_range=(-4.0, 4.0), tau=0.2)
    assert abs(values(loop, [1]).item() - 2.0) < 0.1, values(loop, [1])


def test_illegal_actions_are_not_taken_or_bootstrapped_from():
    """Action 0 pays ½, and the other, which would pay 1, is legal at the beginning only."""
    loop = learnt(partial(Forbidden, (0.5, 1.0)))
    assert np.abs(values(loop, [0, 1]) - [1.25, 0.5]).max() < 0.1, values(loop, [0, 1])
    masks = np.array([[True, True], [True, False], [False, True]])
    assert loop.agent().act(np.array([[0], [1], [1]], np.float32), masks)[0].tolist() == [1, 0, 1]


def test_steps_of_an_unroll_by_hand():
    """Two sequences of five rows, K = 2: an episode that terminates with the second row and one that is cut after the
    first, whose final observation is the row after it."""
    acted = np.array([[1, 1, 1, 1, 0], [1, 0, 1, 1, 0]], np.bool_)
    terminated = np.array([[0, 1, 0, 0, 0], [0, 0, 0, 0, 0]], np.bool_)
    rows = np.arange(4) + np.arange(3)[:, None, None]
    ahead = (np.minimum(rows, 4) + np.array([[0], [5]])).reshape(3, 8)
    learns, over = (found.reshape(3, 2, 4).transpose(1, 2, 0).astype(int).tolist()
                    for found in unrolled_steps(acted, terminated, ahead))
    assert learns == [[[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]], [[1, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0]]]
    assert over == [[[0, 0, 1], [0, 1, 1], [0, 0, 0], [0, 0, 0]], [[0, 0, 0]] * 4]


def test_unroll_starts_are_redrawn_from_every_sequence():
    """Of sequences of 6 rows 2 of the first 5, without repeats, and the two rows after each, as far as they go."""
    config = dataclasses.replace(TINY, sequence_starts=2, batch_size=20, replay_ratio=1e-6)
    learner = InTurn(muesli, config, GymVectorEnv(Endless, 16, 0), 0).run(400).learner
    drawn = np.stack([learner._ahead(10) for _ in range(100)])
    assert drawn.shape == (100, 3, 20)
    drawn = drawn.reshape(100, 3, 10, 2)
    first = drawn[:, 0] - 6 * np.arange(10)[:, None]
    assert (first[..., 0] != first[..., 1]).all() and np.bincount(first.ravel()).min() > 300 and first.max() == 4
    for k in (1, 2):
        assert np.array_equal(drawn[:, k] - drawn[:, 0], np.minimum(k, 5 - first))


@pytest.mark.parametrize("lookahead", [2, 9])
def test_plain_returns_need_values_only_at_unroll_starts(lookahead):
    """What is seen of the positions between makes no difference to them: the same returns as with all values."""
    game = load_game("tictactoe")
    config = dataclasses.replace(TINY, channels=8, value_range=None, retrace=False, replay_ratio=1e-6,
                                 lookahead_actions=lookahead)
    loop = InTurn(muesli, config, NativeVectorEnv(game, 16, 0), 0).run(400)
    for parameter in loop.learner.target.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    batch = loop.learner._draw(loop.replay)
    ahead = batch["ahead"].reshape(3, len(batch["acted"]), -1)
    few = batch | {"ahead": ahead[:, :, 1:3].reshape(3, -1)}
    every, part = loop.learner._targets(batch), loop.learner._targets(few)
    assert np.allclose(every.returns, part.returns, atol=1e-5) and every.returns.std() > 0.1
    assert part.advantage.shape == (len(batch["acted"]) * 2,)


def test_first_advantages_are_centred_and_scaled():
    """What the first batch is divided by is its own root mean square, before the mean is taken off."""
    loop = InTurn(muesli, dataclasses.replace(TINY, replay_ratio=1e-6), GymVectorEnv(Endless, 16, 0), 0).run(400)
    batch = loop.learner._draw(loop.replay)
    targets, acted = loop.learner._targets(batch), batch["acted"][:, :-1]
    advantage = targets.advantage.reshape(acted.shape)[acted]
    # At first every value is 0, and so is what advantages are taken from.
    returns = targets.returns[:, :-1][acted]
    expected = (returns - returns.mean()) / np.sqrt(np.square(returns).mean())
    assert not acted.all() and returns.std() > 0.01
    assert np.allclose(advantage, expected, atol=1e-4)


@pytest.mark.parametrize(("anneal", "progress", "share"), [(False, 0.75, 1.0), (True, 0.0, 1.0), (True, 0.75, 0.25)])
def test_entropy_weight_is_annealed_when_configured(anneal, progress, share):
    """A policy begins uniform: its entropy is log A, and the first update tells of it."""
    config = dataclasses.replace(TINY, entropy_weight=0.5, anneal_entropy_weight=anneal, replay_ratio=1e-6)
    loop = InTurn(muesli, config, GymVectorEnv(Endless, 16, 0), 0).run(400)
    metrics = loop.learner.update(loop.replay, progress)
    assert metrics["entropy_loss"] == pytest.approx(-0.5 * share * np.log(loop.env.spec.num_actions), rel=1e-4)


@pytest.mark.parametrize("settings", [
    {}, {"predict_rewards": False, "reconstruction_loss_weight": 2.0, "model_loss_weight": 0.5, "entropy_weight": 0.5}])
def test_closed_form_gradients_equal_autograd(settings):
    env = NativeVectorEnv(load_game("tictactoe"), 16, 0)
    config = dataclasses.replace(TINY, channels=8, value_range=None, replay_ratio=1e-6, cmpo_loss_weight=3.0,
                                 value_loss_weight=0.25, **settings)
    loop = InTurn(muesli, config, env, 0).run(400)
    learner = loop.learner
    for parameter in learner.net.parameters():  # from 0, as the heads begin, much would be right by chance
        parameter.data += 0.1 * torch.randn_like(parameter)
    batch = learner._draw(loop.replay)
    targets, outputs = learner._targets(batch), learner._unroll(batch)
    loss_targets = learner._loss_targets(batch, targets, outputs.policy_logits, config.entropy_weight)
    there = {name: output for name, output in outputs._asdict().items() if output is not None}
    gradients = torch.autograd.grad(learner._losses(outputs, batch, loss_targets)["loss"], list(there.values()))
    closed_form = learner._gradients(outputs, batch, loss_targets)
    for name, gradient, expected in zip(there, closed_form, gradients, strict=True):
        assert torch.allclose(gradient, expected, atol=1e-7) and expected.abs().max() > 1e-4, name


def test_absorbing_states_keep_the_outcome_as_value():
    """r = 1 with the action of step 1 and d = −½: 1 = −½·(−2), −2 = −½·4. The other has no end in sight."""
    reward = np.array([[0, 5], [1, 0], [0, 0], [0, 0]], np.float32)
    over = np.array([[0, 0], [0, 0], [1, 0], [1, 0]], np.bool_)
    assert absorbing_values(reward, over, -0.5).tolist() == [[0, 0], [0, 0], [-2, 0], [4, 0]]


def test_symmetries_augment_whole_sequences():
    """Tic-tac-toe turned is tic-tac-toe: what was played stands on the board afterwards, and is not legal any more."""
    game = load_game("tictactoe")
    env = NativeVectorEnv(game, 16, 0)
    loop = InTurn(muesli, dataclasses.replace(TINY, value_range=None, replay_ratio=1e-6), env, 0).run(400)
    learner = muesli.make_learner(loop.config, env.spec, game.symmetries, 0)
    batch = learner._draw(loop.replay)
    board = batch["observation"].reshape(*batch["action"].shape, 2, 9)
    assert np.array_equal(board.sum(2) == 0, batch["legal_actions"])
    goes_on = batch["acted"][:, :-1] & ~batch["terminated"][:, :-1]
    # The mover's new piece is the opponent's in the eyes of the next player.
    theirs = np.take_along_axis(board[:, 1:, 1], batch["action"][:, :-1, None], axis=2)[..., 0]
    assert (theirs[goes_on] == 1).all()
    plain = muesli.make_learner(loop.config, env.spec, None, 0)._draw(loop.replay)
    assert not np.array_equal(plain["action"], batch["action"]), "the same sequences, but turned"


@pytest.mark.parametrize("settings", [{}, {"predict_rewards": False, "reconstruction_loss_weight": 1.0}])
def test_trains_with_more_actions_than_lookahead_actions(settings):
    env = NativeVectorEnv(load_game("othello"), 8, 0)
    config = dataclasses.replace(TINY, channels=8, value_range=None, lookahead_actions=4, num_envs=8,
                                 learning_starts=96, replay_ratio=1.0, unroll_steps=1, **settings)
    loop = InTurn(muesli, config, env, 0).run(700)
    assert loop.updates >= 5 and loop.episodes and all(np.isfinite(list(loop.metrics[0].values())))
    assert ("reconstruction_loss" in loop.metrics[0]) == bool(settings) != ("reward_loss" in loop.metrics[0])


def nim(tmp_path):
    """The game of docs/new-game.md with ten stones; a multiple of four is lost, from elsewhere take stones mod 4."""
    code = re.search(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "new-game.md").read_text(),
                     re.DOTALL).group(1)
    (tmp_path / "nim.py").write_text(code.replace("STONES = 21", "STONES = 10"))
    return load_game(str(tmp_path / "nim.py"))


NIM = muesli.Config(channels=64, atoms=11, discount=1.0, num_envs=32, sequence_length=8, batch_size=128,
                    learning_starts=1000, replay_capacity=8000, replay_ratio=8.0, unroll_steps=3, learning_rate=5e-3,
                    tau=0.05, device="cpu")


def play_nim(tmp_path, steps=10_000, **settings):
    """Share of the winning moves that the policy finds, and the worst error of its values."""
    game = nim(tmp_path)
    loop = InTurn(muesli, dataclasses.replace(NIM, **settings), NativeVectorEnv(game, 32, 2), 2).run(steps)
    stones = np.arange(1, 11)
    states = game.new_states(len(stones))
    states["stones"] = stones
    observation = np.zeros((len(stones), *game.observation_shape), game.observation_dtype)
    mask = np.zeros((len(stones), game.num_actions), np.bool_)
    game.batch.observe(states, observation)
    game.batch.legal_actions(states, mask)
    won = stones % 4 != 0
    found = loop.agent().act(observation, mask)[0][won] == stones[won] % 4 - 1
    with torch.no_grad():
        value = loop.learner.support.mean(loop.learner.target.initial(torch.from_numpy(observation))[1]).numpy()
    return found.mean(), float(np.abs(value - np.where(won, 1.0, -1.0)).max()), loop


def test_it_learns_nim(tmp_path):
    found, error, loop = play_nim(tmp_path)
    assert found == 1.0 and error < 0.5, (found, error)
    for episode in loop.episodes:
        winner = (episode.length - 1) % 2
        assert episode.returns[winner] == 1 and sum(episode.returns) == 0


def test_a_broken_sign_does_not_learn(tmp_path, monkeypatch):
    monkeypatch.setattr(EnvSpec, "signed_discount", lambda self, discount: discount)
    found, error, _ = play_nim(tmp_path)
    assert found < 1.0 and error > 0.5, (found, error)


def test_it_learns_cartpole():
    """Far more than chance (22); with a wrong sign, or values that go on after the end, it is about 10."""
    config = muesli.Config(value_range=(0.0, 110.0), channels=32, device="cpu")
    loop = InTurn(muesli, config, GymVectorEnv("CartPole-v1", 16, 0), 0).run(8000)
    assert returns(loop.agent(), GymVectorEnv("CartPole-v1", 16, 1000), 16).mean() > 80


@pytest.mark.parametrize("game", ["snake", "tictactoe"])
def test_resumed_run_continues_exactly(game):
    """A board for one with groups that answer apart, and for two; both with sampled look-ahead."""
    def loop(seed):
        env = NativeVectorEnv(load_game(game), 8, seed)
        config = dataclasses.replace(TINY, channels=8, num_envs=8, value_range=None, replay_ratio=2.0,
                                     lookahead_actions=2)
        return InTurn(muesli, config, InTwoGroups(env) if game == "snake" else env, seed)

    first = loop(3)
    first.run(300, until=700)
    state, episodes = first.state_dict(), len(first.episodes)
    second = loop(3)
    second.load_state_dict(state)
    first.run(400, until=700)
    second.run(400, until=700)
    assert first.updates == second.updates > 8
    for name, value in first.learner.state_dict()["net"].items():
        assert torch.equal(value, second.learner.state_dict()["net"][name]), name
    for name, value in first.learner.weights().items():
        assert torch.equal(value, second.learner.weights()[name]), name
    ours, theirs = first.episodes[episodes:], second.episodes
    assert [e.actions for e in ours] == [e.actions for e in theirs]
    assert [(e.returns, e.seed, e.stats) for e in ours] == [(e.returns, e.seed, e.stats) for e in theirs]


def test_stored_rows_match_the_environments_and_the_policy():
    """By CartPole's physics, whether all answer together or some before others; and by asking the policy again."""
    together = InTurn(muesli, TINY, GymVectorEnv("CartPole-v1", 16, 0), 0)
    apart = InTurn(muesli, TINY, InTwoGroups(GymVectorEnv("CartPole-v1", 16, 0)), 0)
    for loop in (together, apart):
        loop.run(160)  # before the first update
        rows = {name: column[:loop.replay.positions].reshape(-1, 6, *column.shape[1:])
                for name, column in loop.replay.columns.items()}
        assert len(rows["action"]) >= 16 and rows["acted"][:, :5].all() and not rows["acted"][:, 5].any()
        before, after = rows["observation"][:, :-1], rows["observation"][:, 1:]
        goes_on = ~rows["terminated"][:, :-1]
        assert np.allclose(after[..., 0][goes_on], (before[..., 0] + 0.02 * before[..., 1])[goes_on], atol=1e-5)
        right = rows["action"][:, :-1] == 1
        assert ((after[..., 1] > before[..., 1]) == right)[goes_on].all()
        log_probs = loop.actor.player.evaluate(rows["observation"].reshape(-1, 4), np.ones((1, 2), np.bool_))[0]
        chosen = log_probs[np.arange(len(log_probs)), rows["action"].ravel()].reshape(rows["action"].shape)
        assert np.allclose(chosen[:, :5], rows["log_prob"][:, :5], atol=1e-5)


def test_fresh_fraction_draws_the_newest_sequences():
    config = dataclasses.replace(TINY, fresh_fraction=1.0, replay_capacity=1000, replay_ratio=1e-6)
    loop = InTurn(muesli, config, GymVectorEnv("CartPole-v1", 16, 0), 0).run(1500)  # the ring has been round
    replay = loop.replay
    replay.columns["reward"][:] = 0
    newest = (replay.cursor - 1 - np.arange(16 * 6)) % replay.capacity
    replay.columns["reward"][newest] = 1
    assert (loop.learner._draw(replay)["reward"] == 1).all()
    mixed = dataclasses.replace(config, fresh_fraction=0.25)
    drawn = muesli.make_learner(mixed, loop.env.spec, None, 0)._draw(replay)["reward"]
    assert (drawn[:4] == 1).all() and not (drawn[4:] == 1).all()


def test_non_finite_loss_leaves_weights_unchanged():
    loop = learnt("myosu/ProbeBoth-v0", steps=300)
    before = loop.learner.weights()
    loop.replay.columns["reward"][:] = np.nan
    with pytest.raises(NonFiniteLoss) as caught:
        loop.learner.update(loop.replay, 0.5)
    assert np.isnan(caught.value.batch["reward"]).any()
    for name, value in loop.learner.weights().items():
        assert torch.equal(value, before[name])


def test_unsupported_environments_and_settings_are_refused():
    assert load_algorithm("muesli") is muesli
    with pytest.raises(UserError, match="--algorithm ppo"):
        muesli.resolve(TINY, GymVectorEnv("Pendulum-v1", 1).spec, False)
    for field in ({"batch_size": 0}, {"discount": 1.5}, {"learning_starts": 10**6}, {"batch_size": 100},
                  {"value_range": (1.0, 0.0)}, {"sequence_length": 1}, {"sequence_starts": 32},
                  {"sequence_starts": 5}):
        with pytest.raises(UserError, match=next(iter(field))):
            dataclasses.replace(TINY, **field)


def test_look_ahead_by_hand():
    """π is ¾ and ¼, q 4 and 8: v = 5."""
    log_prior, q = np.log(np.float32([[0.75, 0.25]])), np.float32([[4, 8]])
    value, q_taken, better = muesli.action_advantages(log_prior, q, np.array([1]))
    assert np.allclose(value, [5]) and np.allclose(q_taken, [8]) and np.allclose(better, [[-1, 3]])
