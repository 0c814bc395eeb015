"""Reward signals: the environment's own, several together, and one that is learnt after its steps were stored."""

import dataclasses

import numpy as np
import pytest
import torch

import myosu.envs.probes  # noqa: F401
from gym_toys import Endless
from in_turn import InTurn
from myosu.algorithms import dqn, ppo
from myosu.envs.gym_env import GymVectorEnv
from myosu.errors import UserError
from myosu.rewards.environment import EnvironmentReward
from myosu.rewards.signals import RewardSignals

PPO = ppo.Config(num_envs=16, rollout_steps=8, batch_size=64, hidden=(16,), learning_rate=1e-2, discount=0.5,
                 anneal_learning_rate=True)
DQN = dqn.Config(hidden=(32,), discount=0.5, advantage_learning=0.0, num_envs=4, replay_capacity=2000,
                 learning_starts=64, batch_size=32, replay_ratio=16.0, learning_rate=1e-2, anneal_learning_rate=True,
                 target_every=10, tau=1.0, n_step=1, exploration_fraction=0.5, epsilon_final=0.2)


class Toy:
    """Stateless; ``pays`` makes rewards of steps."""

    def __init__(self, pays, discount=0.5, weight=1.0, name="toy", episodic=True):
        self.pays, self.discount, self.weight, self.name, self.episodic = pays, discount, weight, name, episodic

    def rewards(self, steps):
        return self.pays(steps).astype(np.float32)

    def update(self, steps):
        return {}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Spite(Toy):
    """Learns what the environment pays for each of two actions, and pays −2 times that: the sum is the opposite."""

    def __init__(self, patience=0):
        super().__init__(lambda steps: -2.0 * self.learnt[np.ravel(steps["action"])], name="spite")
        self.learnt, self.patience, self.seen = np.zeros(2), patience, 0

    def update(self, steps):
        self.seen += len(steps["reward"])
        if self.seen > self.patience:
            for action in (0, 1):
                if (chosen := np.ravel(steps["action"]) == action).any():
                    self.learnt[action] = steps["reward"][chosen].mean()
        return {"loss": float(np.abs(steps["reward"] - self.learnt[np.ravel(steps["action"])]).mean())}

    def state_dict(self):
        return {"learnt": self.learnt.copy(), "seen": self.seen}

    def load_state_dict(self, state):
        self.learnt, self.seen = state["learnt"].copy(), state["seen"]


def with_signals(monkeypatch, algorithm, *makers):
    """The environment's reward and one of each of ``makers``, made anew for every learner."""
    own = algorithm.reward_signals
    monkeypatch.setattr(algorithm, "reward_signals", lambda config, spec, seed: [
        *own(config, spec, seed), *(make() for make in makers)])
    if algorithm is ppo:  # whose network has a value for each kind of return
        known = ppo.returns
        monkeypatch.setattr(ppo, "returns", lambda config: list(dict.fromkeys(
            [*known(config), *((each.discount, each.episodic) for each in (make() for make in makers))])))


def values(loop, observations):
    memory, observation = np.zeros((len(observations), 0), np.float32), np.array(observations, np.float32)[:, None]
    if loop.algorithm is ppo:
        return loop.learner.net.evaluate(observation, memory)[1]
    with torch.no_grad():
        return loop.learner.net({"": torch.from_numpy(observation)}).numpy()


def learnt(algorithm, config, env, steps):
    return InTurn(algorithm, config, GymVectorEnv(env, config.num_envs, 0), 0).run(steps)


# --- the environment's own


def steps_of(rewards, ended=None):
    """As many environments as a row of ``rewards`` has, one row after another."""
    rewards = np.array(rewards, np.float32)
    ended = np.zeros(rewards.shape, bool) if ended is None else np.array(ended)
    return {"reward": rewards.ravel(), "terminated": ended.ravel(), "truncated": np.zeros(rewards.size, bool),
            "env_id": np.tile(np.arange(rewards.shape[1]), len(rewards))}


def test_rewards_are_divided_by_the_deviation_of_the_return():
    signal = EnvironmentReward(0.5, normalize=True, num_envs=2)
    rewards = [(1.0, 2.0), (3.0, -1.0), (2.0, 1.0)]
    totals, seen = np.zeros(2), []
    for reward in rewards:
        totals = 0.5 * totals + reward
        seen += totals.tolist()
        signal.update(steps_of([reward]))
        assert np.allclose(signal.rewards(steps_of([reward])), np.array(reward) / np.std(seen), atol=1e-4)
    whole = EnvironmentReward(0.5, normalize=True, num_envs=2)
    whole.update(steps_of(rewards))
    assert np.allclose(whole.rewards(steps_of(rewards)), np.ravel(rewards) / np.std(seen), atol=1e-4)
    again = EnvironmentReward(0.5, normalize=True, num_envs=2)
    again.load_state_dict(whole.state_dict())
    for one in (whole, again):
        one.update(steps_of([(0.0, 0.0)], [(True, False)]))
    assert again.returns.tolist() == whole.returns.tolist() == [0.0, 0.5 * totals[1]]
    assert (again.rewards(steps_of(rewards)) == whole.rewards(steps_of(rewards))).all()


