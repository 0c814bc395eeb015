"""3×3 convolutions of boards with a quarter of the multiplications: 36 instead of 144 for a tile of 4×4 cells and a
pair of channels (Winograd's F(4×4, 3×3); Lavin and Gray 2016).

    y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A

of a tile y [4, 4], what it sees d [6, 6] and the kernel g [3, 3]; ⊙ is a product of matrices over the channels at each
of 36 points. Backwards, by the transposes of the four transformations:

    d̄ = B [(G g Gᵀ) ⊙ (A ȳ Aᵀ)] Bᵀ        ḡ = Gᵀ [(Bᵀ d B) ⊙ (A ȳ Aᵀ)] G

Some boards at a time go through all of it in the processor's nearer memory. Transformations and products are written in
LLVM's language, for Numba compiles neither to instructions that keep their sums in registers.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from myosu.kernels.vectors import INDEX, Writer, constants, processor_features

#: Cells of a tile to a side, points that stand for what it sees, all points.
TILE, SIDE, POINTS = 4, 6, 36
#: Tiles that are multiplied together, about: their numbers and the kernels' must fit the second cache.
TOGETHER = 32

# G, and Bᵀ = BUTTERFLY SPLIT and Aᵀ = JOIN BUTTERFLY in two steps, for ± of the same sums.
KERNEL = np.array([[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
                   [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]])
BUTTERFLY = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 1, -1, 0, 0, 0], [0, 0, 0, 1, 1, 0],
                      [0, 0, 0, 1, -1, 0], [0, 0, 0, 0, 0, 1]])
SPLIT = np.array([[4, 0, -5, 0, 1, 0], [0, 0, -4, 0, 1, 0], [0, -4, 0, 1, 0, 0], [0, 0, -1, 0, 1, 0],
                  [0, -2, 0, 2, 0, 0], [0, 4, 0, -5, 0, 1]])
JOIN = np.array([[1, 1, 0, 1, 0, 0], [0, 0, 1, 0, 2, 0], [0, 1, 0, 4, 0, 0], [0, 0, 1, 0, 8, 1]])
#: The transformations by name, as the matrices that multiply both sides one after the other: Bᵀ, Aᵀ, A and B.
STEPS = {"see": (SPLIT, BUTTERFLY), "put out": (BUTTERFLY, JOIN),
         "put out, back": (JOIN.T, BUTTERFLY), "see, back": (BUTTERFLY, SPLIT.T)}
_KERNELS = torch.from_numpy(np.kron(KERNEL, KERNEL)).float()

_FEATURES = processor_features()
#: Numbers of a vector, and rows of a matrix whose sums find room in the registers: there are 32 of them, or 16.
LANES, ROWS = (16, 8) if "avx512f" in _FEATURES else (8, 4)
AVAILABLE = "avx512f" in _FEATURES or {"avx2", "fma"} <= _FEATURES


def _matrix_times(write: Writer, matrix: np.ndarray, x: list) -> list:
    """``matrix`` times a column ``x`` of vectors, in instructions."""
    out = []
    for row in matrix.tolist():
        total = None
        for factor, value in sorted(zip(row, x, strict=True), key=lambda term: term[0] != 1):
            if factor == 0:
                continue
            if total is None:
                total = value if factor == 1 else write.builder.fmul(value, write.constant(factor))
            else:
                total = write.multiply_add(value, write.constant(factor), total)
        out.append(total)
    return out


@intrinsic
def _transform(typing_context, name, add, x, x_0, x_row, x_column, out, out_0, out_row, out_column):
    """A square of vectors of ``x``, the transformation ``name`` of it to both sides, into ``out`` or added there. The
    square's rows and columns lie ``x_row`` and ``x_column`` numbers apart from ``x_0`` on."""
    steps, adds = constants(name, add)
    matrices = STEPS[steps]

    def write(context, builder, signature, given):
        write = Writer(context, builder, signature, given, LANES)
        x, out = write.data(2), write.data(6)
        x_0, x_row, x_column, out_0, out_row, out_column = (write.number(k) for k in (3, 4, 5, 7, 8, 9))

        def place(first, row, column, i, j):
            return write.plus(write.plus(first, write.times(row, i)), write.times(column, j))

        side = range(matrices[0].shape[1])
        lines = [[write.load(x, place(x_0, x_row, x_column, i, j), write.reals) for i in side] for j in side]
        for _ in ("down the columns", "along the rows"):
            for matrix in matrices:
                lines = [_matrix_times(write, matrix, line) for line in lines]
            lines = [list(line) for line in zip(*lines, strict=True)]
        for j, column in enumerate(lines):
            for i, value in enumerate(column):
                there = place(out_0, out_row, out_column, i, j)
                write.store(builder.fadd(value, write.load(out, there, write.reals)) if adds else value, out, there)
        return context.get_dummy_value()

    return types.void(name, add, x, x_0, x_row, x_column, out, out_0, out_row, out_column), write


