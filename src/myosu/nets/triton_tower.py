"""One step of MuZero's board model on a GPU as one Triton kernel.

Each program takes a few boards through all layers: it gathers the parents' latent states, adds the action encodings,
runs the residual tower, scales to [0, 1], and stores the new latent states and the outputs of the heads' 1×1
convolution. Between layers a board's activations are a few kilobytes of scratch memory, which stay in the cache. Run
layer by layer, a network this small would wait for memory nine tenths of the time.

A 3×3 convolution is nine matrix products [cells, channels] × [channels, channels], one per neighbour.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from myosu.nets.conv_norm import ResidualBlock
from myosu.nets.layers import ConvHead
from myosu.nets.muzero import BoardDynamics, MuZeroNet


class Tile(NamedTuple):
    """Launch parameters: boards per program, warps per program, and pipeline stages (loads in flight per loop)."""

    boards: int
    warps: int
    stages: int


#: The tiles to time. Only tiles that were verified on a GPU are listed: with one stage, a program of 2 boards of 64
#: channels read out of bounds (Triton 3.6, H200), which kills the process.
TILES = (Tile(2, 4, 3), Tile(4, 8, 3), Tile(1, 4, 3))


def fits(net: MuZeroNet) -> bool:
    """Whether the kernel supports the model's dynamics and heads."""
    return (isinstance(net.dynamics, BoardDynamics) and net.latent_shape[0] in (32, 64)
            and net.latent_shape[1] * net.latent_shape[2] <= 64
            and all(isinstance(head, ConvHead) for head in net.board_heads()))


class TowerWeights:
    """The dynamics' weights of a model from ``MuZeroNet.for_inference``, in the kernel's layout.

    weights: [convolutions, 9, inputs, outputs]. biases: float32 [convolutions, channels]. codes:
    [A, cells, channels]. project: [channels, P], the heads' first layers, P a power of two, and its
    biases float32 [P].
    """

    def __init__(self, net: MuZeroNet) -> None:
        like = next(net.parameters())
        channels, height, width = net.latent_shape
        self.net_shape = (channels, height, width)
        self.convolutions = len(_convolutions(net))
        self.weights = like.new_empty(self.convolutions, 9, channels, channels)
        self.biases = torch.empty(self.convolutions, channels, device=like.device)
        self.codes = like.new_empty(net.num_actions, height * width, channels)
        projected = max(16, triton.next_power_of_2(sum(head.project.out_channels for head in net.board_heads())))
        self.project = like.new_zeros(channels, projected)
        self.project_bias = torch.zeros(projected, device=like.device)
        self.load(net)

    @torch.no_grad()
    def load(self, net: MuZeroNet) -> None:
        """Copy the weights in place, because a captured graph reads this memory."""
        for k, conv in enumerate(_convolutions(net)):
            assert conv.bias is not None
            self.weights[k] = conv.weight.permute(2, 3, 1, 0).flatten(0, 1)
            self.biases[k] = conv.bias
        self.codes.copy_(net.action_codes().permute(0, 2, 3, 1).flatten(1, 2))
        heads = [head.project for head in net.board_heads()]
        count = sum(conv.out_channels for conv in heads)
        self.project[:, :count] = torch.cat([conv.weight.flatten(1) for conv in heads]).T
        self.project_bias[:count] = torch.cat([conv.bias for conv in heads if conv.bias is not None])


def _convolutions(net: MuZeroNet) -> list[nn.Conv2d]:
    dynamics = net.dynamics
    assert isinstance(dynamics, BoardDynamics)
    blocks = [block for block in dynamics.tower if isinstance(block, ResidualBlock)]
    return [dynamics.stem.conv, *(layer.conv for block in blocks for layer in (block.first, block.second))]


def step(weights: TowerWeights, latents: Tensor, parents: Tensor, actions: Tensor, targets: Tensor, scratch: Tensor,
         projected: Tensor, tile: Tile) -> None:
    """latents[targets] = dynamics(latents[parents], actions), and writes the heads' 1×1 convolution to ``projected``.

    latents: [rows, cells, C]. parents, actions, targets: int64 [B]. projected: [B, cells, P]. scratch: [2, B, cells,
    C].
    """
    channels, height, width = weights.net_shape
    batch = len(parents)
    padded = max(16, triton.next_power_of_2(height * width))
    _step[(triton.cdiv(batch, tile.boards),)](
        latents, parents, actions, targets, weights.weights, weights.biases, weights.codes, weights.project,
        weights.project_bias, scratch, projected, batch, HEIGHT=height, WIDTH=width, CHANNELS=channels,
        CONVOLUTIONS=weights.convolutions, BOARDS=tile.boards, PADDED=padded,
        PROJECTED=weights.project.shape[1], num_warps=tile.warps, num_stages=tile.stages)


