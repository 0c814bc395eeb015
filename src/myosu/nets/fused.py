"""MuZero's board model on a CPU, for inference: oneDNN's fused operators with weights laid out once.

The same function as ``MuZeroNet.for_inference`` at about 1.6 times its speed (``benchmarks/network.py``): convolution,
bias, sum and relu are one pass over memory, and the weights are not laid out again on every call. The operators are
the ones that torch.compile emits; torch calls them private, so ``fused`` checks the result against the plain module
and callers fall back on it. 3×3 convolutions in float32 are our own (``winograd``) where they are quicker.
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
    """A convolution whose weights lie as oneDNN wants them. Inputs and outputs are channels-last."""

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
        """relu(residual + conv(x)), written over ``residual``."""
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            residual, x, self.weight, self.bias, self.padding, [1, 1], [1, 1], 1, "add", 1.0, "relu", [], None)


class WinogradConv:
    """The same for 3×3 convolutions in float32, by fewer products."""

    def __init__(self, conv: nn.Conv2d, board: tuple[int, int]) -> None:
        assert conv.bias is not None
        self.outputs = conv.out_channels
        self.kernels, self.bias = winograd.to_points(conv.weight).numpy(), np.tile(conv.bias.numpy(), board[1])

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


class FusedMuZero:
    """``initial`` and ``recurrent`` of a board model that ``MuZeroNet.for_inference`` made."""

    def __init__(self, net: MuZeroNet, batch: int) -> None:
        representation, dynamics = net.representation, net.dynamics
        assert isinstance(representation, BoardRepresentation) and isinstance(dynamics, BoardDynamics)
        self.latent_shape = net.latent_shape
        board = (net.latent_shape[1], net.latent_shape[2])

        def conv(module: nn.Module) -> FusedConv | WinogradConv:
            assert isinstance(module, nn.Conv2d)
            fits = winograd_fits(module, module.weight)
            return WinogradConv(module, board) if fits else FusedConv(module, batch, board)

        def tower(blocks: nn.Module) -> list[tuple[FusedConv | WinogradConv, FusedConv | WinogradConv]]:
            assert isinstance(blocks, nn.Sequential)
            return [(conv(b.first.conv), conv(b.second.conv)) for b in blocks if isinstance(b, ResidualBlock)]

        self.dtype = representation.stem.conv.weight.dtype
        self.observation_stem, self.observation_tower = conv(representation.stem.conv), tower(representation.tower)
        self.latent_stem, self.latent_tower = conv(dynamics.stem.conv), tower(dynamics.tower)
        self.actions = dynamics.actions().contiguous(memory_format=torch.channels_last)
        # The heads' 1x1 convolutions read the same latent: joined, it is read once.
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
        """What the heads make of the few channels that they share."""
        parts = projected.split([head.project.out_channels for head in self.heads], dim=1)
        return [head.read(part) for head, part in zip(self.heads, parts, strict=True)]


def _scale_to_unit_(x: Tensor) -> Tensor:
    """``scale_to_unit`` of channels-last x, in place where it can be (torch's passes cost a sixth of a search)."""
    if x.dtype != torch.float32:
        return scale_to_unit(x)
    rows = board_rows(x)
    scale_rows(rows, rows, np.empty((len(rows), 1), np.float32))
    return x


def board_rows(x: Tensor) -> np.ndarray:
    """channels-last x [B, C, H, W] as [B, numbers], on the same memory."""
    return x.permute(0, 2, 3, 1).numpy().reshape(len(x), -1)


def fused(net: MuZeroNet, batch: int) -> FusedMuZero | None:
    """The fused form of an inference model on the CPU; None where this torch or processor does not give the same."""
    if not isinstance(net.representation, BoardRepresentation) or not torch.backends.mkldnn.is_available():
        return None
    try:
        model = FusedMuZero(net, batch)
        observation = torch.rand(2, net.representation.stem.conv.in_channels, *net.latent_shape[1:])
        latent, *_ = net.initial(observation)
        action = torch.tensor([0, 1])
        expected, actual = net.recurrent(latent, action), model.recurrent(model.initial(observation)[0], action)
    except (RuntimeError, AttributeError, AssertionError):
        return None
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
    close = all(torch.allclose(e.float(), a.float(), atol=tolerance)
                for e, a in zip(expected, actual, strict=True) if e is not None and a is not None)
    return model if close else None
