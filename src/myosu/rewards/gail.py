"""Generative adversarial imitation learning (Ho & Ermon 2016): a discriminator rewards acting like the demonstrations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.nets.encoder import Encoder, acts_by_cell, has_images, layers, to_tensors
from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.rewards.signals import Steps

#: Weight of the gradient penalty max(0, ‖∇h‖ − 1)² (Petzka et al. 2018), which keeps the discriminator from saturating.
#: The two-sided penalty, (‖∇h‖ − 1)² (Gulrajani et al. 2017), demands a slope of 1 everywhere: where agent and
#: demonstrations cannot be distinguished, it rewards moving in an arbitrary direction (docs/decisions/63-gail.md).
GRADIENT_PENALTY = 10.0


#: Time constant, in steps, of the moving average that estimates how often the agent's episodes terminate.
ENDS_WINDOW = 10_000


class Discriminator(nn.Module):
    """The logit, float32 [n], of D(s, a) = P(demonstrated). Vector observations are normalised by their running mean
    and deviation (``encoder.observe``), because slopes are limited and observations may have any unit.

    Where actions are cells of a board (``acts_by_cell``), its input is the convolution's features of the action's cell
    only: given the whole board it would learn which boards were demonstrated, and not which actions.
    """

    def __init__(self, spec: EnvSpec, action_size: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden[-1:] if has_images(spec) else (), blocks=0, normalize=True)
        self.by_cell = acts_by_cell(action_size, self.encoder.cells)
        inputs = self.encoder.features + action_size
        if self.encoder.cells is not None and self.by_cell:
            channels, height, width = self.encoder.cells
            inputs = channels + action_size // (height * width)
        self.layers = layers(inputs, hidden, nn.Tanh, layer_norm=False)
        self.out = nn.Linear(hidden[-1], 1)

    def inputs(self, observation: np.ndarray, action: np.ndarray) -> Tensor:
        """The network's inputs for observations [n, ...] and action features float32 [n, A]."""
        features, cells = self.encoder(to_tensors(observation))
        done = torch.from_numpy(action)
        if cells is None or not self.by_cell:
            return torch.cat([features, done], dim=1)
        found = cells.flatten(2)
        by_layer = done.view(len(done), -1, found.shape[2])
        return torch.cat([torch.bmm(found, by_layer.sum(1)[..., None])[..., 0], by_layer.sum(2)], dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.layers(inputs))[:, 0]


class GAIL:
    """r = log D − log(1 − D) = h(s, a): positive where demonstrations are more likely, 0 if the discriminator is
    undecided.

    The reward −log(1 − D) is never negative, which favours longer episodes; log D is never positive, which favours
    early termination. The logit has both signs, and termination is worth as much as staying in an absorbing state for
    ever (Kostrikov et al. 2019): the last step also earns γ / (1 − γ) · h(absorbing). So the episode length is also
    imitated, and neither bias remains.

    h = log(p_E / p_A) is a ratio of occupancies. The ratio of the absorbing state is computed from how often episodes
    terminate; a network would have to learn it from the few ends in a batch, and its error counts γ / (1 − γ) times.

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
        #: Exponentially weighted numbers of the agent's steps, and of the terminations among them.
        self.steps = self.ends = 0.0

    @torch.no_grad()
    def rewards(self, steps: Steps) -> np.ndarray:
        of_steps, absorbing = self.occupancy_logits()
        after = np.float32(absorbing * self.discount / (1.0 - self.discount))
        logits = self.net(self._inputs(steps)).numpy() + np.float32(of_steps)
        return logits + np.where(steps["terminated"], after, np.float32(0.0))

    def occupancy_logits(self) -> tuple[float, float]:
        """log(p_E / p_A) of not being in the absorbing state, and of being in it. A step terminates its episode with
        rate ρ, and then γ / (1 − γ) discounted steps follow: p = ρ γ / (1 − γ) / (1 + ρ γ / (1 − γ)). Half a
        termination is added on both sides, so that the logarithm of a rate of 0 is finite."""
        ended = self.demonstrations["terminated"]
        own = (self.ends + 0.5) / (self.steps + 1.0)
        shown = (int(ended.sum()) + 0.5) / (len(ended) + 1.0)
        after = self.discount / (1.0 - self.discount)
        of_steps = math.log((1.0 + own * after) / (1.0 + shown * after))
        return of_steps, of_steps + math.log(shown / own)

    def update(self, steps: Steps) -> dict[str, float]:
        """Train the discriminator on demonstrations and the agent's steps, in batches. Returns its loss and
        accuracy."""
        n, losses = len(steps["terminated"]), []
        kept = math.exp(-n / ENDS_WINDOW)
        self.steps, self.ends = kept * self.steps + n, kept * self.ends + int(steps["terminated"].sum())
        for _ in range(self.epochs):
            order = self.rng.permutation(n)
            for first in range(0, n, self.batch_size):
                rows = order[first:first + self.batch_size]
                losses.append(self._fit({name: steps[name][rows] for name in ("observation", "action")}))
        loss, right = np.mean(losses, axis=0)
        return {"loss": float(loss), "accuracy": float(right)}

    def _fit(self, agents: Steps) -> tuple[float, float]:
        count = len(agents["action"])
        drawn = self.rng.integers(len(self.demonstrations["terminated"]), size=count)
        teachers = {name: self.demonstrations[name][drawn] for name in ("observation", "action")}
        for steps in (teachers, agents):
            self.net.encoder.observe(to_tensors(steps["observation"]))
        shown, own = self._inputs(teachers), self._inputs(agents)
        logits, label = self.net(torch.cat([shown, own])), torch.ones(2 * count)
        label[count:] = 0.0
        loss = F.binary_cross_entropy_with_logits(logits, label)
        penalty = self._gradient_penalty(shown.detach(), own.detach(), count)
        self.parameters.zero_gradient()
        (2.0 * loss + GRADIENT_PENALTY * penalty).backward()
        self.optimizer.step(self.learning_rate)
        return float(loss.detach()), float(((logits.detach() > 0) == (label == 1)).float().mean())

    def _gradient_penalty(self, teachers: Tensor, agents: Tensor, count: int) -> Tensor:
        """max(0, ‖∇h‖ − 1)² at random interpolations between demonstrated steps and the agent's."""
        share = torch.from_numpy(self.rng.random((count, 1), np.float32))
        between = (share * teachers + (1.0 - share) * agents).requires_grad_()
        (gradient,) = torch.autograd.grad(self.net(between).sum(), between, create_graph=True)
        return ((gradient.square().sum(1) + 1e-12).sqrt() - 1.0).clamp(min=0.0).square().mean()

    def _inputs(self, steps: Steps) -> Tensor:
        return self.net.inputs(steps["observation"], self.action_features(steps["action"]))

    def state_dict(self) -> dict[str, Any]:
        return {"net": {name: value.clone() for name, value in self.net.state_dict().items()},
                "optimizer": {name: value.clone() for name, value in self.optimizer.state_dict().items()},
                "rng": self.rng.bit_generator.state, "steps": self.steps, "ends": self.ends}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self.steps, self.ends = state["steps"], state["ends"]
