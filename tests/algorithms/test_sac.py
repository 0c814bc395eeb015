"""SAC: values that are known exactly, what acts and what is stored, resuming, and that it learns."""

import dataclasses
import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import myosu.envs.probes  # noqa: F401
from gym_toys import Aim, Endless, Everything, Forbidden
from in_turn import InTurn, InTwoGroups, returns
from myosu.algorithms import load_algorithm, sac
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.native import game_spec
from myosu.envs.vector import EnvSpec
from myosu.errors import NonFiniteLoss, UserError
from myosu.games import load_game
from myosu.losses.soft import choice_log_probs, entropies
from probe_values import Q_VALUES

#: Without entropy, so that values are those of the best policy.
TINY = sac.Config(hidden=(32,), discount=0.5, num_envs=4, replay_capacity=2000, learning_starts=64, batch_size=32,
                  replay_ratio=16.0, learning_rate=1e-2, anneal_learning_rate=True, tau=0.1, temperature=0.0)


class Target(gymnasium.Env):
    """One step; pays 1 − (a − o)² of the action a in [−2, 4] and the observation o, which is 0 or 2."""

    observation_space, action_space = spaces.Box(0, 2, (1,), np.float32), spaces.Box(-2, 4, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown = self.np_random.choice([0.0, 2.0])
        return np.full(1, self.shown, np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return np.full(1, 1.0, np.float32), 1.0 - float(action[0] - self.shown) ** 2, True, False, {}


class Idle(Endless):
    """Endless, with an action that does nothing."""

    action_space = spaces.Box(-1, 1, (1,), np.float32)


class Pair(gymnasium.Env):
    """Two choices; each pays 1 by itself if it is the right one: 1 of 0, 1 and 2 of 0, 1, 2."""

    observation_space, action_space = spaces.Box(0, 1, (1,), np.float32), spaces.MultiDiscrete([2, 3])

    def reset(self, *, seed=None, options=None):
        return np.ones(1, np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), float(action[0] == 1) + float(action[1] == 2), True, False, {}


def values(loop, observations, action=None):
    """Of every choice, or of a continuous action: the mean of the critics."""
    observation = {"": torch.tensor(observations, dtype=torch.float32).reshape(-1, 1)}
    with torch.no_grad():
        q = loop.learner.net.critics(observation, None if action is None else torch.tensor(action))
    return q.mean(0)[:, 0].numpy()


def learnt(env, steps=700, **settings):
    config = dataclasses.replace(TINY, **settings)
    return InTurn(sac, config, GymVectorEnv(env, config.num_envs, 0), 0).run(steps)


@pytest.mark.parametrize("settings", [{}, {"n_step": 3, "prioritized": True}])
def test_probes_reach_their_exact_values(settings):
    for name, observations, expected in Q_VALUES:
        loop = learnt(f"myosu/Probe{name}-v0", **settings)
        assert np.abs(values(loop, observations) - expected).max() < 0.05, (name, values(loop, observations))
        best, _ = loop.agent().act(np.array(observations, np.float32)[:, None], np.ones_like(expected, bool))
        assert best.tolist() == np.argmax(expected, axis=1).tolist()


@pytest.mark.parametrize("n_step", [1, 3])
def test_truncated_episodes_are_bootstrapped(n_step):
    loop = learnt(Endless, n_step=n_step)
    assert abs(values(loop, [1]).item() - 2.0) < 0.05
    assert abs(values(learnt(Idle, n_step=n_step), [1], [[0.0]]).item() - 2.0) < 0.05


def test_values_include_the_entropy_bonus():
    """Two actions that pay the same are drawn evenly: α ln 2 at every step to come, γ/(1 − γ) = 1 of them. Of the
    actions in (−1, 1) the entropy is about that of even ones, ln 2."""

    class Free(Endless):
        action_space = spaces.Discrete(2)

    for env, action in ((Free, None), (Idle, [[0.0]])):
        loop = learnt(env, temperature=0.5)
        assert values(loop, [1], action).mean() == pytest.approx(2.0 + 0.5 * math.log(2.0), abs=0.05), env
        loop = learnt(env, temperature=0.5, entropy_in_values=False)
        assert values(loop, [1], action).mean() == pytest.approx(2.0, abs=0.05), env


def test_illegal_actions_have_no_part_in_policy_value_or_entropy():
    """Nothing is learnt of the illegal action at 1, but it looks as good as at 0, where it pays 4. With one action left
    there is no entropy either."""
    loop = learnt(Forbidden)
    assert np.abs(values(loop, [0]) - [[1.5, 4.5]]).max() < 0.05 and abs(values(loop, [1])[0, 0] - 1) < 0.05
    assert values(loop, [1])[0, 1] > 1.5, "the illegal action must look better than the legal one"
    acts, _ = loop.agent().act(np.ones((1, 1), np.float32), np.array([[False, True]]))
    assert acts.tolist() == [1], "the only legal action, whatever it is worth"
    analysis = loop.agent().analyze(np.ones((1, 1), np.float32), np.array([[True, False]]))
    assert analysis.policy.tolist() == [[1, 0]] and analysis.value[0] == pytest.approx(1, abs=0.05)
    soft = learnt(Forbidden, temperature=0.5)
    assert np.abs(values(soft, [0]) - [[1.5, 4.5]]).max() < 0.05


def test_continuous_actions_are_learnt_within_their_bounds():
    loop = learnt(Target, steps=2000, learning_rate=5e-3, temperature=None, target_entropy=-2.0)
    found, _ = loop.agent().act(np.array([[0.0], [2.0]], np.float32), np.ones((2, 0), bool))
    assert np.abs(found[:, 0] - [0, 2]).max() < 0.15 and found.dtype == np.float32
    assert np.abs(loop.replay.columns["action"]).max() <= 1 < max(np.max(e.actions) for e in loop.episodes), "scaled"


def test_branches_are_learnt_independently():
    loop = learnt(Pair, temperature=None)
    assert loop.agent().act(np.ones((3, 1), np.float32), np.ones((3, 5), np.bool_))[0].tolist() == [[1, 2]] * 3
    assert np.shape(loop.episodes[0].actions) == (1, 2) and loop.learner.net.log_temperature.shape == (2,)


def test_mixed_actions():
    """Continuous components and choices at once, with a mask of the choices."""
    loop = learnt(Aim, steps=2500, learning_rate=5e-3, temperature=None, target_entropy=-2.0, target_entropy_scale=0.2)
    observation, legal = np.array([[0.0], [1.0]], np.float32), np.array([[True] * 3, [True, True, False]])
    found, _ = loop.agent().act(observation, legal)
    assert found.dtype == np.float32 and found[:, 1].tolist() == [2, 1]
    assert np.abs(found[:, 0] - [0, 1]).max() < 0.2
    assert loop.learner.net.log_temperature.shape == (2,)
    batch = loop.replay.columns["action"][: loop.replay.filled]
    assert np.abs(batch[:, 0]).max() <= 1 and set(np.unique(batch[loop.replay.columns["acted"][: len(batch)], 1])) == {
        0, 1, 2}
    with torch.no_grad():  # Q of a perfect aim, 1/3 of the way from -2 to 4, with the best choice, and of a miss by 1
        q = loop.learner.net.critics({"": torch.zeros(2, 1)}, torch.tensor([[-1 / 3], [0.0]])).mean(0)[:, 0, 2]
    assert q[0].item() == pytest.approx(3, abs=0.15) and q[1] < 2.5


def test_component_gradients_do_not_grow_with_branches():
    """The gradient of the policy's value with respect to a component is that of one return."""
    spec = EnvSpec((1,), np.float32, 4, 1, (-1.0, 1.0), 9, action_branches=(2, 2), action_low=(-1, 0, 0),
                   action_high=(1, 1, 1))
    kind = sac.actions_of(TINY, spec)
    outputs = torch.zeros(1, 6, requires_grad=True)
    value, entropy = kind.expected(lambda seen, action: (3.0 * action).expand(1, 4).expand(2, 1, 1, 4), {}, outputs,
                                   torch.ones(1, 4, dtype=torch.bool), np.random.default_rng(0))
    assert value.shape == (1, 1, 2) and entropy.shape == (1, 3)
    u = np.random.default_rng(0).standard_normal((1, 1), np.float32) * math.exp(-1.5)
    (gradient,) = torch.autograd.grad(value.sum(), outputs)
    assert gradient[0, 0].item() == pytest.approx(3.0 * (1 - np.tanh(u.item()) ** 2), rel=1e-4)


def test_temperature_brings_entropy_to_its_target():
    """Of each branch, whose advantages are 1 and 1; half of ln 2 and of ln 3."""
    loop = learnt(Pair, steps=2500, temperature=None, temperature_initial=0.1, target_entropy_scale=0.5)
    outputs = loop.learner.net.policy((torch.ones(1, 1), None))
    found = entropies(choice_log_probs(outputs, torch.ones(1, 5, dtype=torch.bool), (2, 3)), (2, 3))
    assert found.tolist()[0] == pytest.approx([0.5 * math.log(2), 0.5 * math.log(3)], abs=0.08)
    temperature = loop.learner.net.log_temperature.exp().tolist()
    assert min(temperature) > 0.1 and abs(temperature[0] - temperature[1]) > 0.02


def test_dict_observations_and_branch_masks_are_supported():
    loop = learnt(Everything, steps=200, temperature=None)  # the environment asserts that actions are legal
    step = loop.actor.current
    assert loop.agent().act(step.observation, step.legal_actions)[0].shape == (4, 2)


def test_drawn_actions_follow_the_policy():
    spec = GymVectorEnv(Pair, 1).spec
    kind = sac.actions_of(TINY, spec)
    logits = torch.tensor([[0.0, 1.0, 0.5, 0.0, 9.0]]).repeat(20000, 1)
    legal = torch.tensor([[True, True, True, True, False]]).repeat(20000, 1)
    drawn = kind.sample(logits, legal, np.random.default_rng(0)).numpy()
    share = np.bincount(drawn.ravel(), minlength=5) / 20000
    expected = choice_log_probs(logits[:1], legal[:1], (2, 3)).exp().numpy()[0]
    assert np.abs(share - expected).max() < 0.015 and share[4] == 0
    assert set(np.unique(kind.random(legal.numpy(), np.random.default_rng(0)))) == {0, 1, 2, 3}


def test_critics_update_the_target_without_policy_gradients():
    loop = learnt("myosu/ProbeBoth-v0", steps=60, tau=1.0)
    learner = loop.learner
    learner.update(loop.replay, 0.0)
    for (name, own), target, judge in zip(learner.net.critics.named_parameters(), learner.target.parameters(),
                                          learner.judges.parameters(), strict=True):
        assert torch.equal(own, target), name
        assert own.data_ptr() == judge.data_ptr() and judge.grad is None
    with torch.no_grad():
        observation = {"": torch.ones(1, 1)}
        assert torch.equal(learner.judges(observation), learner.net.critics(observation))


@pytest.mark.parametrize("env", ["Pendulum-v1", "CartPole-v1"])
@pytest.mark.parametrize("options", [{}, {"prioritized": True, "n_step": 3}])
def test_resumed_run_continues_exactly(env, options):
    config = dataclasses.replace(TINY, temperature=None, replay_ratio=4.0, **options)

    def loop(seed):
        return InTurn(sac, config, InTwoGroups(GymVectorEnv(env, 4, 3)), seed)

    first = loop(3)
    first.run(300, until=600)
    state, episodes = first.state_dict(), len(first.episodes)
    second = loop(4)
    second.load_state_dict(state)
    first.run(300, until=600)
    second.run(300, until=600)
    assert first.updates == second.updates > 30
    for name, value in first.learner.weights().items():
        assert torch.equal(value, second.learner.weights()[name]), name
    assert "log_temperature" in first.learner.weights()
    ours, theirs = first.episodes[episodes:], second.episodes
    assert [e.actions for e in ours] == [e.actions for e in theirs]


def test_non_finite_loss_leaves_weights_unchanged():
    loop = learnt("myosu/ProbeBoth-v0", steps=100)
    before = loop.learner.weights()
    loop.replay.columns["reward"][:] = np.nan
    with pytest.raises(NonFiniteLoss) as caught:
        loop.learner.update(loop.replay, 0.5)
    assert not np.isfinite(caught.value.batch["reward"]).all()
    assert all(torch.equal(value, before[name]) for name, value in loop.learner.weights().items())


def test_unsupported_environments_and_settings_are_refused():
    assert load_algorithm("sac") is sac
    with pytest.raises(UserError, match="one player"):
        sac.resolve(TINY, game_spec(load_game("othello")), False)
    unbounded = dataclasses.replace(GymVectorEnv("Pendulum-v1", 1).spec, action_high=(math.inf,))
    with pytest.raises(UserError, match="bounds"):
        sac.resolve(TINY, unbounded, False)
    for field in ({"batch_size": 0}, {"discount": 1.5}, {"hidden": ()}, {"learning_starts": 10**6},
                  {"temperature": -1.0}, {"target_entropy_scale": 1.5}):
        with pytest.raises(UserError, match=next(iter(field))):
            dataclasses.replace(TINY, **field)


@pytest.mark.slow
def test_it_learns_pendulum():
    """Random play has about −1200, a good policy −150. Without what comes after a step it is −1400; with the wrong sign
    of the entropy in the policy's loss nothing stays finite."""
    config = sac.Config(hidden=(64, 64), batch_size=128, replay_ratio=64.0, learning_starts=500, learning_rate=3e-3,
                        replay_capacity=10_000, tau=0.01)
    loop = InTurn(sac, config, GymVectorEnv("Pendulum-v1", 1, 0), 0).run(4000)
    assert returns(loop.agent(), GymVectorEnv("Pendulum-v1", 8, 1000), 8).mean() > -300
