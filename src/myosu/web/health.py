"""What is clearly wrong with a run, in plain words. Better silent than wrong: each hint must be worth a look."""

from __future__ import annotations

from typing import Any

import numpy as np

from myosu.runs.curves import LiveMetrics

#: Records at an end of a curve of which the mean is taken, and fewest records for a hint about them.
FEW, ENOUGH = 5, 20
#: Share of its first value under which entropy has collapsed; share of games won at which nothing is left to improve;
#: share of the returns' variance below which a value explains nothing.
COLLAPSED, WON, NOTHING = 0.01, 0.9, 0.01

ENTROPIES = ("selfplay/policy_entropy", "episodes/policy_entropy")


def hints(metrics: LiveMetrics) -> list[str]:
    """Sentences, the gravest first; none where nothing looks wrong."""
    found = [_non_finite(metrics), _restarts(metrics), _entropy(metrics), _explained_variance(metrics),
             _value_error(metrics), _evaluations(metrics.evaluations), _damaged(metrics)]
    return [hint for hint in found if hint]


def _non_finite(metrics: LiveMetrics) -> str | None:
    for name in metrics.names:
        wrong = ~np.isfinite(metrics.values(name))
        if wrong.any():
            update = metrics.at(name, "updates")[wrong.argmax()]
            return f"{name} is not a finite number since update {update:,.0f}: training has gone wrong there."
    return None


def _restarts(metrics: LiveMetrics) -> str | None:
    counts = {"actor": metrics.latest.get("actor_restarts"), "environment": metrics.latest.get("env_restarts")}
    parts = [f"{count} {what} process{'es' if count > 1 else ''}" for what, count in counts.items() if count]
    return (f"{' and '.join(parts)} had to be started again: look for errors in the terminal, and at the memory."
            if parts else None)


def _entropy(metrics: LiveMetrics) -> str | None:
    for name in ENTROPIES:
        values = metrics.values(name)
        if len(values) < ENOUGH:
            continue
        first, last = values[:FEW].mean(), values[-FEW:].mean()
        at = metrics.at(name, "minutes")
        begun = int((values < COLLAPSED * first).argmax())
        if last < COLLAPSED * first and at[begun] < at[-1] / 2:
            return (f"The policy's entropy fell from {first:.2g} to {last:.2g}, below {COLLAPSED:.0%} of what it was, "
                    f"after {at[begun]:.1f} minutes: it hardly tries anything new any more. Right only where the game "
                    "is solved.")
    return None


def _explained_variance(metrics: LiveMetrics) -> str | None:
    values = metrics.values("loss/explained_variance")
    if len(values) < ENOUGH or not (mean := values[-FEW:].mean()) < NOTHING:
        return None
    return f"The value predicts returns hardly better than their mean would: its explained variance is {mean:.3f}."


def _value_error(metrics: LiveMetrics) -> str | None:
    """A mean absolute error above the returns' standard deviation is worse than always saying their mean."""
    errors, spread = metrics.values("selfplay/value_error"), metrics.values("selfplay/reward_first_std")
    if min(len(errors), len(spread)) < ENOUGH:
        return None
    error, deviation = errors[-ENOUGH:].mean(), spread[-ENOUGH:].mean()
    if not error > deviation > 0:
        return None
    return (f"Search values miss the outcome by {error:.3g} on average, more than the outcomes' own standard "
            f"deviation of {deviation:.3g}: they say less than the mean would.")


def _evaluations(evaluations: list[dict[str, Any]]) -> str | None:
    """By the best of the last three, for one of many evaluations is bad by chance."""
    evaluations = [line for line in evaluations if line.get("opponent") == evaluations[-1].get("opponent")]
    if len(evaluations) < 6 or evaluations[-1].get("win_rate", 0) >= WON:
        return None
    first, last = evaluations[0], max(evaluations[-3:], key=_reward)
    best = max(evaluations, key=_reward)
    if last["mean_reward"] <= first["mean_reward"]:
        return (f"The last three evaluations ({_interval(last)} at best) are no better than the first "
                f"({_interval(first)}).")
    if last["mean_reward_ci95"][1] < best["mean_reward_ci95"][0]:
        return (f"The last three evaluations ({_interval(last)} at best) are clearly below the best "
                f"({_interval(best)}, at update {best['update']:,}).")
    return None


def _reward(line: dict[str, Any]) -> float:
    return line["mean_reward"]


def _damaged(metrics: LiveMetrics) -> str | None:
    return f"{metrics.damaged} lines of metrics.jsonl cannot be read and are left out." if metrics.damaged else None


def _interval(line: dict[str, Any]) -> str:
    low, high = line["mean_reward_ci95"]
    return f"{line['mean_reward']:.4g} [{low:.4g}, {high:.4g}]"
