"""DQN: values that are known exactly, what acts and what is stored, resuming, and that it learns."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

import myosu.envs.probes  # noqa: F401
from gym_toys import Endless, Everything, Forbidden, TwoChoices
from in_turn import InTurn, InTwoGroups, returns
from myosu.algorithms import dqn, load_algorithm
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.native import NativeVectorEnv, game_spec
from myosu.errors import NonFiniteLoss, UserError
from myosu.games import load_game
from probe_values import Q_VALUES

TINY = dqn.Config(hidden=(32,), discount=0.5, advantage_learning=0.0, num_envs=4, replay_capacity=2000,
                  learning_starts=64, batch_size=32, replay_ratio=16.0, learning_rate=1e-2, anneal_learning_rate=True,
                  target_every=10, tau=1.0, n_step=1, exploration_fraction=0.5, epsilon_final=0.2)


def values(loop, observations, shape=(-1, 1)):
    with torch.no_grad():
        return loop.learner.net({"": torch.tensor(observations, dtype=torch.float32).reshape(shape)}).numpy()


def learnt(env, steps=700, **settings):
    config = dataclasses.replace(TINY, **settings)
    return InTurn(dqn, config, GymVectorEnv(env, config.num_envs, 0), 0).run(steps)


@pytest.mark.parametrize("settings", [
    {}, {"n_step": 3, "prioritized": True},
    {"dueling": False, "double": False, "target_every": 1, "tau": 0.1}])
def test_probes_reach_their_exact_values(settings):
    for name, observations, expected in Q_VALUES:
        loop = learnt(f"myosu/Probe{name}-v0", **settings)
        assert np.abs(values(loop, observations) - expected).max() < 0.05, (name, values(loop, observations))


@pytest.mark.parametrize("name, observations, expected", [
    ("Action", [1], [[-3, 1]]), ("Both", [1, -1], [[-3, 1], [1, -3]]), ("Discount", [0, 1], [[0.5], [1]])])
def test_advantage_learning_widens_the_gap(name, observations, expected):
    """What is not the best is worth Q = r − α (1 − Q), with α = ½ and r = −1 that is −3; the gap doubles."""
    loop = learnt(f"myosu/Probe{name}-v0", steps=1200, advantage_learning=0.5)
    assert np.abs(values(loop, observations) - expected).max() < 0.1, values(loop, observations)


@pytest.mark.parametrize("n_step", [1, 2, 5])
def test_truncated_episodes_are_bootstrapped(n_step):
    loop = learnt(Endless, n_step=n_step)
    assert abs(values(loop, [1]).item() - 2.0) < 0.05


@pytest.mark.parametrize("double", [True, False])
def test_illegal_actions_are_not_taken_or_bootstrapped_from(double):
    """Nothing is learnt of the illegal action at 1, but it looks as good as at 0, where it pays 4: that of 0 must not
    bootstrap from it."""
    loop = learnt(Forbidden, double=double)
    assert np.abs(values(loop, [0]) - [[1.5, 4.5]]).max() < 0.05 and abs(values(loop, [1])[0, 0] - 1) < 0.05
    assert values(loop, [1])[0, 1] > 1.5, "the illegal action must look better than the legal one"
    acts, _ = loop.agent().act(np.ones((1, 1), np.float32), np.array([[False, True]]))
    assert acts.tolist() == [1], "the only legal action, whatever it is worth"


def test_branches_are_learnt_independently():
    loop = learnt(TwoChoices)
    assert loop.agent().act(np.ones((3, 1), np.float32), np.ones((3, 5), np.bool_))[0].tolist() == [[1, 2]] * 3
    assert np.shape(loop.episodes[0].actions) == (1, 2)


def test_dict_observations_and_branch_masks_are_supported():
    loop = learnt(Everything, steps=200)  # the environment asserts that actions are legal
    step = loop.actor.current
    assert loop.agent().act(step.observation, step.legal_actions)[0].shape == (4, 2)
    assert loop.replay.columns["observation"]["camera"].dtype == np.uint8


def test_snake_and_woodoku_train_and_store_each_step_once():
    for name in ("snake", "woodoku"):
        config = dataclasses.replace(TINY, num_envs=32, hidden=(64,), channels=8, n_step=2, replay_ratio=1.0)
        loop = InTurn(dqn, config, NativeVectorEnv(load_game(name), 32, 0), 0).run(640)
        replay, columns, size = loop.replay, loop.replay.columns, loop.replay.filled
        assert columns["observation"].dtype == loop.env.spec.observation_dtype
        assert sum(array.nbytes for array in columns.values()) < 1.2 * columns["observation"].nbytes + 2000 * (243 + 40)
        assert columns["legal_actions"][:size].any(axis=1).all()
        assert np.count_nonzero(columns["remaining"][:size] == 1) == replay.games == len(loop.episodes) > 0
        assert sum(e.length for e in loop.episodes) + loop.actor.recorder.lengths.sum() == 640
        assert size == 640 + len(loop.episodes), "each step, and the end of each episode"
        assert replay.positions == replay.windows(np.arange(size)).complete.sum()
        assert 0 < 640 - replay.positions <= 2 * 32, "only windows that are not complete yet may be missing"


def test_symmetries_augment_whole_transitions():
    """In Woodoku what is legal is to be seen, in Snake where the head went."""
    for name in ("woodoku", "snake"):
        game = load_game(name)
        config = dataclasses.replace(TINY, num_envs=16, batch_size=256)
        loop = InTurn(dqn, config, NativeVectorEnv(game, 16, 0), 0)
        while loop.replay.positions < 400:
            for rows in loop.actor.step().sequences:
                loop.replay.add(rows, 0)
        learner = dqn.make_learner(config, loop.env.spec, game.symmetries, 0)
        windows = loop.replay.sample_windows(256, np.random.default_rng(0))
        batch = learner.sampler.transitions(loop.replay, windows)
        turned = learner._augmented(batch)
        assert not np.array_equal(turned["observation"], batch["observation"])
        before, after, action = turned["observation"], turned["next_observation"], turned["action"][:, 0]
        going_on = turned["discount"][:, 0] > 0
        if name == "woodoku":
            assert before[:, 4:7].reshape(256, 243)[np.arange(256), action].all()
            fits = after[going_on, 4:7].reshape(-1, 243)
            assert np.array_equal(fits, turned["next_legal_actions"][going_on])
        else:
            heads = [np.argwhere(planes[going_on, 0])[:, 1:] for planes in (before, after)]
            steps = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
            assert np.array_equal(heads[1] - heads[0], steps[action[going_on]])
            assert not turned["next_legal_actions"][going_on, action[going_on] ^ 2].any(), "no turning back"


def test_epsilon_is_annealed_and_reaches_the_actor():
    config = dataclasses.replace(TINY, epsilon_initial=0.9, epsilon_final=0.1, exploration_fraction=0.5)
    assert [round(dqn.exploration(config, p), 6) for p in (0.0, 0.25, 0.5, 1.0)] == [0.9, 0.5, 0.1, 0.1]
    assert dqn.exploration(dataclasses.replace(config, exploration_fraction=0.0), 0.0) == pytest.approx(0.1)
    loop = InTurn(dqn, config, GymVectorEnv("myosu/ProbeBoth-v0", 4, 0), 0)
    assert loop.actor.epsilon == pytest.approx(0.9)
    loop.run(100, until=400)
    assert loop.actor.epsilon == pytest.approx(0.5)


def test_exploration_is_uniform_over_legal_actions():
    env = NativeVectorEnv(load_game("woodoku"), 32, 0)
    actor = dqn.make_actor(TINY, env, 0)
    actor.load_weights(dqn.make_learner(TINY, env.spec, None, 0).weights(), 0)
    legal = np.zeros((3000, 243), np.bool_)
    legal[:, [3, 70, 242]] = True
    drawn = actor.player.random(legal, actor.rng)[:, 0]
    assert set(np.unique(drawn)) == {3, 70, 242} and np.bincount(drawn).max() < 1150


def test_actor_uses_the_newest_weights():
    loop = learnt("myosu/ProbeBoth-v0", steps=100)
    for name, value in loop.learner.weights().items():
        assert torch.equal(loop.actor.player.tensors[name], value)
    assert loop.actor.version == loop.updates
    assert loop.episodes[-1].weights_version <= loop.updates


@pytest.mark.parametrize("options", [{}, {"prioritized": True, "n_step": 3}, {"target_every": 1, "tau": 0.1}])
@pytest.mark.parametrize("groups", [False, True])
def test_resumed_run_continues_exactly(options, groups):
    def loop(seed):
        env = NativeVectorEnv(load_game("snake"), 8, seed)
        config = dataclasses.replace(TINY, channels=4, hidden=(16,), replay_ratio=4.0, **options)
        return InTurn(dqn, config, InTwoGroups(env) if groups else env, seed)

    first = loop(3)
    first.run(300, until=600)
    state, episodes = first.state_dict(), len(first.episodes)
    second = loop(3)
    second.load_state_dict(state)
    first.run(300, until=600)
    second.run(300, until=600)
    assert first.updates == second.updates > 30
    for name, value in first.learner.weights().items():
        assert torch.equal(value, second.learner.weights()[name]), name
    ours, theirs = first.episodes[episodes:], second.episodes
    assert [e.actions for e in ours] == [e.actions for e in theirs]
    assert [(e.returns, e.seed) for e in ours] == [(e.returns, e.seed) for e in theirs]


def test_stored_rows_and_records_match_the_environments():
    """Whether all answer together or some before others: by CartPole's physics, and by playing episodes again."""
    together = InTurn(dqn, TINY, GymVectorEnv("CartPole-v1", 4, 0), 0)
    apart = InTurn(dqn, TINY, InTwoGroups(GymVectorEnv("CartPole-v1", 4, 0)), 0)
    for loop in (together, apart):
        loop.run(400)
        rows = np.arange(loop.replay.filled)
        steps = loop.replay.view(rows[loop.replay.windows(rows).complete])
        before, after = steps["observation"], steps["next_observation"]
        assert len(before) > 380
        # CartPole moves by velocity: x' = x + 0.02·v
        assert np.allclose(after[:, 0], before[:, 0] + 0.02 * before[:, 1], atol=1e-5)
        accelerates = after[:, 1] > before[:, 1]
        assert (accelerates == (steps["action"][:, 0] == 1)).all()
        for episode in loop.episodes:
            env = gymnasium.make("CartPole-v1")
            env.reset(seed=episode.seed)
            ends = [env.step(int(action))[2] for action in episode.actions]
            assert ends == [False] * (episode.length - 1) + [True] and episode.returns == [float(episode.length)]