def test_rewards_are_clipped():
    steps = steps_of([(-30.0, 0.5, 7.0)])
    assert EnvironmentReward(0.9).rewards(steps).tolist() == [-30, 0.5, 7]
    assert EnvironmentReward(0.9, clip=1.0).rewards(steps).tolist() == [-1, 0.5, 1]
    normalized = EnvironmentReward(0.9, normalize=True, num_envs=3)
    normalized.norm.variance.fill_(4.0)
    assert np.allclose(normalized.rewards(steps), [-10, 0.25, 3.5])
    normalized.clip = 2.0
    assert np.allclose(normalized.rewards(steps), [-2, 0.25, 2])


@pytest.mark.parametrize("algorithm, config, value", [(ppo, PPO, 0.25), (dqn, DQN, 0.5)])
def test_algorithms_clip_and_scale(algorithm, config, value):
    """A reward of 1, clipped to 0.25; DQN learns twice that."""
    config = dataclasses.replace(config, reward_clip=0.25, **({"reward_scale": 2.0} if algorithm is dqn else {}))
    loop = learnt(algorithm, config, "myosu/ProbeConstant-v0", 1500)
    assert values(loop, [1]).item() == pytest.approx(value, abs=0.02)
    with pytest.raises(UserError, match="reward_clip"):
        dataclasses.replace(config, reward_clip=0.0)


# --- several


def test_signals_with_equal_discount_share_one_return():
    steps = steps_of([(1.0, 2.0)])
    signals = RewardSignals([
        EnvironmentReward(0.9), Toy(lambda s: 10 * s["reward"], 0.99, weight=0.5, name="a"),
        Toy(lambda s: np.ones(2), 0.9, weight=3.0, name="b"),
        Toy(lambda s: 7 * np.ones(2), 0.9, name="c", episodic=False)])
    assert signals.returns == [(0.9, True), (0.99, True), (0.9, False)] and signals.discounts == [0.9, 0.99, 0.9]
    assert signals.rewards(steps).tolist() == [[4, 5, 7], [5, 10, 7]]


def test_duplicate_names_and_zero_weights_are_refused():
    with pytest.raises(UserError, match="the same name"):
        RewardSignals([EnvironmentReward(0.9), EnvironmentReward(0.9)])
    for none in ([], [EnvironmentReward(0.9, weight=0.0), Toy(None, weight=0.0)]):
        with pytest.raises(UserError, match="nothing to learn"):
            RewardSignals(none)


@pytest.mark.parametrize("discount, expected", [
    (0.5, [[2.0], [2.0]]),  # 0.5 + 1 + 0.5 · 1, and 1 + 1
    (0.75, [[0.5, 1.75], [1.0, 1.0]]),
])
def test_ppo_learns_a_value_for_each_discount(monkeypatch, discount, expected):
    """Two steps, at 0 and 1, the second one pays 1, γ = ½; and a bonus of 1 for each step."""
    with_signals(monkeypatch, ppo, lambda: Toy(lambda s: np.ones(len(s["reward"])), discount))
    loop = learnt(ppo, PPO, "myosu/ProbeDiscount-v0", 8000)
    assert np.abs(values(loop, [0, 1]) - expected).max() < 0.04
    assert len(loop.replay.columns["value"][0]) == len(expected[0])


@pytest.mark.parametrize("normalize", [False, True])
def test_each_value_is_bootstrapped_after_truncation(monkeypatch, normalize):
    """1 / (1 − ½) = 2 and 1 / (1 − ¾) = 4."""
    with_signals(monkeypatch, ppo, lambda: Toy(lambda s: np.ones(len(s["reward"])), 0.75))
    config = dataclasses.replace(PPO, normalize_values=normalize)
    loop = InTurn(ppo, config, GymVectorEnv(lambda: Endless(), 16, 0), 0).run(8000)
    assert np.abs(values(loop, [1]) - [[2.0, 4.0]]).max() < 0.1


