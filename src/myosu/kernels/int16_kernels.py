"""3×3 convolutions of boards in 16-bit integers by Winograd's F(4×4, 3×3): ``winograd`` with exact sums.

The rows of G, multiplied by 4, 6, 6, 24, 24 and 1, are integers, and so are those of Bᵀ; the output transformation
divides by the same numbers. With inputs in [0, 255] and kernels in steps of ``kernel_units``, transformed inputs and
kernels fit into int16 and their sums over the channels into int32, so nothing is rounded before the output
transformation, which is in float32. VPMADDWD, which every processor with AVX2 has, multiplies 16 pairs of int16: twice
as many as an instruction for float32.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from myosu.kernels.int8_kernels import stem_to_bytes
from myosu.kernels.vectors import SHORT, WORD, Writer, constants
from myosu.kernels.winograd import (
    BUTTERFLY,
    JOIN,
    KERNEL,
    LANES,
    POINTS,
    SIDE,
    SPLIT,
    TILE,
    both_sides,
    multiply,
    points_buffer,
    tiles_of,
    transform,
)

_ROW_SCALES = np.array([4, 6, 6, 24, 24, 1])
_KERNELS = np.kron(*2 * [(_ROW_SCALES[:, None] * KERNEL).round().astype(np.int64)])
#: Factors of 6 Aᵀ for those kernels.
_OUTPUT = (BUTTERFLY, JOIN * (6 / _ROW_SCALES))
#: Applied to both sides, ``_OUTPUT`` gives the convolution times this factor, so divide ``scales`` of ``convolve`` by
#: it.
GAIN = 36
_INPUT = np.kron(*2 * [BUTTERFLY @ SPLIT])
#: Greatest magnitude of a transformed input at each point, for inputs in [0, 255].
_GREATEST = 255 * np.maximum(_INPUT.clip(min=0).sum(1), -_INPUT.clip(max=0).sum(1))


def kernel_units(weight: np.ndarray) -> np.ndarray:
    """The smallest scale per output channel, [outputs], for float weights [outputs, inputs, 3, 3] such that the rounded
    multiples, when transformed, fit into int16 and no sum over the channels overflows int32."""
    outputs, inputs = weight.shape[:2]
    points = np.abs(_KERNELS @ weight.transpose(2, 3, 1, 0).reshape(9, -1)).reshape(POINTS, inputs, outputs)
    rounding = np.abs(_KERNELS).sum(1) / 2  # greatest change of a point if each weight changes by a half
    single, total = 2**15 - 1 - rounding, (2**31 - 1) / _GREATEST - inputs * rounding
    return np.maximum(points.max(1) / single[:, None], points.sum(1) / total[:, None]).max(0)


def transform_kernels(weight: np.ndarray) -> np.ndarray:
    """Transform integer weights [outputs, inputs, 3, 3] to the layout of ``convolve``: int16 [36, inputs / 2, outputs,
    2], flat, viewed as int32."""
    outputs, inputs = weight.shape[:2]
    points = _KERNELS @ weight.transpose(2, 3, 1, 0).reshape(9, -1)
    pairs = points.reshape(POINTS, inputs // 2, 2, outputs).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(pairs, np.int16).ravel().view(np.int32)


def pad_planes(planes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pad ``planes``, float32 [A, rows * columns * channels], like a board. shape: (channels, rows, columns)."""
    channels, height, width = shape
    margins = ((0, 0), *((1, 1 + -side % TILE) for side in (height, width)), (0, 0))
    return np.pad(planes.reshape(-1, height, width, channels), margins).reshape(len(planes), -1)


