"""Steps on a card, captured as one CUDA graph: launched together, they cost the interpreter a single call."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

#: One graph is captured at a time, for compilers, allocators and libraries are asked meanwhile. Who waits for a whole
#: card holds it too.
CAPTURING = threading.Lock()


def make_stream(device: torch.device, urgent: bool = False) -> torch.cuda.Stream | None:
    """A stream of its own on a card, whose work goes before all that is not ``urgent``; None elsewhere."""
    return torch.cuda.Stream(device, priority=-1 if urgent else 0) if device.type == "cuda" else None


def captured(steps: Callable[[], None], stream: torch.cuda.Stream | None,
             warm_up: Callable[[], None] | None = None, wait: bool = True) -> Callable[[], None]:
    """``steps`` as a call that returns when they are done, if it is to ``wait``, and lets other threads run meanwhile.

    They read and write always the same memory, and are run before they are captured (or ``warm_up`` is), so that what
    is compiled and chosen at a first call is. Without a ``stream`` they run one by one.
    """
    if stream is None:
        return steps
    with CAPTURING:
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                (warm_up or steps)()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            steps()
    done = torch.cuda.Event()

    def run() -> None:
        with torch.cuda.stream(stream):
            graph.replay()
            done.record()
        if wait:
            done.synchronize()

    return run
