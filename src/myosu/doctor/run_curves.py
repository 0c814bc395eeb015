"""Judges a run's curves: values, entropy, gradients, evaluations. Prefers a missed fault to a false alarm."""

from __future__ import annotations

from typing import Any

import numpy as np

from myosu.doctor.finding import Finding
from myosu.doctor.run_view import RunView, found

#: Number of records averaged at either end of a curve, and minimum number of records for a judgement.
_FEW, _ENOUGH = 5, 20
#: Fraction of its first value below which entropy has collapsed; win rate from which evaluations need not improve;
#: explained fraction of the returns' variance below which the value explains nothing.
_COLLAPSED, _WON, _NOTHING = 0.01, 0.9, 0.01
#: Multiple of the greatest return, and of the gradient norm's limit, from which a curve is reported.
_EXPLODED, _CLIPPED = 3.0, 100.0
#: Standard errors by which an improvement is significant; fraction of the run before which the best evaluation must lie
#: to be lost.
_SURE, _LONG_AGO = 2.0, 0.7
#: Fraction of the range of all evaluations by which they rose in the last third of a run that ended too early.
_RISING = 0.05
#: Rank correlation of evaluations with time above which they rise steadily.
_STEADY = 0.7

#: Minimum number of evaluations to judge whether they improve.
EVALUATIONS = 6
ENTROPIES = ("selfplay/policy_entropy", "episodes/policy_entropy")


def non_finite(run: RunView) -> Finding | None:
    for name in run.metrics.names:
        wrong = ~np.isfinite(run.metrics.values(name))
        if wrong.any():
            update = run.metrics.at(name, "updates")[wrong.argmax()]
            return found("error", "not-finite", f"{name} has not been finite since update {update:,.0f}: training "
                         "diverged there.", "the values or the gradient overflowed.",
                         "Lower --learning-rate; look for infinite observations or rewards with myosu check.", 0.7)
    return None


def no_updates(run: RunView) -> Finding | None:
    """Games were played, but no update was made."""
    latest, least = run.metrics.latest, run.settings.get("learning_starts", 0)
    if latest.get("update") == 0 and latest.get("seconds", 0) > 120:
        return found("warning", "no-updates", f"after {latest['seconds'] / 60:.0f} minutes no update has been made: "
                     f"{latest.get('replay_positions', 0):,.0f} of --learning-starts {least:,} are collected.",
                     "playing is too slow to collect this many positions, or the run is too short.",
                     "Lower --learning-starts, or train longer.", 0.95)
    return None


def restarts(run: RunView) -> Finding | None:
    counts = {"actor": run.metrics.latest.get("actor_restarts"), "environment": run.metrics.latest.get("env_restarts")}
    parts = [f"{count} {what} process{'es' if count > 1 else ''}" for what, count in counts.items() if count]
    return found("warning", "restarts", f"{' and '.join(parts)} had to be restarted.", "the environment fails, or "
                 "memory ran out.", "Look for errors in the terminal, and check memory use.", 0.7) if parts else None


def entropy(run: RunView) -> Finding | None:
    for name in ENTROPIES:
        values, at = run.metrics.values(name), run.metrics.at(name, "minutes")
        if len(values) < _ENOUGH:
            continue
        first, last = values[:_FEW].mean(), values[-_FEW:].mean()
        begun = int((values < _COLLAPSED * first).argmax())
        if last < _COLLAPSED * first and at[begun] < at[-1] / 2:
            return found("warning", "entropy", f"the policy's entropy fell from {first:.2g} to {last:.2g}, below "
                         f"{_COLLAPSED:.0%} of its initial value, after {at[begun]:.1f} minutes: it hardly explores "
                         "any more.", "the policy converged too early, unless the game is solved.",
                         "Raise --entropy-weight, or lower --learning-rate.", 0.7)
    return None


def explained_variance(run: RunView) -> Finding | None:
    values = run.metrics.values("loss/explained_variance")
    if len(values) < _ENOUGH or not (mean := values[-_FEW:].mean()) < _NOTHING:
        return None
    flat = _flat(_with_noise(run.evaluations))
    return found("warning", "reward-information" if flat else "value", "the value predicts returns hardly better "
                 f"than their mean would: its explained variance is {mean:.3f}"
                 + (", and evaluations do not improve." if flat else "."),
                 "rewards hardly depend on observations and actions." if flat else "the value network does not "
                 "learn.", "Look at the reward with myosu check; scale it (--normalize-rewards), or put what it "
                 "depends on into the observation.", 0.7 if flat else 0.5)