@intrinsic
def _finish(typing_context, after, points, points_0, points_row, points_column, scales, biases, channel, residual,
            residual_scale, planes, planes_0, out, out_0, out_row, out_column):
    """Output transformation of one tile, then bias, residual and activation."""
    (ending,) = constants(after)

    def write(context, builder, signature, given):
        write = Writer(context, builder, signature, given, LANES)
        words, shorts = ir.VectorType(WORD, LANES), ir.VectorType(SHORT, LANES)
        points, scales, biases, residual, planes, out = (write.data(k) for k in (1, 5, 6, 8, 10, 12))
        points_0, points_row, points_column, channel, planes_0, out_0, out_row, out_column = (
            write.number(k) for k in (2, 3, 4, 7, 11, 13, 14, 15))

        def place(first, row, column, i, j):
            return write.plus(write.plus(first, write.times(row, i)), write.times(column, j))

        columns = ([builder.sitofp(write.load(points, place(points_0, points_row, points_column, i, j), words),
                                   write.vector) for i in range(SIDE)] for j in range(SIDE))
        scale, bias = (write.load(x, channel, write.vector) for x in (scales, biases))
        lowest, highest = write.constant(0.0), write.constant(255.0)
        for i, row in enumerate(both_sides(write, _OUTPUT, columns)):
            for j, value in enumerate(row):
                value = write.multiply_add(value, scale, bias)
                there = place(out_0, out_row, out_column, i, j)
                if ending in ("add", "move"):
                    before = builder.sitofp(write.load(residual, there, shorts), write.vector)
                    value = write.multiply_add(before, write.broadcast(given[9]), value)
                if ending == "move":
                    plane = write.load(planes, place(planes_0, out_row, out_column, i, j), write.vector)
                    value = write.add(value, plane)
                value = builder.select(builder.fcmp_ordered(">", value, lowest), value, lowest)
                value = builder.select(builder.fcmp_ordered("<", value, highest), value, highest)
                write.store(builder.trunc(builder.fptosi(value, words), shorts), out, there)
        return context.get_dummy_value()

    return types.void(after, points, points_0, points_row, points_column, scales, biases, channel, residual,
                      residual_scale, planes, planes_0, out, out_0, out_row, out_column), write


@njit(error_model="numpy")
def convolve(after, x, boards, shape, weights, scales, biases, residual, residual_scale, planes, actions, tiles, points,
             out):
    """Convolve ``boards`` boards, with bias, residual and activation; ``after`` as in ``int8_kernels.convolve``.

    shape: (rows, columns, channels); channels of inputs and outputs, a multiple of 2 · ``LANES``. x, residual, out:
    int16 [boards or more, rows + 2, columns + 2, channels] in [0, 255], rows and columns rounded up to whole tiles, and
    zero outside the board; out may be ``x`` or ``residual``. weights: from ``transform_kernels``. scales, biases:
    float32 [channels]. planes: float32 [A, n], padded like a board; plane actions[k] is added to board k. tiles,
    points: scratch, from ``buffers``.
    """
    numba.literally(after)
    height, width, channels = shape
    row, board = x.shape[2] * channels, x.shape[1] * x.shape[2] * channels
    stride, out_stride = len(tiles) // POINTS, len(points) // POINTS
    flat, before, to = x.ravel(), residual.ravel(), out.ravel()
    tile = 0
    for k in range(boards):
        for i in range(0, height, TILE):
            for j in range(0, width, TILE):
                first = k * board + i * row + j * channels
                for channel in range(0, channels, 2 * LANES):
                    transform("input", False, flat, first + channel, row, channels,  # type: ignore[call-arg]
                              tiles, tile * channels + channel, SIDE * stride, stride)
                tile += 1
    pairs, steps = tiles.view(np.int32), channels // 2
    for p in range(POINTS):
        multiply(False, pairs, p * stride // 2, steps, 1, weights, p * steps * channels, channels,
                 points, p * out_stride, channels, tile, channels, steps)
    tile = 0
    for k in range(boards):
        for i in range(0, height, TILE):
            for j in range(0, width, TILE):
                inside = (i + 1) * row + (j + 1) * channels
                for channel in range(0, channels, LANES):
                    _finish(after, points, tile * channels + channel, SIDE * out_stride, out_stride,  # type: ignore[call-arg]
                            scales, biases, channel, before, residual_scale,
                            planes, actions[k] * planes.shape[1] + inside + channel,
                            to, k * board + inside + channel, row, channels)
                tile += 1
        out[k, height + 1:] = 0
        out[k, 1:height + 1, width + 1:] = 0


