"""Which two should meet next: those whose game makes the table surest, for the seconds that it takes."""

from __future__ import annotations

import numpy as np

from myosu.evaluation.ratings import Fit, information

#: Gauss–Hermite: nodes and weights of a standard normal.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)


def expected_gains(best: Fit, pending: np.ndarray, anchor: int) -> np.ndarray:
    """float64 [n, n]: by how much a game of i and j may be expected to lower the sum of the variances of what the table
    prints: the distance of every player to the player ``anchor``, and to the next weaker one.

    With the covariance Σ of the strengths, a game that tells I of the difference d = e_i − e_j leaves
    Σ − Σd dᵀΣ · I/(1 + I·v), where v = dᵀΣd. So a distance c loses the variance (cᵀΣd)² · I/(1 + I·v). I is greatest
    between equals and next to nothing where the winner is known beforehand; as the difference is not known, I is its
    mean over what it may be. Hence newcomers are placed first, then neighbours compared, and a link by which many
    players hang on the anchor gets many games.

    pending: float64 [n, n], symmetric, games under way, which count as played.
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
    """float64 [n, n]: what a game of i and j takes: the sum of what each of them does.

    games, seconds: float64 [n, n], symmetric, of those that were played. The players' shares are the least squares of
    all games, with half of the mean game for one who has played none, and never less than a twentieth of that.
    """
    usual = seconds.sum() / games.sum() / 2 if seconds.any() else 1.0
    shares = np.linalg.solve(games + np.diag(games.sum(axis=1) + 1), seconds.sum(axis=1) + usual)
    shares = np.maximum(shares, usual / 20)
    return shares[:, None] + shares[None, :]


def next_pairing(gains: np.ndarray, allowed: np.ndarray) -> tuple[int, int] | None:
    """The two players, i < j, with the greatest of the float64 [n, n] ``gains`` among those for whom the bool [n, n]
    ``allowed`` is true; None where there are none."""
    gains = np.where(np.triu(allowed, 1), gains, -1.0)
    i, j = np.unravel_index(np.argmax(gains), gains.shape)
    return (int(i), int(j)) if gains[i, j] >= 0 else None


def _of_differences(square: np.ndarray) -> np.ndarray:
    """[n, n]: dᵀ S d of all d = e_i − e_j."""
    own = np.diag(square)
    return np.maximum(own[:, None] + own[None, :] - 2 * square, 0.0)