def test_priorities_favour_large_errors():
    config = dataclasses.replace(TINY, prioritized=True, priority_exponent=1.0, n_step=2)
    loop = InTurn(dqn, config, GymVectorEnv("CartPole-v1", 4, 0), 0).run(100)
    learner, replay = loop.learner, loop.replay
    errors = np.full(90, 1e-3)
    errors[7] = 1e3
    learner.sampler.priorities.set_errors(np.arange(90), errors)
    windows, weights = learner.sampler.draw(replay, config.batch_size, 1.0, learner.rng)
    found = windows.rows == 7
    assert (np.count_nonzero(found) >= 30 and weights[found].max() < 1e-3) or found.all()
    assert windows.complete.all() and learner.sampler.waiting.tolist() == list(range(replay.filled - 8, replay.filled))
    waiting = learner.sampler.waiting
    replay.add(loop.actor.step().sequences[0], 0)
    learner.sampler.draw(replay, config.batch_size, 1.0, learner.rng)
    rows = np.append(waiting, np.arange(replay.filled - 4, replay.filled))
    complete = replay.windows(rows).complete
    assert complete[:4].all() and not complete.all()
    priorities = learner.sampler.priorities.tree.get(rows)
    assert (priorities == np.where(complete, learner.sampler.priorities.greatest, 0.0)).all(), "new rows come soon"


