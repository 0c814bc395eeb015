"""Advantages, the clipped surrogate and distributions over actions: numbers worked by hand, gradients by torch."""

import math

import numpy as np
import pytest
import torch

from myosu.losses.advantage import generalized_advantages
from myosu.losses.distributions import Choices, Gaussian
from myosu.losses.policy_gradient import approximate_kl, clip_fraction, clipped_surrogate, explained_variance


def f32(*values):
    return np.array(values, np.float32)


def test_advantages_of_interleaved_environments_by_hand():
    """γ = λ = ½. Environment 0 (rows 0, 4, 5): terminated at its second step, so that the value of what is seen then,
    99, counts for nothing. Environment 1 (rows 1, 2, 3, 6, 7): cut at its second step, where the value of what is seen
    is 4, then one step of the next episode, whose next value is 2."""
    advantage = generalized_advantages(
        reward=f32(1, 1, 2, 0, 0, 0, 1, 0), value=f32(2, 0, 2, 4, 4, 99, 1, 2),
        acted=np.array([1, 1, 1, 0, 1, 0, 1, 0], bool), terminated=np.array([0, 0, 0, 0, 1, 0, 0, 0], bool),
        env_ids=np.array([0, 1, 1, 1, 0, 0, 1, 1]), discount=0.5, gae_lambda=0.5)
    # 0: δ = 0 − 4 = −4;  δ = 1 + ½·4 − 2 = 1, A = 1 + ¼·(−4) = 0
    # 1: δ = 1 + ½·2 − 1 = 1;  δ = 2 + ½·4 − 2 = 2;  δ = 1 + ½·2 − 0 = 2, A = 2 + ¼·2 = 2½
    assert advantage.tolist() == [0, 2.5, 2, 0, -4, 0, 1, 0]


def test_non_episodic_returns_continue_across_episode_ends():
    """The same rows, γ = λ = ½: the values of last observations, 0 and 4, count for nothing. Environment 0 (rows 0, 4,
    5, 8) ends with its second step, and the next episode begins in row 8 with a value of 6. Environment 1 (rows 1, 2,
    3, 6, 7) was cut, and the next episode begins in row 6."""
    rows = {
        "reward": f32(1, 1, 2, 0, 0, 0, 1, 0, 0), "value": f32(2, 0, 2, 4, 4, 0, 1, 2, 6),
        "acted": np.array([1, 1, 1, 0, 1, 0, 1, 0, 0], bool), "terminated": np.array([0, 0, 0, 0, 1, 0, 0, 0, 0], bool),
        "env_ids": np.array([0, 1, 1, 1, 0, 0, 1, 1, 0]), "discount": 0.5, "gae_lambda": 0.5}
    # 0: δ = 0 + ½·6 − 4 = −1;  δ = 1 + ½·4 − 2 = 1, A = 1 + ¼·(−1) = ¾
    # 1: δ = 1 + ½·2 − 1 = 1;  δ = 2 + ½·1 − 2 = ½, A = ½ + ¼·1 = ¾;  δ = 1 + ½·2 − 0 = 2, A = 2 + ¼·¾ = 2 3/16
    assert generalized_advantages(**rows, episodic=False).tolist() == [0.75, 2.1875, 0.75, 0, -1, 0, 1, 0, 0]
    assert generalized_advantages(**rows).tolist() == [0, 2.5, 2, 0, -4, 0, 1, 0, 0]


def test_lambda_one_is_the_return_and_zero_is_one_step():
    reward, value = f32(1, 2, 3, 0), f32(5, 6, 7, 10)
    acted, no = np.array([1, 1, 1, 0], bool), np.zeros(4, bool)
    arguments = reward, value, acted, no, np.zeros(4, np.int64), 0.5
    assert (generalized_advantages(*arguments, 1.0) + value).tolist() == [4, 6, 8, 10]
    assert (generalized_advantages(*arguments, 0.0) + value).tolist() == [4, 5.5, 8, 10]


def test_surrogate_is_clipped_on_the_side_that_gains():
    ratio = f32(1.5, 1.5, 0.5, 0.5, 1.125)
    loss, gradient = clipped_surrogate(np.log(ratio), f32(2, -2, 2, -2, 2), clip_range=0.25)
    assert np.allclose(loss, [-2.5, 3, -1, 1.5, -2.25])
    assert np.allclose(gradient, [0, 3, -1, 0, -2.25])  # −ρ A where it is not clipped


def test_surrogate_gradient_equals_torch_for_every_sample():
    """Half of the samples within the range once had the gradient 0, by rounding."""
    rng = np.random.default_rng(0)
    log_ratio, advantage = (rng.standard_normal(1000).astype(np.float32) * scale for scale in (np.float32(0.2), 1))
    x, a = torch.tensor(log_ratio, requires_grad=True), torch.tensor(advantage)
    expected = -torch.minimum(x.exp() * a, x.exp().clamp(0.75, 1.25) * a)
    expected.sum().backward()
    loss, gradient = clipped_surrogate(log_ratio, advantage, 0.25)
    assert np.allclose(loss, expected.detach(), atol=1e-5) and np.allclose(gradient, x.grad, atol=1e-5)
    assert 0 < (gradient == 0).sum() < 200


def test_kl_clip_fraction_and_explained_variance_by_hand():
    log_ratio = np.log(f32(2, 0.5))
    assert approximate_kl(log_ratio) == pytest.approx((1 - math.log(2) - 0.5 + math.log(2)) / 2)
    assert clip_fraction(np.log(f32(1.3, 0.9, 0.7, 1.0)), 0.2) == 0.5
    assert explained_variance(f32(1, 2, 3), f32(1, 2, 3)) == 1
    assert explained_variance(f32(2, 2, 2), f32(1, 2, 3)) == 0
    assert explained_variance(f32(1, 2, 3), f32(5, 5, 5)) == 0


