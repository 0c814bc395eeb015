"""Scalars as categorical distributions over fixed atoms (MuZero, appendix F; Imani & White 2018)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

#: A return range wider than ``WIDE`` uses the squeezed support, which is denser near zero; unknown ranges and those
#: wider than ±``WIDEST`` are limited to ±``WIDEST``.
WIDE, WIDEST = 256.0, 20_000.0


@dataclass(frozen=True)
class Support:
    """``atoms`` points from ``low`` to ``high``: evenly spaced, or, if ``squeezed``, evenly spaced under h(x) =
    sign(x)(√(|x| + 1) − 1) + 0.001 x (MuZero, appendix F), which resolves small values as well as large ones. Unlike in
    MuZero, the mean is taken over the points themselves, not over h(points), so it is unbiased."""

    low: float
    high: float
    atoms: int
    squeezed: bool = False

    @classmethod
    def of_returns(cls, low: float, high: float, atoms: int, num_players: int) -> Support:
        """The support for rewards and values from ``low`` to ``high``, which may be infinite; symmetric for two
        players, because either may win."""
        low, high = max(low, -WIDEST), min(high, WIDEST)
        if num_players == 2:
            high = max(abs(low), abs(high))
            low = -high
        return cls(low, high, atoms, squeezed=high - low > WIDE)

    def points(self, device: torch.device | str = "cpu") -> Tensor:
        """The atoms, float32 [atoms]. Cached: do not modify them."""
        return _points(self, device)

    def two_hot(self, scalars: Tensor) -> Tensor:
        """Two-hot encoding, float32 [...] → [..., atoms]: weights on the two nearest atoms, whose mean is the scalar.

        Scalars outside the support are clipped to it.
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

    def warn_if_outside(self, targets: np.ndarray) -> None:
        """Warn, once for each support, if a target is outside it, because ``two_hot`` clips it to the nearest end."""
        lowest, highest = float(targets.min()), float(targets.max())
        margin = 0.01 * (self.high - self.low)  # a network's bootstrap value may overshoot a little
        if self not in _warned and (lowest < self.low - margin or highest > self.high + margin):
            _warned.add(self)
            target = highest if highest > self.high + margin else lowest
            warnings.warn(f"A value or reward target of {target:g} is outside [{self.low:g}, {self.high:g}] and is "
                          "clipped to it, so the agent cannot tell such returns apart. Set value_range to the range "
                          "of returns, or scale the rewards of the environment.", stacklevel=2)

    def mean(self, logits: Tensor) -> Tensor:
        """The expected scalar, [..., atoms] → float32 [...]; no gradient."""
        if logits.device.type != "cpu":
            return logits.detach().softmax(-1, torch.float32) @ self.points(str(logits.device))
        return torch.from_numpy(self.means(self._rows(logits)).reshape(logits.shape[:-1])).to(logits.device)

    def means(self, logits: np.ndarray) -> np.ndarray:
        """``mean`` in NumPy, float32 [n, atoms] → [n]."""
        return _means(logits, self.points().numpy())

    def cross_entropy_gradient(self, logits: Tensor, scalars: np.ndarray, weights: np.ndarray) -> Tensor:
        """The gradient of weight · ``cross_entropy(logits, two_hot(scalar))`` with respect to the logits [..., atoms]:
        weight · (softmax(logits) − two_hot(scalar)). scalars, weights: float32 [...]."""
        gradient = _gradient(self._rows(logits), scalars.ravel(), weights.ravel(), self.points().numpy())
        return torch.from_numpy(gradient.reshape(logits.shape)).to(logits.device)

    def _rows(self, logits: Tensor) -> np.ndarray:
        return logits.detach().to("cpu", torch.float32).numpy().reshape(-1, self.atoms)


#: Supports that ``warn_if_outside`` has warned about.
_warned: set[Support] = set()


