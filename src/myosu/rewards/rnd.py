"""Random network distillation (Burda et al. 2018): the error of a network that predicts a fixed random network's
outputs."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from myosu.envs.vector import EnvSpec
from myosu.nets.encoder import Encoder, Observation
from myosu.rewards.curiosity import LearntCuriosity, NormalizedObservations, normalized_spec
from myosu.rewards.signals import Steps


class RandomNetworks(nn.Module):
    """A fixed random target f and a predictor f̂ with two more layers; both map observations to float32 [n, outputs]."""

    def __init__(self, spec: EnvSpec, width: int, outputs: int) -> None:
        super().__init__()
        self.observations, spec = NormalizedObservations(spec), normalized_spec(spec)
        self.target = _Outputs(spec, width, [outputs])
        self.predictor = _Outputs(spec, width, [width, width, outputs])
        self.target.requires_grad_(False)

    def forward(self, observation: np.ndarray) -> tuple[Tensor, Tensor]:
        """The outputs of f and f̂."""
        normalized = self.observations(observation)
        return self.target(normalized), self.predictor(normalized)


class _Outputs(nn.Module):
    def __init__(self, spec: EnvSpec, width: int, widths: list[int]) -> None:
        super().__init__()
        self.encoder = Encoder(spec, (width,))
        modules: list[nn.Module] = [nn.Linear(self.encoder.features, widths[0])]
        for inputs, outputs in pairwise(widths):
            modules += [nn.ReLU(), nn.Linear(inputs, outputs)]
        self.layers = nn.Sequential(*modules)
        for parameter in self.parameters():
            nn.init.zeros_(parameter) if parameter.dim() == 1 else nn.init.orthogonal_(parameter, math.sqrt(2))

    def forward(self, observation: Observation) -> Tensor:
        return self.layers(self.encoder(observation)[0])


class RND(LearntCuriosity):
    """r = mean (f̂(s_{t+1}) − f(s_{t+1}))² / σ, for normalised observations. For the division by σ, see ``ReturnScale``.

    Unlike in Burda et al., the rewards of a rollout are computed after the predictor has been trained on it once.
    """

    name = "rnd"
    net: RandomNetworks

    def __init__(self, spec: EnvSpec, discount: float, weight: float = 1.0, num_envs: int = 0, every: int = 1,
                 width: int = 128, outputs: int = 64, learning_rate: float = 1e-3, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = RandomNetworks(spec, width, outputs)
        super().__init__(discount, weight, num_envs, every, self.net.predictor, learning_rate, seed)

    def observe(self, steps: Steps) -> None:
        self.net.observations.observe(steps["next_observation"])

    def novelty(self, steps: Steps) -> Tensor:
        target, predicted = self.net(steps["next_observation"])
        return (predicted - target).square().mean(1)

    def loss(self, steps: Steps) -> Tensor:
        return self.novelty(steps).mean()
