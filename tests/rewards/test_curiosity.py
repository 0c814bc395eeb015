"""Curiosity: what is paid for what is new, by hand, and that it finds what chance does not."""

import dataclasses
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn import functional as F

from gym_toys import Lock
from in_turn import InTurn
from myosu.algorithms import dqn, ppo, sac
from myosu.envs.gym_env import GymVectorEnv
from myosu.errors import UserError
from myosu.rewards.actions import action_features
from myosu.rewards.counts import EpisodicCounts
from myosu.rewards.curiosity import PART, NormalizedObservations, ReturnScale, normalized_spec, parse_curiosity
from myosu.rewards.icm import BETA, ICM
from myosu.rewards.rnd import RND

PPO = ppo.Config(num_envs=8, rollout_steps=64, batch_size=128, hidden=(64,), learning_rate=1e-3, entropy_weight=0.01,
                 discount=0.97)
SAC = sac.Config(hidden=(64,), num_envs=8, learning_starts=256, batch_size=64, replay_ratio=16.0,
                 replay_capacity=20_000, learning_rate=1e-3, discount=0.97, temperature=0.02, entropy_in_values=False)
DQN = dqn.Config(hidden=(32,), num_envs=8, learning_starts=64, batch_size=32, replay_ratio=16.0, replay_capacity=2000)


class Toy(gymnasium.Env):
    """Two choices at once, of 2 and of 3; two parts of an observation."""

    observation_space = spaces.Dict({"place": spaces.Box(-9, 9, (2,), np.float32), "board": spaces.Box(
        0, 3, (1, 4, 4), np.uint8)})
    action_space = spaces.MultiDiscrete([2, 3])


SPEC = GymVectorEnv(lambda: Lock(4), 1).spec
TOY = GymVectorEnv(Toy, 1).spec


def steps_of(spec, count, seed=0, num_envs=1):
    """Steps at random."""
    rng = np.random.default_rng(seed)

    def observation():
        found = np.zeros((count, *spec.observation_shape), spec.observation_dtype)
        for name in found.dtype.names or ():
            found[name] = rng.integers(0, 3, found[name].shape)
        return found if found.dtype.names else rng.normal(size=found.shape).astype(np.float32)

    branches = spec.action_branches or (spec.num_actions,)
    starts = np.cumsum((0, *branches[:-1]))
    columns = [rng.integers(n, size=count) + start for n, start in zip(branches, starts, strict=True)]
    ended = rng.random(count) < 0.1
    return {"observation": observation(), "next_observation": observation(), "action": np.stack(columns, axis=1),
            "reward": np.zeros(count, np.float32), "terminated": ended, "truncated": np.zeros(count, bool),
            "env_id": np.arange(count) % num_envs}


def test_rewards_are_divided_by_the_deviation_of_their_return():
    scale, returns, seen = ReturnScale(0.5, 2), np.zeros(2), []
    for rewards in ((1.0, 3.0), (2.0, 0.0), (4.0, 1.0)):
        returns = 0.5 * returns + rewards
        seen += returns.tolist()
        # The ends of episodes change nothing.
        scale.observe(np.array(rewards, np.float32), {"env_id": np.arange(2), "terminated": np.ones(2, bool)})
    assert seen == [1, 3, 2.5, 1.5, 5.25, 1.75]
    assert scale(np.float32([2.0])).item() == pytest.approx(2.0 / np.std(seen), rel=1e-5)
    samples = ReturnScale(0.75, 0)
    samples.observe(np.array([1.0, 3.0, 5.0], np.float32), {})
    assert samples(np.float32([8.0])).item() == pytest.approx(8.0 / (np.std([1, 3, 5]) / 0.25), rel=1e-5)


def test_observations_are_normalised_and_clipped():
    net = NormalizedObservations(SPEC)
    shown = np.array([[0, 2, 0, 1, 0], [0, 4, 0, 1, 0]], np.float32)
    net.observe(shown)
    # Deviations are 0, 1, 0, 0, 0: what never changed so far is new at the bound.
    found = net(np.array([[0, 4, 0, 2, 0], [0, 100, -1, 1, 0]], np.float32))[""]
    assert found == pytest.approx(np.array([[0, 1, 0, 5, 0], [0, 5, -5, 0, 0]]), abs=1e-4)
    parts = normalized_spec(TOY).parts()
    assert {name: (part.dtype, part.shape) for name, part in parts.items()} == {
        "/board": (np.float32, (0, 1, 4, 4)), "/place": (np.float32, (0, 2))}
    assert net.state_dict().keys() == NormalizedObservations(SPEC).state_dict().keys()


def dense(x, linear):
    return x @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()


