"""Everything that is looked at in a run's own records, gravest first."""

from __future__ import annotations

from myosu.doctor.finding import Finding, by_severity
from myosu.doctor.run_curves import CURVES
from myosu.doctor.run_games import GAMES
from myosu.doctor.run_settings import SETTINGS
from myosu.doctor.run_view import RunView

CHECKS = (*CURVES, *SETTINGS, *GAMES)


def examine_run(run: RunView) -> list[Finding]:
    """The first finding of each kind; empty where nothing looks wrong."""
    findings = [finding for check in CHECKS if (finding := check(run)) is not None]
    kinds = {finding.check: finding for finding in reversed(findings)}
    return by_severity([finding for finding in findings if kinds[finding.check] is finding])
