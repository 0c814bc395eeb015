"""Muesli's mathematics against numbers worked by hand, and the sampled target against the exact one."""

import itertools
import math

import numpy as np
import pytest
import torch

from myosu.losses.categorical import Support, cross_entropy, negative_entropy, plane_loss, plane_loss_gradient
from myosu.losses.cmpo import cmpo_policy, deviation, policy_gradient_weight, sampled_cmpo_policy
from myosu.losses.distributions import Choices, cross_entropy_gradient
from myosu.losses.retrace import retrace_returns, retrace_trace


def f32(*values):
    return np.array(values, np.float32)


def t32(*values):
    return torch.tensor(values, dtype=torch.float32)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def test_cmpo_tilts_the_prior_by_clipped_advantages():
    """e^adv is 2, 1/2 and, clipped at ln 4, 4; with the prior ½, ¼, ¼: 1, ⅛, 1, whose sum is 2⅛."""
    advantage = f32([math.log(2), -math.log(2), 50.0])
    policy = cmpo_policy(np.log(f32([0.5, 0.25, 0.25])), advantage, clip=math.log(4))
    assert np.allclose(policy, f32([8, 1, 8]) / 17)
    # From below likewise: −50 counts as −ln 4.
    assert np.allclose(cmpo_policy(np.log(f32([0.5, 0.5])), f32([0, -50]), math.log(4)), f32([0.8, 0.2]))


def test_cmpo_leaves_illegal_actions_alone():
    policy = cmpo_policy(f32([-np.inf, math.log(0.5), math.log(0.5)]), f32([1e9, 0.0, 0.0]), clip=1.0)
    assert np.allclose(policy, f32([0, 0.5, 0.5]))


def test_cmpo_moves_at_most_as_far_as_equation_8_says():
    rng = np.random.default_rng(0)
    prior = softmax(rng.random((2000, 5), np.float32))
    policy = cmpo_policy(np.log(prior), 100 * rng.standard_normal((2000, 5), np.float32), clip=0.7)
    assert (0.5 * np.abs(policy - prior).sum(-1)).max() <= math.tanh(0.35) + 1e-6
    # From 1/(1 + e^c) to 1/(1 + e^-c), which is as far as that.
    prior = softmax(f32([-0.35, 0.35]))
    moved = (cmpo_policy(np.log(prior), f32([9, -9]), 0.7) - prior)[0, 0]
    assert float(moved) == pytest.approx(math.tanh(0.35), abs=1e-6)


def test_sampled_target_by_hand():
    """Drawn: 0, 0, 2 with e^adv 2, 2 and ½: N z is 1 + 2 + ½, the same, and 1 + 4."""
    target = sampled_cmpo_policy(np.array([[0, 0, 2]]), f32([math.log(2), math.log(2), -math.log(2)]), 4, clip=1.0)
    assert np.allclose(target, f32([2 / 3.5 + 2 / 3.5, 0, 0.5 / 5, 0]))
    clipped = sampled_cmpo_policy(np.array([[1]]), f32([9.0]), 2, clip=1.0)
    assert np.allclose(clipped, f32([0, math.e])), "one action alone: z is its first guess, 1"


PRIOR, ADVANTAGE = f32(0.5, 0.3, 0.2), f32(0.8, -0.4, 0.1)
EXACT = cmpo_policy(np.log(PRIOR)[None], ADVANTAGE[None], 1.0)[0]


def test_sampled_target_is_proportional_to_exact_in_expectation():
    """Summed over all that three draws can bring, each by its probability."""
    actions = np.array(list(itertools.product(range(3), repeat=3)))
    total = PRIOR[actions].prod(-1) @ sampled_cmpo_policy(actions, ADVANTAGE[actions], 3, clip=1.0)
    assert np.allclose(total / total.sum(), EXACT, atol=1e-6)


def test_sampled_loss_agrees_with_the_exact_one():
    """Over many draws, the loss of equation 11 and its gradient are those of the cross-entropy to the exact target."""
    actions = np.random.default_rng(1).choice(3, (4000, 64), p=PRIOR.astype(float) / PRIOR.sum(dtype=float))
    logits = t32(0.2, -0.5, 1.0).requires_grad_()
    exact = cross_entropy(logits, torch.from_numpy(EXACT))
    target = torch.from_numpy(sampled_cmpo_policy(actions, ADVANTAGE[actions], 3, 1.0))
    sampled = cross_entropy(logits, target).mean()
    assert float(sampled.detach()) == pytest.approx(float(exact.detach()), rel=1e-2)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (exact, sampled)]
    assert torch.allclose(*gradients, atol=1e-2)


