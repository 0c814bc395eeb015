"""Off-policy multi-step returns: Retrace (Munos et al. 2016)."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def retrace_trace(log_prob, behaviour_log_prob, retrace_lambda):
    """c = λ min(1, π(a|s) / π_b(a|s)); Munos et al., section 3. Any shape."""
    return retrace_lambda * np.minimum(np.exp(log_prob - behaviour_log_prob), np.float32(1.0))


@numba.njit(cache=True)
def retrace_returns(reward, discount, value, q, trace):
    """Retrace returns, float32 [B, T − 1], as a recursion (Munos et al., equations 3 and 4):

        G_t = r_t + d_t (v_{t+1} + c_{t+1} (G_{t+1} − q_{t+1}))

    With c = 1 and q = v it is the (T − 1)-step return, bootstrapped from the last v; with c = 0 the one-step return.

    reward: float32 [B, T − 1]. discount: float32 [B, T − 1], 0 where the episode terminated, negative where the
    opponent moves next. value: float32 [B, T], v(s_t) = Σ_a π(a|s_t) Q(s_t, a). q: float32 [B, T], Q(s_t, a_t).
    trace: float32 [B, T], c_t, 0 where no action was taken. q and trace of the last step are not used, nor are its
    reward and discount if given.
    """
    returns = np.empty((len(value), value.shape[1] - 1), np.float32)
    for b in range(len(value)):
        correction = np.float32(0.0)
        for t in range(value.shape[1] - 2, -1, -1):
            returns[b, t] = reward[b, t] + discount[b, t] * (value[b, t + 1] + correction)
            correction = trace[b, t] * (returns[b, t] - q[b, t])
    return returns
