"""Statistics over seeds, compared with calculations by hand and with rliable 1.2.0."""

import json

import numpy as np
import pytest

from myosu import cli
from myosu.commands.compare import compare, normalized
from myosu.evaluation.comparison import (
    all_tasks,
    bootstrap_interval,
    curve_interval,
    improvement,
    interquartile_mean,
    normalize,
    permutation_p_value,
    probability_of_improvement,
)
from myosu.runs.curves import Curve


def test_interquartile_mean_by_hand():
    assert interquartile_mean(np.array([9.0, 1, 2, 100])) == 5.5  # of 4 values, one is removed at each end
    assert interquartile_mean(np.array([1.0, 2, 3])) == 2  # ⌊3 / 4⌋ = 0: none is removed
    assert interquartile_mean(np.array([0.0, 1, 2, 3, 50])) == 2
    assert interquartile_mean(np.array([[0.0, 10], [1, 20], [2, 30], [9, 90]]), axis=0).tolist() == [1.5, 25]


def test_probability_of_improvement_by_hand():
    # 2 > 1, 2 = 2, 5 > 1, 5 > 2: (1 + ½ + 1 + 1) / 4
    assert probability_of_improvement(np.array([2.0, 5]), np.array([1.0, 2])) == 0.875
    assert probability_of_improvement(np.array([1.0]), np.array([1.0])) == 0.5
    ours, theirs = [np.array([2.0, 5]), np.array([0.0])], [np.array([1.0, 2]), np.array([1.0, 2])]
    assert improvement(ours, theirs) == pytest.approx((0.875 + 0) / 2)


#: Six runs of two tasks. The tests compare with the results of rliable 1.2.0 (20,000 and 5,000 resamples).
OURS = np.array([[0.1, 0.9], [0.4, 0.7], [0.35, 1.1], [0.8, 0.95], [0.2, 0.5], [0.6, 0.65]])
THEIRS = np.array([[0.15, 0.6], [0.3, 0.62], [0.25, 0.9], [0.5, 0.4], [0.1, 0.45], [0.33, 0.7]])


def test_results_equal_those_of_rliable():
    ours, theirs = list(OURS.T), list(THEIRS.T)
    assert all_tasks(ours) == pytest.approx(0.6083333333) and all_tasks(theirs) == pytest.approx(0.43)
    assert improvement(ours, theirs) == pytest.approx(0.7291666667)
    assert bootstrap_interval(all_tasks, ours, resamples=5000) == pytest.approx((0.4583, 0.7750), abs=0.01)
    assert bootstrap_interval(improvement, ours, theirs, resamples=5000) == pytest.approx((0.5, 0.9167), abs=0.02)


def test_sample_efficiency_curves_equal_those_of_rliable():
    """Both tasks' runs pooled at every point, and whole runs resampled within their task."""
    factors, bump = np.array([0.25, 0.5, 1.0]), np.array([0.0, 0.2, 0.0])
    tasks = [scores[:, None] * factors + (scores[:, None] > 0.6) * bump for scores in OURS.T]
    assert interquartile_mean(np.concatenate(tasks), axis=0) == pytest.approx([0.1520833333, 0.4041666667,
                                                                              0.6083333333])
    low, high = curve_interval(tasks, resamples=5000)
    assert low == pytest.approx([0.1146, 0.2583, 0.4665], abs=0.015)
    assert high == pytest.approx([0.1937, 0.5583, 0.7750], abs=0.015)


def test_permutation_p_value():
    """Of the 20 splits of six runs into three and three, two are as extreme; of the 70 into four and four, two."""
    three, four = ([np.arange(n) + 9.0] for n in (3, 4))
    assert permutation_p_value(three, [np.arange(3.0)]) == pytest.approx(2 / 20, abs=0.015)
    assert permutation_p_value(four, [np.arange(4.0)]) == pytest.approx(2 / 70, abs=0.008)
    assert permutation_p_value(three, three) == 1
    # Two games: both splits must be extreme in the same direction, (1/20)² on each side.
    assert permutation_p_value(three * 2, [np.arange(3.0)] * 2) == pytest.approx(2 / 400, abs=0.003)


def test_all_possible_resamples_of_two_runs():
    # Two draws of 0 and 1: 00, 01, 10, 11. The mean is 0, ½ or 1 with probabilities ¼, ½, ¼: 95 % reach from 0 to 1.
    assert bootstrap_interval(all_tasks, [np.array([0.0, 1])]) == (0, 1)
    assert bootstrap_interval(all_tasks, [np.full(5, 3.0)]) == (3, 3)


def test_bootstrap_is_stratified_by_task():
    """If runs were drawn from all tasks together, the mean of two tasks of constant value would vary."""
    assert bootstrap_interval(all_tasks, [np.zeros(3), np.ones(3)]) == (0.5, 0.5)


def test_bootstrap_resamples_whole_curves():
    curves = np.array([[0.0, 1], [1, 0]])  # in every resample, the means of the two points add up to 1
    low, high = curve_interval([curves])
    assert low.tolist() == [0, 0] and high.tolist() == [1, 1]
    assert curve_interval([np.array([[2.0, 3]] * 4)]).tolist() == [[2, 3], [2, 3]]


def test_normalized_scores():
    assert normalize(np.array([0.0, 5, 10]), 0.0, 10.0).tolist() == [0, 0.5, 1]
    assert normalize(np.array([4.0]), 4.0, 4.0).tolist() == [0]


def curve(mean, game="g"):
    mean = np.asarray(mean, float)
    return Curve("name", game, False, np.arange(len(mean), dtype=float), mean, np.stack([mean, mean], 1),
                 np.zeros((0, 2)), [])


@pytest.mark.parametrize(("runs", "baseline", "words"), [
    ([9, 10, 11, 12], [1, 2, 3, 4], "are better"), ([1, 2, 3, 4], [9, 10, 11, 12], "are worse"),
    ([1, 5, 9, 3], [2, 4, 8, 5], "no difference is shown"), ([9], [1], "too few seeds"),
    ([9, 10, 11], [1, 2], "too few seeds"), ([9, 10, 11], [1, 2, 3], "no difference is shown"),
])
def test_verdict_depends_on_difference_and_seed_count(runs, baseline, words):
    report = compare({"runs": [[curve([0, x]) for x in runs]], "baseline": [[curve([0, x]) for x in baseline]]}, ["g"])
    assert words in report["verdict"]


def test_scores_of_several_games_are_normalized():
    groups = normalized({"runs": [[curve([0, 10], "a")], [curve([100, 300], "b")]],
                         "baseline": [[curve([0, 5], "a")], [curve([100, 200], "b")]]})
    assert groups["baseline"][1][0].mean.tolist() == [0, 0.5]
    report = compare(groups, ["a", "b"])
    assert report["normalized"] and report["groups"]["runs"]["interquartile_mean"] == 1
    assert report["groups"]["baseline"]["interquartile_mean"] == 0.5


def test_invalid_input_is_refused(capsys, tmp_path):
    assert cli.run(["compare", str(tmp_path)]) == 2
    assert "There is no run" in capsys.readouterr().err
    assert cli.run(["compare"]) == 2
    assert "Which runs?" in capsys.readouterr().err
    json.dumps(compare({"runs": [[curve([0, 1])]]}, ["g"]))
