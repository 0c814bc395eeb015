"""MuZero's model on a GPU, for a search whose trees are on the CPU.

The latent states of all nodes stay on the GPU. One simulation (gather the parents' states, dynamics, prediction, scalar
outputs) is one captured CUDA graph on its own stream, between two short copies through pinned memory, so that the
search's ``expand`` exchanges only small arrays. On other devices the same operations run one by one.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from myosu.kernels.graphs import CAPTURING, captured, make_stream
from myosu.losses.categorical import Support
from myosu.nets.muzero import MuZeroNet

try:
    from myosu.nets import triton_tower
except ImportError:  # Triton comes only with torch's CUDA builds
    triton_tower = None  # type: ignore[assignment]



class GraphedMuZero:
    """The model for up to ``capacity`` parallel searches of up to ``simulations`` simulations.

    Node ``slot`` of tree ``tree`` is row ``slot * capacity + tree`` of ``latents``: [H W, C] for boards, [C] for
    vectors.
    """

    def __init__(self, net: MuZeroNet, support: Support, capacity: int, simulations: int, dtype: torch.dtype,
                 device: torch.device) -> None:
        self.support, self.capacity, self.simulations, self.device = support, capacity, simulations, device
        self.num_actions, self.rewards = net.num_actions, net.reward is not None
        self.net = net.for_inference(dtype).to(device)
        channels, *self.board = net.latent_shape
        shape = (self.board[0] * self.board[1], channels) if self.board else (channels,)
        self.latents = torch.zeros((simulations + 1) * capacity, *shape, dtype=dtype, device=device)
        self.rows, self.no_rewards = torch.arange(capacity, device=device), torch.zeros(capacity, device=device)

        def both(*size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
            host = torch.zeros(*size, dtype=dtype, pin_memory=device.type == "cuda")
            return host, host.to(device)

        #: Inputs: rows of parents, actions and the slot. Outputs: prior logits, values and rewards of every tree.
        self._asked, self.asked = both(3, capacity, dtype=torch.int64)
        self._answer, self.answer = both((self.num_actions + 2) * capacity, dtype=torch.float32)
        observation_dtype = torch.uint8 if self.board else torch.float32
        self._observed, self.observed = both(capacity, *net.observation_shape, dtype=observation_dtype)

        self.tower: triton_tower.TowerWeights | None = None
        if triton_tower is not None and device.type == "cuda" and dtype == torch.bfloat16 and triton_tower.fits(net):
            self.tower = triton_tower.TowerWeights(self.net)
            self.scratch = self.latents.new_empty(2, capacity, *shape)
            self.projected = self.latents.new_empty(capacity, shape[0], self.tower.project.shape[1])
            #: (seconds, tile): the time of a step for each tile size.
            with CAPTURING:
                self.tiles = self._time_tiles()
            self.tile = min(self.tiles)[1]
        self.stream = make_stream(device)
        with torch.inference_mode():
            self._run_roots = captured(self._roots, self.stream)
            self._run_simulation = captured(self._simulation, self.stream)

    @torch.inference_mode()
    def load(self, net: MuZeroNet) -> None:
        """Copy the weights of ``net``, which has the architecture of the one given at construction."""
        with torch.cuda.stream(self.stream):
            fresh = net.for_inference(self.latents.dtype).state_dict()
            for name, value in self.net.state_dict().items():
                value.copy_(fresh[name])
            if self.tower is not None:
                self.tower.load(self.net)

    def roots(self, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values f32 [n] and prior logits f32 [n, A] of observations [n, *shape], n ≤ capacity. Their latent states
        become the roots. The arrays are overwritten by the next call of any method."""
        self._observed.numpy()[: len(observation)] = observation
        with torch.inference_mode():
            self._run_roots()
        _, value, logits = self._answers(len(observation))
        return value, logits

    def expand(self, parents: np.ndarray, actions: np.ndarray, slot: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rewards f32 [n], values f32 [n] and prior logits f32 [n, A] of new nodes, for ``Search.run``. The arrays are
        overwritten by the next call of any method."""
        n, asked = len(parents), self._asked.numpy()
        asked[0, :n], asked[1, :n], asked[2] = parents, actions, slot
        with torch.inference_mode():
            self._run_simulation()
        return self._answers(n)

    def expand_on_gpu(self, parents: Tensor, actions: Tensor, slot: int) -> tuple[Tensor, Tensor, Tensor]:
        """``expand`` for a search whose trees are also on the GPU: int64 [capacity] tensors in, float32 tensors out."""
        policy, value, reward = self.imagine(parents, actions.clamp(min=0), slot)  # rows that are not read must be
        # valid indices
        rewards = self.no_rewards if reward is None else self.support.mean(reward)
        return rewards, self.support.mean(value), policy.float()

    def _answers(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        numbers, size = self._answer.numpy(), self.capacity * self.num_actions
        logits = numbers[:size].reshape(self.capacity, self.num_actions)
        return numbers[size + self.capacity:][:n], numbers[size:][:n], logits[:n]

    def seconds(self) -> float:
        """Duration in seconds of one simulation of all searches: the minimum of several runs."""
        times = []
        for _ in range(6):
            start = time.perf_counter()
            self.expand(np.zeros(self.capacity, np.int64), np.zeros(self.capacity, np.int64), 1)
            times.append(time.perf_counter() - start)
        return min(times[1:])

    # --- on the GPU

    def _roots(self) -> None:
        self.observed.copy_(self._observed, non_blocking=True)
        latent, value, policy = self.net.initial(self.observed)
        self.latents[: self.capacity] = latent.permute(0, 2, 3, 1).flatten(1, 2) if self.board else latent
        self._read_out(policy, value, None)

    def _simulation(self) -> None:
        self.asked.copy_(self._asked, non_blocking=True)
        self._read_out(*self.imagine(*self.asked))

    def imagine(self, parents: Tensor, actions: Tensor, slots: Tensor | int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Policy, value and reward logits after ``actions`` in the nodes ``parents``, int64 [capacity]. The new states
        are stored as the nodes ``slots``."""
        parents, targets = parents * self.capacity + self.rows, slots * self.capacity + self.rows
        if self.tower is None:
            latent = self.latents.index_select(0, parents)
            if self.board:
                latent = latent.unflatten(1, self.board).permute(0, 3, 1, 2)
            out = self.net.recurrent(latent, actions)
            latent = out.latent.permute(0, 2, 3, 1).flatten(1, 2) if self.board else out.latent
            self.latents.index_copy_(0, targets, latent)
            return out.policy_logits, out.value_logits, out.reward_logits
        triton_tower.step(self.tower, self.latents, parents, actions, targets, self.scratch, self.projected, self.tile)
        heads = self.net.board_heads()
        parts = self.projected.permute(0, 2, 1).unflatten(2, self.board)
        sizes = [head.project.out_channels for head in heads]
        policy, value, *reward = (head.read(part) for head, part in zip(heads, parts[:, :sum(sizes)].split(sizes, 1),
                                                                       strict=True))
        return policy, value, reward[0] if reward else None

    def _read_out(self, policy: Tensor, value: Tensor, reward: Tensor | None) -> None:
        size = self.capacity * self.num_actions
        self.answer[:size].view(self.capacity, -1).copy_(policy)
        self.answer[size:size + self.capacity] = self.support.mean(value)
        if reward is not None:
            self.answer[size + self.capacity:] = self.support.mean(reward)
        self._answer.copy_(self.answer, non_blocking=True)

    @torch.inference_mode()
    def _time_tiles(self) -> list[tuple[float, triton_tower.Tile]]:
        found = []
        for tile in triton_tower.TILES:
            def step(tile: triton_tower.Tile = tile) -> None:
                assert self.tower is not None
                triton_tower.step(self.tower, self.latents, self.rows, self.asked[1], self.rows + self.capacity,
                                  self.scratch, self.projected, tile)
            seconds = []
            for _ in range(4):
                start = time.perf_counter()
                step()
                torch.cuda.synchronize(self.device)
                seconds.append(time.perf_counter() - start)
            found.append((min(seconds[1:]), tile))
        return found
