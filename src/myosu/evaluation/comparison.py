"""Comparison of runs over few seeds (Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice"): interquartile means, probabilities of improvement and bootstrap intervals, as pure functions on arrays of
scores.

The results equal those of the library rliable, which has had no release since August 2024 and requires SciPy, arch,
Seaborn and more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

#: The scores of the runs of each task (game), float [runs]; tasks may have different numbers of runs.
Scores = Sequence[np.ndarray]

Interval = tuple[float, float]


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Interquartile mean along ``axis``: the mean without the lowest and the highest ⌊n / 4⌋ values."""
    ordered = np.sort(np.asarray(values, np.float64), axis=axis)
    count = ordered.shape[axis]
    cut = count // 4
    return np.take(ordered, np.arange(cut, count - cut), axis=axis).mean(axis=axis)


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The probability that a random run of ``ours``, float [..., n], beats a random run of ``theirs`` [..., m]; ties
    count half.

    P(X > Y) = Σ_ij (1[x_i > y_j] + ½ 1[x_i = y_j]) / (n m), Mann and Whitney's U over n m.
    """
    above = np.asarray(ours)[..., :, None], np.asarray(theirs)[..., None, :]
    return ((above[0] > above[1]) + 0.5 * (above[0] == above[1])).mean(axis=(-2, -1))


def all_tasks(scores: Scores) -> float:
    """The interquartile mean over the pooled runs of all tasks."""
    return float(interquartile_mean(np.concatenate(scores)))


def improvement(ours: Scores, theirs: Scores) -> float:
    """The probability of improvement, averaged over tasks."""
    return float(np.mean([probability_of_improvement(x, y) for x, y in zip(ours, theirs, strict=True)]))


def bootstrap_interval(statistic: Callable[..., float], *groups: Scores, resamples: int = 2000,
                       seed: int = 0) -> Interval:
    """95 % confidence interval of ``statistic(*groups)`` by a stratified percentile bootstrap: runs are resampled with
    replacement within every group and task, because only seeds are random, not tasks."""
    rng = np.random.default_rng(seed)
    found = [statistic(*([task[rng.integers(len(task), size=len(task))] for task in group] for group in groups))
             for _ in range(resamples)]
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


def permutation_p_value(ours: Scores, theirs: Scores, resamples: int = 5000, seed: int = 0) -> float:
    """p-value of a permutation test of the probability of improvement.

    It is the probability, under random exchanges of runs between the groups within every task, that the probability of
    improvement is at least as far from ½ as observed. With few runs a bootstrap finds a difference too often: if two
    groups of three runs do not differ, all runs of one still beat all runs of the other in one of ten cases.
    """
    rng = np.random.default_rng(seed)
    seen = abs(improvement(ours, theirs) - 0.5)
    pooled = [np.concatenate(pair) for pair in zip(ours, theirs, strict=True)]
    as_far = 0
    for _ in range(resamples):
        drawn = [rng.permutation(task) for task in pooled]
        shuffled = improvement([task[:len(x)] for task, x in zip(drawn, ours, strict=True)],
                               [task[len(x):] for task, x in zip(drawn, ours, strict=True)])
        as_far += abs(shuffled - 0.5) >= seen - 1e-12
    return (1 + as_far) / (1 + resamples)


def curve_interval(curves: Scores, resamples: int = 2000, seed: int = 0) -> np.ndarray:
    """95 % confidence intervals, float64 [2, points], at every point, of the interquartile mean of ``curves``, float
    [runs, points] for each task: all runs of all tasks pooled. Whole runs are resampled within every task."""
    rng = np.random.default_rng(seed)
    drawn = [task[rng.integers(len(task), size=(resamples, len(task)))] for task in curves]
    return np.percentile(interquartile_mean(np.concatenate(drawn, axis=1), axis=1), (2.5, 97.5), axis=0)


def normalize(scores: np.ndarray, lowest: float, highest: float) -> np.ndarray:
    """Rescale the scores of a task so that ``lowest`` becomes 0 and ``highest`` 1, to average over tasks. All are 0 if
    there is no difference between the two."""
    return (scores - lowest) / (highest - lowest) if highest > lowest else np.zeros_like(scores)
