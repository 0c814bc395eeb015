"""Batch normalisation, residual and relu in one pass over boards [B, H, W, K], float32, forward and backward."""

from __future__ import annotations

import numpy as np
from numba import njit

from myosu.kernels.winograd import scale_add_relu


@njit(cache=True, error_model="numpy", nogil=True)
def forward(y, sums, squares, gain, bias, eps, residual, adds, out, statistics, running_mean, running_var, momentum):
    """out = relu(gain · ŷ + bias + residual) with ŷ = (y − mean) / σ; without ``adds`` the residual is left out.

    y, residual, out: [B, H, W, K]. sums, squares: [W K], the sums of y's rows and of their squares. statistics: [2, K],
    receives the mean and 1 / σ. running_mean, running_var: [K], updated in place.
    """
    size, height, width, channels = y.shape
    n = size * height * width
    # Separate arrays: LLVM does not vectorise loops over slices of one array.
    scale, shift = np.empty(width * channels, np.float32), np.empty(width * channels, np.float32)
    for c in range(channels):
        mean = _total(sums, c, channels) / n
        variance = max(_total(squares, c, channels) / n - mean * mean, 0.0)
        statistics[0, c], statistics[1, c] = mean, 1.0 / np.sqrt(variance + eps)
        running_mean[c] += momentum * (mean - running_mean[c])
        running_var[c] += momentum * (variance * n / (n - 1) - running_var[c])  # unbiased, as in torch
        scale[c::channels] = gain[c] * statistics[1, c]
        shift[c::channels] = bias[c] - mean * gain[c] * statistics[1, c]
    rows = (size * height, width * channels)
    scale_add_relu(y.reshape(rows), scale, shift, residual.reshape(rows), adds, out.reshape(rows))


@njit(cache=True, error_model="numpy", nogil=True)
def backward(grad_output, y, gain, out, statistics, grad_sum, grad_gain, grad_bias):
    """Write the gradients of the relu's input (``grad_sum``, g), of gain and of bias. Returns a, b, c, float32 [W K],
    with ∂L/∂y = a·g + b·y + c. Over n cells (Ioffe & Szegedy 2015):

        ∂L/∂y = gain / σ · (g − Σ g / n − ŷ Σ g ŷ / n)
    """
    size, height, width, channels = y.shape
    n = size * height * width
    rows = (size * height, width * channels)
    totals, y_totals = np.zeros(width * channels, np.float32), np.zeros(width * channels, np.float32)
    _relu_backward(grad_output.reshape(rows), out.reshape(rows), y.reshape(rows), grad_sum.reshape(rows), totals,
                   y_totals)
    a, b, c = np.empty_like(totals), np.empty_like(totals), np.empty_like(totals)
    for k in range(channels):
        mean, inverse = statistics[0, k], statistics[1, k]
        total = _total(totals, k, channels)
        normalized_total = (_total(y_totals, k, channels) - mean * total) * inverse
        grad_gain[k], grad_bias[k] = normalized_total, total
        a[k::channels], factor = gain[k] * inverse, -gain[k] * inverse * inverse * normalized_total / n
        b[k::channels], c[k::channels] = factor, -gain[k] * inverse * total / n - factor * mean
    return a, b, c


@njit(error_model="numpy")
def _total(row, channel, channels):
    total = 0.0
    for j in range(channel, len(row), channels):
        total += row[j]
    return total


@njit(error_model="numpy", fastmath={"contract"})
def _relu_backward(grad_output, out, y, grad_sum, totals, y_totals):
    """Write the gradient of the relu's input. Add its column sums to ``totals`` and those of its product with y to
    ``y_totals``, both [m]."""
    for i in range(len(y)):
        above, after, row, below = grad_output[i], out[i], y[i], grad_sum[i]
        for j in range(len(totals)):
            below[j] = above[j] if after[j] > 0 else np.float32(0)
            totals[j] += below[j]
            y_totals[j] += below[j] * row[j]
