"""3×3 convolutions of boards by Winograd's F(4×4, 3×3) (Lavin and Gray 2016), with a quarter of the multiplications:
36 instead of 144 for a tile of 4×4 cells and a pair of channels.

    y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A

with the output tile y [4, 4], the input tile d [6, 6] and the kernel g [3, 3]; ⊙ is a matrix product over the channels
at each of the 36 points of the transformed tile. The gradients use the transposed transformations:

    d̄ = B [(G g Gᵀ) ⊙ (A ȳ Aᵀ)] Bᵀ        ḡ = Gᵀ [(Bᵀ d B) ⊙ (A ȳ Aᵀ)] G

The boards are processed in chunks that stay in the processor's cache. Transformations and products are written in LLVM
IR, because Numba does not keep their accumulators in registers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numba
import numpy as np
import torch
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from myosu.kernels.vectors import INDEX, SHORT, PairWriter, Writer, constants, processor_features

#: Side of an output tile, side of an input tile, and points of a transformed tile.
TILE, SIDE, POINTS = 4, 6, 36
#: Approximate number of tiles per chunk. Their transformed values and the kernels must fit into the L2 cache.
TILES_AT_ONCE = 32

# G, Bᵀ = BUTTERFLY · SPLIT and Aᵀ = JOIN · BUTTERFLY: the factors share sums that are both added and subtracted.
KERNEL = np.array([[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
                   [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]])
BUTTERFLY = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 1, -1, 0, 0, 0], [0, 0, 0, 1, 1, 0],
                      [0, 0, 0, 1, -1, 0], [0, 0, 0, 0, 0, 1]])
SPLIT = np.array([[4, 0, -5, 0, 1, 0], [0, 0, -4, 0, 1, 0], [0, -4, 0, 1, 0, 0], [0, 0, -1, 0, 1, 0],
                  [0, -2, 0, 2, 0, 0], [0, 4, 0, -5, 0, 1]])
JOIN = np.array([[1, 1, 0, 1, 0, 0], [0, 0, 1, 0, 2, 0], [0, 1, 0, 4, 0, 0], [0, 0, 1, 0, 8, 1]])
#: The transformations Bᵀ, Aᵀ, A and B by name, each as the factors that are applied to both sides in order.
TRANSFORMS = {"input": (SPLIT, BUTTERFLY), "output": (BUTTERFLY, JOIN),
         "output gradient": (JOIN.T, BUTTERFLY), "input gradient": (BUTTERFLY, SPLIT.T)}
_KERNELS = torch.from_numpy(np.kron(KERNEL, KERNEL)).float()

_FEATURES = processor_features()
#: float32 lanes of a vector register; matrix rows whose accumulators fit into the 32 (AVX-512) or 16 registers.
LANES, ROWS = (16, 8) if "avx512bw" in _FEATURES else (8, 4)
AVAILABLE = "avx512bw" in _FEATURES or {"avx2", "fma"} <= _FEATURES


def _writer(context, builder, signature, given, k: int) -> Writer:
    """A writer for vectors of the dtype of the array argument ``k``: float32, int16, or int32 as pairs of int16."""
    kind = signature.args[k].dtype
    if kind == types.int32:
        return PairWriter(context, builder, signature, given, LANES)
    if kind == types.int16:
        return Writer(context, builder, signature, given, 2 * LANES, SHORT)
    return Writer(context, builder, signature, given, LANES)


def both_sides(write: Writer, matrices: tuple[np.ndarray, ...], columns: Iterable[Sequence]) -> Iterator[Sequence]:
    """Emit the instructions that apply ``matrices`` to both sides of a square of vectors, given by its columns, and
    yield the rows of the result. The order, first all columns, then all rows, keeps few values in registers."""
    def product(lines: Iterable[Sequence]) -> Iterator[Sequence]:
        for line in lines:
            for matrix in matrices:
                line = _matrix_times(write, matrix, line)
            yield line

    yield from product(zip(*list(product(columns)), strict=True))


def _matrix_times(write: Writer, matrix: np.ndarray, x: Sequence) -> list:
    """Emit the instructions for ``matrix`` times a column ``x`` of vectors."""
    out = []
    for row in matrix.tolist():
        total = None
        for factor, value in sorted(zip(row, x, strict=True), key=lambda term: term[0] != 1):
            if factor == 0:
                continue
            if total is None:
                total = value if factor == 1 else write.multiply(value, write.constant(factor))
            else:
                total = write.multiply_add(value, write.constant(factor), total)
        out.append(total)
    return out


@intrinsic
def transform(typing_context, name, add, x, x_0, x_row, x_column, out, out_0, out_row, out_column):
    """Apply the transformation ``name`` to both sides of a square of vectors of ``x``, and write the result to ``out``
    or, with ``add``, add it to ``out``. The square begins at index ``x_0``; ``x_row`` and ``x_column`` are its
    strides."""
    steps, adds = constants(name, add)
    matrices = TRANSFORMS[steps]

    def write(context, builder, signature, given):
        write = _writer(context, builder, signature, given, 2)
        x, out = write.data(2), write.data(6)
        x_0, x_row, x_column, out_0, out_row, out_column = (write.number(k) for k in (3, 4, 5, 7, 8, 9))

        def place(first, row, column, i, j):
            return write.plus(write.plus(first, write.times(row, i)), write.times(column, j))

        side = range(matrices[0].shape[1])
        columns = ([write.load(x, place(x_0, x_row, x_column, i, j), write.vector) for i in side] for j in side)
        for i, row in enumerate(both_sides(write, matrices, columns)):
            for j, value in enumerate(row):
                there = place(out_0, out_row, out_column, i, j)
                write.store(write.add(value, write.load(out, there, write.vector)) if adds else value, out, there)
        return context.get_dummy_value()

    return types.void(name, add, x, x_0, x_row, x_column, out, out_0, out_row, out_column), write


@intrinsic
def _multiply_block(typing_context, vectors, add, a, a_0, a_row, a_step, b, b_0, b_step, out, out_0, out_row, steps):
    """One block of ``multiply``: ``ROWS`` rows × ``vectors`` vectors of columns, accumulated in registers."""
    count, adds = constants(vectors, add)

    def write(context, builder, signature, given):
        write = _writer(context, builder, signature, given, 2)
        a, b, out = write.data(2), write.data(6), write.data(9)
        a_0, a_row, a_step, b_0, b_step, out_0, out_row, steps = (
            write.number(k) for k in (3, 4, 5, 7, 8, 10, 11, 12))
        sums = [[cgutils.alloca_once(builder, write.vector) for _ in range(count)] for _ in range(ROWS)]
        places = [[write.plus(write.plus(out_0, write.times(out_row, row)), v * LANES) for v in range(count)]
                  for row in range(ROWS)]
        for row in range(ROWS):
            for v in range(count):
                first = write.load(out, places[row][v], write.vector) if adds else write.constant(0)
                builder.store(first, sums[row][v])
        with cgutils.for_range_slice(builder, INDEX(0), steps, INDEX(1), INDEX) as (step, _):
            line = write.plus(b_0, write.times(b_step, step))
            column = write.plus(a_0, write.times(a_step, step))
            weights = [write.load(b, write.plus(line, v * LANES), write.vector) for v in range(count)]
            for row in range(ROWS):
                factor = builder.load(builder.gep(a, [write.plus(column, write.times(a_row, row))]))
                factor = write.broadcast(factor)
                for v in range(count):
                    builder.store(write.multiply_add(factor, weights[v], builder.load(sums[row][v])), sums[row][v])
        for row in range(ROWS):
            for v in range(count):
                write.store(builder.load(sums[row][v]), out, places[row][v])
        return context.get_dummy_value()

    return types.void(vectors, add, a, a_0, a_row, a_step, b, b_0, b_step, out, out_0, out_row, steps), write


@njit(error_model="numpy")
def multiply(add, a, a_0, a_row, a_step, b, b_0, b_step, out, out_0, out_row, rows, columns, steps):
    """Matrix product out[r, c] = Σ_s a[r, s] b[s, c], or += if ``add``.

    The arrays are float32, or a and b are pairs of int16 viewed as int32 and out is int32; the product of two pairs is
    the sum of their two products. Rows are rounded up to a multiple of ``ROWS``; columns must be a multiple of
    ``LANES``. The arrays are flat: a[r, s] is element a_0 + r · a_row + s · a_step; b and out likewise."""
    numba.literally(add)
    column = 0
    while column < columns:
        two = columns - column >= 2 * LANES
        for row in range(0, rows, ROWS):
            x, y, z = a_0 + row * a_row, b_0 + column, out_0 + row * out_row + column
            if two:
                _multiply_block(2, add, a, x, a_row, a_step, b, y, b_step, out, z, out_row, steps)  # type: ignore[call-arg]
            else:
                _multiply_block(1, add, a, x, a_row, a_step, b, y, b_step, out, z, out_row, steps)  # type: ignore[call-arg]
        column += 2 * LANES if two else LANES


@intrinsic
def _copy(typing_context, x, x_0, out, out_0):
    def write(context, builder, signature, given):
        write = Writer(context, builder, signature, given, LANES)
        write.store(write.load(write.data(0), write.number(1), write.vector), write.data(2), write.number(3))
        return context.get_dummy_value()

    return types.void(x, x_0, out, out_0), write


@njit(error_model="numpy")
def _board_buffer(height, width, channels, margin):
    """A zeroed board, padded to whole tiles and by ``margin`` cells on every side, and its row stride in elements."""
    row_stride = (-(-width // TILE) * TILE + 2 * margin) * channels
    return np.zeros((-(-height // TILE) * TILE + 2 * margin) * row_stride, np.float32), row_stride


@njit(error_model="numpy")
def boards_to_points(name, boards, board, shape, margin, buffer, row_stride, tiles, first, stride):
    """Transform every tile of boards[board] by ``name`` and write it to tiles[:, first:]. shape: (rows, columns,
    channels). buffer, row_stride: from ``_board_buffer``. stride: elements between the points of ``tiles``, which is
    flat."""
    numba.literally(name)
    height, width, channels = shape
    row, start = width * channels, board * height * width * channels
    for i in range(height):
        for j in range(0, row, LANES):
            _copy(boards, start + i * row + j, buffer, (i + margin) * row_stride + margin * channels + j)  # type: ignore[call-arg]
    for i in range(0, height, TILE):
        for j in range(0, width, TILE):
            for channel in range(0, channels, LANES):
                transform(name, False, buffer, i * row_stride + j * channels + channel, row_stride, channels,  # type: ignore[call-arg]
                           tiles, first * channels + channel, SIDE * stride, stride)
            first += 1


@njit(error_model="numpy")
def points_to_boards(name, add, boards, board, shape, margin, buffer, row_stride, tiles, first, stride):
    """Inverse of ``boards_to_points``. With ``add``, overlapping tiles are summed."""
    numba.literally(name)
    numba.literally(add)
    height, width, channels = shape
    row, start = width * channels, board * height * width * channels
    if add:
        buffer[:] = 0
    for i in range(0, height, TILE):
        for j in range(0, width, TILE):
            for channel in range(0, channels, LANES):
                transform(name, add, tiles, first * channels + channel, SIDE * stride, stride,  # type: ignore[call-arg]
                           buffer, i * row_stride + j * channels + channel, row_stride, channels)
            first += 1
    for i in range(height):
        for j in range(0, row, LANES):
            _copy(buffer, (i + margin) * row_stride + margin * channels + j, boards, start + i * row + j)  # type: ignore[call-arg]


@njit(error_model="numpy")
def tiles_of(height, width):
    """(tiles per board, boards per chunk, tiles per chunk rounded up to a multiple of ``ROWS``)."""
    tiles = -(-height // TILE) * -(-width // TILE)
    boards = max(1, TILES_AT_ONCE // tiles)
    return tiles, boards, -(-boards * tiles // ROWS) * ROWS


@njit(error_model="numpy")
def points_buffer(tiles, channels, dtype):
    """A flat buffer [points, tiles, channels], and the stride of its points in elements. Each point is padded, so that
    the points do not compete for the same cache sets."""
    stride = tiles * channels + 2 * LANES
    return np.empty(POINTS * stride, dtype), stride


@njit(error_model="numpy", fastmath={"contract"})
def _add_rows(rows, sums, squares):
    for i in range(len(rows)):  # iterating over the rows directly is six times slower
        row = rows[i]
        for j in range(len(sums)):
            sums[j] += row[j]
            squares[j] += row[j] * row[j]


@njit(error_model="numpy", fastmath={"contract"})
def _norm_backward(grad_sum, y, a, b, c, out):
    """out = a·grad_sum + b·y + c, rows [n, m]; a, b, c [m]."""
    for i in range(len(y)):
        g, row, to = grad_sum[i], y[i], out[i]
        for j in range(len(c)):
            to[j] = g[j] * a[j] + row[j] * b[j] + c[j]


@njit(error_model="numpy", fastmath={"contract"})
def scale_add_relu(y, scale, shift, residual, adds, out):
    """out = relu(y · scale + shift + residual); without ``adds`` the residual is left out. Rows [n, m]; scale, shift
    [m]."""
    for i in range(len(y)):
        row, more, to = y[i], residual[i], out[i]
        if adds:
            for j in range(len(scale)):
                value = row[j] * scale[j] + shift[j] + more[j]
                to[j] = np.float32(0) if value < 0 else value  # NaN stays NaN
        else:
            for j in range(len(scale)):
                value = row[j] * scale[j] + shift[j]
                to[j] = np.float32(0) if value < 0 else value


@njit(error_model="numpy")
def _convolve_chunk(x, first, boards, shape, kernels, outputs, y, y_first):
    """Convolve ``boards`` boards of ``shape`` from x[first:] into y[y_first:]; x and y are flat."""
    height, width, inputs = shape
    each, _, most = tiles_of(height, width)
    in_points, in_stride = points_buffer(most, inputs, np.float32)
    out_points, out_stride = points_buffer(most, outputs, np.float32)
    padded, padded_row = _board_buffer(height, width, inputs, 1)
    buffer, row_stride = _board_buffer(height, width, outputs, 0)
    for k in range(boards):
        boards_to_points("input", x, first + k, shape, 1, padded, padded_row, in_points, k * each, in_stride)
    for p in range(POINTS):
        multiply(False, in_points, p * in_stride, inputs, 1, kernels, p * inputs * outputs, outputs,
                 out_points, p * out_stride, outputs, boards * each, outputs, inputs)
    for k in range(boards):
        points_to_boards("output", False, y, y_first + k, (height, width, outputs), 0, buffer, row_stride, out_points,
                         k * each, out_stride)


@njit(cache=True, error_model="numpy", nogil=True)
def convolve(x, kernels, y, sums, squares):
    """Convolve x [B, H, W, C] with kernels [36 C K] and write to y [B, H, W, K], all float32. Also adds the sums of y's
    rows and of their squares to ``sums`` and ``squares`` [W K], which is cheap while y is in the cache."""
    size, height, width, inputs = x.shape
    outputs = y.shape[3]
    _, together, _ = tiles_of(height, width)
    for first in range(0, size, together):
        boards = min(together, size - first)
        _convolve_chunk(x.ravel(), first, boards, (height, width, inputs), kernels, outputs, y.ravel(), first)
        _add_rows(y[first:first + boards].reshape(-1, width * outputs), sums, squares)


@njit(cache=True, error_model="numpy", nogil=True)
def convolve_add_relu(x, kernels, bias, residual, adds, out):
    """out = relu(conv(x) + bias + residual); without ``adds`` the residual is left out. bias: [W K], tiled along a row.
    Other shapes as in ``convolve``."""
    size, height, width, inputs = x.shape
    outputs = out.shape[3]
    _, together, _ = tiles_of(height, width)
    y, one = np.empty((together * height, width * outputs), np.float32), np.ones(width * outputs, np.float32)
    for first in range(0, size, together):
        boards = min(together, size - first)
        _convolve_chunk(x.ravel(), first, boards, (height, width, inputs), kernels, outputs, y.ravel(), 0)
        scale_add_relu(y[:boards * height], one, bias, residual[first:first + boards].reshape(-1, width * outputs),
                       adds, out[first:first + boards].reshape(-1, width * outputs))


@njit(cache=True, error_model="numpy", nogil=True)
def convolve_backward(grad_sum, y, a, b, c, x, kernels, grad_x, grad_points):
    """Write ∂L/∂x [B, H, W, C] and add the gradient of the transformed kernels to ``grad_points`` [36 C K]. ∂L/∂y [B,
    H, W, K] = a·grad_sum + b·y + c with a, b, c [W K] (see ``batch_norm.backward``). kernels: [36 K C], of the
    transposed weights. All float32."""
    size, height, width, inputs = x.shape
    outputs = y.shape[3]
    flat_x, flat_grad_x = x.ravel(), grad_x.ravel()
    each, together, most = tiles_of(height, width)
    in_points, in_stride = points_buffer(most, inputs, np.float32)
    out_points, out_stride = points_buffer(most, outputs, np.float32)
    padded, padded_row = _board_buffer(height, width, inputs, 1)
    back, _ = _board_buffer(height, width, inputs, 1)
    buffer, row_stride = _board_buffer(height, width, outputs, 0)
    grad_y = np.empty((together * height, width * outputs), np.float32)
    flat_grad_y = grad_y.ravel()
    for first in range(0, size, together):
        boards = min(together, size - first)
        _norm_backward(grad_sum[first:first + boards].reshape(-1, width * outputs),
                       y[first:first + boards].reshape(-1, width * outputs), a, b, c, grad_y)
        for k in range(boards):
            boards_to_points("input", flat_x, first + k, (height, width, inputs), 1, padded, padded_row, in_points,
                             k * each, in_stride)
            boards_to_points("output gradient", flat_grad_y, k, (height, width, outputs), 0, buffer,
                             row_stride, out_points, k * each, out_stride)
        for p in range(POINTS):
            multiply(True, in_points, p * in_stride, 1, inputs, out_points, p * out_stride, outputs,
                     grad_points, p * inputs * outputs, outputs, inputs, outputs, boards * each)
        for p in range(POINTS):
            multiply(False, out_points, p * out_stride, outputs, 1, kernels, p * inputs * outputs, inputs,
                     in_points, p * in_stride, inputs, boards * each, inputs, outputs)
        for k in range(boards):
            points_to_boards("input gradient", True, flat_grad_x, first + k, (height, width, inputs), 1, back,
                             padded_row, in_points, k * each, in_stride)


def transform_kernels(weight: Tensor) -> Tensor:
    """G g Gᵀ of weights [outputs, inputs, 3, 3] in the layout of ``convolve``: [36 · inputs · outputs]."""
    return (_KERNELS @ weight.permute(2, 3, 1, 0).reshape(9, -1)).ravel()


def transform_kernels_backward(grad_points: Tensor, weight: Tensor) -> Tensor:
    """Gᵀ ḡ G: the gradient of ``weight`` from the gradient of ``transform_kernels(weight)``."""
    outputs, inputs = weight.shape[:2]
    return (_KERNELS.T @ grad_points.view(POINTS, -1)).view(3, 3, inputs, outputs).permute(3, 2, 0, 1)