#: Fast-math flags that let LLVM reorder sums, and so vectorise them; infinities and NaN are handled exactly.
ANY_ORDER = {"contract", "reassoc"}


@numba.njit(cache=True, nogil=True, fastmath=ANY_ORDER)
def _means(logits, points):
    """softmax(logits) · points; float32 [n, atoms] → [n]."""
    scaled, means = scaled_softmax(logits), np.empty(len(logits), np.float32)
    for i in range(len(means)):
        total, weighted = np.float32(0.0), np.float32(0.0)
        for k in range(len(points)):
            total += scaled[i, k]
            weighted += scaled[i, k] * points[k]
        means[i] = weighted / total
    return means


@numba.njit(cache=True, nogil=True, fastmath=ANY_ORDER)
def _gradient(logits, scalars, weights, points):
    """weight · (softmax(logits) − two_hot(scalar)), float32 [n, atoms]; scalars and weights [n]."""
    gradient, last = scaled_softmax(logits), len(points) - 1
    for i in range(len(scalars)):
        total = np.float32(0.0)
        for k in range(len(points)):
            total += gradient[i, k]
        scale = weights[i] / total
        for k in range(len(points)):
            gradient[i, k] *= scale
        scalar = min(max(scalars[i], points[0]), points[last])
        lower = min(np.searchsorted(points, scalar, side="right") - 1, last - 1)
        upper_weight = (scalar - points[lower]) / (points[lower + 1] - points[lower])
        gradient[i, lower] -= weights[i] * (np.float32(1.0) - upper_weight)
        gradient[i, lower + 1] -= weights[i] * upper_weight
    return gradient


@numba.njit(cache=True, nogil=True, fastmath=ANY_ORDER)
def scaled_softmax(logits):
    """Softmax up to a factor per row; float32 [n, atoms]. The second loop runs over the flat array, because vectorising
    row by row would leave scalar remainders."""
    scaled = np.empty(logits.shape, np.float32)
    for i in range(len(logits)):
        greatest = np.int32(-2**31)  # rounded to an integer: LLVM vectorises integer maxima, but not float ones
        for k in range(logits.shape[1]):
            greatest = max(greatest, np.int32(logits[i, k]))
        for k in range(logits.shape[1]):
            scaled[i, k] = logits[i, k] - np.float32(greatest)
    everything = scaled.ravel()
    for j in range(len(everything)):
        everything[j] = _exp(everything[j])
    return scaled


LOG2_E, LN_2 = np.float32(1.4426950408889634), np.float32(0.6931471805599453)


@numba.njit(cache=True, nogil=True, fastmath=ANY_ORDER)
def _exp(x):
    """eˣ of a float32 x ≤ 1 with a relative error of 5e-7: 2ᵏ, made from its bits, times a polynomial of the remainder,
    which is at most ½ ln 2. LLVM can vectorise it, unlike the C library's exp."""
    x = np.float32(-87.0) if x < np.float32(-87.0) else x  # e⁻⁸⁷ is about the smallest normal float32; NaN stays NaN
    k = np.floor(x * LOG2_E + np.float32(0.5))
    r = x - k * LN_2
    series = np.float32(1 / 720)
    for n in (120, 24, 6, 2, 1, 1):
        series = series * r + np.float32(1 / n)
    return series * np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)


@cache
@torch.inference_mode(False)  # cached, and autograd cannot save inference tensors
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


def plane_loss_gradient(logits: Tensor, planes: Tensor) -> Tensor:
    """Gradient of ``plane_loss`` with respect to the logits, (sigmoid(logits) − planes) / (C H W); [..., C, H, W]."""
    return torch.sigmoid(logits.float()).sub_(planes).div_(logits.shape[-3:].numel())


def negative_cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """SimSiam's loss 1 − cos(predicted, target), [..., D] → [...]; in [0, 2]. No gradient reaches ``target``."""
    return 1.0 - F.cosine_similarity(predicted.float(), target.detach().float(), dim=-1)
