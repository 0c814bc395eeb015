"""The whole examination of a run: its records, environment and agent, and the verdict."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myosu.doctor.apart import examine_apart
from myosu.doctor.experiments import EXPERIMENTS
from myosu.doctor.finding import Finding, Unsuited, by_severity
from myosu.doctor.run import examine_run, found_well
from myosu.doctor.run_folder import read_run
from myosu.doctor.run_view import RunView
from myosu.envs.making import absolute_name
from myosu.envs.python_objects import register
from myosu.errors import UserError


@dataclass(frozen=True)
class Verdict:
    """The result of an examination.

    findings: the most severe first; for equal severity, the run's own before the environment's. healthy: checks that
    found nothing wrong. missing: what could not be read or tried, and why. run: its records, used for the report's
    charts; None if only an environment was examined. unreadable: the run's configuration could not be read, so little
    was examined.
    """

    name: str
    findings: list[Finding]
    healthy: list[str]
    missing: list[str]
    run: RunView | None = None
    unreadable: bool = False

    @property
    def sentence(self) -> str:
        """The most confident cause among the most severe findings, and what to do about it; or that nothing looks
        wrong."""
        gravest = [finding for finding in self.findings if finding.severity == self.findings[0].severity != "info"]
        surest = max(gravest, key=lambda finding: finding.confidence, default=None)
        if surest is not None:
            return f"{surest.cause or surest.message} {surest.advice}".rstrip()
        if self.unreadable:
            return "its configuration cannot be read, so little could be judged; nothing looks wrong in its records."
        if self.run is None or not self.findings:
            return "nothing looks wrong."
        return f"nothing is certainly wrong, but check this: {self.findings[0].message}"

    @property
    def failed(self) -> bool:
        """Whether any finding is an error."""
        return any(finding.severity == "error" for finding in self.findings)

    def __str__(self) -> str:
        # An environment has many notes, and ``myosu check`` prints them; a run has few.
        loud = [finding for finding in self.findings if finding.severity != "info" or self.run is not None]
        lines = [f"{finding}\n" for finding in loud]
        if self.missing:
            lines.append("Not judged:\n" + "\n".join(f"  {part}" for part in self.missing) + "\n")
        if self.healthy:
            lines.append(f"Looked at and found healthy: {', '.join(self.healthy)}.\n")
        return "".join(f"{line}\n" for line in lines) + f"{self.name}: {self.sentence}"


def examine(what: Any, minutes: float, env_kwargs: Mapping[str, Any], say: Callable[[str], None]) -> Verdict:
    """Examine the run in the folder ``what`` or ``what.folder``; otherwise the environment ``what``, a name or an
    object."""
    if not 0 <= minutes < math.inf:
        raise UserError(f"minutes {minutes:g}: it must be 0 or more.")
    folder = getattr(what, "folder", what)
    if isinstance(folder, (str, Path)) and Path(folder).is_dir():
        return examine_folder(Path(folder), minutes, say)
    name, kwargs = register(what)
    say(f"Looking at {name} …")
    name, _, found = examine_apart(absolute_name(name), {**kwargs, **env_kwargs}, None, 0)
    return Verdict(name, [finding for finding in found if finding.check != "unjudged"], [],
                   [finding.message.removeprefix("not judged: ") for finding in found if finding.check == "unjudged"])


def examine_folder(folder: Path, minutes: float, say: Callable[[str], None]) -> Verdict:
    """Examine the run in ``folder``. say: called with progress messages. Raises UserError if there is no run."""
    run, missing = read_run(folder)
    unreadable = not run.algorithm
    minutes = 0 if unreadable else minutes
    findings = examine_run(run)
    healthy, unjudged = found_well(run)
    missing += unjudged
    until = time.monotonic() + 60 * minutes
    if minutes:
        say("Looking at its environment …")
        _check_environment(folder, findings, healthy, missing, 60 * minutes / 2)
    fatal = {finding.check for finding in findings} & {"crash", "hang", "contract"}
    if fatal:
        missing.append(f"experiments with its agent: skipped, because the environment fails ({', '.join(fatal)})")
    late: list[str] = []
    for number, experiment in enumerate(EXPERIMENTS if minutes and not fatal else ()):
        # Each experiment gets an equal part of the time that is left, so unused time goes to later ones.
        left = (until - time.monotonic()) / (len(EXPERIMENTS) - number)
        name = experiment.__name__.replace("_", " ")
        if left < 2:
            late.append(name)
            continue
        say(f"Trying {name}, for {left:.0f} s at most …")
        try:
            finding = experiment(folder, left)
        except Unsuited:
            continue
        except UserError as error:
            missing.append(f"{name}: {error}")
            continue
        except Exception as error:  # in one experiment; earlier findings stand
            missing.append(f"{name}: it failed ({type(error).__name__}: {error})")
            continue
        if finding is None:
            healthy.append(name)
        else:
            findings.append(finding)
    if late:
        missing.append(f"no time was left (--minutes) for: {', '.join(late)}")
    return Verdict(str(folder), by_severity(findings), healthy, missing, run, unreadable)


def _check_environment(folder: Path, findings: list[Finding], healthy: list[str], missing: list[str],
                       seconds: float) -> None:
    config = json.loads((folder / "config.json").read_text())
    try:
        name, _, found = examine_apart(config["game"], config.get("env_kwargs", {}), None, 0, min(seconds, 55.0))
    except UserError as error:
        missing.append(f"its environment: {error}")
        return
    loud = [finding for finding in found if finding.severity != "info"]
    findings += loud
    unjudged = [finding.message.removeprefix("not judged: ") for finding in found if finding.check == "unjudged"]
    missing += unjudged
    if not loud and not unjudged:
        healthy.append(f"the environment {name}")
