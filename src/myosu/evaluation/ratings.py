"""Maximum-likelihood ratings on the Elo scale: the Bradley–Terry model with Davidson's extension for draws.

If the strengths of two players differ by δ, the first wins, draws and loses with probabilities in the ratio e^(δ/2) : ν
: e^(−δ/2). So ten wins per loss are 400 points, regardless of the number of draws. Davidson's ν is shared by the whole
league and fitted with the strengths. Counting a draw as half a win and half a loss would give the same order, but would
make a league with many draws look as uncertain as coin tosses, although a draw is evidence that two players are close.

All results are fitted together, so their order does not matter. A player who won every game has no finite
maximum-likelihood rating; therefore every strength and log ν have a weak normal prior, with a standard deviation of
1000 points. It shifts the rating of a player with forty games by a few points and matters only for players who won or
lost everything. Intervals are profile-likelihood intervals, which are asymmetric if the results are: the upper end of
an undefeated player is far away. Games are treated as independent. Two games from one opening are not quite
independent: if openings favour a side, the intervals are slightly too wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from myosu.evaluation.statistics import Z95

#: Elo points per unit of strength.
ELO = 400 / np.log(10)
#: Standard deviation of the prior, in units of strength.
PRIOR = 1000 / ELO


@dataclass(frozen=True)
class Results:
    """Results of games between n players. wins: float64 [n, n], ``wins[i, j]`` of i against j. draws: float64 [n, n],
    symmetric: each draw is counted at [i, j] and at [j, i]."""

    wins: np.ndarray
    draws: np.ndarray

    @classmethod
    def none(cls, players: int) -> Results:
        return cls(np.zeros((players, players)), np.zeros((players, players)))

    def add(self, i: int, j: int, reward: float) -> None:
        """Add a game of ``i`` against ``j`` with the return ``reward`` for ``i``."""
        if reward == 0:
            self.draws[i, j] += 1
            self.draws[j, i] += 1
        else:
            self.wins[(i, j) if reward > 0 else (j, i)] += 1

    @property
    def games(self) -> np.ndarray:
        """Number of games between two players, float64 [n, n], symmetric."""
        return self.wins + self.wins.T + self.draws

    @property
    def scores(self) -> np.ndarray:
        """Wins plus half the draws, float64 [n, n]."""
        return self.wins + self.draws / 2


@dataclass(frozen=True)
class Fit:
    """Fitted ratings. strengths: float64 [n]; only their differences matter. log_nu: ln ν of the draws. covariance:
    float64 [n + 1, n + 1] of strengths and log_nu, the inverse Fisher information (with the prior)."""

    strengths: np.ndarray
    log_nu: float
    covariance: np.ndarray
    log_likelihood: float

    def elo(self, anchor: int = 0) -> np.ndarray:
        """Elo ratings, float64 [n], with 0 for the player ``anchor``."""
        return (self.strengths - self.strengths[anchor]) * ELO

    def expected_scores(self) -> np.ndarray:
        """Expected scores of i against j, float64 [n, n], with 1 for a win and ½ for a draw."""
        win, draw = probabilities(np.subtract.outer(self.strengths, self.strengths), self.log_nu)
        return win + draw / 2

    def variances(self) -> np.ndarray:
        """Variances of the differences of strengths, float64 [n, n]."""
        covariance = self.covariance[:-1, :-1]
        own = np.diag(covariance)
        return np.maximum(own[:, None] + own[None, :] - 2 * covariance, 0.0)

    def deviations_from_mean(self) -> np.ndarray:
        """Standard errors of the strengths relative to their mean, float64 [n]."""
        centre = np.eye(len(self.strengths)) - 1 / len(self.strengths)
        return np.sqrt(np.diag(centre @ self.covariance[:-1, :-1] @ centre))


def probabilities(difference: np.ndarray, log_nu: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a win and of a draw for a player who is stronger by ``difference``, in the same shape."""
    logits = np.stack([difference / 2, np.full_like(difference, log_nu), -difference / 2])
    weights = np.exp(logits - logits.max(axis=0))
    win, draw, _ = weights / weights.sum(axis=0)
    return win, draw


def information(difference: np.ndarray, log_nu: float) -> np.ndarray:
    """Fisher information of one game about the difference of strengths: the variance of its score."""
    win, draw = probabilities(difference, log_nu)
    return win + draw / 4 - (win + draw / 2) ** 2


def fit(results: Results) -> Fit:
    """The maximum a posteriori strengths. Players who are not ``connected`` are related only by the prior."""
    n = len(results.wins)
    return _maximise(results, np.zeros(n + 1), np.eye(n + 1))


