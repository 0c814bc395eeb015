"""Chooses the next pairing: the one that reduces the uncertainty of the ratings most, per game or per second."""

from __future__ import annotations

import numpy as np

from myosu.evaluation.ratings import Fit, information

#: Gauss–Hermite quadrature: nodes and weights for a standard normal distribution.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)


def expected_gains(best: Fit, pending: np.ndarray, anchor: int) -> np.ndarray:
    """Expected reduction of the ratings' uncertainty by one game of i and j, float64 [n, n].

    It is the reduction of the summed variances of the rating differences between every player and ``anchor``, and
    between every player and the next weaker one.

    Let Σ be the covariance of the strengths. A game with Fisher information I about the difference d = e_i − e_j
    changes it to Σ − Σd dᵀΣ · I/(1 + I·v), where v = dᵀΣd. The variance of a difference c therefore decreases by
    (cᵀΣd)² · I/(1 + I·v). I is largest between equal players and close to 0 if the winner is known in advance. As the
    true difference is unknown, I is averaged over its distribution. As a result, new players are placed first, then
    neighbours are compared, and a pairing that connects many players with the anchor gets many games.

    pending: float64 [n, n], symmetric: number of games in progress, which count as played.
    """
    strengths, covariance = best.strengths, best.covariance[:-1, :-1]
    spread = np.sqrt(best.variances())
    told = sum(weight * information(np.subtract.outer(strengths, strengths) + node * spread, best.log_nu)
               for node, weight in zip(_NODES, _WEIGHTS / _WEIGHTS.sum(), strict=True))
    if pending.any():
        known = pending * told
        covariance = np.linalg.inv(np.linalg.inv(covariance) + np.diag(known.sum(axis=1)) - known)
    order = np.argsort(strengths)
    distances = np.concatenate([covariance - covariance[anchor], covariance[order[1:]] - covariance[order[:-1]]])
    return _of_differences(distances.T @ distances) * told / (1 + told * _of_differences(covariance))


def expected_seconds(games: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Expected seconds of a game of i and j, float64 [n, n]: the sum of both players' times.

    games, seconds: float64 [n, n], symmetric: number of games played and their total seconds. The players' times are
    fitted to all games by least squares. A player without games gets half of the mean seconds of a game, and no player
    less than a twentieth of that.
    """
    usual = seconds.sum() / games.sum() / 2 if seconds.any() else 1.0
    shares = np.linalg.solve(games + np.diag(games.sum(axis=1) + 1), seconds.sum(axis=1) + usual)
    shares = np.maximum(shares, usual / 20)
    return shares[:, None] + shares[None, :]


def next_pairing(gains: np.ndarray, allowed: np.ndarray) -> tuple[int, int] | None:
    """The players i < j with the largest of ``gains`` (float64 [n, n]) among those with ``allowed`` (bool [n, n]); None
    if there are none."""
    gains = np.where(np.triu(allowed, 1), gains, -1.0)
    i, j = np.unravel_index(np.argmax(gains), gains.shape)
    return (int(i), int(j)) if gains[i, j] >= 0 else None


def _of_differences(square: np.ndarray) -> np.ndarray:
    """dᵀ S d for all d = e_i − e_j, [n, n]."""
    own = np.diag(square)
    return np.maximum(own[:, None] + own[None, :] - 2 * square, 0.0)
