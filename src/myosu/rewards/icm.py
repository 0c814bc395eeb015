"""The intrinsic curiosity module (Pathak et al. 2017): the prediction error of a forward model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from myosu.envs.vector import EnvSpec
from myosu.nets.encoder import Encoder
from myosu.rewards.curiosity import LearntCuriosity, NormalizedObservations, normalized_spec
from myosu.rewards.signals import Steps

#: Weight β of the forward model's loss; the inverse model's is 1 − β.
BETA = 0.2


class Models(nn.Module):
    """Features φ of observations; an inverse model, which predicts the action from φ(s_t) and φ(s_{t+1}); and a forward
    model, which predicts φ(s_{t+1}) from φ(s_t) and the action. actions: number of action features."""

    def __init__(self, spec: EnvSpec, actions: int, width: int, features: int) -> None:
        super().__init__()
        self.observations = NormalizedObservations(spec)
        self.encoder = Encoder(normalized_spec(spec), (width,))
        self.features = nn.Linear(self.encoder.features, features)
        self.inverse = nn.Sequential(nn.Linear(2 * features, width), nn.ReLU(), nn.Linear(width, actions))
        self.forwards = nn.Sequential(nn.Linear(features + actions, width), nn.ReLU(), nn.Linear(width, features))

    def phi(self, observation: np.ndarray) -> Tensor:
        """The features φ, float32 [n, features]."""
        return self.features(self.encoder(self.observations(observation))[0])


class ICM(LearntCuriosity):
    """r = ½ ‖φ̂(s_{t+1}) − φ(s_{t+1})‖² / σ. Loss: (1 − β) L_I + β ½ ‖φ̂ − φ‖², where L_I is the cross-entropy summed
    over the branches of choices, or the squared error of continuous and mixed actions.

    φ is trained by the inverse model's loss alone, so that it represents what actions can change, and does not collapse
    to a constant, which would be the easiest to predict.

    action_features: see ``curiosity_signals``.
    """

    name = "icm"
    net: Models

    def __init__(self, spec: EnvSpec, action_features: Callable[[np.ndarray], np.ndarray], discount: float,
                 weight: float = 1.0, num_envs: int = 0, every: int = 1, width: int = 128,
                 features: int = 64, learning_rate: float = 1e-3, seed: int = 0) -> None:
        self.action_features, self.continuous = action_features, bool(spec.action_low)
        self.branches = list(spec.action_branches or (spec.num_actions,))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = Models(spec, spec.components + spec.num_actions, width, features)
        super().__init__(discount, weight, num_envs, every, self.net, learning_rate, seed)

    def observe(self, steps: Steps) -> None:
        self.net.observations.observe(steps["next_observation"])

    def novelty(self, steps: Steps) -> Tensor:
        phi, after, action = self._inputs(steps)
        return self._forward_error(phi, after, action)

    def loss(self, steps: Steps) -> Tensor:
        phi, after, action = self._inputs(steps)
        predicted = self.net.inverse(torch.cat([phi, after], dim=1))
        if self.continuous:
            inverse = (predicted - action).square().sum(1)
        else:
            log_probs = [F.log_softmax(logits, dim=1) for logits in predicted.split(self.branches, dim=1)]
            inverse = -(torch.cat(log_probs, dim=1) * action).sum(1)
        forwards = self._forward_error(phi.detach(), after.detach(), action)
        return ((1.0 - BETA) * inverse + BETA * forwards).mean()

    def _inputs(self, steps: Steps) -> tuple[Tensor, Tensor, Tensor]:
        """φ(s_t), φ(s_{t+1}) and the action's features."""
        action = torch.from_numpy(self.action_features(steps["action"]))
        return self.net.phi(steps["observation"]), self.net.phi(steps["next_observation"]), action

    def _forward_error(self, phi: Tensor, after: Tensor, action: Tensor) -> Tensor:
        predicted = self.net.forwards(torch.cat([phi, action], dim=1))
        return 0.5 * (predicted - after).square().sum(1)
