"""Search with its trees on an NVIDIA GPU, next to the model: all simulations of a move run as one CUDA graph.

The kernels are those of ``kernels.py``, compiled for the GPU by ``myosu.kernels.ptx``, one thread per tree. ``Search``
prepares the roots and computes the results on the CPU, from a copy of the finished trees.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from numba import carray, types
from torch import Tensor

from myosu.kernels.graphs import captured, make_stream
from myosu.kernels.ptx import Kernel
from myosu.search import kernels
from myosu.search.kernels import expand_and_back_up, make_roots, select_gumbel, select_puct
from myosu.search.search import GumbelConfig, PUCTConfig, Search, _require_finite

#: expand(parents int64 [C], actions int64 [C], slot) -> Expansion of contiguous tensors on the GPU, C = capacity. It is
#: captured once, so it must run the same operations in every call. Action −1: the parent is terminal and the row is
#: ignored.
ExpandOnGPU = Callable[[Tensor, Tensor, int], Any]


class GPUSearch(Search):
    """``Search`` on a GPU. ``run`` takes an ``ExpandOnGPU``, which must be the same function in every call."""

    def __init__(self, config: GumbelConfig | PUCTConfig, capacity: int, num_actions: int, seed: int,
                 device: torch.device) -> None:
        self.device, self.stream = device, make_stream(device)
        super().__init__(config, capacity, num_actions, seed)

    def _allocate(self, num_nodes: int) -> None:
        def on_gpu(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=self.device)

        n, actions = self.capacity, self.num_actions
        # Host copy of the nodes, filled after each search.
        size = n * num_nodes * kernels.Node.itemsize
        self._fetched = torch.zeros(size, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        self._nodes = self._fetched.numpy().view(kernels.Node).reshape(n, num_nodes)
        self.nodes = on_gpu(size, dtype=torch.uint8)
        self.open_scores = on_gpu(n, num_nodes, actions)
        self.scratch = on_gpu(n, num_nodes, dtype=torch.float64)
        self.priors, self.scores, self.values = on_gpu(n, actions), on_gpu(n, actions), on_gpu(n)
        gumbel = isinstance(self.config, GumbelConfig)
        self.schedule = (on_gpu(num_nodes - 1, n, dtype=torch.int32) if gumbel else
                         on_gpu(num_nodes + 1, dtype=torch.float64))
        self.parents, self.actions = (on_gpu(n, dtype=torch.int64) for _ in range(2))
        self.output_sum = on_gpu(n, dtype=torch.float64)
        self._output_sum = torch.zeros(n, dtype=torch.float64, pin_memory=self.device.type == "cuda")
        self._runs: dict[int, Callable[[], None]] = {}

    @torch.inference_mode()
    def _simulate(self, priors: np.ndarray, scores: np.ndarray, schedule: np.ndarray, value: np.ndarray,
                  expand: Any, num_simulations: int) -> None:
        size = len(value)
        with torch.cuda.stream(self.stream):
            for there, here in ((self.priors, priors), (self.scores, scores), (self.values, value)):
                there[:size] = torch.from_numpy(np.ascontiguousarray(here))
            if isinstance(self.config, GumbelConfig):
                self.schedule[:num_simulations, :size] = torch.from_numpy(schedule)
            else:
                self.schedule[:len(schedule)] = torch.from_numpy(schedule)
        if num_simulations not in self._runs:
            self._runs[num_simulations] = captured(
                lambda: self._steps(expand, num_simulations), self.stream,
                warm_up=lambda: self._steps(expand, min(num_simulations, 2)))
        self._runs[num_simulations]()
        _require_finite("below the root", float(self._output_sum[:size].sum()))

    def _steps(self, expand: ExpandOnGPU, num_simulations: int) -> None:
        kernel, n, config = _kernels(), self.capacity, self.config
        trees = (self.nodes, self.open_scores)
        sizes = (self._nodes.shape[1], self.num_actions)
        self.output_sum.zero_()
        kernel["make_roots"].launch(n, *trees, self.scores, self.values, *sizes)
        for simulation in range(num_simulations):
            if isinstance(config, GumbelConfig):
                kernel["select_gumbel"].launch(
                    n, *trees, self.scores, self.schedule[simulation], self.scratch, *sizes, float(config.c_visit),
                    float(config.c_scale), float(config.least_q_range), self.parents, self.actions)
            else:
                kernel["select_puct"].launch(n, *trees, self.schedule, *sizes, self.parents, self.actions)
            leaf = expand(self.parents, self.actions, simulation + 1)
            legal, logits = leaf.legal_actions, leaf.prior_logits
            if legal is not None:  # see ``Search._simulate``
                logits = logits.where(legal, -1e9)
            kernel["expand_and_back_up"].launch(
                n, *trees, self.priors, self.parents, self.actions, simulation + 1, logits.softmax(1),
                self.parents if legal is None else legal, int(legal is not None), leaf.reward, leaf.discount,
                leaf.value, *sizes, self.output_sum)
        self._fetched.copy_(self.nodes, non_blocking=True)
        self._output_sum.copy_(self.output_sum, non_blocking=True)


# One thread per tree; the arguments are the arrays of all trees.


def _make_roots(i, nodes, open_scores, root_scores, values, num_nodes, num_actions):
    make_roots(carray(nodes, (i + 1, num_nodes))[i:], carray(open_scores, (i + 1, num_nodes, num_actions))[i:],
               carray(root_scores, (i + 1, num_actions))[i:], carray(values, (i + 1,))[i:])


def _select_gumbel(i, nodes, open_scores, root_scores, considered, scratch, num_nodes, num_actions, c_visit, c_scale,
                   least_range, parents, actions):
    select_gumbel(carray(nodes, (i + 1, num_nodes))[i:], carray(open_scores, (i + 1, num_nodes, num_actions))[i:],
                  carray(root_scores, (i + 1, num_actions))[i:], carray(considered, (i + 1,))[i:],
                  carray(scratch, (i + 1, num_nodes))[i], c_visit, c_scale, least_range, carray(parents, (i + 1,))[i:],
                  carray(actions, (i + 1,))[i:])


def _select_puct(i, nodes, open_scores, exploration, num_nodes, num_actions, parents, actions):
    select_puct(carray(nodes, (i + 1, num_nodes))[i:], carray(open_scores, (i + 1, num_nodes, num_actions))[i:],
                carray(exploration, (num_nodes + 2,)), carray(parents, (i + 1,))[i:],
                carray(actions, (i + 1,))[i:])


def _expand_and_back_up(i, nodes, open_scores, root_priors, parents, actions, slot, weights, legal, legal_known,
                        rewards, discounts, values, num_nodes, num_actions, output_sum):
    carray(output_sum, (i + 1,))[i] += expand_and_back_up(
        carray(nodes, (i + 1, num_nodes))[i:], carray(open_scores, (i + 1, num_nodes, num_actions))[i:],
        carray(root_priors, (i + 1, num_actions))[i:], carray(parents, (i + 1,))[i:], carray(actions, (i + 1,))[i:],
        slot, carray(weights, (i + 1, num_actions))[i:], carray(legal, (i + legal_known, num_actions))[i:],
        carray(rewards, (i + 1,))[i:], carray(discounts, (i + 1,))[i:], carray(values, (i + 1,))[i:])


NODES, FLOATS = types.CPointer(numba.from_dtype(kernels.Node)), types.CPointer(types.float32)
INTS, LONGS, DOUBLES, BOOLS = (types.CPointer(kind) for kind in (
    types.int32, types.int64, types.float64, types.boolean))
LONG, DOUBLE = types.int64, types.float64
SIGNATURES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "make_roots": (_make_roots, [NODES, FLOATS, FLOATS, FLOATS, LONG, LONG]),
    "select_gumbel": (_select_gumbel, [NODES, FLOATS, FLOATS, INTS, DOUBLES, LONG, LONG, DOUBLE, DOUBLE, DOUBLE, LONGS,
                                       LONGS]),
    "select_puct": (_select_puct, [NODES, FLOATS, DOUBLES, LONG, LONG, LONGS, LONGS]),
    "expand_and_back_up": (_expand_and_back_up, [NODES, FLOATS, FLOATS, LONGS, LONGS, LONG, FLOATS, BOOLS, LONG,
                                                 FLOATS, FLOATS, FLOATS, LONG, LONG, DOUBLES]),
}


@cache
def _kernels() -> dict[str, Kernel]:
    return {name: Kernel(function, signature) for name, (function, signature) in SIGNATURES.items()}
