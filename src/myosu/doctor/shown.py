"""Which curves illustrate a finding, for the page of a run and for the report."""

from __future__ import annotations

from collections.abc import Sequence

from myosu.doctor.finding import Finding
from myosu.doctor.run_curves import ENTROPIES

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
