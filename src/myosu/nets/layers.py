"""Layers shared by the networks."""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvHead(nn.Module):
    """Head: a 1×1 convolution to spatial and globally pooled channels, then an MLP; [B, C, H, W] → [B, outputs].

    located: number of spatial channels, which keep their cells. pooled: number of channels that are reduced to their
    mean and maximum over the board. Events whose meaning does not depend on the cell (a snake bites itself) are learnt
    from pooled channels after a few examples; spatial channels would need examples at every cell. hidden: units of the
    hidden layer; 0: none.

    There is no batch normalisation, because heads read both encoded and imagined latent states, whose statistics
    differ: the running statistics of their mixture would fit neither at inference. There is no relu after the
    convolution: latent states are never negative, so a few large steps in one direction would permanently kill a
    channel.
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
        """The MLP: from the convolution's outputs [B, located + pooled, H, W] to [B, outputs]."""
        # In the order C, H, W for any memory layout, so that training and inference agree.
        located, pooled = x[:, :self.located], x[:, self.located:]
        x = located.reshape(x.shape[0], -1)
        if pooled.shape[1]:
            x = torch.cat([x, pooled.mean((2, 3)), pooled.amax((2, 3))], dim=1)
        if self.hidden is not None:
            x = F.relu(self.hidden(x))
        return self.out(x)


class CellHead(nn.Module):
    """Head with shared weights for all cells (1×1 convolutions): [B, C, H, W] → [B, layers * H * W]."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)
        self.out = nn.Linear(channels, layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.project(x))

    def read(self, x: Tensor) -> Tensor:
        return self.out(F.relu(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).flatten(1)


def last_linear(head: nn.Module) -> nn.Linear:
    """The output layer of a head."""
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
    """(x − low) / (high − low + 1e-5) for every row of x [n, m], with a hand-written gradient, because autograd through
    the minimum and maximum takes several times as long as a layer. On the CPU each direction is one pass in Numba."""

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
    """Minimum and maximum of float32 numbers, compared as integers, which LLVM vectorises (unlike floats). The bits of
    non-negative floats are ordered like integers; for negative ones all bits but the sign are inverted. NaN lies beyond
    all numbers."""
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
    """out = (rows − low) · scale, [n, m]; out may be ``rows``. Writes the scales of the rows to ``scales`` [n, 1]."""
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
        while row[lowest] > 0:  # the minimum is exactly 0; the loop ends at NaN
            lowest += 1
        while row[most] < highest:
            most += 1
        grad_input[lowest] -= total + to_high
        grad_input[most] += to_high


def scale_to_unit(latent: Tensor) -> Tensor:
    """Scale every latent state to [0, 1] by its own minimum and maximum (MuZero, appendix G)."""
    if latent.dim() == 2:
        return _ScaleToUnit.apply(latent)
    cells = latent.permute(0, 2, 3, 1)  # channels-last, as boards lie in memory
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
    """The identity, whose gradient is multiplied by ``scale``."""
    return _ScaleGradient.apply(x, scale)
