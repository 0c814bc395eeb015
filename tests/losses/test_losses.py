"""The mathematics of the losses against numbers worked by hand."""

import math
import warnings

import numpy as np
import pytest
import torch

from myosu.losses.categorical import Support, cross_entropy, negative_cosine, squeeze, unsqueeze


def test_two_hot_splits_between_neighbours():
    support = Support(-2.0, 2.0, 5)  # atoms −2, −1, 0, 1, 2
    target = support.two_hot(torch.tensor([0.0, 0.25, -1.75, 2.0, 9.0, -9.0]))
    expected = torch.tensor([
        [0, 0, 1, 0, 0], [0, 0, 0.75, 0.25, 0], [0.75, 0.25, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1],
        [1, 0, 0, 0, 0],
    ])
    assert torch.allclose(target, expected)


def test_two_hot_has_the_scalar_as_its_mean():
    support = Support(-32.0, 32.0, 41)
    scalars = torch.linspace(-32, 32, 101).view(1, 101)
    target = support.two_hot(scalars)
    assert torch.allclose(target.sum(-1), torch.ones(1, 101))
    assert torch.allclose(target @ support.points(), scalars, atol=1e-4)


def test_squeezed_atoms_are_evenly_spaced_and_keep_the_mean():
    # h(3) = √4 − 1 + 0.003 = 1.003, h(8) = 2.008: of three atoms from −8 to 8 the middle one is 0
    assert torch.allclose(squeeze(torch.tensor([3.0, 8.0, -8.0])), torch.tensor([1.003, 2.008, -2.008]))
    assert torch.allclose(unsqueeze(squeeze(torch.tensor([-500.0, 0.0, 7.0], dtype=torch.float64))),
                          torch.tensor([-500.0, 0.0, 7.0], dtype=torch.float64))
    support = Support(-8.0, 8.0, 5, squeezed=True)
    assert torch.allclose(squeeze(support.points()), torch.tensor([-2.008, -1.004, 0.0, 1.004, 2.008]), atol=1e-4)
    scalars = torch.tensor([-8.0, -0.3, 0.0, 1.0, 5.0])
    assert torch.allclose(support.two_hot(scalars) @ support.points(), scalars, atol=1e-5)


def test_targets_outside_the_support_warn_once():
    support = Support(-3.0, 5.0, 17)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        support.warn_if_outside(np.array([-3.0, 5.05], np.float32))
    with pytest.warns(UserWarning, match=r"target of 7 is outside \[-3, 5\].*value_range"):
        support.warn_if_outside(np.array([[0.0, 7.0]], np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        support.warn_if_outside(np.array([-9.0], np.float32))
    with pytest.warns(UserWarning, match="target of -9 is outside"):
        Support(-3.0, 5.0, 18).warn_if_outside(np.array([-9.0], np.float32))


def test_mean_of_uniform_logits_is_the_middle():
    assert support_mean(-3.0, 5.0, 9) == 1.0


def support_mean(low, high, atoms):
    return round(float(Support(low, high, atoms).mean(torch.zeros(atoms))), 5)


def test_cross_entropy_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    assert math.isclose(float(cross_entropy(logits, torch.tensor([[0.0, 1.0, 0.0]]))), math.log(4), rel_tol=1e-6)
    assert float(cross_entropy(logits, torch.zeros(1, 3))) == 0.0


def test_negative_cosine_stops_the_gradient_of_its_target():
    a = torch.tensor([[1.0, 0.0]], requires_grad=True)
    b = torch.tensor([[1.0, 1.0]], requires_grad=True)
    loss = negative_cosine(a, b)
    assert math.isclose(float(loss), 1 - math.sqrt(0.5), rel_tol=1e-6)
    loss.sum().backward()
    assert b.grad is None and a.grad is not None
