"""Convolution, batch normalisation, sum and relu as one layer: what residual towers are made of."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from myosu.kernels import winograd


class ConvNorm(nn.Module):
    """relu(norm(conv(x)) + residual): a 3×3 convolution that keeps the board's size, then batch normalisation, which
    ``fuse`` folds into it.

    On one thread of a CPU it learns by Winograd's products, and with as few passes over memory as they allow; else all
    is torch's.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        norm = self.norm
        if isinstance(norm, nn.BatchNorm2d) and self.training and winograd.fits(self.conv, x):
            return _ConvNormRelu.apply(x, self.conv.weight, norm.weight, norm.bias, residual, norm)
        y = norm(self.conv(x))
        # In place: neither what a normalisation nor what a convolution puts out is needed on the way back.
        return F.relu_(y if residual is None else y.add_(residual))

    def fuse(self) -> None:
        """Fold the normalisation's running statistics into the convolution: the same output, for inference only."""
        assert isinstance(self.norm, nn.BatchNorm2d)
        self.conv = fuse_conv_bn_eval(self.conv, self.norm)
        self.norm = nn.Identity()


class ResidualBlock(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))), He et al. 2016."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x), residual=x)


class _ConvNormRelu(torch.autograd.Function):
    """What ``ConvNorm`` does: x [B, C, H, W], weight [K, C, 3, 3], gain and bias [K] of its normalisation ``norm``,
    whose running statistics move, residual [B, K, H, W] or None → [B, K, H, W]."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, gain: Tensor, bias: Tensor, residual: Tensor | None,
                norm: nn.BatchNorm2d) -> Tensor:
        assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
        x = channels_last(x)
        y = x.new_empty(*x.shape[:3], len(weight))
        out, statistics = torch.empty_like(y), np.empty((2, len(weight)), np.float32)
        sums, squares = (np.zeros(y.shape[2] * y.shape[3], np.float32) for _ in range(2))
        winograd.convolve(x.numpy(), winograd.to_points(weight).numpy(), y.numpy(), sums, squares)
        _normalise(y.numpy(), sums, squares, gain.numpy(), bias.numpy(), norm.eps,
                   (y if residual is None else channels_last(residual)).numpy(), residual is not None, out.numpy(),
                   statistics, norm.running_mean.numpy(), norm.running_var.numpy(), norm.momentum)
        norm.num_batches_tracked += 1
        ctx.save_for_backward(x, weight, gain, y, out)
        ctx.statistics = statistics
        return out.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, weight, gain, y, out = ctx.saved_tensors
        slopes, x_slopes = torch.empty_like(y), torch.empty_like(x)
        by_gain, by_bias = torch.empty_like(gain), torch.empty_like(gain)
        by_kernels = x.new_zeros(winograd.POINTS * weight.shape[0] * weight.shape[1])
        by_slope, by_y, shift = _normalise_back(
            channels_last(gradient).numpy(), y.numpy(), gain.numpy(), out.numpy(), ctx.statistics, slopes.numpy(),
            by_gain.numpy(), by_bias.numpy())
        winograd.convolve_back(slopes.numpy(), y.numpy(), by_slope, by_y, shift, x.numpy(),
                               winograd.to_points(weight.transpose(0, 1)).numpy(), x_slopes.numpy(),
                               by_kernels.numpy())
        of_residual = slopes.permute(0, 3, 1, 2) if ctx.needs_input_grad[4] else None
        return (x_slopes.permute(0, 3, 1, 2), winograd.to_points_back(by_kernels, weight), by_gain, by_bias,
                of_residual, None)


def channels_last(x: Tensor) -> Tensor:
    """[B, C, H, W] → [B, H, W, C], which is how boards lie in memory if we made them."""
    return x.permute(0, 2, 3, 1).contiguous()


@njit(cache=True, error_model="numpy", nogil=True)
def _normalise(y, sums, squares, gain, bias, eps, residual, adds, out, statistics, running_mean, running_var, momentum):
    """out = relu(gain ŷ + bias + residual, if it ``adds`` that), all [B, H, W, K]; ŷ = (y − mean) / σ by the sums of
    y's rows and of their squares [W K]. statistics: the mean and 1 / σ, [2, K]."""
    size, height, width, channels = y.shape
    n = size * height * width
    # Each array by itself: loops over parts of one array are not compiled to vectors.
    scale, shift = np.empty(width * channels, np.float32), np.empty(width * channels, np.float32)
    for c in range(channels):
        mean = _total(sums, c, channels) / n
        variance = max(_total(squares, c, channels) / n - mean * mean, 0.0)
        statistics[0, c], statistics[1, c] = mean, 1.0 / np.sqrt(variance + eps)
        running_mean[c] += momentum * (mean - running_mean[c])
        running_var[c] += momentum * (variance * n / (n - 1) - running_var[c])  # of all boards there are, as in torch
        scale[c::channels] = gain[c] * statistics[1, c]
        shift[c::channels] = bias[c] - mean * gain[c] * statistics[1, c]
    rows = (size * height, width * channels)
    winograd.scale_add_relu(y.reshape(rows), scale, shift, residual.reshape(rows), adds, out.reshape(rows))


@njit(cache=True, error_model="numpy", nogil=True)
def _normalise_back(gradients, y, gain, out, statistics, slopes, by_gain, by_bias):
    """``slopes`` g in what goes into the relu, those in gain and bias, and three rows [W K]: by what g and y are
    to be multiplied and what is to be added for the slopes in y, which are over n cells (Ioffe & Szegedy 2015)

        ∂/∂y = gain / σ · (g − Σ g / n − ŷ Σ g ŷ / n)
    """
    size, height, width, channels = y.shape
    n = size * height * width
    rows = (size * height, width * channels)
    totals, with_y = np.zeros(width * channels, np.float32), np.zeros(width * channels, np.float32)
    _through_relu(gradients.reshape(rows), out.reshape(rows), y.reshape(rows), slopes.reshape(rows), totals, with_y)
    by_slope, by_y, shift = np.empty_like(totals), np.empty_like(totals), np.empty_like(totals)
    for c in range(channels):
        mean, inverse = statistics[0, c], statistics[1, c]
        total = _total(totals, c, channels)
        with_normal = (_total(with_y, c, channels) - mean * total) * inverse
        by_gain[c], by_bias[c] = with_normal, total
        by_slope[c::channels], factor = gain[c] * inverse, -gain[c] * inverse * inverse * with_normal / n
        by_y[c::channels], shift[c::channels] = factor, -gain[c] * inverse * total / n - factor * mean
    return by_slope, by_y, shift


@njit(error_model="numpy")
def _total(row, channel, channels):
    total = 0.0
    for j in range(channel, len(row), channels):
        total += row[j]
    return total


@njit(error_model="numpy", fastmath={"contract"})
def _through_relu(gradients, out, y, slopes, totals, with_y):
    """The slopes before the relu, whose sums and sums with y are added to ``totals`` and ``with_y`` [m]."""
    for i in range(len(y)):
        gradient, after, row, slope = gradients[i], out[i], y[i], slopes[i]
        for j in range(len(totals)):
            slope[j] = gradient[j] if after[j] > 0 else np.float32(0)
            totals[j] += slope[j]
            with_y[j] += slope[j] * row[j]
