"""The layers of Myosu's networks for one position, as plain loops that Numba compiles for the browser.

Arrays are flat, float32. A board is stored channels-last with a border of one cell, [H + 2, W + 2, C], which is 0, so
that a convolution needs no special case at the edges. C is the number of channels rounded up to a multiple of 4
(``lanes``); the additional channels are 0. ``SPARE`` cells follow, because cells are computed four at a time. Every
layer that writes a board keeps its border 0.
"""

from __future__ import annotations

import math

import numba
import numpy as np

compiled = numba.njit(error_model="numpy", fastmath={"nnan", "nsz", "reassoc", "contract"})

#: Number of additional cells after a board.
SPARE = 4
ZERO = np.float32(0)


def lanes(channels: int) -> int:
    """Number of channels of a board in memory: ``channels`` rounded up to a multiple of 4."""
    return -(-channels // 4) * 4


def board_size(height: int, width: int, channels: int) -> int:
    """Size of a board in memory, in float32 numbers."""
    return ((height + 2) * (width + 2) + SPARE) * lanes(channels)


@compiled
def convolve(x, weights, bias, residual, out, height, width, inputs, outputs, reach, adds, rectifies):
    """out = conv(x) + bias, + residual if ``adds``, then relu if ``rectifies``.

    The kernel has side = 2 · reach + 1 cells a side; reach is 0 or 1. weights: [outputs / 4, side, side, inputs, 4]."""
    side = 2 * reach + 1
    row, line = side * inputs, (width + 2) * inputs
    first = width + 3
    for cell in range(first, first + (height - 1) * (width + 2) + width, 4):
        for group in range(0, outputs, 4):
            b0, b1, b2, b3 = bias[group], bias[group + 1], bias[group + 2], bias[group + 3]
            p0, p1, p2, p3 = b0, b1, b2, b3
            q0, q1, q2, q3 = b0, b1, b2, b3
            r0, r1, r2, r3 = b0, b1, b2, b3
            s0, s1, s2, s3 = b0, b1, b2, b3
            at = group * side * row
            for down in range(-reach, reach + 1):
                start = (cell - reach) * inputs + down * line
                for k in range(start, start + row):
                    w0, w1, w2, w3 = weights[at], weights[at + 1], weights[at + 2], weights[at + 3]
                    p, q, r, s = x[k], x[k + inputs], x[k + 2 * inputs], x[k + 3 * inputs]
                    p0 += p * w0
                    p1 += p * w1
                    p2 += p * w2
                    p3 += p * w3
                    q0 += q * w0
                    q1 += q * w1
                    q2 += q * w2
                    q3 += q * w3
                    r0 += r * w0
                    r1 += r * w1
                    r2 += r * w2
                    r3 += r * w3
                    s0 += s * w0
                    s1 += s * w1
                    s2 += s * w2
                    s3 += s * w3
                    at += 4
            to = cell * outputs + group
            _put(out, to, p0, p1, p2, p3, residual, adds, rectifies)
            _put(out, to + outputs, q0, q1, q2, q3, residual, adds, rectifies)
            _put(out, to + 2 * outputs, r0, r1, r2, r3, residual, adds, rectifies)
            _put(out, to + 3 * outputs, s0, s1, s2, s3, residual, adds, rectifies)
    clear_border(out, height, width, outputs)


@compiled
def _put(out, to, a, b, c, d, residual, adds, rectifies):
    if adds:
        a, b, c, d = a + residual[to], b + residual[to + 1], c + residual[to + 2], d + residual[to + 3]
    if rectifies:
        a, b, c, d = max(a, ZERO), max(b, ZERO), max(c, ZERO), max(d, ZERO)
    out[to] = a
    out[to + 1] = b
    out[to + 2] = c
    out[to + 3] = d


@compiled
def clear_border(x, height, width, channels):
    line = (width + 2) * channels
    x[:line] = 0
    x[(height + 1) * line:(height + 2) * line + SPARE * channels] = 0
    for row in range(1, height + 1):
        x[row * line:row * line + channels] = 0
        x[(row + 1) * line - channels:(row + 1) * line] = 0


@compiled
def picture(observation, out, planes, height, width, channels):
    """Convert an observation [planes, H, W] of any dtype to a board of ``channels`` channels."""
    out[:((height + 2) * (width + 2) + SPARE) * channels] = 0
    for plane in range(planes):
        for row in range(height):
            for column in range(width):
                out[((row + 1) * (width + 2) + column + 1) * channels + plane] = (
                    observation[(plane * height + row) * width + column])


@compiled
def plain(observation, out, size):
    """Convert an observation of any dtype to float32."""
    for k in range(size):
        out[k] = observation[k]


@compiled
def flatten(board, out, first, count, height, width, channels):
    """Copy ``count`` channels of a board, starting at ``first``, to [count, H, W]."""
    at = 0
    for channel in range(first, first + count):
        for row in range(height):
            for column in range(width):
                out[at] = board[((row + 1) * (width + 2) + column + 1) * channels + channel]
                at += 1


@compiled
def pool(x, out, channels, cells):
    """The mean of each channel of [channels, cells], followed by the maximum of each channel."""
    for channel in range(channels):
        total, most = np.float32(0), x[channel * cells]
        for k in range(channel * cells, (channel + 1) * cells):
            total += x[k]
            most = max(most, x[k])
        out[channel] = total / cells
        out[channels + channel] = most


@compiled
def scale_board(x, height, width, channels, real):
    """Scale the first ``real`` channels of a board to [0, 1] by their minimum and maximum (MuZero, appendix G)."""
    line = (width + 2) * channels
    low, high = np.float32(3e38), np.float32(-3e38)
    for row in range(1, height + 1):
        for column in range(1, width + 1):
            cell = row * line + column * channels
            for k in range(cell, cell + real):
                low, high = min(low, x[k]), max(high, x[k])
    scale = np.float32(1) / (high - low + np.float32(1e-5))
    for row in range(1, height + 1):
        for column in range(1, width + 1):
            cell = row * line + column * channels
            for k in range(cell, cell + real):
                x[k] = (x[k] - low) * scale


@compiled
def scale_vector(x, size):
    """Scale a vector of ``size`` numbers to [0, 1] by its minimum and maximum."""
    low, high = np.float32(3e38), np.float32(-3e38)
    for k in range(size):
        low, high = min(low, x[k]), max(high, x[k])
    scale = np.float32(1) / (high - low + np.float32(1e-5))
    for k in range(size):
        x[k] = (x[k] - low) * scale


@compiled
def add_action(latent, kernel, others, out, action, height, width, channels, layers, rows, columns):
    """out = latent + the encoding of ``action`` (``nets.muzero.ActionPlanes``). kernel: [layers, 2 rows − 1,
    2 columns − 1, channels], others: [n, channels]."""
    placed = layers * rows * columns
    line = (width + 2) * channels
    for row in range(height):
        for column in range(width):
            to = (row + 1) * line + (column + 1) * channels
            if action < placed:
                layer, place = action // (rows * columns), action % (rows * columns)
                down = rows - 1 - place // columns + (row if rows > 1 else 0)
                right = columns - 1 - place % columns + column
                at = ((layer * (2 * rows - 1) + down) * (2 * columns - 1) + right) * channels
                for c in range(channels):
                    out[to + c] = latent[to + c] + kernel[at + c]
            else:
                at = (action - placed) * channels
                for c in range(channels):
                    out[to + c] = latent[to + c] + others[at + c]


@compiled
def join_action(latent, out, action, size, actions):
    """Concatenate latent [size] and the one-hot encoding of the action [actions]."""
    for k in range(size):
        out[k] = latent[k]
    for k in range(actions):
        out[size + k] = 1.0 if k == action else 0.0


@compiled
def linear(x, weights, bias, out, inputs, outputs, activation):
    """out = x · weights + bias, then the activation: 0 none, 1 relu, 2 tanh. weights: [inputs, outputs]."""
    for j in range(outputs):
        out[j] = bias[j]
    for i in range(inputs):
        number, at = x[i], i * outputs
        for j in range(outputs):
            out[j] += number * weights[at + j]
    for j in range(outputs):
        if activation == 1:
            out[j] = max(out[j], ZERO)
        elif activation == 2:
            out[j] = math.tanh(out[j])


@compiled
def normalize(x, gain, bias, size, rectifies):
    """Layer normalisation of ``size`` numbers, then relu if ``rectifies``."""
    mean, variance = 0.0, 0.0
    for k in range(size):
        mean += x[k]
    mean /= size
    for k in range(size):
        variance += (x[k] - mean) ** 2
    scale = 1.0 / math.sqrt(variance / size + 1e-5)
    for k in range(size):
        y = np.float32((x[k] - mean) * scale) * gain[k] + bias[k]
        x[k] = max(y, ZERO) if rectifies else y


@compiled
def standardize(x, mean, scale, size):
    """x = (x − mean) · scale, clipped to ±10."""
    for k in range(size):
        x[k] = min(max((x[k] - mean[k]) * scale[k], np.float32(-10)), np.float32(10))


@compiled
def add(x, out, size):
    """out += x"""
    for k in range(size):
        out[k] += x[k]


@compiled
def duel(value, advantage, out, size):
    """Q = V + A − mean A (Wang et al. 2016, equation 9)."""
    mean = np.float32(0)
    for k in range(size):
        mean += advantage[k]
    mean /= size
    for k in range(size):
        out[k] = value[0] + (advantage[k] - mean)
