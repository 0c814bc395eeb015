"""The mathematics of Q-learning, and transitions over n steps, against numbers worked by hand."""

import numpy as np
import torch

from myosu.envs.vector import EnvSpec, Step
from myosu.losses.q_learning import best_columns, bootstrapped, dueling, huber
from myosu.replay.n_step import NStep, transition_columns
from myosu.replay.priorities import SumTree

SPEC = EnvSpec((1,), np.float32, 2, 1, (-1.0, 1.0), 100)


def test_dueling_centres_the_advantages():
    value, advantage = torch.tensor([[10.0], [0.0]]), torch.tensor([[1.0, 2.0, 6.0], [3.0, 3.0, 3.0]])
    assert dueling(value, advantage, (3,)).tolist() == [[8.0, 9.0, 13.0], [0.0, 0.0, 0.0]]
    # Two branches, (1) and (2, 6): each is centred by itself.
    assert dueling(value, advantage, (1, 2)).tolist() == [[10.0, 8.0, 12.0], [0.0, 0.0, 0.0]]


def test_best_columns_are_legal():
    q = torch.tensor([[3.0, 1.0, 2.0], [-3.0, -1.0, -2.0]])
    everything, some = torch.ones(2, 3, dtype=torch.bool), torch.tensor([[False, True, True], [True, False, False]])
    assert best_columns(q, everything, (3,)).tolist() == [[0], [1]]
    assert best_columns(q, some, (3,)).tolist() == [[2], [0]], "the values of illegal actions must not matter"
    assert best_columns(q, everything, (1, 2)).tolist() == [[0, 2], [0, 1]], "columns count over all branches"


def test_bootstrapped_is_reward_plus_discounted_value_of_the_chosen():
    reward, discount = torch.tensor([1.0, 1.0, -2.0]), torch.tensor([0.5, 0.0, 0.25])
    next_q = torch.tensor([[4.0, 8.0], [100.0, 100.0], [4.0, 8.0]])
    assert bootstrapped(reward, discount, next_q, torch.tensor([[1], [1], [0]])).tolist() == [5.0, 1.0, -1.0]
    both = torch.tensor([[0, 1]] * 3)
    assert bootstrapped(reward, discount, next_q, both).tolist() == [4.0, 1.0, -0.5], "the mean over branches"


def test_huber_is_square_then_straight():
    error = torch.tensor([0.0, 0.5, -1.0, 3.0, -9.0], requires_grad=True)
    assert huber(error).tolist() == [0.0, 0.125, 0.5, 2.5, 8.5]
    huber(error).sum().backward()
    assert error.grad.tolist() == [0.0, 0.5, -1.0, 1.0, -1.0]


def test_importance_weights_undo_the_choice():
    tree = SumTree(4)
    tree.set(np.arange(3), np.array([1.0, 1.0, 2.0]))  # chances 1/4, 1/4, 1/2; count · P = 3/4, 3/4, 3/2
    assert np.allclose(tree.importance(np.array([0, 2]), 3, beta=1.0), [1.0, 0.5])
    assert np.allclose(tree.importance(np.array([2, 1]), 3, beta=0.5), [np.sqrt(0.5), 1.0])
    assert np.allclose(tree.importance(np.array([0, 2]), 3, beta=0.0), 1.0)


def play(window, ids, now, after, reward, terminated=(), truncated=(), mask=(True, True)):
    """One step in the environments ``ids`` from the observations ``now`` to ``after``; the action is 10 · now."""
    ids, ended = np.array(ids), np.isin(ids, [*terminated, *truncated])
    now, after = (np.array(x, np.float32)[:, None] for x in (now, after))
    window.act(ids, now, np.array([mask] * len(ids)), 10 * now.astype(np.int64))
    return window.answer(Step(
        ids, np.where(ended[:, None], np.float32(0), after), np.ones((len(ids), 2), np.bool_),
        np.zeros(len(ids), np.int8), np.array(reward, np.float32), np.isin(ids, terminated), np.isin(ids, truncated),
        np.where(ended[:, None], after, np.float32(0)), np.array(reward, np.float32), np.zeros(len(ids), np.uint64)))


def table(rows):
    names = ("observation", "action", "reward", "discount", "next_observation", "remaining")
    return list(zip(*(np.ravel(rows[name]).round(4).tolist() for name in names), strict=True))


def window(n, num_envs=1, discount=0.5):
    return NStep(transition_columns(SPEC, ((1,), np.int64)), num_envs, n, discount)


def test_three_steps_by_hand_and_truncation_within_them():
    w = window(3)
    assert table(play(w, [0], [0], [1], [1.0])) == []
    assert table(play(w, [0], [1], [2], [2.0])) == []
    # 1 + 2/2 + 4/4 = 3, from 0 to 3
    assert table(play(w, [0], [2], [3], [4.0])) == [(0, 0, 3.0, 0.125, 3, 0)]
    # the end comes at 4 for everyone: 2 + 4/2 + 8/4; 4 + 8/2; 8. Cut, so that the value of 4 still counts.
    last = play(w, [0], [3], [4], [8.0], truncated=[0], mask=(True, False))
    assert table(last) == [(1, 10, 6.0, 0.125, 4, 0), (2, 20, 8.0, 0.25, 4, 0), (3, 30, 8.0, 0.5, 4, 1)]
    assert last["next_legal_actions"].tolist() == [[True, False]] * 3, "the last mask that is known"
    # The next episode owes nothing to this one, and terminates after two steps.
    assert table(play(w, [0], [5], [6], [1.0])) == []
    assert table(play(w, [0], [6], [7], [2.0], terminated=[0])) == [(5, 50, 2.0, 0.0, 7, 0), (6, 60, 2.0, 0.0, 7, 1)]


def test_one_step_and_environments_that_answer_apart():
    w = window(1, num_envs=3)
    assert table(play(w, [2, 0], [1, 2], [3, 4], [1.0, 2.0])) == [(1, 10, 1.0, 0.5, 3, 0), (2, 20, 2.0, 0.5, 4, 0)]
    w = window(2, num_envs=3)
    assert table(play(w, [0, 2], [1, 2], [3, 4], [1.0, 2.0])) == []
    assert table(play(w, [1, 2], [5, 4], [6, 7], [1.0, 4.0])) == [(2, 20, 4.0, 0.25, 7, 0)]
    assert table(play(w, [0, 1], [3, 6], [8, 9], [1.0, 1.0], terminated=[1])) == [
        (1, 10, 1.5, 0.25, 8, 0), (5, 50, 1.5, 0.0, 9, 0), (6, 60, 1.0, 0.0, 9, 1)]


def test_a_window_goes_on_after_restoring():
    first, second = window(3), window(3)
    play(first, [0], [0], [1], [1.0])
    second.load_state_dict(first.state_dict())
    play(first, [0], [7], [7], [7.0])  # what was saved is not touched by it
    play(second, [0], [1], [2], [2.0])
    assert table(play(second, [0], [2], [3], [4.0])) == [(0, 0, 3.0, 0.125, 3, 0)]
