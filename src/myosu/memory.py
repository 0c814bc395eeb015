"""Memory used by this process and its children together."""

from __future__ import annotations

import os
from pathlib import Path


def total_memory() -> float | None:
    """Proportional set size in MiB: a page shared by n processes counts as 1/n in each. None without Linux's /proc."""
    try:
        pids = [str(os.getpid())]
        for task in Path("/proc/self/task").iterdir():
            pids += (task / "children").read_text().split()
        return round(sum(map(_pss_kib, pids)) / 1024, 1)
    except OSError:
        return None


def _pss_kib(pid: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # It has just ended.
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