def test_rnd_rewards_the_prediction_error():
    rnd, steps = RND(SPEC, 0.5), steps_of(SPEC, 1100)
    rnd.update(steps)
    x = rnd.net.observations(steps["next_observation"])[""].numpy()

    def outputs(net):
        x_ = np.maximum(dense(x, net.encoder.parts[0][1]), 0)
        for layer in net.layers:
            x_ = np.maximum(x_, 0) if isinstance(layer, torch.nn.ReLU) else dense(x_, layer)
        return x_

    assert len(x) > PART
    error = np.square(outputs(rnd.net.predictor) - outputs(rnd.net.target)).mean(1)
    deviation = np.sqrt(float(rnd.scale.norm.variance)) / 0.5
    assert rnd.rewards(steps) == pytest.approx(error / deviation, rel=1e-3)
    assert len(rnd.net.predictor.layers) == 5 and len(rnd.net.target.layers) == 1


def test_rnd_rewards_fall_with_visits_and_the_target_stays():
    known, new = ({**steps_of(SPEC, 64), "next_observation": np.tile(np.eye(5, dtype=np.float32)[places], (32, 1))}
                  for places in ([0, 1], [2, 3]))
    rnd = RND(SPEC, 0.9)
    target = {name: value.clone() for name, value in rnd.net.target.state_dict().items()}
    for _ in range(200):
        rnd.update(known)
    assert rnd.novelty(known).max() < 0.05 * rnd.novelty(new).min()
    assert all(torch.equal(value, target[name]) for name, value in rnd.net.target.state_dict().items())


def test_icm_by_hand():
    """The inverse model's loss is a cross-entropy for each branch; φ learns from it alone."""
    icm, steps = ICM(TOY, partial(action_features, TOY), 0.9), steps_of(TOY, 32)
    net = icm.net
    icm.observe(steps)
    features = icm.action_features(steps["action"])
    assert features[0].sum() == 2 and features.shape == (32, 5) and (features.argmax(1) == steps["action"][:, 0]).all()
    phi, after = net.phi(steps["observation"]), net.phi(steps["next_observation"])
    predicted = net.forwards(torch.cat([phi, torch.from_numpy(features)], 1))
    assert torch.allclose(icm.novelty(steps), 0.5 * (predicted - after).square().sum(1))
    first, second = net.inverse(torch.cat([phi, after], 1)).split([2, 3], dim=1)
    action = torch.from_numpy(steps["action"]) - torch.tensor([0, 2])
    inverse = F.cross_entropy(first, action[:, 0]) + F.cross_entropy(second, action[:, 1])
    forwards = 0.5 * (predicted - after).square().sum(1).mean()
    assert icm.loss(steps).item() == pytest.approx(((1 - BETA) * inverse + BETA * forwards).item(), rel=1e-5)
    weight = net.features.weight
    (expected,) = torch.autograd.grad((1 - BETA) * inverse, weight, retain_graph=True)
    (found,) = torch.autograd.grad(icm.loss(steps), weight)
    assert torch.allclose(found, expected, atol=1e-6) and expected.abs().max() > 1e-3


def test_icm_rewards_predictable_steps_less():
    """Action 1 swaps two places, action 0 leads to where it has never gone."""
    icm = ICM(SPEC, partial(action_features, SPEC), 0.9)
    places = np.eye(5, dtype=np.float32)
    steps = {**steps_of(SPEC, 64), "observation": np.tile(places[[0, 1]], (32, 1)), "action": np.ones((64, 1), int),
             "next_observation": np.tile(places[[1, 0]], (32, 1))}
    for _ in range(100):
        icm.update(steps)
    elsewhere = {**steps, "action": np.zeros((64, 1), int), "next_observation": np.tile(places[[3, 4]], (32, 1))}
    assert icm.novelty(steps).max() < 0.05 * icm.novelty(elsewhere).min()


def test_icm_uses_squared_error_for_continuous_actions():
    spec = GymVectorEnv("Pendulum-v1", 1).spec
    icm, rng = ICM(spec, partial(action_features, spec), 0.9), np.random.default_rng(0)
    steps = {"observation": rng.normal(size=(8, 3)).astype(np.float32), "action": np.ones((8, 1), np.float32),
             "next_observation": rng.normal(size=(8, 3)).astype(np.float32)}
    icm.observe(steps)
    told = icm.net.inverse(torch.cat([icm.net.phi(steps["observation"]), icm.net.phi(steps["next_observation"])], 1))
    expected = (1 - BETA) * (told - 1).square().mean() + BETA * icm.novelty(steps).mean()
    assert icm.loss(steps).item() == pytest.approx(expected.item(), rel=1e-5)


