"""SAC on boards whose actions are cells: one encoder, a value for each cell, symmetries, and cloning."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from in_turn import InTurn
from myosu.algorithms import sac
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.games.game import Symmetries
from myosu.nets.encoder import acts_by_cell
from myosu.nets.towers import CellTowers

CONFIG = sac.Config(hidden=(16,), channels=8, discount=0.0, num_envs=8, replay_capacity=2000, learning_starts=64,
                    batch_size=32, replay_ratio=16.0, learning_rate=1e-2, temperature=0.01)


class Lamp(gymnasium.Env):
    """One of the cells of a board of 3 × 4 is lit, never the last one; one step, which pays 1 at the lit cell."""

    observation_space, action_space = spaces.Box(0, 1, (1, 3, 4), np.float32), spaces.Discrete(12)
    planes_first = True

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.lit = int(self.np_random.integers(11))
        return lamps()[self.lit], {}

    def step(self, action):
        return lamps()[self.lit], float(action == self.lit), True, False, {}


def lamps():
    """float32 [12, 1, 3, 4], each cell lit once."""
    return np.eye(12, dtype=np.float32).reshape(12, 1, 3, 4)


def test_cell_actions_are_recognised_by_board_shape():
    assert acts_by_cell(12, (5, 3, 4)) and acts_by_cell(24, (5, 3, 4))
    assert not acts_by_cell(13, (5, 3, 4)) and not acts_by_cell(12, None) and not acts_by_cell(0, (5, 3, 4))


def test_cell_tower_outputs_depend_on_their_cell_alone():
    """An output is that of its layer and cell, and the towers share nothing."""
    towers = CellTowers(2, (3, 2, 2), 5, 2, 3, 8)
    found = torch.randn(4, 3, 2, 2, requires_grad=True)
    out = towers(torch.randn(4, 2), found)
    assert out.shape == (2, 4, 3, 8)
    (gradient,) = torch.autograd.grad(out[1, 2, 0, 4 + 3], found, retain_graph=True)  # second layer, the last cell
    assert gradient[2, :, 1, 1].abs().min() > 0
    gradient[2, :, 1, 1] = 0.0
    assert not gradient.any()
    (gradient,) = torch.autograd.grad(out[1].sum(), towers.near)
    assert not gradient[0].any() and gradient[1].any()


def test_learning_generalises_across_cells():
    """The last cell is never lit, so nothing was ever paid there."""
    loop = InTurn(sac, CONFIG, GymVectorEnv(Lamp, 8, 0), 0).run(1000)
    with torch.no_grad():
        q = loop.learner.net.critics({"": torch.from_numpy(lamps())}).mean(0)[:, 0].numpy()
    assert np.abs(q - np.eye(12))[:11].max() < 0.3 and q[11, 11] > 0.5 and q[11, :11].max() < 0.3, q.round(2)
    assert loop.agent().act(lamps(), np.ones((12, 12), np.bool_))[0].tolist() == list(range(12))


def test_encoder_gets_gradients_from_critics_alone():
    loop = InTurn(sac, CONFIG, GymVectorEnv(Lamp, 8, 0), 0).run(64)
    learner = loop.learner
    now = sac.detached(learner.net.critics.encoder({"": torch.from_numpy(lamps())}))
    value, entropy = learner.kind.expected(learner.judges.values, now, learner.net.policy(now),
                                           torch.ones(12, 12, dtype=torch.bool), learner.rng)
    learner.parameters.zero_gradient()
    (value.sum() + entropy.sum()).backward()
    assert any(p.grad.any() for p in learner.net.policy.parameters())
    assert not any(p.grad.any() for p in learner.net.critics.parameters())
    names = loop.actor.player.tensors
    assert "critics.encoder.parts.0.out.weight" in names and not any("towers" in name for name in names)


def test_symmetries_augment_samples():
    """Lit cells are moved with the actions: what is paid stays true of each sample."""
    cells = np.arange(12)
    both = np.stack([cells, cells.reshape(3, 4)[:, ::-1].ravel()])
    learner = sac.make_learner(CONFIG, GymVectorEnv(Lamp, 1).spec, Symmetries(cells=both, actions=both), 0)
    lit = np.arange(12).repeat(20)
    legal = np.eye(12, dtype=np.bool_)[lit]
    turned = learner._augmented({"observation": lamps()[lit], "next_observation": lamps()[lit], "action": lit[:, None],
                              "legal_actions": legal, "next_legal_actions": legal, "reward": np.ones(240)})
    shown = turned["observation"].reshape(240, 12).argmax(1)
    assert (shown == turned["action"][:, 0]).all() and 60 < (shown != lit).sum() < 180
    for name in ("legal_actions", "next_legal_actions"):
        assert (turned[name].argmax(1) == shown).all()
    unturned = dataclasses.replace(CONFIG, symmetries=False)
    assert sac.make_learner(unturned, GymVectorEnv(Lamp, 1).spec, Symmetries(cells=both, actions=both), 0
                            ).symmetries is None


def shown(monkeypatch):
    """Recordings of somebody who goes where it is dark: one cell after the lit one."""
    columns = {"observation": lamps(), "action": (np.arange(12)[:, None] + 1) % 12,
               "legal_actions": np.ones((12, 12), np.bool_), "terminated": np.ones(12, np.bool_)}
    monkeypatch.setattr(sac, "load_demonstrations", lambda recordings, spec, stored: columns)
    return columns["action"][:, 0]


def test_training_starts_from_a_cloned_policy(monkeypatch):
    done = shown(monkeypatch)
    learner = sac.make_learner(dataclasses.replace(CONFIG, cloning_updates=200), GymVectorEnv(Lamp, 1).spec, None, 0)
    learner._clone()
    agent = sac.make_agent(CONFIG, GymVectorEnv(Lamp, 1).spec, learner.weights())
    assert (agent.act(lamps(), np.ones((12, 12), np.bool_))[0] == done).mean() > 0.8
    assert torch.equal(learner.of_target, learner.of_critics), "the target critics have the cloned encoder"


def test_large_cloning_weight_outweighs_rewards(monkeypatch):
    """... where its weight is great; without it the lit cell is chosen, see above."""
    done = shown(monkeypatch)
    loop = InTurn(sac, dataclasses.replace(CONFIG, cloning_weight=10.0), GymVectorEnv(Lamp, 8, 0), 0)
    loop.run(500, until=5000)
    assert (loop.agent().act(lamps(), np.ones((12, 12), np.bool_))[0] == done).mean() > 0.8
    assert loop.metrics[-1]["cloning_loss"] < 1.0


def test_imitation_losses_of_each_action_kind_by_hand():
    """By hand: −log of a half; 0.5² of a component; both."""
    legal = torch.tensor([[True, True, False]])
    choice = sac.actions_of(CONFIG, EnvSpec((1,), np.float32, 3, 1, (-1.0, 1.0), 9))
    assert choice.imitation_losses(torch.tensor([[1.0, 1.0, 9.0]]), legal, torch.tensor([[1]])
                                   ).tolist() == pytest.approx([np.log(2)])
    box = sac.actions_of(CONFIG, EnvSpec((1,), np.float32, 0, 1, (-1.0, 1.0), 9, action_low=(-1,), action_high=(1,)))
    assert box.imitation_losses(torch.zeros(1, 2), legal[:, :0], torch.tensor([[0.5]])).tolist() == [0.25]
    mixed = sac.actions_of(CONFIG, EnvSpec((1,), np.float32, 3, 1, (-1.0, 1.0), 9, action_branches=(3,),
                                           action_low=(-1, 0), action_high=(1, 2)))
    losses = mixed.imitation_losses(torch.tensor([[0.0, 0.0, 1.0, 1.0, 9.0]]), legal, torch.tensor([[0.5, 1.0]]))
    assert losses.tolist() == pytest.approx([0.25 + np.log(2)])


def test_cloning_with_a_memory_is_refused():
    with pytest.raises(UserError, match="cloning and lstm_size"):
        dataclasses.replace(CONFIG, cloning_updates=1, lstm_size=8)