def test_illegal_choices_have_no_probability_or_gradient():
    """Probabilities ¼ and ¾ among the two that are legal: H = ¼ ln 4 + ¾ ln 4/3."""
    policy = Choices((4,), several=False)
    parameters = policy.normalize(np.tile(f32(50, 0, math.log(3), -3), (2, 1)), np.array([[0, 1, 1, 0]] * 2, bool))
    assert np.allclose(np.exp(policy.log_prob(parameters, np.array([1, 2]))), [0.25, 0.75])
    assert np.allclose(policy.entropy(parameters), 0.25 * math.log(4) + 0.75 * math.log(4 / 3))
    assert policy.mode(parameters).tolist() == [2, 2]
    gradient = policy.gradient(parameters, np.array([1, 2]), f32(1, 1), 0.0)
    assert np.allclose(gradient, [[0, 0.75, -0.75, 0], [0, -0.25, 0.25, 0]])


def test_many_choices_and_large_logits_stay_finite():
    policy, rng = Choices((5000,), several=False), np.random.default_rng(0)
    legal = rng.random((3, 5000)) < 0.01
    legal[0] = False
    legal[0, 4321] = True
    parameters = policy.normalize(rng.normal(0, 1000, (3, 5000)).astype(np.float32), legal)
    action = policy.sample(parameters, rng)
    assert action[0] == 4321 and legal[np.arange(3), action].all()
    log_prob, entropy = policy.log_prob(parameters, action), policy.entropy(parameters)
    assert log_prob[0] == 0 and entropy[0] == 0 and np.isfinite(entropy).all()
    assert np.isfinite(policy.gradient(parameters, action, f32(1, 1, 1), -0.1)).all()


def _by_torch(distribution, log_prob_gradient, entropy_gradient, action, *leaves):
    log_prob, entropy = distribution.log_prob(torch.from_numpy(action)), distribution.entropy()
    if log_prob.dim() == 2:
        log_prob, entropy = log_prob.sum(1), entropy.sum(1)
    (torch.from_numpy(log_prob_gradient) @ log_prob + entropy_gradient * entropy.sum()).backward()
    return log_prob.detach().numpy(), entropy.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)


def test_gradients_of_choices_are_those_of_torch():
    rng = np.random.default_rng(1)
    policy, outputs = Choices((3, 2), several=True), rng.normal(size=(6, 5)).astype(np.float32)
    legal = np.ones((6, 5), bool)
    legal[::2, 1] = False
    parameters = policy.normalize(outputs, legal)
    action, gradient = policy.sample(parameters, rng), rng.normal(size=6).astype(np.float32)
    masked = np.where(legal, outputs, np.float32(-1e9))
    first, second = (torch.tensor(part, requires_grad=True) for part in (masked[:, :3], masked[:, 3:]))
    one = _by_torch(torch.distributions.Categorical(logits=first), gradient, 0.3, action[:, 0], first)
    two = _by_torch(torch.distributions.Categorical(logits=second), gradient, 0.3, action[:, 1], second)
    log_prob, entropy = policy.log_prob(parameters, action), policy.entropy(parameters)
    assert np.allclose(log_prob, one[0] + two[0], atol=1e-6) and np.allclose(entropy, one[1] + two[1], atol=1e-6)
    gradient = policy.gradient(parameters, action, gradient, 0.3)
    assert np.allclose(gradient, np.concatenate([one[2], two[2]], axis=1), atol=1e-6)


def test_gradients_of_gaussians_are_those_of_torch():
    rng = np.random.default_rng(2)
    policy, parameters = Gaussian(2), rng.normal(size=(5, 4)).astype(np.float32)
    action, gradient = policy.sample(parameters, rng), rng.normal(size=5).astype(np.float32)
    mean, log_std = (torch.tensor(part, requires_grad=True) for part in (parameters[:, :2], parameters[:, 2:]))
    expected = _by_torch(torch.distributions.Normal(mean, log_std.exp()), gradient, 0.3, action, mean, log_std)
    log_prob, entropy = policy.log_prob(parameters, action), policy.entropy(parameters)
    assert np.allclose(log_prob, expected[0], atol=1e-5) and np.allclose(entropy, expected[1], atol=1e-5)
    gradient = policy.gradient(parameters, action, gradient, 0.3)
    assert np.allclose(gradient, np.concatenate(expected[2:], axis=1), atol=1e-4)
    assert policy.mode(parameters).tolist() == parameters[:, :2].tolist()


def test_samples_follow_the_distribution():
    policy, rng = Choices((3, 2), several=True), np.random.default_rng(3)
    outputs = np.tile(np.log(f32(0.5, 0.3, 0.2, 0.9, 0.1)), (40_000, 1))
    action = policy.sample(policy.normalize(outputs, np.tile(np.array([1, 0, 1, 1, 1], bool), (40_000, 1))), rng)
    assert np.allclose(np.bincount(action[:, 0]) / 40_000, [5 / 7, 0, 2 / 7], atol=0.01)
    assert np.bincount(action[:, 1])[1] / 40_000 == pytest.approx(0.1, abs=0.01)
    draws = Gaussian(1).sample(np.tile(f32(3, math.log(2)), (40_000, 1)), rng)
    assert draws.mean() == pytest.approx(3, abs=0.05) and draws.std() == pytest.approx(2, abs=0.05)
