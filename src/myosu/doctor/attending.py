"""The doctor during training: judges the run's records as they are written, and reports each finding once."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from myosu.doctor.finding import Finding
from myosu.doctor.run import examine_run
from myosu.doctor.run_folder import view_run, with_new_games
from myosu.doctor.run_view import RunView
from myosu.runs.curves import LiveMetrics
from myosu.runs.run import open_run
from myosu.training.callbacks import Callback

#: Fraction of the training time that examinations may take, and the expected seconds of the first one.
SHARE, FIRST_COST = 0.005, 0.05
#: File in the run's folder: one finding a line, with the ``update`` and ``seconds`` at which it was reported.
FILE = "findings.jsonl"


class RunDoctor(Callback):
    """Callback that examines the run after a record, as often as ``SHARE`` allows.

    A finding is printed with the progress and written to ``findings.jsonl`` once two examinations in a row agree on it,
    so that chance in a few games raises no alarm.
    """

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._seen: set[str] = set()
        self._spent, self._cost = 0.0, FIRST_COST

    def on_start(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say, self._begin = folder, say, time.monotonic()
        self._metrics = LiveMetrics(folder / "metrics.jsonl")
        self._view: RunView | None = None
        self._said = {finding["check"] for finding in read_findings(folder)}

    def on_record(self, record: dict[str, Any]) -> None:
        begin = time.monotonic()
        # Twice the time is allowed at the end: no update waits for it, and the report is read then.
        share = 2 * SHARE if record["phase"] == "finished" else SHARE
        if self._spent + self._cost > share * (begin - self._begin):
            return
        try:
            found = {finding.check: finding for finding in self._examine() if finding.severity != "info"}
        except Exception as error:  # no error of the doctor may end a training
            self._spent = math.inf
            self._say(f"The doctor stops: {type(error).__name__}: {error}")
            return
        for check in found.keys() & self._seen - self._said:
            self._tell(found[check], record)
        self._seen = set(found)
        self._cost = time.monotonic() - begin
        self._spent += self._cost

    def _examine(self) -> list[Finding]:
        self._metrics.read()
        if self._view is None:
            self._view = view_run(self._folder, open_run(self._folder).config, self._metrics)
        else:
            self._view = with_new_games(self._view, self._folder)
        return examine_run(self._view)

    def _tell(self, finding: Finding, record: dict[str, Any]) -> None:
        self._said.add(finding.check)
        self._say(f"Doctor: {finding}\n  More: myosu doctor {self._folder}")
        line = {"update": record["update"], "seconds": record["seconds"], **dataclasses.asdict(finding)}
        with open(self._folder / FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_findings(folder: Path) -> list[dict[str, Any]]:
    """The findings reported while the run in ``folder`` trained, oldest first. Damaged lines are skipped."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            finding = json.loads(line)
            finding["check"], finding["message"]
        except (ValueError, KeyError, TypeError):
            continue
        found.append(finding)
    return found
