"""Action distributions with closed-form gradients: masked categorical and diagonal Gaussian.

Both have the same methods. ``normalize`` turns a policy network's outputs, float32 [n, ``size``], into the
``parameters`` that the other methods take.
"""

from __future__ import annotations

import math
from typing import Protocol

import numba
import numpy as np


class Distribution(Protocol):
    size: int

    def normalize(self, outputs: np.ndarray, legal: np.ndarray | None) -> np.ndarray:
        """Parameters [n, size]. legal: bool [n, A]; None: all actions are legal."""

    def log_prob(self, parameters: np.ndarray, action: np.ndarray) -> np.ndarray:
        """log π(a) [n] of the actions [n, *action_shape]."""

    def entropy(self, parameters: np.ndarray) -> np.ndarray:
        """Entropy [n] in nats."""

    def gradient(self, parameters: np.ndarray, action: np.ndarray, log_prob_gradient: np.ndarray,
                 entropy_gradient: float) -> np.ndarray:
        """∂L / ∂outputs [n, size], given log_prob_gradient = ∂L / ∂log π(a) [n] and entropy_gradient = ∂L / ∂H."""

    def sample(self, parameters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Sampled actions [n, *action_shape]."""

    def mode(self, parameters: np.ndarray) -> np.ndarray:
        """The most likely actions [n, *action_shape]."""


class Choices:
    """Categorical distribution over ``branches[0]`` actions, or, if ``several``, independent categoricals with
    ``branches`` choices each (multi-discrete).

    Outputs are the concatenated logits of all branches, parameters their log-probabilities. Actions are int64 [n], or
    [n, branches] if ``several``. Illegal actions have probability 0 and do not contribute to the entropy.
    """

    def __init__(self, branches: tuple[int, ...], several: bool) -> None:
        self.size = sum(branches)
        self.several = several
        self.ends = np.cumsum(branches)
        self.all_legal = np.ones((1, self.size), np.bool_)

    def normalize(self, outputs: np.ndarray, legal: np.ndarray | None) -> np.ndarray:
        return log_softmax(outputs, self.all_legal if legal is None else legal, self.ends)

    def log_prob(self, parameters: np.ndarray, action: np.ndarray) -> np.ndarray:
        return _chosen(parameters, self.ends, self._columns(action))

    def entropy(self, parameters: np.ndarray) -> np.ndarray:
        return _entropy(parameters)

    def gradient(self, parameters: np.ndarray, action: np.ndarray, log_prob_gradient: np.ndarray,
                 entropy_gradient: float) -> np.ndarray:
        return _gradient(parameters, self.ends, self._columns(action), log_prob_gradient, entropy_gradient)

    def sample(self, parameters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        uniform = rng.random((len(parameters), len(self.ends)))
        return self._actions(_sample(parameters, self.ends, uniform))

    def mode(self, parameters: np.ndarray) -> np.ndarray:
        return self._actions(_mode(parameters, self.ends))

    def _columns(self, action: np.ndarray) -> np.ndarray:
        return action if self.several else action[:, None]

    def _actions(self, columns: np.ndarray) -> np.ndarray:
        return columns if self.several else columns[:, 0]


@numba.njit(cache=True)
def cross_entropy_gradient(log_probs, target):
    """The gradient of −Σ target · log π with respect to the logits, π Σ target − target; float32 [n, A]. log_probs: log
    π, −∞ where an action is illegal; the target must be 0 there."""
    gradient = np.empty(target.shape, np.float32)
    for i in range(len(target)):
        total = target[i].sum()
        for k in range(target.shape[1]):
            gradient[i, k] = math.exp(log_probs[i, k]) * total - target[i, k]
    return gradient


@numba.njit(cache=True)
def log_softmax(logits, legal, ends):
    """Masked log-softmax of every branch, float32 [n, A]; −∞ where illegal.

    ends: the end column of each branch, exclusive. legal: bool [n, A], or [1, A] for all rows; each branch must have a
    legal action.
    """
    out = np.empty(logits.shape, np.float32)
    for i in range(len(logits)):
        row = i if len(legal) > 1 else 0
        first = 0
        for end in ends:
            greatest = -np.inf
            for k in range(first, end):
                if legal[row, k]:
                    greatest = max(greatest, logits[i, k])
            total = 0.0
            for k in range(first, end):
                if legal[row, k]:
                    total += math.exp(logits[i, k] - greatest)
            normalizer = greatest + math.log(total)
            for k in range(first, end):
                out[i, k] = logits[i, k] - normalizer if legal[row, k] else -np.inf
            first = end
    return out


@numba.njit(cache=True)
def _chosen(log_probs, ends, action):
    """Σ over branches of log π(a); float32 [n]."""
    out = np.zeros(len(log_probs), np.float32)
    for i in range(len(log_probs)):
        first = 0
        for branch, end in enumerate(ends):
            out[i] += log_probs[i, first + action[i, branch]]
            first = end
    return out


@numba.njit(cache=True)
def _entropy(log_probs):
    """H = −Σ π log π over all branches; float32 [n]."""
    out = np.zeros(len(log_probs), np.float32)
    for i in range(len(log_probs)):
        for value in log_probs[i]:
            if value > -np.inf:
                out[i] -= math.exp(value) * value
    return out


@numba.njit(cache=True)
def _gradient(log_probs, ends, action, log_prob_gradient, entropy_gradient):
    """d log π(a) / d logit_k = [k = a] − π_k and dH / d logit_k = −π_k (log π_k + H), branch by branch."""
    out = np.zeros(log_probs.shape, np.float32)
    for i in range(len(log_probs)):
        first = 0
        for branch, end in enumerate(ends):
            entropy = 0.0
            for k in range(first, end):
                if log_probs[i, k] > -np.inf:
                    entropy -= math.exp(log_probs[i, k]) * log_probs[i, k]
            for k in range(first, end):
                if log_probs[i, k] > -np.inf:
                    by_entropy = entropy_gradient * (log_probs[i, k] + entropy)
                    out[i, k] = -math.exp(log_probs[i, k]) * (log_prob_gradient[i] + by_entropy)
            out[i, first + action[i, branch]] += log_prob_gradient[i]
            first = end
    return out


@numba.njit(cache=True)
def _sample(log_probs, ends, uniform):
    """Inverse-CDF sampling with ``uniform`` numbers in [0, 1); int64 [n, branches]."""
    out = np.empty(uniform.shape, np.int64)
    for i in range(len(log_probs)):
        first = 0
        for branch, end in enumerate(ends):
            left = uniform[i, branch]
            for k in range(first, end):
                if log_probs[i, k] > -np.inf:
                    out[i, branch] = k - first  # if rounding leaves a rest, the last legal one
                    left -= math.exp(log_probs[i, k])
                    if left < 0:
                        break
            first = end
    return out


@numba.njit(cache=True)
def _mode(log_probs, ends):
    out = np.empty((len(log_probs), len(ends)), np.int64)
    for i in range(len(log_probs)):
        first = 0
        for branch, end in enumerate(ends):
            out[i, branch] = np.argmax(log_probs[i, first:end])
            first = end
    return out


class Gaussian:
    """Diagonal Gaussian over ``components`` dimensions.

    Outputs and parameters are the means, then the log standard deviations. Actions are float32 [n, components].
    """

    def __init__(self, components: int) -> None:
        self.components, self.size = components, 2 * components

    def normalize(self, outputs: np.ndarray, legal: np.ndarray | None) -> np.ndarray:
        return outputs

    def log_prob(self, parameters: np.ndarray, action: np.ndarray) -> np.ndarray:
        mean, log_std = np.split(parameters, 2, axis=1)
        z = (action - mean) * np.exp(-log_std)
        return -0.5 * (z * z).sum(1) - log_std.sum(1) - 0.5 * self.components * math.log(2 * math.pi)

    def entropy(self, parameters: np.ndarray) -> np.ndarray:
        return parameters[:, self.components:].sum(1) + 0.5 * self.components * (1.0 + math.log(2 * math.pi))

    def gradient(self, parameters: np.ndarray, action: np.ndarray, log_prob_gradient: np.ndarray,
                 entropy_gradient: float) -> np.ndarray:
        mean, log_std = np.split(parameters, 2, axis=1)
        inverse = np.exp(-log_std)
        z, gradient = (action - mean) * inverse, log_prob_gradient[:, None]
        return np.concatenate([gradient * z * inverse, gradient * (z * z - 1.0) + entropy_gradient], axis=1)

    def sample(self, parameters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.action(parameters, rng.standard_normal((len(parameters), self.components), np.float32))

    def action(self, parameters: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Actions for standard normal ``noise``; float32 [n, components] each."""
        mean, log_std = np.split(parameters, 2, axis=1)
        return mean + np.exp(log_std) * noise

    def mode(self, parameters: np.ndarray) -> np.ndarray:
        return parameters[:, : self.components]
