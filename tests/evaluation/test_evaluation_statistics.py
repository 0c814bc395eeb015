"""Confidence intervals, compared with published tables and calculations by hand."""

import numpy as np
import pytest

from myosu.evaluation.statistics import mean_interval, rate_interval, student_quantile, wilson_interval


@pytest.mark.parametrize(
    "degrees, quantile",
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (5, 2.57058), (10, 2.22814), (30, 2.04227), (99, 1.98422)],
)
def test_student_quantiles_equal_published_tables(degrees, quantile):
    assert student_quantile(degrees) == pytest.approx(quantile, abs=1e-4)


def test_mean_interval_by_hand():
    """2, 4, 6, 8: mean 5, variance 20/3, standard error 1.290994, times 3.182446."""
    assert mean_interval(np.array([2.0, 4.0, 6.0, 8.0])) == pytest.approx((5 - 4.108520, 5 + 4.108520), abs=1e-5)


def test_mean_interval_is_clipped_to_possible_values():
    """−32 and 27: mean −2.5, standard error 29.5, times 12.706; clipped to ±32, at one end only, or not at all."""
    values = np.array([-32.0, 27.0])
    low, high = -2.5 - 12.706205 * 29.5, -2.5 + 12.706205 * 29.5
    assert mean_interval(values) == pytest.approx((low, high), abs=1e-3)
    assert mean_interval(values, (-32, 32)) == (-32, 32)
    assert mean_interval(values, (-np.inf, 32)) == pytest.approx((low, 32), abs=1e-3)
    assert mean_interval(values, (-1000, 1000)) == mean_interval(values)
    assert mean_interval(values, (0, 1)) == (-32, 27), "values outside the given range widen it"


def test_clipping_an_interval_keeps_its_coverage():
    """Intervals of 4,000 short matches with rewards ±32 with probabilities 0.9 and 0.1, whose true mean is 25.6."""
    rng = np.random.default_rng(0)
    drawn = np.where(rng.random((4000, 6)) < 0.9, 32.0, -32.0)
    whole, cut = ([mean_interval(values, possible) for values in drawn]
                  for possible in ((-np.inf, np.inf), (-32.0, 32.0)))
    covered = [[low <= 25.6 <= high for low, high in intervals] for intervals in (whole, cut)]
    assert covered[0] == covered[1] and all(low >= -32 and high <= 32 for low, high in cut)


def test_wilson_by_hand():
    """8 of 10: centre (0.8 + 3.841459/20) / 1.3841459; 10 of 10: lower end 10 / (10 + 3.841459)."""
    assert wilson_interval(0.8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-5)
    assert wilson_interval(1.0, 10) == pytest.approx((10 / 13.841459, 1.0), abs=1e-6)
    assert wilson_interval(0.0, 10) == pytest.approx((0.0, 3.841459 / 13.841459), abs=1e-6)


def test_rate_interval_counts_dependent_games_as_pairs():
    alike = np.repeat(np.array([[1.0], [0.0]] * 10), 2, axis=1)  # equal results within a pair: 20 trials, not 40
    assert rate_interval(alike) == pytest.approx(wilson_interval(0.5, 20))
    opposite = np.tile([1.0, 0.0], (20, 1))  # each pair 1 : 1; never narrower than 40 independent games
    assert rate_interval(opposite) == wilson_interval(0.5, 40)
    assert rate_interval(np.ones((20, 2))) == wilson_interval(1.0, 20)
