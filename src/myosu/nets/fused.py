"""MuZero's board model on a CPU, for inference: oneDNN's fused operators with prepacked weights.

It computes the same function as ``MuZeroNet.for_inference`` about 1.6 times as fast (``benchmarks/network.py``),
because convolution, bias, residual and relu are one pass over memory, and weights are not repacked at every call.
torch.compile emits the same operators, but they are private in torch. ``fused`` therefore compares the results with the
plain module's, and callers fall back to the plain module. float32 3×3 convolutions use our own ``winograd`` kernels
where they are faster.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from myosu.kernels import winograd
from myosu.nets.conv_norm import ResidualBlock, channels_last, winograd_fits
from myosu.nets.layers import scale_rows, scale_to_unit
from myosu.nets.muzero import BoardDynamics, BoardRepresentation, MuZeroNet, Prediction


class FusedConv:
    """A convolution with weights prepacked for oneDNN. Inputs and outputs are channels-last."""

    def __init__(self, conv: nn.Conv2d, batch: int, board: tuple[int, int]) -> None:
        self.padding = list(conv.padding)
        weight = conv.weight.contiguous(memory_format=torch.channels_last)
        size = [batch, conv.in_channels, *board]
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, self.padding, [1, 1], [1, 1], 1, size)
        self.bias = conv.bias

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, self.padding, [1, 1], [1, 1], 1, "none", [], "")

    def relu(self, x: Tensor) -> Tensor:
        """relu(conv(x))"""
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, self.padding, [1, 1], [1, 1], 1, "relu", [], "")

    def add_relu_(self, residual: Tensor, x: Tensor) -> Tensor:
        """relu(residual + conv(x)), in place in ``residual``."""
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            residual, x, self.weight, self.bias, self.padding, [1, 1], [1, 1], 1, "add", 1.0, "relu", [], None)


class WinogradConv:
    """``FusedConv`` for float32 3×3 convolutions, computed by ``kernels.winograd``."""

    def __init__(self, conv: nn.Conv2d, board: tuple[int, int]) -> None:
        assert conv.bias is not None
        self.outputs = conv.out_channels
        self.kernels, self.bias = winograd.transform_kernels(conv.weight).numpy(), np.tile(conv.bias.numpy(), board[1])

    def relu(self, x: Tensor) -> Tensor:
        return self._run(x, None)

    def add_relu_(self, residual: Tensor, x: Tensor) -> Tensor:
        return self._run(x, residual)

    def _run(self, x: Tensor, residual: Tensor | None) -> Tensor:
        boards = channels_last(x)
        out = boards.new_empty(*boards.shape[:3], self.outputs)
        more = out if residual is None else channels_last(residual)
        winograd.convolve_add_relu(boards.numpy(), self.kernels, self.bias, more.numpy(), more is not out, out.numpy())
        return out.permute(0, 3, 1, 2)


def fused_conv(conv: nn.Conv2d, batch: int, board: tuple[int, int]) -> FusedConv | WinogradConv:
    """The faster form of ``conv`` on boards [H, W], for batches of about ``batch``."""
    return WinogradConv(conv, board) if winograd_fits(conv, conv.weight) else FusedConv(conv, batch, board)


class FusedMuZero:
    """``initial`` and (with dynamics) ``recurrent`` of a board model from ``MuZeroNet.for_inference``."""

    def __init__(self, net: MuZeroNet, batch: int) -> None:
        representation, dynamics = net.representation, net.dynamics
        assert isinstance(representation, BoardRepresentation)
        self.latent_shape = net.latent_shape
        board = (net.latent_shape[1], net.latent_shape[2])

        def conv(module: nn.Module) -> FusedConv | WinogradConv:
            assert isinstance(module, nn.Conv2d)
            return fused_conv(module, batch, board)

        def tower(blocks: nn.Module) -> list[tuple[FusedConv | WinogradConv, FusedConv | WinogradConv]]:
            assert isinstance(blocks, nn.Sequential)
            return [(conv(b.first.conv), conv(b.second.conv)) for b in blocks if isinstance(b, ResidualBlock)]

        self.dtype = representation.stem.conv.weight.dtype
        self.observation_stem, self.observation_tower = conv(representation.stem.conv), tower(representation.tower)
        if isinstance(dynamics, BoardDynamics):
            self.latent_stem, self.latent_tower = conv(dynamics.stem.conv), tower(dynamics.tower)
            self.actions = dynamics.actions().contiguous(memory_format=torch.channels_last)
        # The heads' 1×1 convolutions are joined into one, which reads the latent state once.
        self.heads = net.board_heads()
        convs = [head.project for head in self.heads]
        joined = nn.Conv2d(net.latent_shape[0], sum(c.out_channels for c in convs), 1, dtype=self.dtype)
        joined.weight = nn.Parameter(torch.cat([c.weight for c in convs]), requires_grad=False)
        joined.bias = nn.Parameter(torch.cat([c.bias for c in convs if c.bias is not None]), requires_grad=False)
        self.joined = joined
        self.project = FusedConv(joined, batch, board)

    def observe(self, observation: Tensor) -> Tensor:
        """The representation's first layer."""
        return self.observation_stem.relu(observation.to(self.dtype, memory_format=torch.channels_last))

    def initial(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.observe(observation)
        for first, second in self.observation_tower:
            x = second.add_relu_(x, first.relu(x))
        latent = _scale_to_unit_(x)
        policy, value, *_ = self._predict(latent)
        return latent, value, policy

    def recurrent(self, latent: Tensor, action: Tensor) -> Prediction:
        x = self.latent_stem.add_relu_(self.actions[action].add_(latent), latent)
        for first, second in self.latent_tower:
            x = second.add_relu_(x, first.relu(x))
        latent = _scale_to_unit_(x)
        policy, value, *reward = self._predict(latent)
        return Prediction(latent, reward[0] if reward else None, value, policy)

    def _predict(self, latent: Tensor) -> list[Tensor]:
        return self.read(self.project(latent))

    def read(self, projected: Tensor) -> list[Tensor]:
        """The heads' outputs from their joint 1×1 convolution."""
        parts = projected.split([head.project.out_channels for head in self.heads], dim=1)
        return [head.read(part) for head, part in zip(self.heads, parts, strict=True)]


def _scale_to_unit_(x: Tensor) -> Tensor:
    """``scale_to_unit`` of channels-last x, in place where possible (torch's passes take a sixth of a search)."""
    if x.dtype != torch.float32:
        return scale_to_unit(x)
    rows = board_rows(x)
    scale_rows(rows, rows, np.empty((len(rows), 1), np.float32))
    return x


def board_rows(x: Tensor) -> np.ndarray:
    """A view of channels-last x [B, C, H, W] as [B, H * W * C]."""
    return x.permute(0, 2, 3, 1).numpy().reshape(len(x), -1)


def fused(net: MuZeroNet, batch: int) -> FusedMuZero | None:
    """The fused form of an inference model on the CPU; None if this torch or CPU does not reproduce its outputs."""
    if not isinstance(net.representation, BoardRepresentation) or not torch.backends.mkldnn.is_available():
        return None
    try:
        model = FusedMuZero(net, batch)
        observation = torch.rand(2, net.representation.stem.conv.in_channels, *net.latent_shape[1:])
        expected: tuple[Tensor | None, ...] = net.initial(observation)
        actual: tuple[Tensor | None, ...] = model.initial(observation)
        if net.dynamics is not None:
            action = torch.tensor([0, 1])
            assert expected[0] is not None and actual[0] is not None
            expected, actual = net.recurrent(expected[0], action), model.recurrent(actual[0], action)
    except (RuntimeError, AttributeError, AssertionError):
        return None
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
    close = all(torch.allclose(e.float(), a.float(), atol=tolerance)
                for e, a in zip(expected, actual, strict=True) if e is not None and a is not None)
    return model if close else None
