"""The protocol between a measured program and ``side_by_side.py``: one measurement per line of input. Runs in any
virtual environment.

Times are CPU seconds (``time.process_time``): with one thread they equal the wall clock of an idle machine, and other
programs do not affect them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable


def serve(measure: Callable[[], dict[str, float]]) -> None:
    """Print ``measure()`` as JSON: once, or with ``--serve`` once per line of input."""
    out = sys.stdout
    if "--serve" not in sys.argv:
        print(json.dumps(measure()), file=out)
        return
    sys.stdout = sys.stderr  # the output of libraries must not mix with the measurements
    print(json.dumps({"ready": True}), file=out, flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), file=out, flush=True)


def rate(work: Callable[[], int], seconds: float, clock: Callable[[], float] = time.process_time) -> float:
    """Units of work per second of ``clock``; ``work`` returns the number of units."""
    done, start = 0, clock()
    while clock() - start < seconds:
        done += work()
    return done / (clock() - start)


def end_to_end(collection: float, updates: float, updates_per_step: float) -> dict[str, float]:
    """Rates of collection (steps/s), of learning (updates/s) and of both alternating on one thread (steps/s)."""
    return {"collection_steps_per_second": collection, "updates_per_second": updates,
            "end_to_end_steps_per_second": 1 / (1 / collection + updates_per_step / updates)}