def test_policy_gradient_is_weighted_by_at_most_one():
    """π is ¾ and ¼. Chosen with ½: the ratios are 1 (not 3/2) and ½."""
    weight = policy_gradient_weight(np.log(f32(0.75, 0.25)), np.log(f32(0.5, 0.5)), f32(2, -3))
    assert np.allclose(weight, f32(2, -1.5))


def test_gradient_of_the_cross_entropy_by_hand_and_by_autograd():
    """π is ¾ and ¼: for t = (2, 0), the policy gradient of the first action, (π − 1, π) times 2."""
    assert np.allclose(cross_entropy_gradient(np.log(f32([0.75, 0.25])), f32([2, 0])), f32([-0.5, 0.5]))
    rng = torch.Generator().manual_seed(0)
    logits, target = torch.randn(2, 20, 3, generator=rng)
    logits.requires_grad_()
    expected = torch.autograd.grad(cross_entropy(logits, target).sum(), logits)[0]
    log_probs = logits.detach().log_softmax(-1).numpy()
    assert np.allclose(cross_entropy_gradient(log_probs, target.numpy()), expected, atol=1e-6)


def test_mean_of_atoms_by_hand_and_by_torch():
    """Of atoms −2, 0 and 2 with ½, ¼ and ¼: −½, wherever the logits lie. What is not a number stays so."""
    logits = torch.cat([t32([2, 1, 1]).log() + shift for shift in (0.0, 300.0, -3e4)])
    assert torch.allclose(Support(-2.0, 2.0, 3).mean(logits), t32(-0.5, -0.5, -0.5), atol=2e-3)  # −3e4 is coarse
    support = Support(-300.0, 300.0, 61, squeezed=True)
    logits = 30 * torch.randn(4, 50, 61, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(support.mean(logits), logits.softmax(-1) @ support.points(), rtol=1e-5, atol=3e-4)
    logits[0, 0, 7], logits[0, 1, 7], logits[0, 2, 7] = torch.nan, torch.inf, -torch.inf
    assert support.mean(logits)[0, :4].isfinite().tolist() == [False, False, True, True]
    gradient = support.cross_entropy_gradient(logits, np.zeros((4, 50), np.float32), np.ones((4, 50), np.float32))
    assert gradient[0, :4].isfinite().all(-1).tolist() == [False, False, True, True]


def test_gradient_of_two_hot_cross_entropy_by_hand_and_autograd():
    """Of atoms −2, 0 and 2 with ½, ¼ and ¼: −½ is ¼ and ¾ of the first two, 9 is the last, weighed by 2 and −4."""
    support, logits = Support(-2.0, 2.0, 3), t32([2, 1, 1], [2, 1, 1]).log() + 7
    gradient = support.cross_entropy_gradient(logits, f32(-0.5, 9.0), f32(2, -4))
    assert torch.allclose(gradient, t32([0.5, -1, 0.5], [-2, -1, 3]))
    for support in (Support(-3.0, 5.0, 9), Support(-300.0, 300.0, 9, squeezed=True)):
        rng = torch.Generator().manual_seed(0)
        logits, scalars = torch.randn(4, 50, 9, generator=rng).requires_grad_(), 4 * torch.randn(4, 50, generator=rng)
        weights = torch.rand(4, 50, generator=rng)
        loss = (cross_entropy(logits, support.two_hot(scalars)) * weights).sum()
        found = support.cross_entropy_gradient(logits.detach(), scalars.numpy(), weights.numpy())
        assert torch.allclose(found, torch.autograd.grad(loss, logits)[0], atol=1e-6)


def test_gradient_of_the_entropy_by_hand_and_by_autograd():
    """π is ¾ and ¼: Σ π log π = log ¾ − ¼ log 3, and log ¾ is ¼ log 3 above it, so the gradient is ¾ ¼ log 3."""
    def gradient(logits, legal):
        policy = Choices((len(legal[0]),), several=False)
        log_probs = policy.normalize(logits.detach().numpy(), np.array(legal))
        return policy.gradient(log_probs, np.zeros(len(legal), np.int64), np.zeros(len(legal), np.float32), -1.0)

    logits = t32([3, 1]).log() + 7
    expected = 3 / 16 * math.log(3)
    assert negative_entropy(logits).item() == pytest.approx(math.log(0.75) - 0.25 * math.log(3))
    assert np.allclose(gradient(logits, [[True, True]]), f32([expected, -expected]))
    logits = torch.tensor([[0.3, -2.0, 1.0], [0.1, -1e9, 0.4]], requires_grad=True)  # an action that is not legal
    expected = torch.autograd.grad(negative_entropy(logits).sum(), logits)[0]
    found = gradient(logits, [[True, True, True], [True, False, True]])
    assert np.allclose(found, expected, atol=1e-7) and expected[1, 1] == 0


def test_gradient_of_the_plane_loss_by_autograd():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=rng).requires_grad_()
    planes = (torch.rand(2, 3, 4, 5, generator=rng) < 0.5).float()
    expected = torch.autograd.grad(plane_loss(logits, planes).sum(), logits)[0]
    assert torch.allclose(plane_loss_gradient(logits.detach(), planes), expected, atol=1e-7)


