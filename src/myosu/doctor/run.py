"""All checks of a run's own records, the most important first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from myosu.doctor import run_curves, run_games, run_settings
from myosu.doctor.finding import Finding, by_severity
from myosu.doctor.run_view import RunView

Check = Callable[[RunView], Finding | None]
CHECKS: tuple[Check, ...] = (*run_curves.CURVES, *run_settings.SETTINGS, *run_games.GAMES)

#: For each check, a description and the curves or settings that it needs; without any of them it has judged nothing.
#: Checks that only give notes are not listed.
_LOOKS_AT: dict[Check, tuple[str, tuple[str, ...]]] = {
    run_curves.non_finite: ("losses and gradients are finite", ("loss/loss", "loss/value_loss", "loss/policy_loss")),
    run_curves.value_explosion: ("values stay within the range of returns", ("loss/q_mean",)),
    run_curves.entropy: ("the policy keeps exploring", run_curves.ENTROPIES),
    run_curves.explained_variance: ("the value explains the returns", ("loss/explained_variance",)),
    run_curves.value_error: ("search values fit the outcomes", ("selfplay/value_error",)),
    run_curves.overfitting: ("no overfitting of the replay", ("selfplay/value_error",)),
    run_curves.gradient: ("the gradient's norm", ("loss/gradient_norm",)),
    run_settings.support_width: ("the range of values", ("atoms",)),
    run_settings.replay_size: ("the size of the replay", ("replay_capacity",)),
    run_settings.replay_ratio: ("the replay ratio", ("replay_ratio",)),
    run_settings.learning_rate: ("the learning rate", ("learning_rate",)),
    run_settings.discount: ("the discount", ("discount",)),
    run_settings.simulations: ("simulations a move", ("simulations",)),
    run_settings.auxiliary_losses: ("the model's own losses", ("reconstruction_loss_weight", "ssl_loss_weight")),
}


@dataclass(frozen=True)
class Judgement:
    """findings: the first of each kind, the most severe first; empty if nothing looks wrong. healthy: descriptions of
    the checks that found nothing wrong. unjudged: of those that could not judge yet, with the reason."""

    findings: list[Finding]
    healthy: list[str]
    unjudged: list[str]


def examine_run(run: RunView) -> list[Finding]:
    """The findings of ``judge_run``."""
    return judge_run(run).findings


def judge_run(run: RunView) -> Judgement:
    results = {check: check(run) for check in CHECKS}
    kinds: dict[str, Finding] = {}
    for finding in results.values():
        if finding is not None:
            kinds.setdefault(finding.check, finding)
    healthy = [what for check, (what, needed) in _LOOKS_AT.items() if results[check] is None and any(
        name in run.settings or len(run.metrics.values(name)) for name in needed)]
    unjudged = []
    enough, evaluations = len(run.games) >= run_games.ENOUGH, len(run.evaluations)
    games: dict[Check, str] = {run_games.same_returns: "returns differ", run_games.stale_weights:
                               "new weights reach the actors"}
    games |= {run_games.seats: "both seats"} if run.num_players == 2 else {run_games.cut_as_ends: "how episodes end"}
    if enough:
        healthy += [what for check, what in games.items() if results[check] is None]
    elif run.games:
        unjudged.append(f"{', '.join(games.values())}: only {len(run.games)} games have ended")
    if evaluations < run_curves.EVALUATIONS:
        unjudged.append(f"whether it learns: there {'is' if evaluations == 1 else 'are'} {evaluations or 'no'} "
                        f"evaluation{'s' * (evaluations != 1)}, at least {run_curves.EVALUATIONS} are needed")
    elif results[run_curves.evaluations] is None:
        healthy.append("evaluations")
    return Judgement(by_severity(list(kinds.values())), healthy, unjudged)
