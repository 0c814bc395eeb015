"""The distributions and the policy-gradient loss in plain torch with autograd: the reference for their closed forms,
and the training code if ``kernels.PLAIN`` is set."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, Normal

from myosu.losses.distributions import Choices, Distribution, Gaussian


def log_prob_and_entropy(policy: Distribution, outputs: Tensor, legal: Tensor | None, action: Tensor
                         ) -> tuple[Tensor, Tensor]:
    """log π(a) and the entropy, [n] each, for a network's outputs [n, size].

    legal: bool [n, A], or None if all actions are legal. action: [n, *action_shape].
    """
    if isinstance(policy, Gaussian):
        mean, log_std = outputs.chunk(2, dim=1)
        normal = Independent(Normal(mean, log_std.exp()), 1)
        return normal.log_prob(action), normal.entropy()
    assert isinstance(policy, Choices)
    if legal is not None:
        outputs = outputs.masked_fill(~legal, -1e9)  # probability 0, but finite, because 0 · −∞ would be NaN
    columns = action if policy.several else action[:, None]
    branches = [Categorical(logits=logits) for logits in outputs.tensor_split(policy.ends[:-1].tolist(), dim=1)]
    return (torch.stack([branch.log_prob(columns[:, k]) for k, branch in enumerate(branches)]).sum(0),
            torch.stack([branch.entropy() for branch in branches]).sum(0))


def clipped_surrogate(log_ratio: Tensor, advantage: Tensor, clip_range: float) -> Tensor:
    """−min(ρ A, clip(ρ, 1 − ε, 1 + ε) A) (Schulman et al. 2017, equation 7), [n]."""
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip_range, 1.0 + clip_range) * advantage)
