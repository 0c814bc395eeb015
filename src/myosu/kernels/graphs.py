"""GPU operations captured as one CUDA graph, so that they are launched with a single call from Python."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

#: Held during the capture of a graph, because compilers, allocators and libraries are called meanwhile. Timings hold it
#: too, because they need exclusive use of the GPU.
CAPTURING = threading.Lock()


def make_stream(device: torch.device, urgent: bool = False) -> torch.cuda.Stream | None:
    """A new CUDA stream, of high priority if ``urgent``; None on other devices."""
    return torch.cuda.Stream(device, priority=-1 if urgent else 0) if device.type == "cuda" else None


def captured(steps: Callable[[], None], stream: torch.cuda.Stream | None,
             warm_up: Callable[[], None] | None = None, wait: bool = True) -> Callable[[], None]:
    """Capture ``steps`` as one CUDA graph and return a function that runs it. With ``wait``, this function waits until
    the graph is done, without holding the GIL.

    ``steps`` must read and write the same memory at every call. ``warm_up`` (by default ``steps``) runs three times
    before the capture, so that compilation and autotuning happen outside it. Without a ``stream``, ``steps`` is
    returned unchanged.
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
