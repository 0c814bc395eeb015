"""MuZero in environments for one player: exact values on the probes."""

import numpy as np
import pytest
import torch

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


def test_continuous_actions_are_refused():
    env = GymVectorEnv("Pendulum-v1", 1)
    with pytest.raises(UserError, match="--algorithm ppo"):
        muzero.make_net(CONFIG, env.spec)
