"""Scalars as categorical distributions over fixed atoms (MuZero, appendix F; Imani & White 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Support:
    """``atoms`` evenly spaced points from ``low`` to ``high``."""

    low: float
    high: float
    atoms: int

    def points(self, device: torch.device | str = "cpu") -> Tensor:
        """float32 [atoms]."""
        return torch.linspace(self.low, self.high, self.atoms, device=device)

    def two_hot(self, scalars: Tensor) -> Tensor:
        """float32 [...] → [..., atoms]: weight on the two nearest atoms so that the mean is the scalar.

        Scalars outside the support go to its nearest end.
        """
        position = (scalars.clamp(self.low, self.high) - self.low) * ((self.atoms - 1) / (self.high - self.low))
        lower = position.floor().clamp(max=self.atoms - 2)
        upper_weight = (position - lower).unsqueeze(-1)
        index = lower.long().unsqueeze(-1)
        target = torch.zeros(*scalars.shape, self.atoms, device=scalars.device)
        target.scatter_(-1, index, 1.0 - upper_weight)
        return target.scatter_(-1, index + 1, upper_weight)

    def mean(self, logits: Tensor) -> Tensor:
        """[..., atoms] → float32 [...]: the expected scalar."""
        return torch.softmax(logits.float(), dim=-1) @ self.points(str(logits.device))


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """−Σ target · log softmax(logits) over the last dimension; [..., K] → [...]. Targets that are all zero cost 0."""
    return -(target * F.log_softmax(logits.float(), dim=-1)).sum(-1)


def plane_loss(logits: Tensor, planes: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits [B, C, H, W] against planes of zeros and ones; [B]."""
    return F.binary_cross_entropy_with_logits(logits.float(), planes.float(), reduction="none").mean((1, 2, 3))


def negative_cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """SimSiam's loss 1 − cos(predicted, target), [B, D] → [B]; in [0, 2]. No gradient reaches ``target``."""
    return 1.0 - F.cosine_similarity(predicted.float(), target.detach().float(), dim=-1)
