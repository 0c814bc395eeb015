"""All parameters of a network in one vector."""

from __future__ import annotations

import math

import torch
from torch import nn


class FlatParameters:
    """Turns the parameters of ``net`` into views of one vector, and their gradients into views of another. The
    optimiser, the gradient norm and a moving average are then one operation each, which halves the update time of small
    networks.

    vector: the parameter to give to the optimiser. Move the network to its device first, and zero the gradient only by
    ``zero_gradient``.
    """

    def __init__(self, net: nn.Module) -> None:
        self.parts: torch.Tensor | None = None
        parameters = list(net.parameters())
        self.vector = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self.vector.grad = self.gradient = torch.zeros_like(self.vector)
        start = 0
        for p in parameters:
            end = start + p.numel()
            p.data = self.vector.data[start:end].view(p.shape)
            p.grad = self.gradient[start:end].view(p.shape)
            start = end

    def part(self, module: nn.Module) -> torch.Tensor:
        """The stretch of ``vector`` that holds the parameters of ``module``, a part of the network."""
        parameters = list(module.parameters())
        start = parameters[0].data.storage_offset()
        return self.vector.data[start : start + sum(p.numel() for p in parameters)]

    def zero_gradient(self) -> None:
        self.gradient.zero_()

    @torch.no_grad()
    def set_parts(self, part_of: list[torch.Tensor]) -> None:
        """Let ``clip_gradient`` clip networks that share nothing each by itself. part_of: of each of the net's
        parameters the number, from 0, of the network that it belongs to, or one number for each of its elements."""
        numbers = torch.cat([part.flatten() for part in part_of]).to(self.gradient.device)
        self.parts = nn.functional.one_hot(numbers).T.to(self.gradient.dtype)

    def clip_gradient(self, greatest: float) -> float:
        """Clip the gradient (of each part, see ``set_parts``) to the norm ``greatest``. Returns the norm of the whole
        gradient before clipping."""
        if self.parts is None:
            norm = float(torch.linalg.vector_norm(self.gradient))
            if norm > greatest:
                self.gradient.mul_(greatest / norm)
            return norm
        norms = (self.parts @ self.gradient.square()).sqrt().tolist()
        if max(norms) > greatest:
            factors = [min(greatest / (norm + 1e-12), 1.0) for norm in norms]
            self.gradient.mul_(self.parts.new_tensor(factors) @ self.parts)
        return math.hypot(*norms)

    @torch.no_grad()
    def approach(self, other: FlatParameters, share: float) -> None:
        """θ ← θ + share · (θ_other − θ)."""
        self.vector.lerp_(other.vector, share)


class FlatAdam:
    """Adam (Kingma & Ba 2015) over ``FlatParameters``: the fused kernel of ``torch.optim.Adam`` without its Python
    overhead, which dominates the updates of small networks."""

    def __init__(self, parameters: FlatParameters, epsilon: float = 1e-8) -> None:
        self.parameters, self.epsilon = parameters, epsilon
        self.mean, self.square = torch.zeros_like(parameters.gradient), torch.zeros_like(parameters.gradient)
        self.steps = torch.zeros((), device=self.mean.device)

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        self.steps += 1
        torch._fused_adam_([self.parameters.vector], [self.parameters.gradient], [self.mean], [self.square], [],
                           [self.steps], lr=learning_rate, beta1=0.9, beta2=0.999, weight_decay=0.0,
                           eps=self.epsilon, amsgrad=False, maximize=False)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"mean": self.mean, "square": self.square, "steps": self.steps}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        for name, value in self.state_dict().items():
            value.copy_(state[name])
