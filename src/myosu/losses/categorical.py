"""Scalars as categorical distributions over fixed atoms (MuZero, appendix F; Imani & White 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

#: A range of returns wider than ``WIDE`` gets atoms that lie closer near zero; one that is not known, or wider, is
#: taken for ±``WIDEST``.
WIDE, WIDEST = 256.0, 20_000.0


@dataclass(frozen=True)
class Support:
    """``atoms`` points from ``low`` to ``high``: evenly spaced, or ``squeezed``, which is evenly spaced under
    h(x) = sign(x)(√(|x| + 1) − 1) + 0.001 x (MuZero, appendix F), so that small values are told apart as well as large
    ones. Unlike there the mean is taken of the points themselves, so it is unbiased."""

    low: float
    high: float
    atoms: int
    squeezed: bool = False

    @classmethod
    def of_returns(cls, low: float, high: float, atoms: int, num_players: int) -> Support:
        """For values and rewards from ``low`` to ``high``, perhaps infinite; between players they may have either
        sign."""
        low, high = max(low, -WIDEST), min(high, WIDEST)
        if num_players == 2:
            high = max(abs(low), abs(high))
            low = -high
        return cls(low, high, atoms, squeezed=high - low > WIDE)

    def points(self, device: torch.device | str = "cpu") -> Tensor:
        """float32 [atoms]; the same tensor at every call, to be read only."""
        return _points(self, device)

    def two_hot(self, scalars: Tensor) -> Tensor:
        """float32 [...] → [..., atoms]: weight on the two nearest atoms so that the mean is the scalar.

        Scalars outside the support go to its nearest end.
        """
        points = self.points(str(scalars.device))
        scalars = scalars.float().clamp(points[0], points[-1])
        lower = (torch.searchsorted(points, scalars.contiguous(), right=True) - 1).clamp(max=self.atoms - 2)
        below, above = points[lower], points[lower + 1]
        upper_weight = ((scalars - below) / (above - below)).unsqueeze(-1)
        index = lower.unsqueeze(-1)
        target = torch.zeros(*scalars.shape, self.atoms, device=scalars.device)
        target.scatter_(-1, index, 1.0 - upper_weight)
        return target.scatter_(-1, index + 1, upper_weight)

    def mean(self, logits: Tensor) -> Tensor:
        """[..., atoms] → float32 [...]: the expected scalar."""
        return torch.softmax(logits.float(), dim=-1) @ self.points(str(logits.device))

    def cross_entropy_slope(self, logits: Tensor, scalars: np.ndarray, weights: np.ndarray) -> Tensor:
        """The gradient of weight · ``cross_entropy(logits, two_hot(scalar))`` in the logits [..., atoms], which is
        weight · (softmax(logits) − two_hot(scalar)). scalars, weights: float32 [...]."""
        slope = torch.softmax(logits.float(), dim=-1).cpu()
        _towards(slope.view(-1, self.atoms).numpy(), scalars.ravel(), weights.ravel(), self.points().numpy())
        return slope.to(logits.device)


@numba.njit(cache=True)
def _towards(probabilities, scalars, weights, points):
    """In place: weight · (probability − two_hot(scalar)); float32 [n, atoms], of scalars and weights [n]."""
    last = len(points) - 1
    for i in range(len(scalars)):
        scalar = scalars[i]
        if scalar < points[0]:
            scalar = points[0]
        elif scalar > points[last]:
            scalar = points[last]
        lower = min(np.searchsorted(points, scalar, side="right") - 1, last - 1)
        upper_weight = (scalar - points[lower]) / (points[lower + 1] - points[lower])
        probabilities[i, lower] -= np.float32(1.0) - upper_weight
        probabilities[i, lower + 1] -= upper_weight
        for k in range(len(points)):
            probabilities[i, k] *= weights[i]


@cache
@torch.inference_mode(False)  # whoever asks first, losses must be able to use it
def _points(support: Support, device: torch.device | str) -> Tensor:
    if not support.squeezed:
        return torch.linspace(support.low, support.high, support.atoms, device=device)
    low, high = squeeze(torch.tensor([support.low, support.high], dtype=torch.float64)).tolist()
    return unsqueeze(torch.linspace(low, high, support.atoms, dtype=torch.float64)).float().to(device)


def squeeze(x: Tensor) -> Tensor:
    """h(x) = sign(x)(√(|x| + 1) − 1) + εx with ε = 0.001 (Pohlen et al. 2018)."""
    return x.sign() * ((x.abs() + 1).sqrt() - 1) + 0.001 * x


def unsqueeze(y: Tensor) -> Tensor:
    """The x with h(x) = y: sign(y)(((√(1 + 4ε(|y| + 1 + ε)) − 1) / 2ε)² − 1)."""
    epsilon = 0.001
    root = ((1 + 4 * epsilon * (y.abs() + 1 + epsilon)).sqrt() - 1) / (2 * epsilon)
    return y.sign() * (root.square() - 1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """−Σ target · log softmax(logits) over the last dimension; [..., K] → [...]. Targets that are all zero cost 0."""
    return -(target * F.log_softmax(logits.float(), dim=-1)).sum(-1)


def negative_entropy(logits: Tensor) -> Tensor:
    """Σ π log π of π = softmax(logits) over the last dimension; [..., K] → [...]."""
    log_policy = F.log_softmax(logits, dim=-1)
    return torch.linalg.vecdot(log_policy.exp(), log_policy)


def plane_loss(logits: Tensor, planes: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits [..., C, H, W] against planes of zeros and ones; [...]."""
    return F.binary_cross_entropy_with_logits(logits.float(), planes.float(), reduction="none").mean((-3, -2, -1))


def plane_loss_slope(logits: Tensor, planes: Tensor) -> Tensor:
    """The gradient of ``plane_loss`` in the logits, (sigmoid(logits) − planes) / (C H W); [..., C, H, W]."""
    return torch.sigmoid(logits.float()).sub_(planes).div_(logits.shape[-3:].numel())


def negative_cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """SimSiam's loss 1 − cos(predicted, target), [..., D] → [...]; in [0, 2]. No gradient reaches ``target``."""
    return 1.0 - F.cosine_similarity(predicted.float(), target.detach().float(), dim=-1)
