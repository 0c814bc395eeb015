"""Memory of this machine, and memory used by this process and its children together."""

from __future__ import annotations

import os
from contextlib import suppress
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


def machine_memory() -> int | None:
    """The memory limit of this machine or container in bytes; None if it is unknown."""
    found = []
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # the file is missing, or contains "max" for no limit
            continue
    with suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)


def _pss_kib(pid: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # the process has just ended
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