def intervals(results: Results, best: Fit, anchor: int = 0) -> np.ndarray:
    """95 % profile-likelihood intervals, float64 [n, 2], of the players' Elo relative to the player ``anchor``."""
    ends = np.zeros((len(results.wins), 2))
    for player in range(len(ends)):
        if player != anchor:
            ends[player] = [_profile_end(results, best, player, anchor, side) for side in (-1, 1)]
    return ends * ELO


def connected(results: Results, anchor: int = 0) -> np.ndarray:
    """Whether each player is connected to the player ``anchor`` by games, directly or through others, bool [n]."""
    met = results.games > 0
    reached = np.arange(len(met)) == anchor
    while (more := reached | met[reached].any(axis=0)).sum() > reached.sum():
        reached = more
    return reached


def _profile_end(results: Results, best: Fit, player: int, anchor: int, side: int) -> float:
    """The difference of the two strengths at which the profile log-likelihood is Z95² / 2 below its maximum.

    The square root of the drop is nearly linear in the difference, so Newton's method converges in a few steps.
    """
    n = len(results.wins)
    # The player's strength is replaced by the anchor's plus the difference.
    combine = np.delete(np.eye(n + 1), player, axis=1)
    combine[player, anchor - (anchor > player)] = 1.0
    start = np.append(best.strengths, best.log_nu)
    difference = start[player] - start[anchor]
    difference += side * Z95 * np.sqrt(best.variances()[player, anchor])
    free = np.delete(start, player)
    for _ in range(30):
        offset = np.zeros(n + 1)
        offset[player] = difference
        constrained = _maximise(results, free, combine, offset)
        parameters = np.append(constrained.strengths, constrained.log_nu)
        free = np.delete(parameters, player)
        root = np.sqrt(2 * max(best.log_likelihood - constrained.log_likelihood, 1e-12))
        gradient = -_gradient(results, parameters)[player] / root
        step = (Z95 - root) / gradient
        difference += step
        if abs(step) < 1e-4:
            break
    return difference


def _maximise(results: Results, start: np.ndarray, combine: np.ndarray, offset: np.ndarray | float = 0.0) -> Fit:
    """Maximise the posterior over parameters = ``combine @ free + offset`` by Newton's method from ``free = start``.
    The posterior is strictly log-concave."""
    free = start.copy()
    likelihood = _log_likelihood(results, combine @ free + offset)
    for _ in range(200):
        parameters = combine @ free + offset
        gradient = combine.T @ _gradient(results, parameters)
        hessian = combine.T @ _negative_hessian(results, parameters) @ combine
        step = np.linalg.solve(hessian, gradient)
        if float(gradient @ step) < 1e-8:  # twice the expected gain
            break
        while (reached := _log_likelihood(results, combine @ (free + step) + offset)) < likelihood - 1e-9:
            step = step / 2
        free, likelihood = free + step, reached
    parameters = combine @ free + offset
    covariance = np.linalg.inv(_negative_hessian(results, parameters))
    return Fit(parameters[:-1], float(parameters[-1]), covariance, likelihood)


def _log_likelihood(results: Results, parameters: np.ndarray) -> float:
    difference, log_nu = np.subtract.outer(parameters[:-1], parameters[:-1]), parameters[-1]
    normaliser = np.logaddexp(np.logaddexp(difference / 2, -difference / 2), log_nu)
    total = (results.wins * (difference / 2 - normaliser)).sum()
    total += (results.draws * (log_nu - normaliser)).sum() / 2
    return float(total - (parameters**2).sum() / (2 * PRIOR**2))


def _gradient(results: Results, parameters: np.ndarray) -> np.ndarray:
    win, draw = probabilities(np.subtract.outer(parameters[:-1], parameters[:-1]), parameters[-1])
    games = results.games
    strengths = (results.scores - games * (win + draw / 2)).sum(axis=1)
    draws = (results.draws - games * draw).sum() / 2
    return np.append(strengths, draws) - parameters / PRIOR**2


def _negative_hessian(results: Results, parameters: np.ndarray) -> np.ndarray:
    """The negative Hessian: sums of the covariances of score and draw."""
    difference, log_nu = np.subtract.outer(parameters[:-1], parameters[:-1]), parameters[-1]
    win, draw = probabilities(difference, log_nu)
    games = results.games
    fisher = games * information(difference, log_nu)
    crossed = (games * draw * (0.5 - win - draw / 2)).sum(axis=1)
    n = len(fisher)
    hessian = np.empty((n + 1, n + 1))
    hessian[:n, :n] = np.diag(fisher.sum(axis=1)) - fisher
    hessian[:n, n] = hessian[n, :n] = crossed
    hessian[n, n] = (games * draw * (1 - draw)).sum() / 2
    return hessian + np.eye(n + 1) / PRIOR**2
