"""Layers shared by the networks."""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvHead(nn.Module):
    """What a few channels see where, and others anywhere on the board, through linear layers: [B, C, H, W] →
    [B, outputs].

    A 1×1 convolution to ``located`` channels, which keep their cells, and ``pooled`` ones, of which only the mean and
    the greatest of all cells go on. What means the same wherever it happens (a snake that bites itself) is learnt from
    the latter after a few examples, where the former would need some from every cell.

    Without batch normalisation: a head reads latent states both encoded and imagined, whose statistics differ, and
    their mixture would fit neither when it is frozen for inference. And without a relu after the few channels: latent
    states are nowhere negative, so a few great steps in one direction would close a channel for good.
    """

    def __init__(self, channels: int, cells: int, outputs: int, located: int, pooled: int = 0, hidden: int = 0) -> None:
        super().__init__()
        self.located = located
        self.project = nn.Conv2d(channels, located + pooled, 1)
        features = located * cells + 2 * pooled
        self.hidden = nn.Linear(features, hidden) if hidden else None
        self.out = nn.Linear(hidden or features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.project(x))

    def read(self, x: Tensor) -> Tensor:
        """From the few channels [B, located + pooled, H, W] to the outputs."""
        # reshape, not flatten: the memory may be channels-last, and training and inference must agree on the order
        located, pooled = x[:, :self.located], x[:, self.located:]
        x = located.reshape(x.shape[0], -1)
        if pooled.shape[1]:
            x = torch.cat([x, pooled.mean((2, 3)), pooled.amax((2, 3))], dim=1)
        if self.hidden is not None:
            x = F.relu(self.hidden(x))
        return self.out(x)


class CellHead(nn.Module):
    """Outputs for every cell, by the same weights everywhere: [B, C, H, W] → [B, layers * H * W]."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)
        self.out = nn.Linear(channels, layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.project(x))

    def read(self, x: Tensor) -> Tensor:
        return self.out(F.relu(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).flatten(1)


def last_linear(head: nn.Module) -> nn.Linear:
    """The layer whose outputs are the head's."""
    last = head.out if isinstance(head, ConvHead | CellHead) else list(head.children())[-1]
    assert isinstance(last, nn.Linear)
    return last


def mlp(inputs: int, hidden: int, outputs: int, layers: int = 1) -> nn.Sequential:
    """``layers`` hidden layers with layer normalisation, and a linear output."""
    modules: list[nn.Module] = []
    for k in range(layers):
        modules += [nn.Linear(inputs if k == 0 else hidden, hidden), nn.LayerNorm(hidden), nn.ReLU()]
    return nn.Sequential(*modules, nn.Linear(hidden, outputs))


class _ScaleToUnit(torch.autograd.Function):
    """(x − low) / (high − low + 1e-5) of every row, x [n, m], with its gradient written out: torch's own way back
    through the extremes takes several times as long as a layer. On a CPU one pass each way, by Numba."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.dtype == torch.float32:
            y, scale = torch.empty_like(x), x.new_empty(len(x), 1)
            scale_rows(x.detach().numpy(), y.numpy(), scale.numpy())
        else:
            low, high = x.aminmax(dim=1, keepdim=True)
            scale = (high - low + 1e-5).reciprocal_()
            y = (x - low).mul_(scale)
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx, grad_output: Tensor):
        # With s = 1 / (high − low + 1e-5): ∂y/∂x = s, ∂y/∂low = (y − 1) s, ∂y/∂high = −y s.
        y, scale = ctx.saved_tensors
        if y.device.type == "cpu" and y.dtype == grad_output.dtype == torch.float32:
            grad_input = torch.empty_like(y)
            _scale_rows_back(grad_output.contiguous().numpy(), y.numpy(), scale.numpy(), grad_input.numpy())
            return grad_input
        grad_input = grad_output * scale
        to_high = -torch.linalg.vecdot(grad_input, y).unsqueeze(1)
        to_low = -(grad_input.sum(1, keepdim=True) + to_high)
        grad_input.scatter_add_(1, y.argmin(1, keepdim=True), to_low)
        return grad_input.scatter_add_(1, y.argmax(1, keepdim=True), to_high)


@numba.njit(error_model="numpy")
def _extremes(row):
    """The least and the greatest of float32 numbers, by their bits, for LLVM compares many integers at once, but not
    floats: those of a negative number but its sign turned round, they are in the same order. What is no number is
    beyond all."""
    bits = row.view(np.int32)
    low, high = np.int32(2**31 - 1), np.int32(-2**31)
    for j in range(len(bits)):
        place = _turned(bits[j])
        low, high = min(low, place), max(high, place)
    return np.int32(_turned(low)).view(np.float32), np.int32(_turned(high)).view(np.float32)


@numba.njit(error_model="numpy")
def _turned(bits):
    return bits ^ ((bits >> np.int32(31)) & np.int32(2**31 - 1))


@numba.njit(cache=True, error_model="numpy", fastmath={"nsz", "reassoc"})
def scale_rows(rows, out, scales):
    """out = (rows − low) · scale, [n, m], which may be ``rows`` itself; scales [n, 1] of them."""
    for i in range(len(rows)):
        row, to = rows[i], out[i]
        low, high = _extremes(row)
        scale = np.float32(1.0) / (high - low + np.float32(1e-5))
        for j in range(len(row)):
            to[j] = (row[j] - low) * scale
        scales[i, 0] = scale


@numba.njit(cache=True, error_model="numpy", fastmath={"nsz", "reassoc"})
def _scale_rows_back(grad_outputs, rows, scales, grad_inputs):
    for i in range(len(rows)):
        row, grad_output, grad_input, scale = rows[i], grad_outputs[i], grad_inputs[i], scales[i, 0]
        total, to_high = np.float32(0), np.float32(0)
        for j in range(len(row)):
            grad_input[j] = grad_output[j] * scale
            total += grad_input[j]
            to_high -= grad_input[j] * row[j]
        _, highest = _extremes(row)
        lowest, most = 0, 0
        while row[lowest] > 0:  # the least is 0 exactly; a row of what is no number ends at once
            lowest += 1
        while row[most] < highest:
            most += 1
        grad_input[lowest] -= total + to_high
        grad_input[most] += to_high


def scale_to_unit(latent: Tensor) -> Tensor:
    """Scale every latent state to [0, 1] by its own least and greatest entry (MuZero, appendix G)."""
    if latent.dim() == 2:
        return _ScaleToUnit.apply(latent)
    cells = latent.permute(0, 2, 3, 1)  # the order in which a board's numbers lie in memory
    return _ScaleToUnit.apply(cells.flatten(1)).view_as(cells).permute(0, 3, 1, 2)


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output: Tensor):
        return grad_output * ctx.scale, None


def scale_gradient(x: Tensor, scale: float) -> Tensor:
    """``x`` itself, whose gradient is multiplied by ``scale`` on the way back."""
    return _ScaleGradient.apply(x, scale)
