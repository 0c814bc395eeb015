"""The whole examination of a run: its records, environment and agent, and the verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myosu.doctor.apart import CUT_SHORT, SECONDS, examine_apart, was_cut_short
from myosu.doctor.experiments import EXPERIMENTS
from myosu.doctor.finding import Finding, Unsuited, by_severity
from myosu.doctor.helper import Died, Helper, TooLong
from myosu.doctor.run import judge_run
from myosu.doctor.run_folder import Described, describe, read_run
from myosu.doctor.run_view import RunView
from myosu.doctor.shown import text_pictures
from myosu.doctor.weights import weights_change
from myosu.envs.making import absolute_name
from myosu.envs.python_objects import register
from myosu.errors import UserError
from myosu.players.agent import load_agent
from myosu.runs.config import RunConfig
from myosu.runs.run import open_run

#: Time limit in seconds for loading the environment or the agent; time in seconds by which an experiment may exceed
#: twice its limit (compilation, a last game) before its process is ended.
LOADING, OVERTIME = 60.0, 60.0


@dataclass(frozen=True)
class Verdict:
    """The result of an examination.

    findings: the most severe first; for equal severity, the run's own before the environment's. healthy: checks that
    found nothing wrong. missing: what could not be read or tried, and why. run: its records, used for the report's
    charts; None if only an environment was examined. incomplete: bad input prevented a part of the examination: what
    ``missing`` names is damaged, of another version, hangs or crashes.
    """

    name: str
    findings: list[Finding]
    healthy: list[str]
    missing: list[str]
    run: RunView | None = None
    incomplete: bool = False

    @property
    def sentence(self) -> str:
        """The most confident cause among the most severe findings, and what to do about it; or that nothing looks
        wrong."""
        gravest = [finding for finding in self.findings if finding.severity == self.findings[0].severity != "info"]
        surest = max(gravest, key=lambda finding: finding.confidence, default=None)
        if surest is not None:
            return f"{surest.cause or surest.message} {surest.advice}".rstrip()
        if self.run is not None and not self.run.algorithm:
            return "its configuration cannot be read, so little could be judged; nothing looks wrong in its records."
        if self.run is not None and not self.run.metrics.names and not self.findings:
            return "it has no records yet, so only its settings could be judged; nothing looks wrong in them."
        if self.incomplete and not self.findings:
            return "nothing looks wrong in what could be examined, but not everything could (see Not judged)."
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
        lines = ["\n  ".join([str(finding), *(text_pictures(finding, self.run) if self.run else ())]) + "\n"
                 for finding in loud]
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
                   [finding.message.removeprefix("not judged: ") for finding in found if finding.check == "unjudged"],
                   incomplete=was_cut_short(found))


def examine_folder(folder: Path, minutes: float, say: Callable[[str], None]) -> Verdict:
    """Examine the run in ``folder``. say: called with progress messages. Raises UserError if there is no run."""
    helper = Helper(_environment_of(folder))
    try:
        return _Examination(folder, minutes, say, helper).verdict()
    finally:
        helper.close()


def _environment_of(folder: Path) -> str:
    """The name of the run's environment; "" if it cannot be read."""
    try:
        return open_run(folder).config.game
    except UserError:
        return ""


class _Examination:
    """Everything that needs the run's environment, its algorithm or its weights happens in other processes. Their
    start does not count as time of the experiments."""

    def __init__(self, folder: Path, minutes: float, say: Callable[[str], None], helper: Helper) -> None:
        self._folder, self._say, self._helper = folder, say, helper
        self._read = read_run(folder, self._describe)
        self._minutes = minutes if self._read.config is not None else 0
        judged = judge_run(self._read.view)
        self._findings, self._healthy = judged.findings, judged.healthy
        self._missing, self._incomplete = self._read.missing + judged.unjudged, self._read.incomplete

    def verdict(self) -> Verdict:
        if self._minutes:
            self._examine_environment()
            self._try_experiments()
        return Verdict(str(self._folder), by_severity(self._findings), self._healthy, self._missing, self._read.view,
                       self._incomplete)

    def _describe(self, config: RunConfig) -> Described:
        try:
            return self._helper.call(describe, config, seconds=LOADING)
        except Died as death:
            return Described(missing=[f"its environment {config.game} ended the process that loaded it ({death})"])
        except (UserError, RuntimeError) as error:
            return Described(missing=[f"its environment {config.game} could not be loaded: {error}"])

    def _examine_environment(self) -> None:
        config = self._read.config
        assert config is not None
        self._say("Looking at its environment …")
        try:
            config.require_trust()
            name, _, found = examine_apart(config.game, config.env_kwargs, None, 0, self._seconds_of_environment())
        except UserError as error:
            self._lacks(f"its environment: {error}")
            return
        loud = [finding for finding in found if finding.severity != "info"]
        self._findings += loud
        self._incomplete |= was_cut_short(found)
        unjudged = [finding.message.removeprefix("not judged: ") for finding in found if finding.check == "unjudged"]
        self._missing += unjudged
        if not loud and not unjudged:
            self._healthy.append(f"the environment {name}")

    def _seconds_of_environment(self) -> float:
        return min(60 * self._minutes / 3, SECONDS)

    def _try_experiments(self) -> None:
        fatal = {finding.check for finding in self._findings} & {*CUT_SHORT, "contract"}
        if fatal:
            self._lacks(f"experiments with its agent: skipped, because the environment fails ({', '.join(fatal)})")
            return
        if not self._try("loading its agent", load_weights, LOADING):
            return
        late: list[str] = []
        until = time.monotonic() + 60 * self._minutes - self._seconds_of_environment()
        for number, experiment in enumerate(EXPERIMENTS):
            # Each experiment gets an equal part of the time that is left, so unused time goes to later ones.
            left = (until - time.monotonic()) / (len(EXPERIMENTS) - number)
            name = experiment.__name__.replace("_", " ")
            if left < 2 and experiment is not weights_change:  # which takes no time
                late.append(name)
                continue
            self._say(f"Trying {name}, for {max(left, 1):.0f} s at most …")
            if not self._try(name, experiment, left):
                return
        if late:
            self._missing.append(f"no time was left (--minutes) for: {', '.join(late)}")

    def _try(self, name: str, experiment: Callable[[Path, float], Finding | None], seconds: float) -> bool:
        """Make an experiment in the helper's process. Returns whether others can follow."""
        try:
            finding = self._helper.call(experiment, self._folder, seconds, seconds=2 * seconds + OVERTIME)
        except Unsuited:
            return True
        except Died as death:
            self._incomplete = True
            self._findings.append(Finding(
                "error", "crash", f"{name} ended the process that it ran in ({death}).", "Training would crash in the "
                "same way: look for os._exit, crashes of compiled code and memory. What was found before stands.",
                cause="the environment, or a library, crashed, or memory ran out.", confidence=0.7))
            return False
        except TooLong as error:
            self._lacks(f"{name}: {error}")
            return True
        except UserError as error:
            self._missing.append(f"{name}: {error}")
            self._incomplete |= experiment is load_weights
            return experiment is not load_weights
        except RuntimeError as error:  # in one experiment; earlier findings stand
            self._lacks(f"{name}: it failed ({error})")
            return experiment is not load_weights
        if finding is not None:
            self._findings.append(finding)
        elif experiment is not load_weights:
            self._healthy.append(name)
        return True

    def _lacks(self, what: str) -> None:
        self._missing.append(what)
        self._incomplete = True


def load_weights(folder: Path, seconds: float) -> None:
    """Test whether the run's agent can be loaded, before every experiment fails for the same reason."""
    load_agent(folder)
