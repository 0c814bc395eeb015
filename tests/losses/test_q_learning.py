"""The mathematics of Q-learning against numbers worked by hand."""

import numpy as np
import torch

from myosu.losses.q_learning import best_columns, bootstrapped, dueling, huber
from myosu.replay.priorities import SumTree


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


def test_bootstrapped_target_by_hand():
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


def test_importance_weights_by_hand():
    tree = SumTree(4)
    tree.set(np.arange(3), np.array([1.0, 1.0, 2.0]))  # chances 1/4, 1/4, 1/2; count · P = 3/4, 3/4, 3/2
    assert np.allclose(tree.importance(np.array([0, 2]), 3, beta=1.0), [1.0, 0.5])
    assert np.allclose(tree.importance(np.array([2, 1]), 3, beta=0.5), [np.sqrt(0.5), 1.0])
    assert np.allclose(tree.importance(np.array([0, 2]), 3, beta=0.0), 1.0)
