"""Ratings by maximum likelihood: the model of Bradley and Terry with Davidson's draws, on the scale of Elo.

A player's strength is x, and of two whose strengths differ by δ the first wins, draws and loses with probabilities in
the ratio e^(δ/2) : ν : e^(−δ/2). So ten wins to each loss are 400 points, however many games are drawn. Davidson's ν is
one number for the whole league and fitted with the ratings. A draw counted as half a win and half a loss would give the
same order, but it would make a league of many draws look as uncertain as one of coin tosses, while in truth a draw says
that two players are close.

All results count at once, so their order cannot matter. Whoever won every game has no greatest likelihood; therefore
every strength and log ν get a weak normal prior, with a deviation of 1000 points. It moves the rating of a player with
forty games by some points, and only one who won or lost everything notices it. Intervals are those of the profile
likelihood, lopsided where the results are: of a player who won everything the upper end is far away. Games count as
independent of each other. Two from one opening are not quite: where openings favour a side, the intervals are a little
too wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from myosu.evaluation.statistics import Z95

#: Points of Elo in one unit of strength.
ELO = 400 / np.log(10)
#: Standard deviation of the prior.
PRIOR = 1000 / ELO


@dataclass(frozen=True)
class Results:
    """Games between n players. wins: float64 [n, n], ``wins[i, j]`` of i against j. draws: float64 [n, n], symmetric:
    a drawn game of i and j counts once at [i, j] and once at [j, i]."""

    wins: np.ndarray
    draws: np.ndarray

    @classmethod
    def none(cls, players: int) -> Results:
        return cls(np.zeros((players, players)), np.zeros((players, players)))

    def add(self, i: int, j: int, reward: float) -> None:
        """A game that earned ``i`` the ``reward`` against ``j``."""
        if reward == 0:
            self.draws[i, j] += 1
            self.draws[j, i] += 1
        else:
            self.wins[(i, j) if reward > 0 else (j, i)] += 1

    @property
    def games(self) -> np.ndarray:
        """float64 [n, n], symmetric: games between two players."""
        return self.wins + self.wins.T + self.draws

    @property
    def scores(self) -> np.ndarray:
        """float64 [n, n]: wins and half of the draws."""
        return self.wins + self.draws / 2


@dataclass(frozen=True)
class Fit:
    """strengths: float64 [n]; only differences mean anything. log_nu: ln ν of the draws. covariance: float64
    [n + 1, n + 1] of both, the inverse of the information."""

    strengths: np.ndarray
    log_nu: float
    covariance: np.ndarray
    log_likelihood: float

    def elo(self, anchor: int = 0) -> np.ndarray:
        """float64 [n], with 0 for the player ``anchor``."""
        return (self.strengths - self.strengths[anchor]) * ELO

    def expected_scores(self) -> np.ndarray:
        """float64 [n, n]: what i may expect of a game against j, 1 for a win and ½ for a draw."""
        win, draw = probabilities(np.subtract.outer(self.strengths, self.strengths), self.log_nu)
        return win + draw / 2

    def variances(self) -> np.ndarray:
        """float64 [n, n]: of the difference of two strengths."""
        covariance = self.covariance[:-1, :-1]
        own = np.diag(covariance)
        return np.maximum(own[:, None] + own[None, :] - 2 * covariance, 0.0)

    def deviations_from_mean(self) -> np.ndarray:
        """float64 [n]: standard errors of the distances of the strengths to their mean."""
        centre = np.eye(len(self.strengths)) - 1 / len(self.strengths)
        return np.sqrt(np.diag(centre @ self.covariance[:-1, :-1] @ centre))


def probabilities(difference: np.ndarray, log_nu: float) -> tuple[np.ndarray, np.ndarray]:
    """Of a win and of a draw, for the player who is stronger by ``difference``; the arrays have its shape."""
    logits = np.stack([difference / 2, np.full_like(difference, log_nu), -difference / 2])
    weights = np.exp(logits - logits.max(axis=0))
    win, draw, _ = weights / weights.sum(axis=0)
    return win, draw


def information(difference: np.ndarray, log_nu: float) -> np.ndarray:
    """What one game tells about the difference of two strengths: the variance of its score."""
    win, draw = probabilities(difference, log_nu)
    return win + draw / 4 - (win + draw / 2) ** 2


def fit(results: Results) -> Fit:
    """The strengths that explain ``results`` best. Players who are not ``connected`` are held together by the prior
    alone."""
    n = len(results.wins)
    return _maximise(results, np.zeros(n + 1), np.eye(n + 1))


def intervals(results: Results, best: Fit, anchor: int = 0) -> np.ndarray:
    """float64 [n, 2]: the interval of 95 % of every player's Elo above the player ``anchor``, by profile likelihood."""
    ends = np.zeros((len(results.wins), 2))
    for player in range(len(ends)):
        if player != anchor:
            ends[player] = [_profile_end(results, best, player, anchor, side) for side in (-1, 1)]
    return ends * ELO


