"""``myosu doctor``: find out why a run does not learn."""

from __future__ import annotations

import dataclasses
import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional

from myosu.commands import check
from myosu.commands.options import parse
from myosu.errors import UserError


@dataclass
class Options:
    """Find out why an agent does not learn. Examines a run's settings, curves, games, weights and environment; or only
    a game or an environment, as myosu check does."""

    what: Annotated[Positional[str], tyro.conf.arg(metavar="RUN|GAME|ENV")]
    """The folder of a run; or a game, an environment or a .py file."""
    minutes: float = 1.0
    """Time limit of the experiments with the run's agent and its environment; 0 for none."""
    html: Path | None = None
    """Also write a report with plots to this file: one page, to read in a browser or to print."""
    json: bool = False
    """Print JSON only."""


def main(arguments: list[str]) -> int:
    """Returns exit code 1 if an error was found, 2 if bad input prevented a part of the examination."""
    options = parse(Options, "doctor", arguments)
    if options.minutes < 0:
        raise UserError(f"--minutes {options.minutes:g}: it must be 0 or more.")
    if not Path(options.what).is_dir() and options.html is None:
        return check.main([options.what, *["--json"] * options.json])
    from myosu.doctor.report import write_report
    from myosu.doctor.verdict import examine

    verdict = examine(options.what, options.minutes, {}, _silent if options.json else print)
    if options.html is not None:
        write_report(verdict, options.html)
    if options.json:
        print(json_module.dumps({"run": verdict.name, "ok": not verdict.failed, "healthy": verdict.healthy,
                                 "unread": verdict.missing,
                                 "findings": [dataclasses.asdict(finding) for finding in verdict.findings]}, indent=1))
    else:
        print(f"\n{verdict}")
        if options.html is not None:
            print(f"The report is in {options.html}")
    return 2 if verdict.incomplete else int(verdict.failed)


def _silent(*_: Any) -> None:
    pass
