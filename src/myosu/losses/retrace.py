"""Returns over several steps from data of other policies: Retrace (Munos et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor


def retrace_trace(log_prob: Tensor, behaviour_log_prob: Tensor, retrace_lambda: float) -> Tensor:
    """c = λ min(1, π(a|s) / π_b(a|s)); Munos et al., section 3. Any shape."""
    return retrace_lambda * (log_prob - behaviour_log_prob).exp().clamp(max=1.0)


def retrace_returns(reward: Tensor, discount: Tensor, value: Tensor, q: Tensor, trace: Tensor) -> Tensor:
    """What the action of each step is worth, float32 [B, T − 1]: Retrace's target (Munos et al., equations 3 and 4) as
    a recursion,

        G_t = r_t + d_t (v_{t+1} + c_{t+1} (G_{t+1} − q_{t+1}))

    With c = 1 and q = v it is the return over all T − 1 steps, which bootstraps from v in the last; with c = 0 that
    over one step.

    reward: float32 [B, T − 1]. discount: float32 [B, T − 1], 0 where the episode ended by its rules, and negative where
    another player moves next. value: float32 [B, T], v(s_t) = Σ_a π(a|s_t) Q(s_t, a). q: float32 [B, T], Q(s_t, a_t).
    trace: float32 [B, T], c_t, 0 where nobody acted. q and trace of the last step have no part.
    """
    returns = [reward[:, -1] + discount[:, -1] * value[:, -1]]
    carried = (discount * (value - trace * q)[:, 1:] + reward).unbind(1)
    slope = (discount * trace[:, 1:]).unbind(1)
    for t in range(reward.shape[1] - 2, -1, -1):
        returns.append(torch.addcmul(carried[t], slope[t], returns[-1]))
    return torch.stack(returns[::-1], dim=1)
