"""Soft actor-critic's mathematics: by hand, and against torch's distributions."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from myosu.losses.soft import by_branch, choice_log_probs, entropies, entropy_targets, squashed, temperature_loss


def test_log_prob_of_a_squashed_normal_variable_by_hand():
    """N(0, 1) at u = 0: log 1/√(2π), and tanh has the slope 1 there."""
    action, log_prob = squashed(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1, 1))
    assert action.item() == 0 and log_prob.item() == pytest.approx(-0.5 * math.log(2 * math.pi))
    action, log_prob = squashed(torch.tensor([[0.5]]), torch.log(torch.tensor([[2.0]])), torch.tensor([[0.25]]))
    by_hand = -0.5 * 0.25**2 - math.log(2) - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(1.0) ** 2)
    assert action.item() == pytest.approx(math.tanh(1.0)) and log_prob.item() == pytest.approx(by_hand, abs=1e-6)


def test_log_prob_of_a_squashed_normal_variable_is_torchs():
    torch.manual_seed(0)
    mean, log_std, noise = torch.randn(3, 100, 4, dtype=torch.float64).unbind()
    action, log_prob = squashed(mean, 0.5 * log_std, noise)
    theirs = Independent(TransformedDistribution(Normal(mean, (0.5 * log_std).exp()), TanhTransform()), 1)
    assert torch.allclose(log_prob, theirs.log_prob(action), atol=1e-6)
    far, certain = squashed(torch.full((1, 1), 50.0), torch.zeros(1, 1), torch.zeros(1, 1))
    assert far.item() == 1 and certain.item() == pytest.approx(100 - 2 * math.log(2) - 0.5 * math.log(2 * math.pi))


def test_densities_integrate_to_one():
    u = torch.linspace(-9, 9, 20001)[:, None]
    mean, log_std = torch.full_like(u, 0.3), torch.full_like(u, -0.2)
    action, log_prob = squashed(mean, log_std, (u - mean) / log_std.exp())
    assert torch.trapezoid(log_prob.double().exp(), action[:, 0].double()).item() == pytest.approx(1.0, abs=1e-3)


def test_masked_entropy_is_that_of_the_legal_choices():
    logits = torch.tensor([[1.0, 2.0, 3.0, 0.5, 100.0], [0.0, 0.0, 0.0, 7.0, -7.0]], requires_grad=True)
    legal = torch.tensor([[True, False, True, True, False], [True, True, True, True, True]])
    log_probs = choice_log_probs(logits, legal, (3, 2))
    found = entropies(log_probs, (3, 2))
    first = Categorical(logits=logits.detach()[0, [0, 2]]).entropy().item()
    second = Categorical(logits=logits.detach()[1, 3:]).entropy().item()
    assert found.flatten().tolist() == pytest.approx([first, 0.0, math.log(3), second], abs=1e-6)
    assert (log_probs.exp()[~legal] == 0).all()
    found.sum().backward()
    assert torch.isfinite(logits.grad).all() and (logits.grad[~legal] == 0).all()
    assert by_branch(log_probs.exp(), (3, 2)).flatten().tolist() == pytest.approx([1.0] * 4)


def test_entropy_targets_follow_the_legal_choices():
    legal = torch.tensor([[True, True, True, True, False], [True, False, False, True, True]])
    found = entropy_targets(legal, (3, 2), 0.5).flatten().tolist()
    assert found == pytest.approx([0.5 * math.log(3), 0.0, 0.0, 0.5 * math.log(2)])


def test_temperature_falls_when_entropy_exceeds_its_target():
    """By branch, and nothing goes back into the policy."""
    log_temperature = torch.zeros(2, requires_grad=True)
    entropy = torch.tensor([[1.0, 0.2], [2.0, 0.2]], requires_grad=True)
    loss = temperature_loss(log_temperature, entropy, torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    loss.backward()
    assert log_temperature.grad.tolist() == pytest.approx([1.0, -0.3])  # of it gradient descent does the opposite
    assert entropy.grad is None