def value_error(run: RunView) -> Finding | None:
    """A mean absolute error above the outcomes' standard deviation: worse than always predicting the mean outcome.

    Both cover all games of the last records together, because the deviation within a record of one game is 0.
    """
    names = "selfplay/value_error", "selfplay/reward_first_std"
    errors, spread = (run.metrics.values(name)[-2 * _ENOUGH:] for name in names)
    means = run.metrics.values("selfplay/reward_first_mean")[-2 * _ENOUGH:]
    if min(len(errors), len(spread)) < _ENOUGH or len(errors) != len(spread):
        return None
    games = _games_of_records(run)[-len(errors):]
    if len(games) != len(errors) or games.sum() < 200:
        return None
    means = means if len(means) == len(errors) else np.zeros(len(errors))
    overall = float(np.average(means, weights=games))
    deviation = float(np.sqrt(np.average(spread**2 + (means - overall) ** 2, weights=games)))
    error = float(np.average(errors, weights=games))
    if not error > 1.1 * deviation > 0:
        return None
    return found("warning", "value-error", f"search values miss the outcome by {error:.3g} on average "
                 f"over {games.sum():.0f} games, more than the outcomes' own standard deviation of {deviation:.3g}: "
                 "they predict worse than the mean would.", "the values are wrong: of the wrong player, from old "
                 "weights, or not learnt yet.", "Check the game with myosu check; look at --td-steps and "
                 "--learning-rate.", 0.6)


def value_explosion(run: RunView) -> Finding | None:
    """Values far beyond every return seen."""
    values = run.last("loss/q_mean", 0.2)
    if not len(values) or len(run.games) < _FEW:
        return None
    scale = run.settings.get("reward_scale", 1.0)
    greatest = max(float(np.abs(run.returns).max()), 1e-9) * scale
    mean = float(np.abs(values).mean())
    if mean <= _EXPLODED * greatest:
        return None
    return found("error" if mean > 100 * greatest else "warning", "value-explosion", f"values are {mean:.3g} on "
                 f"average, but no return exceeded {greatest:.3g}.", "bootstrapped values have diverged.",
                 "Lower --learning-rate or --replay-ratio, update the target network more slowly (--tau), "
                 "keep --layer-norm and --double; lower --discount.", 0.95)


def gradient(run: RunView) -> Finding | None:
    norm, limit = run.last("loss/gradient_norm"), run.settings.get("max_grad_norm")
    if limit is None or len(norm) < _ENOUGH or float(np.median(norm)) < _CLIPPED * limit:
        return None
    return found("warning", "gradient", f"the gradient's norm is {np.median(norm):.3g}, its limit {limit:g}: every "
                 "update is clipped to a small fraction of its size.", "rewards or values are badly scaled, or the "
                 "learning rate has "
                 "broken the network.", "Normalise or scale rewards (--normalize-rewards, --reward-scale), or lower "
                 "--learning-rate.", 0.6)


def overfitting(run: RunView) -> Finding | None:
    """The loss on the replay falls while the value error on fresh games rises."""
    loss, fresh = run.metrics.values("loss/value_loss"), run.metrics.values("selfplay/value_error")
    spread = run.metrics.values("selfplay/reward_first_std")
    if min(len(loss), len(fresh)) < 2 * _ENOUGH or len(spread) != len(fresh):
        return None
    # In units of the outcomes' standard deviation, because the games themselves change during training.
    errors = [float(part.mean()) for part in np.array_split(fresh / np.maximum(spread, 1e-9), 4)]
    losses = [float(part.mean()) for part in np.array_split(loss, 4)]
    best = int(np.argmin(errors))
    rose, fell = errors[3] / errors[best], losses[3] / losses[best]
    if not (fell < 0.8 and rose > 1.2):
        return None
    return found("warning", "overfitting", f"since the {('first', 'second', 'third', 'last')[best]} quarter of the run "
                 f"the value's loss on the replay fell to {fell:.0%}, but its error on fresh games rose to "
                 f"{rose:.0%}.", "the network overfits to the replay.", "Raise --replay-capacity, lower "
                 "--replay-ratio, raise --weight-decay, or use a smaller network.", 0.8)


def evaluations(run: RunView) -> Finding | None:
    lines = _with_noise(run.evaluations)
    if len(lines) < EVALUATIONS or lines[-1].get("win_rate", 0) >= _WON:
        return None
    last, best = max(lines[-3:], key=_reward), max(lines, key=_reward)
    if last["mean_reward_ci95"][1] < best["mean_reward_ci95"][0] and _is_lost(lines, best):
        return found("warning", "evaluation-fell", f"the last three evaluations ({_interval(last)} at best) are "
                     f"clearly below the best ({_interval(best)}, at update {best['update']:,}).", "training has "
                     "become unstable.", "Lower --learning-rate or anneal it; the best checkpoint is kept as "
                     "best.", 0.8)
    if _flat(lines) and not _already_good(run):
        return found("warning", "evaluation-flat", f"{len(lines)} evaluations show no improvement: from "
                     f"{_interval(lines[0])} to {_interval(lines[-1])}.", "the agent does not learn.",
                     "Run myosu doctor on the run and on its environment.", 0.6)
    return None


