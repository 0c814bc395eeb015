"""The action spaces of soft actor-critic: continuous actions, choices (discrete actions), and both at once.

Continuous actions are squashed Gaussians in (−1, 1), scaled to the bounds of the environment. Choices are the columns
of all branches, as in ``losses.q_learning``. In mixed actions the continuous components come first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from myosu.envs.vector import EnvSpec
from myosu.games.playout import random_actions
from myosu.losses.q_learning import best_columns
from myosu.losses.soft import by_branch, choice_log_probs, entropies, entropy_targets, squashed

#: Range of log σ of a continuous policy.
LOG_STD_RANGE = (-5.0, 2.0)

#: Encoded observations, the input of policy and critics (``sac.Encoded``).
Encoded = Any
#: Twin critics: values float32 [2, n, D, A] for all choices, or [2, n, D] without choices, given the continuous
#: components [n, C]; D is the number of discounts.
Critics = Callable[[Encoded, Tensor | None], Tensor]


class SoftActions(Protocol):
    """The operations of soft actor-critic that depend on the action space.

    outputs: number of outputs of the policy network. temperatures: number of entropies, each with its own target and
    temperature.

    Methods take the policy network's ``outputs``, float32 [n, ``outputs``], and ``legal``, bool [n, A]. Stored actions
    have the format of the method ``stored``. Values have one column for each of the B branches; continuous actions
    have one.
    """

    outputs: int
    temperatures: int

    def mode(self, outputs: Tensor, legal: Tensor) -> Tensor:
        """The most likely actions, in the stored format."""

    def sample(self, outputs: Tensor, legal: Tensor, rng: np.random.Generator) -> Tensor:
        """Actions sampled from the policy, in the stored format."""

    def random(self, legal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Uniformly random legal actions, in the stored format."""

    def environment_actions(self, stored: np.ndarray) -> np.ndarray:
        """The environment's actions [n, *action_shape] for stored actions."""

    def stored(self, actions: np.ndarray) -> np.ndarray:
        """Inverse of ``environment_actions``."""

    def q_of_actions(self, critics: Critics, encoded: Encoded, action: Tensor) -> Tensor:
        """Q of stored actions: float32 [2, n, D, B]."""

    def expected(self, critics: Critics, encoded: Encoded, outputs: Tensor, legal: Tensor,
                 rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Expected Q of the policy, as the minimum of the twin critics, [n, D, B], and the policy's entropies
        [n, ``temperatures``]. A continuous entropy is estimated by −log π of one sampled action."""

    def imitation_losses(self, outputs: Tensor, legal: Tensor, action: Tensor) -> Tensor:
        """Cloning losses of stored actions, float32 [n]: −log π(a) for choices, the squared distance from the most
        likely action for continuous components."""

    def entropy_targets(self, legal: Tensor) -> Tensor:
        """Target entropies, [n or 1, ``temperatures``]."""


class ContinuousActions:
    """Squashed Gaussians. Actions are stored as float32 [n, C] in [−1, 1].

    target_entropy: in nats, for each component.
    """

    temperatures = 1

    def __init__(self, spec: EnvSpec, target_entropy: float) -> None:
        self.components = spec.components
        self.outputs = 2 * self.components
        self.low = np.array(spec.action_low[: self.components], np.float32)
        self.high = np.array(spec.action_high[: self.components], np.float32)
        self.target_entropy = target_entropy * self.components

    def mode(self, outputs: Tensor, legal: Tensor) -> Tensor:
        return outputs.chunk(2, dim=1)[0].tanh()

    def sample(self, outputs: Tensor, legal: Tensor, rng: np.random.Generator) -> Tensor:
        return self.drawn(outputs, rng)[0]

    def random(self, legal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(-1.0, 1.0, (len(legal), self.components)).astype(np.float32)

    def environment_actions(self, stored: np.ndarray) -> np.ndarray:
        """−1 and 1 are mapped to the bounds."""
        return np.clip(self.low + (self.high - self.low) * 0.5 * (stored + 1.0), self.low, self.high)

    def stored(self, actions: np.ndarray) -> np.ndarray:
        return np.clip(2.0 * (actions - self.low) / (self.high - self.low) - 1.0, -1.0, 1.0)

    def q_of_actions(self, critics: Critics, encoded: Encoded, action: Tensor) -> Tensor:
        return critics(encoded, action)[..., None]

    def expected(self, critics: Critics, encoded: Encoded, outputs: Tensor, legal: Tensor,
                 rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        action, log_prob = self.drawn(outputs, rng)
        return least(critics(encoded, action))[..., None], -log_prob[:, None]

    def imitation_losses(self, outputs: Tensor, legal: Tensor, action: Tensor) -> Tensor:
        return (self.mode(outputs, legal) - action).square().sum(1)

    def entropy_targets(self, legal: Tensor) -> Tensor:
        return torch.full((1, 1), self.target_entropy, device=legal.device)

    def drawn(self, outputs: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Sampled actions [n, C] and their log π [n]."""
        mean, log_std = outputs.chunk(2, dim=1)
        low, high = LOG_STD_RANGE
        noise = torch.from_numpy(rng.standard_normal(mean.shape, np.float32)).to(mean.device)
        return squashed(mean, low + 0.5 * (high - low) * (log_std.tanh() + 1.0), noise)


class Choices:
    """Discrete and multi-discrete actions. Expectations over choices are exact. Actions are stored as the chosen
    columns, int64 [n, B].

    scale: see ``losses.soft.entropy_targets``.
    """

    def __init__(self, spec: EnvSpec, scale: float) -> None:
        self.spec, self.scale = spec, scale
        self.branches = spec.action_branches or (spec.num_actions,)
        self.outputs, self.temperatures = spec.num_actions, len(self.branches)
        self.starts = np.cumsum((0, *self.branches[:-1]))

    def mode(self, outputs: Tensor, legal: Tensor) -> Tensor:
        return best_columns(outputs, legal, self.branches)

    def sample(self, outputs: Tensor, legal: Tensor, rng: np.random.Generator) -> Tensor:
        """Gumbel-max sampling: the argmax of logits plus Gumbel noise is a sample from the policy."""
        gumbel = torch.from_numpy(rng.gumbel(size=outputs.shape).astype(np.float32)).to(outputs.device)
        return best_columns(outputs + gumbel, legal, self.branches)

    def random(self, legal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        drawn = [random_actions(mask, int(rng.integers(2**63))) for mask in self.spec.branch_masks(legal)]
        return np.stack(drawn, axis=1) + self.starts

    def environment_actions(self, stored: np.ndarray) -> np.ndarray:
        return (stored - self.starts).reshape(len(stored), *self.spec.action_shape)

    def stored(self, actions: np.ndarray) -> np.ndarray:
        return actions.reshape(len(actions), -1) + self.starts

    def q_of_actions(self, critics: Critics, encoded: Encoded, action: Tensor) -> Tensor:
        return columns_of(critics(encoded, None), action)

    def expected(self, critics: Critics, encoded: Encoded, outputs: Tensor, legal: Tensor,
                 rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Σ_a π_b(a) Q_b(a) and the entropy of each branch b."""
        log_probs = choice_log_probs(outputs, legal, self.branches)
        q = least(critics(encoded, None))
        return by_branch(log_probs.exp()[:, None] * q, self.branches), entropies(log_probs, self.branches)

    def imitation_losses(self, outputs: Tensor, legal: Tensor, action: Tensor) -> Tensor:
        return -choice_log_probs(outputs, legal, self.branches).gather(1, action).sum(1)

    def entropy_targets(self, legal: Tensor) -> Tensor:
        return entropy_targets(legal, self.branches, self.scale)


class MixedActions:
    """Continuous components and choices together (Delalleau et al. 2019), independent given the observation.

    The critics take the components as input and have an output for each choice. Actions are stored as float32
    [n, C + B]: components as in ``ContinuousActions``, then columns as in ``Choices``. The first entropy is that of the
    components.
    """

    def __init__(self, spec: EnvSpec, target_entropy: float, scale: float) -> None:
        self.continuous, self.choices = ContinuousActions(spec, target_entropy), Choices(spec, scale)
        self.split = spec.components
        self.outputs = self.continuous.outputs + self.choices.outputs
        self.temperatures = 1 + self.choices.temperatures

    def mode(self, outputs: Tensor, legal: Tensor) -> Tensor:
        components, logits = self._parts(outputs)
        return torch.cat([self.continuous.mode(components, legal), self.choices.mode(logits, legal)], dim=1)

    def sample(self, outputs: Tensor, legal: Tensor, rng: np.random.Generator) -> Tensor:
        components, logits = self._parts(outputs)
        return torch.cat([self.continuous.sample(components, legal, rng), self.choices.sample(logits, legal, rng)], 1)

    def random(self, legal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return _joined(self.continuous.random(legal, rng), self.choices.random(legal, rng))

    def environment_actions(self, stored: np.ndarray) -> np.ndarray:
        return _joined(self.continuous.environment_actions(stored[:, : self.split]),
                       stored[:, self.split :] - self.choices.starts)

    def stored(self, actions: np.ndarray) -> np.ndarray:
        return _joined(self.continuous.stored(actions[:, : self.split]),
                       actions[:, self.split :] + self.choices.starts)

    def q_of_actions(self, critics: Critics, encoded: Encoded, action: Tensor) -> Tensor:
        return columns_of(critics(encoded, action[:, : self.split]), action[:, self.split :].long())

    def expected(self, critics: Critics, encoded: Encoded, outputs: Tensor, legal: Tensor,
                 rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        components, logits = self._parts(outputs)
        action, log_prob = self.continuous.drawn(components, rng)
        # Every branch's value estimates the same return, and the policy maximises the sum over branches. Scaling the
        # components' gradient by 1 / B makes it that of the mean, so that they are not counted B times.
        share = 1.0 / len(self.choices.branches)
        action = share * action + (1.0 - share) * action.detach()
        value, entropy = self.choices.expected(lambda encoded, _: critics(encoded, action), encoded, logits, legal, rng)
        return value, torch.cat([-log_prob[:, None], entropy], dim=1)

    def imitation_losses(self, outputs: Tensor, legal: Tensor, action: Tensor) -> Tensor:
        components, logits = self._parts(outputs)
        return (self.continuous.imitation_losses(components, legal, action[:, : self.split])
                + self.choices.imitation_losses(logits, legal, action[:, self.split :].long()))

    def entropy_targets(self, legal: Tensor) -> Tensor:
        targets = self.choices.entropy_targets(legal)
        return torch.cat([self.continuous.entropy_targets(legal).expand(len(targets), 1), targets], dim=1)

    def _parts(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        return outputs[:, : self.continuous.outputs], outputs[:, self.continuous.outputs :]


def make_actions(spec: EnvSpec, target_entropy: float, scale: float) -> SoftActions:
    if not spec.components:
        return Choices(spec, scale)
    return MixedActions(spec, target_entropy, scale) if spec.num_actions else ContinuousActions(spec, target_entropy)


def least(q: Tensor) -> Tensor:
    """Minimum of the twin critics [2, ...], which reduces overestimation (Fujimoto et al. 2018)."""
    return torch.minimum(q[0], q[1])


def columns_of(q: Tensor, columns: Tensor) -> Tensor:
    """Values float32 [2, n, D, B] of q [2, n, D, A] at ``columns`` int64 [n, B]."""
    return q.gather(-1, columns[None, :, None].expand(2, -1, q.shape[2], -1))


def _joined(components: np.ndarray, choices: np.ndarray) -> np.ndarray:
    return np.concatenate([components, choices], axis=1, dtype=np.float32)
