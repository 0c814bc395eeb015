"""Measures how many planted faults the doctor finds: ``python scripts/measure_doctor.py [WORD …]``; with words, only
faults and healthy ones with one of them in their names, or "healthy" for all of these. Interrupted, it prints the
tables of what was examined and exits with 130.

Each fault of ``tests/faults`` is examined in its own process. Found: a warning or an error names the cause. Hinted: a
note names it, or something close to it is named. Misnamed: only something else is named. For the healthy environments a
warning is a false alarm. Runs are diagnosed from their records (``run_faults``, ``other_runs``).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from myosu.processes import end_with, one_thread

one_thread()
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faults import FAULTS, HEALTHY, Fault  # noqa: E402
from faults.healthy import TRUE_OF  # noqa: E402
from faults.other_runs import OTHER_HEALTHY_RUNS, OTHER_RUN_FAULTS  # noqa: E402
from faults.run_faults import HEALTHY_RUNS, RUN_FAULTS  # noqa: E402
from faults.third_runs import THIRD_HEALTHY_RUNS, THIRD_RUN_FAULTS  # noqa: E402
from myosu.doctor import Finding, check_game, check_gym  # noqa: E402
from myosu.doctor.apart import examine_apart  # noqa: E402
from myosu.doctor.run import examine_run  # noqa: E402
from myosu.envs.gym_env import EnvMaker  # noqa: E402
from myosu.envs.python_objects import register  # noqa: E402
from myosu.games import Game  # noqa: E402

SECONDS = 180.0
WORKERS = int(os.environ.get("WORKERS", "2"))
VERDICTS = ("found", "hinted", "misnamed", "silent")


def examine(source: Any) -> list[Finding]:
    """Findings for a game, an environment id, or a function that makes an environment."""
    game = source if isinstance(source, Game) else getattr(source, "game", None)
    return check_game(game) if game is not None else check_gym(EnvMaker(source))


def apart(source: Any, dies: bool = False) -> tuple[list[Finding], float]:
    """Findings of ``examine`` in a separate process, and its duration in seconds. dies: run it like ``myosu check``,
    which reports that the process died."""
    start = time.monotonic()
    if dies:
        return examine_apart(register(source)[0], {}, None, 0)[2], time.monotonic() - start
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    parent = os.getpid()

    def work() -> None:
        end_with(parent)
        there.send(examine(source))

    process = context.Process(target=work)
    process.start()
    there.close()
    findings: list[Finding] = []
    try:
        if here.poll(SECONDS):
            findings = here.recv()
        else:
            print(f"  {source} was not examined in {SECONDS:.0f} s", flush=True)
    except EOFError:
        print(f"  {source} ended its process", flush=True)
    process.kill()
    process.join()
    return findings, time.monotonic() - start


def main(words: list[str]) -> int:
    """Returns the exit code: 130 if it was interrupted, after the tables of what was examined until then."""
    tables = Table("kind"), Table("finding")
    pool = ThreadPoolExecutor(WORKERS)
    try:
        measure_faults(words, pool, *tables)
        for table in tables:
            table.print()
        measure_healthy(words, pool)
        measure_runs(words)
    except KeyboardInterrupt:
        for table in tables:
            table.print()
        print("\nINTERRUPTED: the rest was not examined.", flush=True)
        os._exit(130)  # without waiting for the examinations that have begun; their processes end with this one
    return 0


def measure_faults(words: list[str], pool: ThreadPoolExecutor, table: Table, by_check: Table) -> None:
    wanted = [fault for fault in FAULTS if not words or any(word in str(fault) for word in words)]
    for fault, (findings, seconds) in zip(wanted, pool.map(_examined, wanted), strict=True):
        verdict = fault.verdict(findings)
        table.count(fault.kind, verdict)
        by_check.count(fault.checks[0], verdict)
        told = ", ".join(f"{f.severity[0]}:{f.check}" for f in findings if f.severity != "info"
                         or f.check in fault.checks)
        print(f"{verdict:<9} {fault}  [{told}] {seconds:.0f} s", flush=True)


def measure_healthy(words: list[str], pool: ThreadPoolExecutor) -> None:
    healthy = [name for name in HEALTHY if not words or "healthy" in words or any(word in name for word in words)]
    alarms = 0
    for name, (findings, seconds) in zip(healthy, pool.map(lambda n: apart(HEALTHY[n]), healthy), strict=True):
        loud = [finding for finding in findings if finding.severity != "info"
                and finding.check not in TRUE_OF.get(name, ())]
        alarms += bool(loud)
        print(f"{'ALARM' if loud else 'healthy' if findings else 'UNSEEN':<9} {name} {seconds:.0f} s", flush=True)
        for finding in loud:
            print(f"          {finding.severity} {finding.check}: {finding.message[:300]}", flush=True)
    print(f"\n{len(healthy)} healthy ones, {alarms} with a false alarm\n")


def _examined(fault: Fault) -> tuple[list[Finding], float]:
    return apart(fault.make, bool({"crash", "hang"} & set(fault.checks)))


def measure_runs(words: list[str]) -> None:
    table = Table("runs, by finding")
    for fault in (fault for fault in (*RUN_FAULTS, *OTHER_RUN_FAULTS, *THIRD_RUN_FAULTS)
                  if not words or any(word in str(fault) for word in words)):
        verdict = fault.verdict(examine_run(fault.make()))
        table.count(fault.checks[0], verdict)
        if verdict != "found":
            print(f"{verdict:<9} {fault}")
    table.print()
    healthy = {**HEALTHY_RUNS, **OTHER_HEALTHY_RUNS, **THIRD_HEALTHY_RUNS} if not words or "healthy" in words else {}
    loud = {name: [f.check for f in examine_run(make()) if f.severity != "info"] for name, make in healthy.items()}
    print(f"{len(healthy)} healthy runs, false alarms:", {name: checks for name, checks in loud.items() if checks} or 0)


class Table:
    """Counts of verdicts, by kind of fault or by finding."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(VERDICTS, 0))

    def count(self, name: str, verdict: str) -> None:
        self.counts[name][verdict] += 1

    def print(self) -> None:
        print(f"\n{self.title:<46}" + "".join(f"{verdict:>10}" for verdict in VERDICTS))
        totals = {v: sum(counts[v] for counts in self.counts.values()) for v in VERDICTS}
        for name, counts in (*self.counts.items(), (f"all {sum(totals.values())}", totals)):
            print(f"{name:<46}" + "".join(f"{counts[verdict]:>10}" for verdict in VERDICTS))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
