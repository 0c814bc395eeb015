"""MuZero in environments for one player: exact values on the probes."""

import tomllib
from importlib.resources import files

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from in_turn import InTurn
from myosu.algorithms import muzero
from myosu.envs.gym_env import GymVectorEnv
from myosu.errors import UserError
from probe_values import PROBES

CONFIG = muzero.Config(channels=32, blocks=1, atoms=21, value_range=(-2.0, 2.0), discount=0.5, simulations=4,
                       num_envs=16, considered_actions=2, batch_size=64, unroll_steps=3, td_steps=3, replay_ratio=12.0,
                       learning_starts=200, replay_capacity=1000, search_value_weight=1.0, learning_rate=1e-2,
                       weight_decay=0.0, precision="float32", device="cpu")


@pytest.mark.parametrize("probe", PROBES)
def test_probes_reach_their_exact_values(probe):
    observations, values, actions = PROBES[probe]
    loop = InTurn(muzero, CONFIG, GymVectorEnv(f"myosu/Probe{probe}-v0", CONFIG.num_envs)).run(3600)
    agent = loop.agent()
    observation = np.array(observations, np.float32)[:, None]
    legal = np.ones((len(observation), loop.env.spec.num_actions), np.bool_)
    assert agent.act(observation, legal)[0].tolist() == actions
    net = loop.learner.net.eval()
    with torch.no_grad():
        found = loop.learner.support.mean(net.initial(torch.from_numpy(observation))[1]).numpy()
    assert np.allclose(found, values, atol=0.1), found


class Corridor(gymnasium.Env):
    """Six cells, moves to the left, to the right, or none; the last cell pays 1, for at most 30 steps."""

    observation_space, action_space = spaces.Box(0.0, 1.0, (6,), np.float32), spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell = self.steps = 0
        return np.eye(6, dtype=np.float32)[self.cell], {}

    def step(self, action):
        self.cell, self.steps = max(0, self.cell + (-1, 1, 0)[action]), self.steps + 1
        return np.eye(6, dtype=np.float32)[self.cell], float(self.cell == 5), self.cell == 5, self.steps == 30, {}


def test_the_preset_of_environments_learns_a_rare_reward_whose_range_is_unknown():
    # With the defaults alone (41 atoms over ±20,000, Q rescaled however little it differs) errors of the values make
    # the policy deterministic before it has seen enough rewards.
    preset = tomllib.loads((files("myosu.presets") / "muzero" / "environment.toml").read_text(encoding="utf-8"))
    config = muzero.Config(**{**preset, "learning_starts": 1000, "num_envs": 16, "channels": 32, "blocks": 1,
                              "precision": "float32", "device": "cpu"})
    loop = InTurn(muzero, config, GymVectorEnv(Corridor, config.num_envs)).run(20_000)
    agent = loop.agent()
    actions, _ = agent.act(np.eye(6, dtype=np.float32)[:5], np.ones((5, 3), np.bool_))
    assert actions.tolist() == [1] * 5
    assert np.mean([episode.returns[0] for episode in loop.episodes[-50:]]) > 0.9


def test_continuous_actions_are_refused():
    env = GymVectorEnv("Pendulum-v1", 1)
    with pytest.raises(UserError, match="--algorithm ppo"):
        muzero.make_net(CONFIG, env.spec)
