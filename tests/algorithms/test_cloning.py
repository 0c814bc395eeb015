"""Behavioural cloning: of choices, branches with masks, and continuous actions."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from myosu.algorithms import cloning, load_algorithm
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.playback import Move
from myosu.errors import UserError


class Still(gymnasium.Env):
    """Never played: it has spaces alone."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, action_space):
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}


def clone(action_space, does, legal=None, updates=400):
    """An agent that has seen 300 moves of ``does`` (observation [2] → action)."""
    spec = GymVectorEnv(Still, 1, kwargs={"action_space": action_space}).spec
    config = cloning.Config(hidden=(64,), batch_size=64, learning_rate=5e-3)
    rng, replay = np.random.default_rng(0), cloning.make_replay(config, spec)
    legal = np.ones(spec.num_actions, bool) if legal is None else legal
    moves = [Move(seen, legal, np.array(does(seen), spec.action_dtype), 0, np.zeros(1), False, False)
             for seen in rng.uniform(-1, 1, (300, 2)).astype(np.float32)]
    for rows in cloning.make_rows(config, spec, moves):
        replay.add(rows | {"remaining": np.arange(300)[::-1].astype(np.int32)}, 0)
    learner = cloning.make_learner(config, spec, None, 0)
    for k in range(updates):
        learner.update(replay, k / updates)
    return cloning.make_agent(config, spec, learner.weights()), learner, replay


SEEN = np.random.default_rng(1).uniform(-1, 1, (200, 2)).astype(np.float32)


def test_choices_are_cloned():
    agent, learner, replay = clone(spaces.Discrete(3), lambda seen: int(seen[0] > 0) + int(seen[1] > 0))
    acts, _ = agent.act(SEEN, np.ones((200, 3), bool))
    assert (acts == (SEEN > 0).sum(1)).mean() > 0.93
    acts, _ = agent.act(SEEN, np.tile([True, False, True], (200, 1)))
    assert not (acts == 1).any(), "the mask holds"
    thoughts = agent.think(SEEN, np.tile([True, False, True], (200, 1)))
    assert (thoughts.policy[:, 1] == 0).all() and np.array_equal(thoughts.action, acts)
    state = learner.state_dict()
    first = [learner.update(replay, 0.5)["loss"] for _ in range(3)]
    learner.load_state_dict(state)
    assert [learner.update(replay, 0.5)["loss"] for _ in range(3)] == first


def test_branches_are_cloned_by_what_is_legal():
    """The last choice of the second branch was never legal: that it was not made says nothing against it."""
    legal = np.array([True, True, True, True, False])
    agent, learner, _ = clone(spaces.MultiDiscrete([2, 3]), lambda seen: (seen[0] > 0, seen[1] > 0), legal)
    acts, _ = agent.act(SEEN, np.tile(legal, (200, 1)))
    assert (acts == (SEEN > 0)).mean() > 0.95 and acts.shape == (200, 2)
    assert learner.policy.head.out.weight[4].detach().equal(
        cloning.make_learner(learner.config, learner.policy.spec, None, 0).policy.head.out.weight[4].detach())


def test_continuous_actions_are_cloned_between_their_bounds():
    agent, _, _ = clone(spaces.Box(np.float32([-2, 0]), np.float32([2, 10])),
                        lambda seen: (1.5 * seen[0], 5 + 4 * seen[1]))
    acts, _ = agent.act(SEEN, np.ones((200, 0), bool))
    assert np.abs(acts - np.stack([1.5 * SEEN[:, 0], 5 + 4 * SEEN[:, 1]], 1)).max(0).tolist() < [0.4, 1.0]


def test_what_does_not_fit_is_told():
    assert load_algorithm("cloning") is cloning
    spec = GymVectorEnv(Still, 1, kwargs={"action_space": spaces.Box(-np.inf, 1, (1,))}).spec
    with pytest.raises(UserError, match="bounds"):
        cloning.resolve(cloning.Config(), spec, False)