@intrinsic
def _multiply_block(typing_context, vectors, add, a, a_0, a_row, a_step, b, b_0, b_step, out, out_0, out_row, steps):
    """``ROWS`` rows and ``vectors`` vectors of columns of ``multiply``, whose sums stay in the registers."""
    count, adds = constants(vectors, add)

    def write(context, builder, signature, given):
        write = Writer(context, builder, signature, given, LANES)
        a, b, out = write.data(2), write.data(6), write.data(9)
        a_0, a_row, a_step, b_0, b_step, out_0, out_row, steps = (
            write.number(k) for k in (3, 4, 5, 7, 8, 10, 11, 12))
        sums = [[cgutils.alloca_once(builder, write.reals) for _ in range(count)] for _ in range(ROWS)]
        places = [[write.plus(write.plus(out_0, write.times(out_row, row)), v * LANES) for v in range(count)]
                  for row in range(ROWS)]
        for row in range(ROWS):
            for v in range(count):
                first = write.load(out, places[row][v], write.reals) if adds else write.constant(0)
                builder.store(first, sums[row][v])
        with cgutils.for_range_slice(builder, INDEX(0), steps, INDEX(1), INDEX) as (step, _):
            line = write.plus(b_0, write.times(b_step, step))
            column = write.plus(a_0, write.times(a_step, step))
            weights = [write.load(b, write.plus(line, v * LANES), write.reals) for v in range(count)]
            for row in range(ROWS):
                factor = builder.load(builder.gep(a, [write.plus(column, write.times(a_row, row))]))
                factor = write.everywhere(factor)
                for v in range(count):
                    builder.store(write.multiply_add(factor, weights[v], builder.load(sums[row][v])), sums[row][v])
        for row in range(ROWS):
            for v in range(count):
                write.store(builder.load(sums[row][v]), out, places[row][v])
        return context.get_dummy_value()

    return types.void(vectors, add, a, a_0, a_row, a_step, b, b_0, b_step, out, out_0, out_row, steps), write


@njit(error_model="numpy")
def multiply(add, a, a_0, a_row, a_step, b, b_0, b_step, out, out_0, out_row, rows, columns, steps):
    """out[r, c] = Σ_s a[r, s] b[s, c], or added to what is there. ``rows`` go up to a multiple of ``ROWS``, columns are
    one of ``LANES``. All three are flat: a[r, s] is number a_0 + r a_row + s a_step, and so on."""
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
        write.store(write.load(write.data(0), write.number(1), write.reals), write.data(2), write.number(3))
        return context.get_dummy_value()

    return types.void(x, x_0, out, out_0), write


