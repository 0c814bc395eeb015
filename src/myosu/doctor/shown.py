"""The curves that illustrate a finding, for the page of a run, the report and the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from myosu.doctor.finding import Finding
from myosu.doctor.run_curves import ENTROPIES
from myosu.doctor.run_view import RunView

#: Number of characters of a curve or a distribution in a terminal, and the characters for its heights.
_WIDTH, _BLOCKS = 32, "▁▂▃▄▅▆▇█"

#: Check → the curves that illustrate its finding, the most informative first.
_CURVES: dict[str, tuple[str, ...]] = {
    "entropy": ENTROPIES,
    "value": ("loss/explained_variance",),
    "reward-information": ("evaluation/mean_reward", "loss/explained_variance"),
    "value-error": ("selfplay/value_error", "selfplay/reward_first_std"),
    "value-explosion": ("loss/q_mean",),
    "gradient": ("loss/gradient_norm",),
    "overfitting": ("loss/value_loss", "selfplay/value_error"),
    "evaluation-flat": ("evaluation/mean_reward",),
    "evaluation-fell": ("evaluation/mean_reward",),
    "still-rising": ("evaluation/mean_reward",),
    "shuffled-rewards": ("evaluation/mean_reward",),
    "learning-rate": ("loss/approx_kl", "loss/gradient_norm", "evaluation/mean_reward"),
    "discount": ("evaluation/mean_reward",),
    "early-end": ("evaluation/mean_reward",),
    "replay-size": ("replay_positions",),
    "replay-ratio": ("replay_ratio",),
    "seats": ("selfplay/reward_first_mean",),
    "no-updates": ("replay_positions",),
    "restarts": ("actor_restarts", "env_restarts"),
}
#: Check → the field of the games whose distribution illustrates its finding.
_COLUMNS = {"time-limit": "length", "early-end": "length", "support": "return", "reward-information": "return",
            "seats": "return"}


def curves_of(finding: Finding, names: Sequence[str]) -> list[str]:
    """The recorded curves among ``names`` that illustrate the finding; for non-finite numbers, the curve that its
    message names."""
    if finding.check == "not-finite":
        return [name for name in names if finding.message.startswith(f"{name} ")]
    return [name for name in _CURVES.get(finding.check, ()) if name in names]


def column_of(finding: Finding) -> str | None:
    """The field of the games ("length" or "return") whose distribution illustrates the finding, if any."""
    return _COLUMNS.get(finding.check)


def text_pictures(finding: Finding, run: RunView) -> list[str]:
    """The finding's first curve and its distribution as lines of block characters."""
    lines = []
    for name in curves_of(finding, run.metrics.names)[:1]:
        values = run.metrics.values(name)
        values = values[np.isfinite(values)]
        if len(values) > 1:
            means = np.array([part.mean() for part in np.array_split(values, min(_WIDTH, len(values)))])
            lines.append(f"{_blocks(means - means.min())}  {name}, {values[0]:.4g} at first, {values[-1]:.4g} at last")
    column = column_of(finding)
    if column and len(run.games) > 1:
        values = run.returns if column == "return" else run.column("length")
        if np.ptp(values) > 0:
            counts = np.histogram(values, _WIDTH)[0]
            lines.append(f"{_blocks(counts)}  {column}s of {len(values):,} games, {values.min():.4g} to "
                         f"{values.max():.4g}")
    return lines


def _blocks(heights: np.ndarray) -> str:
    """Heights of at least 0 as characters; what is not 0 is never shown as 0."""
    levels = np.ceil((len(_BLOCKS) - 1) * heights / max(float(heights.max()), 1e-300)).astype(int)
    return "".join(_BLOCKS[level] for level in levels)
