"""Building blocks of residual towers: convolution, batch normalisation, residual and relu as one layer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from myosu import kernels
from myosu.kernels import batch_norm, winograd


class ConvNorm(nn.Module):
    """relu(norm(conv(x)) + residual): a 3×3 convolution that keeps the board's size, then batch normalisation, which
    ``fuse`` folds into the convolution.

    On one CPU thread, training uses ``kernels.winograd`` and ``kernels.batch_norm``; otherwise torch's operators.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        norm = self.norm
        if isinstance(norm, nn.BatchNorm2d) and self.training and winograd_fits(self.conv, x):
            return _ConvNormRelu.apply(x, self.conv.weight, norm.weight, norm.bias, residual, norm)
        y = norm(self.conv(x))
        # In place: the backward pass needs neither the normalisation's nor the convolution's outputs.
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
    """``ConvNorm`` with a hand-written gradient. x: [B, C, H, W]. weight: [K, C, 3, 3]. gain, bias: [K]. residual: [B,
    K, H, W] or None. norm: the module whose running statistics are updated. Returns [B, K, H, W]."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, gain: Tensor, bias: Tensor, residual: Tensor | None,
                norm: nn.BatchNorm2d) -> Tensor:
        assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
        x = channels_last(x)
        y = x.new_empty(*x.shape[:3], len(weight))
        out, statistics = torch.empty_like(y), np.empty((2, len(weight)), np.float32)
        sums, squares = (np.zeros(y.shape[2] * y.shape[3], np.float32) for _ in range(2))
        winograd.convolve(x.numpy(), winograd.transform_kernels(weight).numpy(), y.numpy(), sums, squares)
        batch_norm.forward(
            y.numpy(), sums, squares, gain.numpy(), bias.numpy(), norm.eps,
            (y if residual is None else channels_last(residual)).numpy(), residual is not None, out.numpy(),
            statistics, norm.running_mean.numpy(), norm.running_var.numpy(), norm.momentum)
        norm.num_batches_tracked += 1
        ctx.save_for_backward(x, weight, gain, y, out)
        ctx.statistics = statistics
        return out.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, grad_output: Tensor):
        x, weight, gain, y, out = ctx.saved_tensors
        grad_sum, grad_x = torch.empty_like(y), torch.empty_like(x)  # gradients of the relu's input and of x
        grad_gain, grad_bias = torch.empty_like(gain), torch.empty_like(gain)
        grad_points = x.new_zeros(winograd.POINTS * weight.shape[0] * weight.shape[1])
        a, b, c = batch_norm.backward(
            channels_last(grad_output).numpy(), y.numpy(), gain.numpy(), out.numpy(), ctx.statistics,
            grad_sum.numpy(), grad_gain.numpy(), grad_bias.numpy())
        winograd.convolve_backward(grad_sum.numpy(), y.numpy(), a, b, c, x.numpy(),
                                   winograd.transform_kernels(weight.transpose(0, 1)).numpy(), grad_x.numpy(),
                                   grad_points.numpy())
        grad_residual = grad_sum.permute(0, 3, 1, 2) if ctx.needs_input_grad[4] else None
        grad_weight = winograd.transform_kernels_backward(grad_points, weight)
        return grad_x.permute(0, 3, 1, 2), grad_weight, grad_gain, grad_bias, grad_residual, None


def channels_last(x: Tensor) -> Tensor:
    """[B, C, H, W] → contiguous [B, H, W, C]; no copy if the memory is channels-last already."""
    return x.permute(0, 2, 3, 1).contiguous()


def winograd_fits(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether ``winograd.convolve`` supports ``conv(x)`` and is faster. Channels must be multiples of the vector width;
    with several threads torch's convolution is faster."""
    lanes = winograd.LANES
    return (winograd.AVAILABLE and not kernels.PLAIN and x.device.type == "cpu"
            and x.dtype == conv.weight.dtype == torch.float32
            and conv.kernel_size == (3, 3) and conv.in_channels % lanes == conv.out_channels % lanes == 0
            and torch.get_num_threads() == 1 and not torch.is_autocast_enabled("cpu"))
