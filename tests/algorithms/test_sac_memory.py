"""SAC with a memory: what has to be remembered is, and where its states come from."""

import dataclasses

import numpy as np
import pytest
import torch

from gym_toys import Recall, WithoutVelocities
from in_turn import InTurn, InTwoGroups, returns
from myosu.algorithms import sac
from myosu.envs.gym_env import GymVectorEnv
from myosu.errors import UserError

SMALL = sac.Config(hidden=(32,), discount=0.5, num_envs=4, replay_capacity=4000, learning_starts=64, batch_size=128,
                   replay_ratio=32.0, learning_rate=5e-3, anneal_learning_rate=True, tau=0.05, temperature=0.0,
                   lstm_size=8, sequence_length=4, burn_in=2)


def values(loop, secret):
    """Q [4, 2] of both actions along an episode of ``Recall``, and what the agent does."""
    agent, state, found, actions = loop.agent(), None, [], []
    for step in range(4):
        observation = np.full((1, 1), (2 * secret - 1) * (step == 0), np.float32)
        action, after = agent.act(observation, np.ones((1, 2), np.bool_), state)
        before = np.zeros((1, 16), np.float32) if state is None else state
        with torch.no_grad():
            found.append(agent.critics.values(agent.player.encode(observation, before)[0]).mean(0)[0, 0].numpy())
        actions.append(int(action[0]))
        state = after
    return np.array(found), actions


def test_exact_values_of_a_recall_task():
    """The last of four actions pays 1 if it is the first observation's, else -1; before that γ, γ² and γ³."""
    loop = InTurn(sac, SMALL, GymVectorEnv(Recall, 4, 0), 0).run(4000)
    for secret in (0, 1):
        q, actions = values(loop, secret)
        assert actions[-1] == secret
        expected = [[0.125, 0.125], [0.25, 0.25], [0.5, 0.5], [1 - 2 * secret, 2 * secret - 1]]
        assert np.abs(q - expected).max() < 0.15, q
    without = dataclasses.replace(SMALL, lstm_size=0)
    loop = InTurn(sac, without, GymVectorEnv(Recall, 4, 0), 0).run(2000)
    assert abs(returns(loop.agent(), GymVectorEnv(Recall, 4, 1), 40).mean()) < 0.6, "without memory it can only guess"


def test_stored_lstm_states_equal_the_actors():
    """Stored before each step, 0 where an episode begins, whoever answers first; and the learner, with the same
    weights, comes to the same states."""
    config = dataclasses.replace(SMALL, learning_starts=10**3)
    loop = InTurn(sac, config, InTwoGroups(GymVectorEnv(Recall, 4, 0)), 0).run(200)
    columns, filled = loop.replay.columns, loop.replay.filled
    starts = np.flatnonzero(columns["acted"][:filled] & (columns["previous_row"][:filled] < 0))
    assert len(starts) > 40 and not columns["memory"][starts].any()
    memory = loop.learner.net.critics.memory
    for row in starts[:20]:
        state = torch.zeros(1, 16)
        while columns["acted"][row] and columns["next_row"][row] >= 0:
            assert np.abs(columns["memory"][row] - state[0].detach().numpy()).max() < 1e-5
            _, state = memory({"": torch.from_numpy(columns["observation"][row : row + 1])}, state)
            row = columns["next_row"][row]


def test_sequences_and_whole_episodes_give_the_same_states():
    """What is seen of a transition in a drawn sequence is what its episode shows when it is gone through from its
    beginning, as long as weights are the same: padding, burn-in and offsets change nothing."""
    config = dataclasses.replace(SMALL, learning_starts=10**3, n_step=2)
    loop = InTurn(sac, config, GymVectorEnv(Recall, 4, 0), 0).run(200)
    columns, learner = loop.replay.columns, loop.learner
    learner.target.load_state_dict(learner.net.critics.state_dict())
    sequences = loop.replay.sample_sequences(30, np.random.default_rng(0))
    seen = learner._remember(loop.replay, sequences)
    size = columns["memory"].shape[1] // 2
    after = columns["next_row"][sequences.windows.rows]
    known = columns["acted"][after]  # the state before the next step is the one after this
    assert known.sum() > 20
    output = seen.now[0][:, -size:].detach().numpy()
    assert np.abs(output - columns["memory"][after][:, :size])[known].max() < 1e-5
    assert torch.equal(seen.after[0], seen.target_after[0])
    assert np.abs(seen.after[0][:, :1].numpy() - columns["observation"][sequences.windows.after]).max() == 0


def test_memory_gets_gradients_from_critics_alone():
    loop = InTurn(sac, SMALL, GymVectorEnv(Recall, 4, 0), 0).run(100)
    learner = loop.learner
    sequences = loop.replay.sample_sequences(8, np.random.default_rng(0))
    seen = learner._remember(loop.replay, sequences)
    assert seen.now[0].requires_grad and not seen.after[0].requires_grad and not seen.target_after[0].requires_grad
    before = learner.weights()
    loop.run(40)
    after = learner.weights()
    assert not torch.equal(before["critics.memory.lstm.weight_ih_l0"], after["critics.memory.lstm.weight_ih_l0"])


def test_resumed_run_continues_exactly():
    def loop(seed):
        return InTurn(sac, dataclasses.replace(SMALL, n_step=2), InTwoGroups(GymVectorEnv(Recall, 4, 3)), seed)

    first, second = loop(3), loop(4)
    first.run(150, until=300)
    second.load_state_dict(first.state_dict())
    first.run(150, until=300)
    second.run(150, until=300)
    for name, value in first.learner.weights().items():
        assert torch.equal(value, second.learner.weights()[name]), name


def test_long_sequences_and_priorities_are_refused():
    spec = GymVectorEnv(WithoutVelocities, 1).spec
    assert spec.max_steps == 500
    with pytest.raises(UserError, match="sequence_length = 501 is longer than any episode, which ends after 500"):
        sac.resolve(dataclasses.replace(SMALL, sequence_length=501), spec, False)
    with pytest.raises(UserError, match="prioritized"):
        dataclasses.replace(SMALL, prioritized=True)
