"""Generative adversarial imitation learning (Ho & Ermon 2016): a discriminator's reward for acting like
demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.nets.encoder import Encoder, has_pictures, layers, to_tensors
from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.rewards.signals import Steps

#: Weight of the gradient penalty max(0, ‖∇h‖ − 1)² (Petzka et al. 2018), which keeps the discriminator from saturating.
#: The two-sided one, (‖∇h‖ − 1)² (Gulrajani et al. 2017), demands a slope of 1 everywhere: where nothing distinguishes
#: agent and demonstrations, it pays for going in an arbitrary direction (docs/decisions/65).
GRADIENT_PENALTY = 10.0


class Discriminator(nn.Module):
    """The logit h, float32 [n], of D(s, a) = P(demonstrated).

    After termination an episode continues in an absorbing state (Kostrikov et al. 2019): all inputs are 0 except the
    last one, which is 1. Vectors are normalised by what ``encoder.observe`` was shown, since slopes are limited and
    observations may have any unit.
    """

    def __init__(self, spec: EnvSpec, action_size: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden[-1:] if has_pictures(spec) else (), normalize=True)
        self.size = self.encoder.features + action_size
        self.layers = layers(self.size + 1, hidden, nn.Tanh, layer_norm=False)
        self.out = nn.Linear(hidden[-1], 1)

    def inputs(self, observation: np.ndarray, action: np.ndarray) -> Tensor:
        """[n, size + 1] of observations and action features float32 [n, A]."""
        features = self.encoder(to_tensors(observation))[0]
        return F.pad(torch.cat([features, torch.from_numpy(action)], dim=1), (0, 1))

    def absorbing(self, count: int) -> Tensor:
        return F.pad(torch.zeros(count, self.size), (0, 1), value=1.0)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.layers(inputs))[:, 0]


class GAIL:
    """r = log D − log(1 − D) = h(s, a): positive where demonstrations are more likely, 0 if the discriminator is
    undecided.

    The reward −log(1 − D) is never negative, which favours longer episodes; log D is never positive, which favours
    early termination. The logit has both signs, and termination is worth staying in the absorbing state for ever: the
    last step also earns γ / (1 − γ) · h(absorbing). So the episode length is imitated, too, and neither bias remains.

    demonstrations: columns observation [m, ...], action (as the algorithm stores it) and terminated.
    action_features: maps such actions to float32 [n, action_size]. epochs: passes of ``update`` over its steps.
    """

    name = "gail"
    episodic = True

    def __init__(self, spec: EnvSpec, demonstrations: Mapping[str, np.ndarray],
                 action_features: Callable[[np.ndarray], np.ndarray], discount: float, weight: float = 1.0,
                 hidden: tuple[int, ...] = (64, 64), learning_rate: float = 3e-4, batch_size: int = 256,
                 epochs: int = 1, seed: int = 0) -> None:
        if not len(demonstrations["terminated"]):
            raise UserError("There is nothing to imitate: the demonstrations have no steps.")
        if not 0.0 <= discount < 1.0:
            raise UserError(f"GAIL's discount = {discount} is impossible: it must be below 1, because the absorbing "
                            "state after an episode lasts for ever.")
        self.discount, self.weight = discount, weight
        self.demonstrations, self.action_features = demonstrations, action_features
        self.learning_rate, self.batch_size, self.epochs = learning_rate, batch_size, epochs
        self.rng = np.random.default_rng([seed, 2])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            width = action_features(demonstrations["action"][:1]).shape[1]
            self.net = Discriminator(spec, width, hidden)
        self.parameters = FlatParameters(self.net)
        self.optimizer = FlatAdam(self.parameters)

    @torch.no_grad()
    def rewards(self, steps: Steps) -> np.ndarray:
        logits = self.net(self._inputs(steps))
        after = self.net(self.net.absorbing(1)) * (self.discount / (1.0 - self.discount))
        ended = torch.from_numpy(steps["terminated"])
        return self.reward(logits + torch.where(ended, after, 0.0)).numpy()

    def reward(self, logits: Tensor) -> Tensor:
        return logits

    def update(self, steps: Steps) -> dict[str, float]:
        """Train the discriminator on demonstrations and the agent's steps, in batches. Returns its loss and
        accuracy."""
        n, losses = len(steps["terminated"]), []
        for _ in range(self.epochs):
            order = self.rng.permutation(n)
            for first in range(0, n, self.batch_size):
                rows = order[first:first + self.batch_size]
                losses.append(self._fit({name: steps[name][rows] for name in ("observation", "action", "terminated")}))
        loss, right = np.mean(losses, axis=0)
        return {"loss": float(loss), "accuracy": float(right)}

    def _fit(self, agents: Steps) -> tuple[float, float]:
        count = len(agents["terminated"])
        drawn = self.rng.integers(len(self.demonstrations["terminated"]), size=count)
        teachers = {name: self.demonstrations[name][drawn] for name in ("observation", "action", "terminated")}
        for steps in (teachers, agents):
            self.net.encoder.observe(to_tensors(steps["observation"]))
        inputs, weights, labels = [], [], []
        for steps, demonstrated in ((teachers, 1.0), (agents, 0.0)):
            ends = int(steps["terminated"].sum())
            inputs += [self._inputs(steps), self.net.absorbing(ends)]
            # All the discounted time after termination, γ / (1 − γ), is spent in the absorbing state.
            weights += [torch.ones(count), torch.full((ends,), self.discount / (1.0 - self.discount))]
            labels.append(torch.full((count + ends,), demonstrated))
        x, weight, label = torch.cat(inputs), torch.cat(weights), torch.cat(labels)
        weight = torch.where(label == 1, weight / weight[label == 1].sum(), weight / weight[label == 0].sum())
        logits = self.net(x)
        loss = (F.binary_cross_entropy_with_logits(logits, label, reduction="none") * weight).sum()
        penalty = self._gradient_penalty(x[label == 1].detach(), x[label == 0].detach(), count)
        self.parameters.zero_gradient()
        (loss + GRADIENT_PENALTY * penalty).backward()
        self.optimizer.step(self.learning_rate)
        right = (((logits.detach() > 0) == (label == 1)) * weight).sum() / 2
        return float(loss.detach()) / 2, float(right)

    def _gradient_penalty(self, teachers: Tensor, agents: Tensor, count: int) -> Tensor:
        """max(0, ‖∇h‖ − 1)² at random interpolations of demonstrated and the agent's steps."""
        share = torch.from_numpy(self.rng.random((count, 1), np.float32))
        one, other = (x[torch.from_numpy(self.rng.integers(len(x), size=count))] for x in (teachers, agents))
        between = (share * one + (1.0 - share) * other).requires_grad_()
        (gradient,) = torch.autograd.grad(self.net(between).sum(), between, create_graph=True)
        return ((gradient.square().sum(1) + 1e-12).sqrt() - 1.0).clamp(min=0.0).square().mean()

    def _inputs(self, steps: Steps) -> Tensor:
        return self.net.inputs(steps["observation"], self.action_features(steps["action"]))

    def state_dict(self) -> dict[str, Any]:
        return {"net": {name: value.clone() for name, value in self.net.state_dict().items()},
                "optimizer": {name: value.clone() for name, value in self.optimizer.state_dict().items()},
                "rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