@njit(error_model="numpy")
def buffers(shape):
    """Buffers (x, y, tiles, points): two zeroed chunks of boards, and scratch for ``convolve``."""
    height, width, channels = shape
    _, boards, rows = tiles_of(height, width)
    x = np.zeros((boards, -(-height // TILE) * TILE + 2, -(-width // TILE) * TILE + 2, channels), np.int16)
    return (x, np.zeros_like(x), points_buffer(rows, channels, np.int16)[0],
            points_buffer(rows, channels, np.int32)[0])


@njit(error_model="numpy")
def _pad(board, padded):
    """Copy ``board``, uint8 [rows, columns, channels], into the padded board, int16."""
    for i in range(board.shape[0]):
        for j in range(board.shape[1]):
            for channel in range(board.shape[2]):
                padded[i + 1, j + 1, channel] = board[i, j, channel]


@njit(error_model="numpy")
def _crop(padded, board):
    """Inverse of ``_pad``."""
    for i in range(board.shape[0]):
        for j in range(board.shape[1]):
            for channel in range(board.shape[2]):
                board[i, j, channel] = np.uint8(padded[i + 1, j + 1, channel])


@njit(error_model="numpy")
def run_blocks(boards, shape, x, y, weights, scales, biases, residual_scales, planes, actions, tiles, points):
    """Residual blocks, in place in ``x``; ``y`` is scratch for the hidden layer."""
    for k in range(len(residual_scales)):
        i, j = 2 * k, 2 * k + 1
        convolve("relu", x, boards, shape, weights[i], scales[i], biases[i], x, residual_scales[k], planes, actions,
                 tiles, points, y)
        convolve("add", y, boards, shape, weights[j], scales[j], biases[j], x, residual_scales[k], planes, actions,
                 tiles, points, x)


@njit(cache=True, error_model="numpy")
def represent(width, stems, scale, weights, scales, biases, residual_scales, out):
    """``int8_kernels.represent`` with weights from ``transform_kernels``. width: width of the board."""
    channels = scales.shape[1]
    shape = (stems.shape[1] // (width * channels), width, channels)
    boards_out = out.reshape((-1, *shape))
    x, y, tiles, points = buffers(shape)
    planes, actions = np.empty((1, 0), np.float32), np.zeros(len(x), np.int64)
    for first in range(0, len(stems), len(x)):
        boards = min(len(x), len(stems) - first)
        for k in range(boards):
            stem_to_bytes(stems[first + k], scale, out[first + k])
            _pad(boards_out[first + k], x[k])
        run_blocks(boards, shape, x, y, weights, scales, biases, residual_scales, planes, actions, tiles, points)
        for k in range(boards):
            _crop(x[k], boards_out[first + k])


@njit(cache=True, error_model="numpy")
def imagine(width, latents, parents, actions, stem, stem_scales, stem_biases, latent_scale, planes, weights, scales,
            biases, residual_scales, out):
    """``int8_kernels.imagine`` with weights from ``transform_kernels`` and planes that are padded like a board."""
    channels = scales.shape[1]
    shape = (latents.shape[1] // (width * channels), width, channels)
    boards_in, boards_out = latents.reshape((-1, *shape)), out.reshape((-1, *shape))
    x, y, tiles, points = buffers(shape)
    for first in range(0, len(parents), len(x)):
        boards = min(len(x), len(parents) - first)
        own = actions[first:first + boards]
        for k in range(boards):
            _pad(boards_in[parents[first + k]], x[k])
        convolve("move", x, boards, shape, stem, stem_scales, stem_biases, x, latent_scale, planes, own, tiles, points,
                 x)
        run_blocks(boards, shape, x, y, weights, scales, biases, residual_scales, planes, own, tiles, points)
        for k in range(boards):
            _crop(x[k], boards_out[first + k])