def connected(results: Results, anchor: int = 0) -> np.ndarray:
    """bool [n]: who is on one scale with the player ``anchor``, for they met, perhaps by way of third ones."""
    met = results.games > 0
    reached = np.arange(len(met)) == anchor
    while (more := reached | met[reached].any(axis=0)).sum() > reached.sum():
        reached = more
    return reached


def _profile_end(results: Results, best: Fit, player: int, anchor: int, side: int) -> float:
    """Where the greatest likelihood with a given difference of the two strengths is lower than the best by Z95² / 2.

    The root of the lost likelihood is nearly linear in the difference, so Newton's steps reach it at once.
    """
    n = len(results.wins)
    # All parameters but the player's strength, which is the anchor's and the difference.
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
        slope = -_slope(results, parameters)[player] / root
        step = (Z95 - root) / slope
        difference += step
        if abs(step) < 1e-4:
            break
    return difference


def _maximise(results: Results, start: np.ndarray, combine: np.ndarray, offset: np.ndarray | float = 0.0) -> Fit:
    """Newton's method over the parameters ``combine @ free + offset`` from ``free = start``; the likelihood with its
    prior is strictly concave."""
    free = start.copy()
    likelihood = _log_likelihood(results, combine @ free + offset)
    for _ in range(200):
        parameters = combine @ free + offset
        slope = combine.T @ _slope(results, parameters)
        curvature = combine.T @ _curvature(results, parameters) @ combine
        step = np.linalg.solve(curvature, slope)
        if float(slope @ step) < 1e-8:  # twice what is still to be gained
            break
        while (reached := _log_likelihood(results, combine @ (free + step) + offset)) < likelihood - 1e-9:
            step = step / 2
        free, likelihood = free + step, reached
    parameters = combine @ free + offset
    return Fit(parameters[:-1], float(parameters[-1]), np.linalg.inv(_curvature(results, parameters)), likelihood)


def _log_likelihood(results: Results, parameters: np.ndarray) -> float:
    difference, log_nu = np.subtract.outer(parameters[:-1], parameters[:-1]), parameters[-1]
    normaliser = np.logaddexp(np.logaddexp(difference / 2, -difference / 2), log_nu)
    total = (results.wins * (difference / 2 - normaliser)).sum()
    total += (results.draws * (log_nu - normaliser)).sum() / 2
    return float(total - (parameters**2).sum() / (2 * PRIOR**2))


def _slope(results: Results, parameters: np.ndarray) -> np.ndarray:
    win, draw = probabilities(np.subtract.outer(parameters[:-1], parameters[:-1]), parameters[-1])
    games = results.games
    strengths = (results.scores - games * (win + draw / 2)).sum(axis=1)
    draws = (results.draws - games * draw).sum() / 2
    return np.append(strengths, draws) - parameters / PRIOR**2


def _curvature(results: Results, parameters: np.ndarray) -> np.ndarray:
    """Minus the second derivatives: sums of the covariances of score and draw."""
    difference, log_nu = np.subtract.outer(parameters[:-1], parameters[:-1]), parameters[-1]
    win, draw = probabilities(difference, log_nu)
    games = results.games
    told = games * information(difference, log_nu)
    crossed = (games * draw * (0.5 - win - draw / 2)).sum(axis=1)
    n = len(told)
    curvature = np.empty((n + 1, n + 1))
    curvature[:n, :n] = np.diag(told.sum(axis=1)) - told
    curvature[:n, n] = curvature[n, :n] = crossed
    curvature[n, n] = (games * draw * (1 - draw)).sum() / 2
    return curvature + np.eye(n + 1) / PRIOR**2