def _with_noise(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The evaluations with intervals widened to the differences between neighbours that are due to chance.

    An interval only covers the chance in one evaluation's episodes, but equally good policies differ as well. Second
    differences remove a steady rise; with fewer than 8 of them, noise cannot be told from a rise and a fall.
    """
    bends = np.diff([line["mean_reward"] for line in lines], 2)
    if len(bends) < 8:
        return lines
    deviation = float(np.median(np.abs(bends))) / (0.6745 * np.sqrt(6))
    return [line | {"mean_reward_ci95": [min(line["mean_reward_ci95"][0], line["mean_reward"] - 1.96 * deviation),
                                         max(line["mean_reward_ci95"][1], line["mean_reward"] + 1.96 * deviation)]}
            for line in lines]


def _is_lost(lines: list[dict[str, Any]], best: dict[str, Any]) -> bool:
    """Whether more than half of the gain (of the best mean of three evaluations in a row) was lost long ago and is not
    coming back. Healthy PPO policies fall and recover."""
    rewards = np.array([line["mean_reward"] for line in lines])
    gained = np.convolve(rewards, np.full(3, 1 / 3), "valid").max() - rewards[0]
    last, lowest = lines[-3:], min(lines[-3:], key=_reward)
    return bool(rewards[-3:].max() < rewards[0] + gained / 2 and best["update"] <= _LONG_AGO * last[-1]["update"]
                and last[-1]["mean_reward_ci95"][0] <= lowest["mean_reward_ci95"][1])


def _flat(lines: list[dict[str, Any]]) -> bool:
    """Whether the last third of the evaluations is no better than the first third, by their standard errors.

    None may be clearly better than the first, and they may not rise steadily, as noisy evaluations of a learning agent
    do.
    """
    if len(lines) < EVALUATIONS or max(lines, key=_reward)["mean_reward_ci95"][0] > lines[0]["mean_reward_ci95"][1]:
        return False
    third = len(lines) // 3
    (first, at_first), (last, at_last) = (_together(part) for part in (lines[:third], lines[-third:]))
    order = np.argsort(np.argsort([line["mean_reward"] for line in lines]))
    steadily = float(np.corrcoef(order, np.arange(len(lines)))[0, 1]) > _STEADY
    return last - first < _SURE * float(np.hypot(at_first, at_last)) and not steadily


def _together(lines: list[dict[str, Any]]) -> tuple[float, float]:
    """Mean of the evaluations and its standard error."""
    errors = [(line["mean_reward_ci95"][1] - line["mean_reward_ci95"][0]) / 3.92 for line in lines]
    mean = float(np.mean([line["mean_reward"] for line in lines]))
    return mean, float(np.sqrt(np.square(errors).sum()) / len(errors))


def _already_good(run: RunView) -> bool:
    """Whether the first evaluation already was far better than the first training episodes, or near the maximum."""
    first = run.evaluations[0]
    if first["mean_reward"] >= 0.95 * run.reward_range[1]:
        return True
    early = run.returns[: max(10, len(run.games) // 50)]
    if run.num_players == 2:
        return bool(first.get("win_rate", 0) >= 0.8)
    margin = (first["mean_reward_ci95"][1] - first["mean_reward_ci95"][0]) / 2
    return len(early) > 0 and first["mean_reward"] - margin > early.mean() + 2 * early.std() / np.sqrt(len(early))


def still_rising(run: RunView) -> Finding | None:
    """Evaluations that were still rising when the run ended."""
    lines = run.evaluations
    if run.metrics.latest.get("phase") != "finished" or len(lines) < EVALUATIONS:
        return None
    if lines[-1].get("win_rate", 0) >= _WON:
        return None
    third = len(lines) // 3
    (before, at_before), (last, at_last) = (_together(part) for part in (lines[-2 * third:-third], lines[-third:]))
    means = [line["mean_reward"] for line in lines]
    if last - before <= max(2 * _SURE * float(np.hypot(at_before, at_last)), _RISING * float(np.ptp(means))):
        return None
    return found("info", "still-rising", f"evaluations were still rising at the end: from {before:.4g} to {last:.4g} "
                 "on average in the last two thirds of the run.", "the run ended before learning levelled off.",
                 "Resume it with a later limit: myosu train --resume RUN --minutes (or --updates, --env-steps). "
                 "The weights are kept.", 0.8)


def damaged(run: RunView) -> Finding | None:
    return found("warning", "damaged", f"{run.metrics.damaged} lines of metrics.jsonl cannot be read and are skipped.",
                 "the machine stopped while they were written.", "", 0.9) if run.metrics.damaged else None


def _games_of_records(run: RunView) -> np.ndarray:
    """Number of games that ended between consecutive records that have self-play values."""
    games = run.metrics.values("games")
    return np.diff(games, prepend=0.0)[-len(run.metrics.values("selfplay/value_error")):]


def _reward(line: dict[str, Any]) -> float:
    return line["mean_reward"]


def _interval(line: dict[str, Any]) -> str:
    low, high = line["mean_reward_ci95"]
    return f"{line['mean_reward']:.4g} [{low:.4g}, {high:.4g}]"


CURVES = (non_finite, no_updates, restarts, value_explosion, entropy, explained_variance, value_error, overfitting,
          gradient, evaluations, still_rising, damaged)