def test_non_finite_loss_leaves_weights_unchanged():
    loop = learnt("myosu/ProbeBoth-v0", steps=100)
    before = loop.learner.weights()
    for broken in (np.nan, np.inf):
        loop.replay.columns["reward"][:] = broken
        with pytest.raises(NonFiniteLoss) as caught:
            loop.learner.update(loop.replay, 0.5)
        assert not np.isfinite(caught.value.batch["reward"]).all()
        for name, value in loop.learner.weights().items():
            assert torch.equal(value, before[name])


def test_unsupported_environments_and_settings_are_refused():
    assert load_algorithm("dqn") is dqn
    with pytest.raises(UserError, match="one player"):
        dqn.resolve(TINY, game_spec(load_game("othello")), False)
    with pytest.raises(UserError, match="ppo"):
        dqn.resolve(TINY, GymVectorEnv("Pendulum-v1", 1).spec, False)
    for field in ({"batch_size": 0}, {"discount": 1.5}, {"hidden": (1,)}, {"learning_starts": 10**6}, {"n_step": 0}):
        with pytest.raises(UserError, match=next(iter(field))):
            dataclasses.replace(TINY, **field)


def test_layer_norm_bounds_values_of_unseen_observations():
    spec = GymVectorEnv("CartPole-v1", 1).spec
    far = {"": torch.randn(64, 4) * 1e6}
    for layer_norm in (True, False):
        torch.manual_seed(0)
        net = dqn.QNet(dataclasses.replace(TINY, layer_norm=layer_norm), spec)
        assert (net(far).abs().max() < 100) == layer_norm


def test_it_learns_cartpole():
    """Far more than chance (22); with a wrong sign, or values that go on after the end, it is about 10."""
    config = dqn.Config(hidden=(64, 64), n_step=10, num_envs=16, replay_ratio=16.0, learning_starts=500,
                        target_every=50, tau=1.0, learning_rate=2e-3, anneal_learning_rate=True,
                        exploration_fraction=0.3)
    loop = InTurn(dqn, config, GymVectorEnv("CartPole-v1", 16, 0), 0).run(8000)
    assert returns(loop.agent(), GymVectorEnv("CartPole-v1", 16, 1000), 16).mean() > 80
