"""PPO beside demonstrations: the cloning loss, and who needs them."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gym_toys import Lock
from in_turn import InTurn
from myosu.algorithms import demonstrations, ppo
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.native import game_spec
from myosu.errors import UserError
from myosu.games import load_game

CONFIG = ppo.Config(num_envs=8, rollout_steps=16, batch_size=64, hidden=(16,), channels=4, blocks=0, learning_rate=1e-3,
                    recordings=("some",), cloning_weight=0.5)


class Tells(gymnasium.Env):
    """Shows two numbers; what is done changes nothing and pays nothing. Ends after 8 steps."""

    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 8
        return self._look(), {}

    def step(self, action):
        self.left -= 1
        return self._look(), 0.0, False, self.left == 0, {}

    def _look(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


def demonstrate(monkeypatch, observation, action, legal, terminated=None):
    """These are the recorded steps."""
    found = {"observation": observation, "action": action, "legal_actions": legal,
             "terminated": np.zeros(len(action), bool) if terminated is None else terminated}
    for module in (ppo, demonstrations):
        monkeypatch.setattr(module, "load_demonstrations", lambda recordings, spec, stored: found)


def quadrants(count=300):
    seen = np.random.default_rng(0).uniform(-1, 1, (count, 2)).astype(np.float32)
    return seen, (seen > 0).sum(1)


@pytest.mark.parametrize("kind", ["vectors", "board"])
def test_cloning_gradient_equals_autograd(monkeypatch, kind):
    """Beside autograd's of −log softmax over the legal actions; what was there is added to."""
    random = np.random.default_rng(0)
    if kind == "board":
        spec, size = game_spec(load_game("tictactoe")).against_opponent(), 9
        seen = random.integers(0, 2, (40, *spec.observation_shape)).astype(np.uint8)
    else:
        spec, size = GymVectorEnv(Tells, 1).spec, 3
        seen = quadrants(40)[0]
    legal = random.random((40, size)) < 0.6
    legal[np.arange(40), action := random.integers(size, size=40)] = True
    demonstrate(monkeypatch, seen, action, legal)
    learner = ppo.make_learner(ppo.resolve(CONFIG, spec, True), spec, None, 0)
    for parameter in learner.net.parameters():  # outputs that differ
        parameter.data.add_(torch.randn_like(parameter, generator=torch.Generator().manual_seed(1)) * 0.3)
    learner.flat.gradient.fill_(1.0)
    rows = np.random.default_rng(0).integers(40, size=40)  # as the learner draws them
    learner.rng = np.random.default_rng(0)
    loss = learner._clone(0.5)
    found = learner.flat.gradient.clone() - 1.0
    outputs, _, _ = learner.net({"": torch.from_numpy(seen[rows])})
    log_probs = outputs.masked_fill(~torch.from_numpy(legal[rows]), -torch.inf).log_softmax(1)
    expected = -log_probs.gather(1, torch.from_numpy(action[rows])[:, None]).mean()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4)
    learner.flat.zero_gradient()
    (0.5 * expected).backward()
    assert torch.allclose(found, learner.flat.gradient, atol=1e-5) and found.abs().max() > 1e-3


def test_cloning_solves_a_lock_that_random_play_cannot(monkeypatch):
    """1 try in 4.8 million opens it; one recorded game shows how."""
    env = GymVectorEnv(lambda: Lock(14), 8, 0)
    keys, seen = Lock(14).keys, np.eye(15, dtype=np.float32)[:14]
    demonstrate(monkeypatch, seen, keys, np.ones((14, 3), bool))
    config = dataclasses.replace(CONFIG, hidden=(32,), cloning_weight=1.0, learning_rate=3e-3)
    loop = InTurn(ppo, config, env, 0).run(6000)
    assert np.mean([episode.returns[0] for episode in loop.episodes[-20:]]) > 0.9
    assert "cloning_loss" in loop.metrics[0] and loop.metrics[-1]["cloning_loss"] < loop.metrics[0]["cloning_loss"]


def test_acting_needs_no_recordings(monkeypatch):
    """GAIL's value is there, and the weights are loaded, without a look at what was imitated."""
    seen, actions = quadrants(20)
    demonstrate(monkeypatch, seen, actions, np.ones((20, 3), bool))
    spec = GymVectorEnv(Tells, 1).spec
    config = ppo.resolve(dataclasses.replace(CONFIG, gail_weight=1.0, gail_discount=0.5), spec, True)
    weights = ppo.make_learner(config, spec, None, 0).weights()
    for module in (ppo, demonstrations):
        monkeypatch.setattr(module, "load_demonstrations", lambda *_: 1 / 0)
    assert len(ppo.returns(config)) == 2
    assert ppo.make_agent(config, spec, weights).act(seen, np.ones((20, 3), bool))[0].shape == (20,)


def test_continuous_actions_are_stored_in_policy_scale():
    """Bounds are −1 and 1, and components without bounds stay as they are."""
    spec = dataclasses.replace(GymVectorEnv(Tells, 1).spec, num_actions=0, action_low=(-2.0, -np.inf),
                               action_high=(6.0, np.inf))
    actions = np.array([[-2.0, 3.0], [6.0, -7.0], [2.0, 0.0]], np.float32)
    stored = ppo.policy_action(spec, actions)
    assert stored.tolist() == [[-1, 3], [1, -7], [0, 0]]
    assert ppo.environment_action(spec, stored).tolist() == actions.tolist()


@pytest.mark.parametrize("settings, said", [
    ({"cloning_weight": 0.0}, "have no effect"), ({"lstm_size": 8}, "cannot be combined"),
])
def test_invalid_imitation_settings_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        dataclasses.replace(CONFIG, **settings)
