"""How a measured program talks to ``side_by_side.py``: a line in, a measurement out. Runs in any environment.

Seconds are those of the processor (``time.process_time``): with one thread they are the wall's on an idle machine,
and other programs on the same machine do not stretch them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable


def serve(measure: Callable[[], dict[str, float]]) -> None:
    """Print ``measure()`` as JSON, once at a terminal; behind ``--serve``, once for each line that comes in."""
    out = sys.stdout
    if "--serve" not in sys.argv:
        print(json.dumps(measure()), file=out)
        return
    sys.stdout = sys.stderr  # what libraries print must not mix with the measurements
    print(json.dumps({"ready": True}), file=out, flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), file=out, flush=True)


def rate(work: Callable[[], int], seconds: float, clock: Callable[[], float] = time.process_time) -> float:
    """Units of work a second of ``clock``; ``work`` returns how many it did."""
    done, start = 0, clock()
    while clock() - start < seconds:
        done += work()
    return done / (clock() - start)


def end_to_end(collection: float, updates: float, updates_per_step: float) -> dict[str, float]:
    """Rates of collecting (steps/s), learning (updates/s) and of both done in turn by one thread (steps/s)."""
    return {"collection_steps_per_second": collection, "updates_per_second": updates,
            "end_to_end_steps_per_second": 1 / (1 / collection + updates_per_step / updates)}
