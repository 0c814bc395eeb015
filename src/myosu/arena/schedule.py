"""Which two should meet next: those whose game tells most."""

from __future__ import annotations

import numpy as np

from myosu.evaluation.ratings import Fit, information

#: Gauss–Hermite: nodes and weights of a standard normal.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)


def expected_gains(best: Fit, pending: np.ndarray) -> np.ndarray:
    """float64 [n, n]: what a game of i and j may be expected to tell of all ratings together, in nats.

    It tells I of the difference of the two strengths, which is known with the variance v, and shrinks the volume of
    what the ratings may be by the factor √(1 + I·v): the gain is ½ ln(1 + I·v). I is greatest between equals and next
    to nothing where the winner is known beforehand, v greatest for those who have played little or never met; so
    newcomers are placed first, then neighbours compared, and games that random is sure to lose are not played twice. As
    the difference is not known, I is its mean over what it may be.

    pending: float64 [n, n], symmetric, games under way, which count as played.
    """
    strengths = best.strengths
    difference, variances = np.subtract.outer(strengths, strengths), best.variances()
    spread = np.sqrt(variances)
    told = sum(weight * information(difference + node * spread, best.log_nu)
               for node, weight in zip(_NODES, _WEIGHTS / _WEIGHTS.sum(), strict=True))
    if pending.any():
        known = pending * told
        precision = np.linalg.inv(best.covariance[:-1, :-1]) + np.diag(known.sum(axis=1)) - known
        covariance = np.linalg.inv(precision)
        own = np.diag(covariance)
        variances = own[:, None] + own[None, :] - 2 * covariance
    return np.log1p(told * variances) / 2


def next_pairing(best: Fit, pending: np.ndarray, allowed: np.ndarray) -> tuple[int, int] | None:
    """The two players, i < j, whose game tells most among those for whom the bool [n, n] ``allowed`` is true; None
    where there are none."""
    gains = np.where(np.triu(allowed, 1), expected_gains(best, pending), -1.0)
    i, j = np.unravel_index(np.argmax(gains), gains.shape)
    return (int(i), int(j)) if gains[i, j] >= 0 else None
