"""A learner's update captured as one CUDA graph, which runs on the GPU while the next batch is sampled."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from myosu.kernels.graphs import captured, make_stream

Step = Callable[[dict[str, Tensor]], dict[str, Tensor]]


class CapturedUpdate:
    """Captures ``step`` (forward, backward, optimiser) as a CUDA graph; on other devices ``step`` runs as usual.

    ``step`` is a function of named tensors whose shapes and dtypes never change. It must not read computed values on
    the CPU (no ``item()``, no branches on them). The capture happens at the first call.
    """

    def __init__(self, step: Step, net: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self.step, self.net, self.optimizer, self.device = step, net, optimizer, device
        # High priority: its many small kernels would otherwise wait for the searches' large ones.
        self.stream = make_stream(device, urgent=True)
        self._run: Callable[[], None] | None = None
        self._shapes: dict[str, torch.Size] = {}

    def start(self, arrays: dict[str, np.ndarray]) -> None:
        """Begin an update. Call ``finish`` for the previous one first."""
        if self._run is None:
            self._prepare(arrays)
        for name, array in arrays.items():
            np.copyto(self._given[name].numpy(), array)
        assert self._run is not None
        self._run()

    def finish(self) -> dict[str, np.ndarray]:
        """Wait for the update and return the results of ``step`` as float32 arrays."""
        if self.stream is not None:
            self.stream.synchronize()
        found, start = {}, 0
        for name, shape in self._shapes.items():
            found[name] = self._results[start:start + shape.numel()].numpy().reshape(shape).copy()
            start += shape.numel()
        return found

    def forget(self) -> None:
        """Capture again at the next call, because tensors of the optimiser or the network were replaced."""
        self._run = None

    def _prepare(self, arrays: dict[str, np.ndarray]) -> None:
        pinned = self.device.type == "cuda"
        self._given = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        if pinned:
            self._given = {name: tensor.pin_memory() for name, tensor in self._given.items()}
        self._inputs = {name: tensor.to(self.device) for name, tensor in self._given.items()}
        self._results = torch.empty(0)
        net, optimizer = copy.deepcopy(self.net.state_dict()), copy.deepcopy(self.optimizer.state_dict()["state"])
        self._run = captured(self._steps, self.stream, wait=False)
        if pinned:
            self._restore(net, optimizer)

    def _steps(self) -> None:
        for name, tensor in self._inputs.items():
            tensor.copy_(self._given[name], non_blocking=True)
        results = self.step(self._inputs)
        self._shapes = {name: value.shape for name, value in results.items()}
        together = torch.cat([value.detach().float().flatten() for value in results.values()])
        if len(self._results) != len(together):  # at the first run, which is not captured
            self._results = torch.empty(len(together), pin_memory=together.is_cuda)
        self._results.copy_(together, non_blocking=True)

    def _restore(self, net: dict[str, Tensor], optimizer: dict[int, dict[str, Tensor]]) -> None:
        """Undo the warm-up updates that preceded the capture, in place."""
        self.net.load_state_dict(net)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for k, parameter in enumerate(parameters):
            for name, value in self.optimizer.state[parameter].items():
                value.copy_(optimizer[k][name]) if k in optimizer else value.zero_()
        torch.cuda.synchronize(self.device)