def test_counts_are_per_episode_and_environment():
    counts = EpisodicCounts(0.9, num_envs=2)
    counts.scale = lambda rewards: rewards
    counts.scale.observe = lambda rewards, steps: None
    steps = {"next_observation": np.array([7, 7, 7, 8, 7, 7, 7], np.float32)[:, None],
             "env_id": np.array([0, 1, 0, 0, 0, 0, 1]), "reward": np.zeros(7),
             "terminated": np.array([0, 0, 0, 0, 1, 0, 0], bool), "truncated": np.zeros(7, bool)}
    counts.update(steps)
    assert counts.rewards(steps) == pytest.approx([1, 1, 2**-0.5, 1, 3**-0.5, 1, 2**-0.5])
    counts.update(steps)
    assert counts.rewards(steps)[:2] == pytest.approx([2**-0.5, 3**-0.5])


@pytest.mark.parametrize("text, expected", [("rnd", ("rnd", 0.3, 0.97)), ("icm:2", ("icm", 2.0, 0.97)),
                                            ("counts:0:0.5", ("counts", 0.0, 0.5))])
def test_curiosity_settings_are_parsed(text, expected):
    assert parse_curiosity(text, 0.97) == expected


def test_invalid_curiosity_settings_are_refused():
    for text in ("rdn", "rnd:much", "rnd:-1", "rnd:1:0.9:2", "rnd:inf", "rnd:nan", ""):
        with pytest.raises(UserError, match="it must be rnd, icm or counts"):
            dataclasses.replace(PPO, curiosity=(text,))
    with pytest.raises(UserError, match=r"below 1.*rnd:0\.3:0\.99"):
        sac.Config(discount=1.0, curiosity=("rnd",))
    spec = GymVectorEnv("CartPole-v1", 1).spec
    with pytest.raises(UserError, match="the same name"):
        ppo.make_learner(dataclasses.replace(PPO, curiosity=("rnd", "rnd:2")), spec, None, 0)
    with pytest.raises(UserError, match="one value of one discount"):
        dqn.make_learner(dataclasses.replace(DQN, curiosity=("rnd:1:0.5",)), spec, None, 0)
    for algorithm, config in ((dqn, DQN), (sac, SAC)):
        with pytest.raises(UserError, match="use it with ppo"):
            algorithm.make_learner(dataclasses.replace(config, curiosity=("counts",)), spec, None, 0)


@pytest.mark.parametrize("algorithm, config, curiosity, steps, returns", [
    (ppo, PPO, ("rnd", "icm:0.1", "counts:0.1:0.9"), 600, [(0.97, True), (0.97, False), (0.9, True)]),
    (sac, SAC, ("rnd:0.3:0.9",), 400, [(0.97, True), (0.9, True)]), (dqn, DQN, ("icm",), 300, [(0.99, True)])])
def test_run_with_curiosity_is_resumed_exactly(algorithm, config, curiosity, steps, returns):
    config = dataclasses.replace(config, curiosity=curiosity)
    first, second = (InTurn(algorithm, config, GymVectorEnv(lambda: Lock(4), 8, 0), seed) for seed in (0, 7))
    first.run(steps, until=2 * steps)
    second.load_state_dict(first.state_dict())
    for loop in (first, second):
        loop.run(steps, until=2 * steps)
        assert loop.learner.signals.returns == returns
    for name, value in first.learner.weights().items():
        assert torch.equal(value, second.learner.weights()[name]), name
    assert second.metrics == first.metrics[-len(second.metrics):] != []
    for one, other in zip(first.learner.signals.signals[1:], second.learner.signals.signals[1:], strict=True):
        assert float(one.scale.norm.variance) == float(other.scale.norm.variance) > 0


@pytest.mark.parametrize("algorithm, config, curiosity, steps, opens", [
    (ppo, PPO, (), 20_000, False), (ppo, PPO, ("rnd",), 20_000, True), (ppo, PPO, ("rnd", "counts:0.1"), 20_000, True),
    pytest.param(sac, SAC, ("rnd",), 8000, True, marks=pytest.mark.slow)])
def test_curiosity_solves_a_lock_that_random_play_cannot(algorithm, config, curiosity, steps, opens):
    """A lock of 14 numbers from 0 to 2: 1 try in 4.8 million opens it."""
    loop = InTurn(algorithm, dataclasses.replace(config, curiosity=curiosity), GymVectorEnv(lambda: Lock(14), 8, 0), 0)
    last = np.mean([episode.returns[0] for episode in loop.run(steps).episodes[-20:]])
    assert last > 0.8 if opens else last == 0.0