@njit(error_model="numpy")
def _room(height, width, channels, margin):
    """A board of whole tiles with ``margin`` cells around it, all zero, and the numbers in a row of it."""
    line = (-(-width // TILE) * TILE + 2 * margin) * channels
    return np.zeros((-(-height // TILE) * TILE + 2 * margin) * line, np.float32), line


@njit(error_model="numpy")
def into_tiles(name, boards, board, shape, margin, room, line, tiles, first, apart):
    """The transformation ``name`` of every tile of boards[board] to tiles[:, first:]. shape: rows, columns, channels;
    what lies beyond the board is zero in ``room``. apart: numbers from point to point of ``tiles``, flat."""
    numba.literally(name)
    height, width, channels = shape
    row, start = width * channels, board * height * width * channels
    for i in range(height):
        for j in range(0, row, LANES):
            _copy(boards, start + i * row + j, room, (i + margin) * line + margin * channels + j)  # type: ignore[call-arg]
    for i in range(0, height, TILE):
        for j in range(0, width, TILE):
            for channel in range(0, channels, LANES):
                _transform(name, False, room, i * line + j * channels + channel, line, channels,  # type: ignore[call-arg]
                           tiles, first * channels + channel, SIDE * apart, apart)
            first += 1


@njit(error_model="numpy")
def from_tiles(name, add, boards, board, shape, margin, room, line, tiles, first, apart):
    """The other way; tiles that overlap are added."""
    numba.literally(name)
    numba.literally(add)
    height, width, channels = shape
    row, start = width * channels, board * height * width * channels
    if add:
        room[:] = 0
    for i in range(0, height, TILE):
        for j in range(0, width, TILE):
            for channel in range(0, channels, LANES):
                _transform(name, add, tiles, first * channels + channel, SIDE * apart, apart,  # type: ignore[call-arg]
                           room, i * line + j * channels + channel, line, channels)
            first += 1
    for i in range(height):
        for j in range(0, row, LANES):
            _copy(room, (i + margin) * line + margin * channels + j, boards, start + i * row + j)  # type: ignore[call-arg]


@njit(error_model="numpy")
def _tiles(height, width):
    """Tiles of a board, boards that are taken together, and their tiles' number up to a multiple of ``ROWS``."""
    tiles = -(-height // TILE) * -(-width // TILE)
    boards = max(1, TOGETHER // tiles)
    return tiles, boards, -(-boards * tiles // ROWS) * ROWS


@njit(error_model="numpy")
def _points(tiles, channels):
    """Room for ``tiles`` at every point, and the numbers from point to point: a line of memory more than there are, or
    all points would share a few lines of the cache."""
    apart = tiles * channels + LANES
    return np.empty(POINTS * apart, np.float32), apart


@njit(error_model="numpy", fastmath={"contract"})
def _add_rows(rows, sums, squares):
    for i in range(len(rows)):  # walking the rows themselves would take six times as long
        row = rows[i]
        for j in range(len(sums)):
            sums[j] += row[j]
            squares[j] += row[j] * row[j]


@njit(error_model="numpy", fastmath={"contract"})
def _through_norm(grad_sum, y, a, b, c, out):
    """out = a·grad_sum + b·y + c, rows [n, m]; a, b, c [m]."""
    for i in range(len(y)):
        g, row, to = grad_sum[i], y[i], out[i]
        for j in range(len(c)):
            to[j] = g[j] * a[j] + row[j] * b[j] + c[j]


@njit(error_model="numpy", fastmath={"contract"})
def scale_add_relu(y, scale, shift, residual, adds, out):
    """out = relu(y scale + shift + residual, if it ``adds`` that), rows [n, m]; scale and shift [m]."""
    for i in range(len(y)):
        row, more, to = y[i], residual[i], out[i]
        if adds:
            for j in range(len(scale)):
                value = row[j] * scale[j] + shift[j] + more[j]
                to[j] = np.float32(0) if value < 0 else value  # what is no number stays so
        else:
            for j in range(len(scale)):
                value = row[j] * scale[j] + shift[j]
                to[j] = np.float32(0) if value < 0 else value


@njit(error_model="numpy")
def _convolve_some(x, first, boards, shape, kernels, outputs, y, y_first):
    """y[y_first:] of ``boards`` boards x[first:] of one ``shape``; both flat."""
    height, width, inputs = shape
    each, _, most = _tiles(height, width)
    seen, seen_apart = _points(most, inputs)
    made, made_apart = _points(most, outputs)
    wide, wide_line = _room(height, width, inputs, 1)
    room, line = _room(height, width, outputs, 0)
    for k in range(boards):
        into_tiles("see", x, first + k, shape, 1, wide, wide_line, seen, k * each, seen_apart)
    for p in range(POINTS):
        multiply(False, seen, p * seen_apart, inputs, 1, kernels, p * inputs * outputs, outputs,
                 made, p * made_apart, outputs, boards * each, outputs, inputs)
    for k in range(boards):
        from_tiles("put out", False, y, y_first + k, (height, width, outputs), 0, room, line, made, k * each,
                   made_apart)


@njit(cache=True, error_model="numpy", nogil=True)
def convolve(x, kernels, y, sums, squares):
    """x [B, H, W, C], kernels [36 C K] → y [B, H, W, K], all float32. The sums of y's rows and of their squares are
    added to ``sums`` and ``squares`` [W K]: while y is near, they cost little."""
    size, height, width, inputs = x.shape
    outputs = y.shape[3]
    _, together, _ = _tiles(height, width)
    for first in range(0, size, together):
        boards = min(together, size - first)
        _convolve_some(x.ravel(), first, boards, (height, width, inputs), kernels, outputs, y.ravel(), first)
        _add_rows(y[first:first + boards].reshape(-1, width * outputs), sums, squares)


@njit(cache=True, error_model="numpy", nogil=True)
def convolve_add_relu(x, kernels, bias, residual, adds, out):
    """out = relu(conv(x) + bias + residual, if it ``adds`` that), for a bias [W K] along a row, and as above."""
    size, height, width, inputs = x.shape
    outputs = out.shape[3]
    _, together, _ = _tiles(height, width)
    y, one = np.empty((together * height, width * outputs), np.float32), np.ones(width * outputs, np.float32)
    for first in range(0, size, together):
        boards = min(together, size - first)
        _convolve_some(x.ravel(), first, boards, (height, width, inputs), kernels, outputs, y.ravel(), 0)
        scale_add_relu(y[:boards * height], one, bias, residual[first:first + boards].reshape(-1, width * outputs),
                       adds, out[first:first + boards].reshape(-1, width * outputs))


@njit(cache=True, error_model="numpy", nogil=True)
def convolve_back(grad_sum, y, a, b, c, x, kernels, grad_x, grad_points):
    """Write the gradient of x [B, H, W, C] and add that of the kernels to ``grad_points`` [36 C K], where the gradient
    of y [B, H, W, K] is a·grad_sum + b·y + c with a, b, c [W K] along a row (see ``batch_norm.backward``). ``kernels``
    are those of the transposed weights [36 K C]; all are float32."""
    size, height, width, inputs = x.shape
    outputs = y.shape[3]
    flat_x, flat_grad_x = x.ravel(), grad_x.ravel()
    each, together, most = _tiles(height, width)
    seen, seen_apart = _points(most, inputs)
    made, made_apart = _points(most, outputs)
    wide, wide_line = _room(height, width, inputs, 1)
    back, _ = _room(height, width, inputs, 1)
    room, line = _room(height, width, outputs, 0)
    grad_y = np.empty((together * height, width * outputs), np.float32)
    flat_grad_y = grad_y.ravel()
    for first in range(0, size, together):
        boards = min(together, size - first)
        _through_norm(grad_sum[first:first + boards].reshape(-1, width * outputs),
                      y[first:first + boards].reshape(-1, width * outputs), a, b, c, grad_y)
        for k in range(boards):
            into_tiles("see", flat_x, first + k, (height, width, inputs), 1, wide, wide_line, seen, k * each,
                       seen_apart)
            into_tiles("put out, back", flat_grad_y, k, (height, width, outputs), 0, room, line, made, k * each,
                       made_apart)
        for p in range(POINTS):
            multiply(True, seen, p * seen_apart, 1, inputs, made, p * made_apart, outputs,
                     grad_points, p * inputs * outputs, outputs, inputs, outputs, boards * each)
        for p in range(POINTS):
            multiply(False, made, p * made_apart, outputs, 1, kernels, p * inputs * outputs, inputs,
                     seen, p * seen_apart, inputs, boards * each, inputs, outputs)
        for k in range(boards):
            from_tiles("see, back", True, flat_grad_x, first + k, (height, width, inputs), 1, back, wide_line, seen,
                       k * each, seen_apart)


def to_points(weight: Tensor) -> Tensor:
    """G g Gᵀ of kernels [outputs, inputs, 3, 3], as ``convolve`` takes them: [36 · inputs · outputs]."""
    return (_KERNELS @ weight.permute(2, 3, 1, 0).reshape(9, -1)).ravel()


def to_points_back(grad_points: Tensor, weight: Tensor) -> Tensor:
    """Gᵀ ḡ G: the gradient of ``weight``, from that of ``to_points(weight)``."""
    outputs, inputs = weight.shape[:2]
    return (_KERNELS.T @ grad_points.view(POINTS, -1)).view(3, 3, inputs, outputs).permute(3, 2, 0, 1)