@triton.jit
def _convolve(boards, rows, place, alive, weights, biases, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
              CHANNELS: tl.constexpr, ROWS: tl.constexpr):
    """The 3×3 convolution of ``boards`` at the cells ``rows`` [ROWS]; float32 [ROWS, CHANNELS]."""
    channel = tl.arange(0, CHANNELS)
    y, x = place // WIDTH, place % WIDTH
    total = tl.zeros((ROWS, CHANNELS), tl.float32)
    for tap in range(9):
        dy, dx = tap // 3 - 1, tap % 3 - 1
        there = alive & (y + dy >= 0) & (y + dy < HEIGHT) & (x + dx >= 0) & (x + dx < WIDTH)
        cells = tl.load(boards + (rows + dy * WIDTH + dx)[:, None] * CHANNELS + channel[None, :],
                        mask=there[:, None], other=0.0)
        taps = tl.load(weights + (tap * CHANNELS + channel)[:, None] * CHANNELS + channel[None, :])
        total = tl.dot(cells, taps, total)
    return total + tl.load(biases + channel)[None, :]


@triton.jit
def _step(latents, parents, actions, targets, weights, biases, codes, project, project_bias, scratch, projected, batch,
          HEIGHT: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, CONVOLUTIONS: tl.constexpr,
          BOARDS: tl.constexpr, PADDED: tl.constexpr, PROJECTED: tl.constexpr):
    CELLS: tl.constexpr = HEIGHT * WIDTH
    ROWS: tl.constexpr = BOARDS * PADDED
    row, channel = tl.arange(0, ROWS), tl.arange(0, CHANNELS)
    board, place = tl.program_id(0) * BOARDS + row // PADDED, row % PADDED
    there = board < batch
    alive = there & (place < CELLS)
    some = alive[:, None]

    parent = tl.load(parents + board, mask=there, other=0) * CELLS + place
    action = tl.load(actions + board, mask=there, other=0) * CELLS + place
    mine = board.to(tl.int64) * CELLS + place
    other = scratch + batch.to(tl.int64) * CELLS * CHANNELS
    at = mine[:, None] * CHANNELS + channel[None, :]

    x = _convolve(latents, parent, place, alive, weights, biases, HEIGHT, WIDTH, CHANNELS, ROWS)
    x += tl.load(latents + parent[:, None] * CHANNELS + channel[None, :], mask=some, other=0.0)
    x += tl.load(codes + action[:, None] * CHANNELS + channel[None, :], mask=some, other=0.0)
    x = tl.maximum(x, 0.0)
    for k in range(1, CONVOLUTIONS, 2):
        tl.store(scratch + at, x.to(latents.dtype.element_ty), mask=some)
        tl.debug_barrier()
        inner = _convolve(scratch, mine, place, alive, weights + k * 9 * CHANNELS * CHANNELS, biases + k * CHANNELS,
                          HEIGHT, WIDTH, CHANNELS, ROWS)
        tl.store(other + at, tl.maximum(inner, 0.0).to(latents.dtype.element_ty), mask=some)
        tl.debug_barrier()
        x += _convolve(other, mine, place, alive, weights + (k + 1) * 9 * CHANNELS * CHANNELS,
                       biases + (k + 1) * CHANNELS, HEIGHT, WIDTH, CHANNELS, ROWS)
        x = tl.maximum(x, 0.0)

    least = tl.min(tl.reshape(tl.min(tl.where(some, x, float("inf")), axis=1), (BOARDS, PADDED)), axis=1)
    greatest = tl.max(tl.reshape(tl.max(tl.where(some, x, float("-inf")), axis=1), (BOARDS, PADDED)), axis=1)
    low = tl.reshape(tl.broadcast_to(least[:, None], (BOARDS, PADDED)), (ROWS,))
    scale = tl.reshape(tl.broadcast_to((1.0 / (greatest - least + 1e-5))[:, None], (BOARDS, PADDED)), (ROWS,))
    latent = ((x - low[:, None]) * scale[:, None]).to(latents.dtype.element_ty)
    target = tl.load(targets + board, mask=there, other=0) * CELLS + place
    tl.store(latents + target[:, None] * CHANNELS + channel[None, :], latent, mask=some)

    output = tl.arange(0, PROJECTED)
    kernel = tl.load(project + channel[:, None] * PROJECTED + output[None, :])
    seen = tl.dot(latent, kernel) + tl.load(project_bias + output)[None, :]
    tl.store(projected + mine[:, None] * PROJECTED + output[None, :], seen.to(latents.dtype.element_ty), mask=some)
