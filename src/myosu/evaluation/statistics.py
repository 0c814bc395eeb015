"""95 % confidence intervals, without SciPy."""

from __future__ import annotations

import math

import numpy as np

Z95 = 1.959963984540054

Interval = tuple[float, float]


def student_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, by bisection of the closed form (Abramowitz and Stegun 26.7.3-4)."""
    low, high = 0.0, 13.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_probability(middle, degrees) < 0.95 else (low, middle)
    return high


def _central_probability(t: float, degrees: int) -> float:
    """P(|T| < t) for an integer number of degrees of freedom."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2 == 1
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(1 if odd else 0, degrees - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def mean_interval(values: np.ndarray, possible: Interval = (-math.inf, math.inf)) -> Interval:
    """Student's t interval of the mean of n ≥ 2 independent ``values``, clipped to the range ``possible`` (extended to
    the values if they exceed it). The true mean cannot lie outside, so the clipped interval still covers 95 %."""
    n, mean = len(values), float(np.mean(values))
    half = student_quantile(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    least, greatest = min(possible[0], float(np.min(values))), max(possible[1], float(np.max(values)))
    return (max(mean - half, least), min(mean + half, greatest))


def wilson_interval(rate: float, n: float) -> Interval:
    """Wilson's interval of a ``rate`` observed in ``n`` independent trials."""
    centre = rate + Z95**2 / (2 * n)
    half = Z95 * math.sqrt(rate * (1 - rate) / n + Z95**2 / (4 * n * n))
    scale = 1 + Z95**2 / n
    low, high = (centre - half) / scale, (centre + half) / scale
    return (0.0 if rate == 0 else low, 1.0 if rate == 1 else high)


def rate_interval(hits: np.ndarray) -> Interval:
    """Interval of a rate from 0/1 ``hits`` [units, games]. Units are independent; games within a unit need not be.

    Wilson's interval with the effective sample size: the number of independent games that would have the observed
    variance between units, clipped to [units, units · games].
    """
    units, per_unit = hits.shape
    rate = float(hits.mean())
    trials: float = units
    if per_unit > 1 and units > 1 and 0 < rate < 1:
        variance = float(hits.mean(axis=1).var(ddof=1)) / units
        games = units * per_unit
        trials = games if variance == 0 else min(max(rate * (1 - rate) / variance, units), games)
    return wilson_interval(rate, trials)