def test_rollout_targets_of_episodic_and_continuing_signals(monkeypatch):
    """Two steps, at 0 and 1, and the end, where the second one pays 1, γ = ½; a bonus of 1 for each step, γ = ¾. With
    λ = 0 a target is r + γ V(s'): after the end V(s') is 0 for the environment's, and V(0) of the next episode for the
    bonus, in the last step of the rollout too."""
    with_signals(monkeypatch, ppo, lambda: Toy(lambda s: np.ones(len(s["reward"])), 0.75, episodic=False))
    config = dataclasses.replace(PPO, num_envs=2, rollout_steps=4, batch_size=8, gae_lambda=0.0)
    loop = InTurn(ppo, config, GymVectorEnv("myosu/ProbeDiscount-v0", 2, 0), 0)
    with torch.no_grad():
        loop.learner.net.value.linear.bias[:] = torch.tensor([3.0, 5.0])
    loop.actor.load_weights(loop.learner.weights(), 1)
    first, second = values(loop, [0, 1])
    while not (experience := loop.actor.step()).sequences:
        pass
    loop.replay.add(experience.sequences[0], 1)
    loop.learner._begin_rollout(loop.replay, 0.0)
    targets = loop.learner.targets
    steps = loop.replay.view(targets.rows)
    seen = steps["observation"][:, 0]
    assert seen.tolist() == [0, 0, 1, 1, 0, 0, 1, 1] and np.array_equal(steps["terminated"], seen == 1)
    expected = np.where(seen[:, None] == 0, [0.5 * second[0], 1 + 0.75 * second[1]], [1.0, 1 + 0.75 * first[1]])
    assert targets.value_target == pytest.approx(expected, abs=1e-5) and (expected[:, 1] > 4).all()
    assert targets.advantage == pytest.approx((expected - steps["value"]).sum(1), abs=1e-5)


def test_ppo_learns_non_episodic_values(monkeypatch):
    """1 / (1 − ¾) = 4 wherever it stands, beside the environment's ½ and 1."""
    with_signals(monkeypatch, ppo, lambda: Toy(lambda s: np.ones(len(s["reward"])), 0.75, episodic=False))
    loop = learnt(ppo, PPO, "myosu/ProbeDiscount-v0", 8000)
    assert np.abs(values(loop, [0, 1]) - [[0.5, 4.0], [1.0, 4.0]]).max() < 0.1


@pytest.mark.parametrize("algorithm, config, steps", [(ppo, PPO, 8000), (dqn, DQN, 1500)])
def test_signals_see_next_observations_at_episode_ends_too(monkeypatch, algorithm, config, steps):
    """Pays what is seen next: 1 at 0, and 2 at 1, where the episode ends."""
    with_signals(monkeypatch, algorithm, lambda: Toy(lambda s: s["next_observation"][:, 0]))
    loop = learnt(algorithm, config, "myosu/ProbeDiscount-v0", steps)
    assert np.abs(values(loop, [0, 1]) - [[1 + 0.5 * 3], [3.0]]).max() < 0.08


def test_dqn_refuses_a_second_discount(monkeypatch):
    with_signals(monkeypatch, dqn, lambda: Toy(None, 0.9))
    with pytest.raises(UserError, match="one value of one discount"):
        dqn.make_learner(DQN, GymVectorEnv("CartPole-v1", 1).spec, None, 0)


# --- learnt after storage


@pytest.mark.parametrize("learns", [True, False])
def test_ppo_follows_a_learnt_signal(monkeypatch, learns):
    """Action 1 pays 1, action 0 −1, until spite has learnt that: what was bad is good then."""
    with_signals(monkeypatch, ppo, lambda: Spite(patience=0 if learns else 10**9))
    loop = learnt(ppo, PPO, "myosu/ProbeAction-v0", 8000)
    assert loop.agent().act(np.ones((1, 1), np.float32), np.ones((1, 2), bool))[0].tolist() == [0 if learns else 1]
    assert values(loop, [1]).item() == pytest.approx(1.0, abs=0.03)
    assert (loop.metrics[0]["spite_loss"] == 0.0) == learns


@pytest.mark.parametrize("options", [{}, {"n_step": 3, "prioritized": True}])
def test_dqn_relabels_stored_steps_when_a_signal_changes(monkeypatch, options):
    """Not one step is played after the signal has begun to learn; before that Q is −1 and 1."""
    with_signals(monkeypatch, dqn, lambda: Spite(patience=10**9))
    config = dataclasses.replace(DQN, anneal_learning_rate=False, **options)
    loop = learnt(dqn, config, "myosu/ProbeAction-v0", 700)
    assert np.abs(values(loop, [1]) - [[-1, 1]]).max() < 0.05
    stored = loop.replay.columns["reward"].copy()
    loop.learner.signals.signals[1].patience = 0
    for _ in range(500):
        loop.learner.update(loop.replay, 0.9)
    assert np.abs(values(loop, [1]) - [[1, -1]]).max() < 0.05
    assert np.array_equal(stored, loop.replay.columns["reward"])


@pytest.mark.parametrize("algorithm, config", [(ppo, PPO), (dqn, DQN)])
def test_learnt_signals_are_restored(monkeypatch, algorithm, config):
    with_signals(monkeypatch, algorithm, lambda: Spite(patience=200))
    first, second = (InTurn(algorithm, config, GymVectorEnv("CartPole-v1", config.num_envs, 0), seed)
                     for seed in (0, 7))
    first.run(300, until=800)
    second.load_state_dict(first.state_dict())
    for loop in (first, second):
        loop.run(500, until=800)
    assert np.array_equal(first.learner.signals.signals[1].learnt, [1.0, 1.0])
    assert second.learner.signals.signals[1].seen == first.learner.signals.signals[1].seen > 500
    for name, value in first.learner.weights().items():
        assert torch.equal(value, second.learner.weights()[name]), name