def test_deviation_is_corrected_for_its_start_at_zero():
    # Squares 4 and 16 with β = ½: m = 2, then 9; divided by ½ and ¾: 4 and 12.
    assert deviation(2.0, 0.5, 1) == pytest.approx(2.0)
    assert deviation(9.0, 0.5, 2) == pytest.approx(math.sqrt(12))


def test_traces_are_clipped_importance_weights():
    assert np.allclose(retrace_trace(np.log(f32(0.5, 0.1)), np.log(f32(0.25, 0.2)), 0.9), f32(0.9, 0.45))


def test_retrace_by_hand():
    """d = ½. G_2 = 4 + ½·6 = 7; G_1 = 2 + ½(2 + ½(7 − 3)) = 4; G_0 = 1 + ½(8 + 1·(4 − 2)) = 6."""
    returns = retrace_returns(reward=f32([1, 2, 4]), discount=f32([0.5, 0.5, 0.5]), value=f32([9, 8, 2, 6]),
                              q=f32([9, 2, 3, 9]), trace=f32([9, 1, 0.5, 9]))
    assert returns.tolist() == [[6, 4, 7]]


def test_retrace_between_two_players_and_at_the_end():
    """The first of two wins 1 with the third ply, d = −1: the loser's move was worth −1 and the winner's first one 1
    where everything is believed, and what was thought of them where nothing is."""
    reward, discount = f32([0, 0, 1, 5]), f32([-1, -1, 0, -1])
    value, q = f32([0.1, 0.2, 0.3, 7, 7]), f32([0.1, 0.2, 0.3, 0.4, 0])
    whole = retrace_returns(reward, discount, value, q, f32([1, 1, 1, 1, 0]))
    assert np.allclose(whole, f32([1, -1, 1, -2])), "returns must not cross the end of a game"
    assert np.allclose(retrace_returns(reward, discount, value, q, f32([0, 0, 0, 0, 0])), f32([-0.2, -0.3, 1, -2]))


def test_retrace_with_full_traces_is_the_multi_step_return():
    value = f32([5, 6, 7, 8])
    returns = retrace_returns(f32([1, 1, 1]), f32([0.5, 0.5, 0.5]), value, value, f32([1, 1, 1, 1]))
    assert returns.tolist() == [[1.75 + 1, 1.5 + 2, 1 + 4]]


def test_retrace_finds_target_policy_values_off_policy():
    """A chain of two states that any action leads along; action 1 pays 1, action 0 nothing. Data by ¾, ¼; the target
    policy takes action 1 with ¾. From a Q of nothing its own is found."""
    rng = np.random.default_rng(0)
    behaviour, target, discount, steps = f32(0.75, 0.25), f32(0.25, 0.75), 0.5, 2
    right = f32([0.375, 1.375], [0.0, 1.0])  # Q(1, a) = a; v(1) = ¾; Q(0, a) = a + ½·¾
    q = np.zeros((2, 2), np.float32)
    actions = rng.choice(2, (40_000, steps), p=behaviour)
    trace = retrace_trace(np.log(target)[actions], np.log(behaviour)[actions], 1.0)
    nobody, all_rows = np.zeros((len(actions), 1), np.float32), np.ones((len(actions), 1), np.float32)
    for _ in range(3):
        value = np.hstack([all_rows * (q @ target), nobody])
        taken = np.hstack([q[np.arange(steps), actions], nobody])
        returns = retrace_returns(actions.astype(np.float32), all_rows * f32(discount, 0.0), value, taken,
                                  np.hstack([trace, nobody]))
        q = np.array([[returns[:, t][actions[:, t] == a].mean() for a in range(2)] for t in range(steps)], np.float32)
    assert np.allclose(q, right, atol=0.02)
