"""8-bit integer convolutions with the instruction VPDPBUSD ("VNNI"), which adds four products of bytes to each int32
accumulator.

Numba cannot emit this instruction, so ``_convolve_row`` is written in LLVM IR. The accumulators of one board row stay
in registers, cells outside the board are skipped, and a board passes through a whole tower without leaving the L1
cache.
"""

from __future__ import annotations

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from myosu.kernels.vectors import INDEX, REAL, SHORT, WORD, PairWriter, Writer, constants, processor_features

#: Number of products, uint8 input times int8 weight, that the instruction adds to one accumulator.
QUAD = 4


def vector_lanes() -> int:
    """int32 lanes of the instruction: 16 with AVX-512 VNNI, 8 with AVX-VNNI; 0 if the processor has neither."""
    features = processor_features()
    if {"avx512vnni", "avx512bw"} <= features:
        return 16
    return 8 if "avxvnni" in features else 0


LANES = vector_lanes()
#: Output channels per group, which is one vector of accumulators.
GROUP = LANES or 8
#: Number of groups whose accumulators for one board row fit into the 32 (AVX-512) or 16 registers.
GROUPS_AT_ONCE = 2 if LANES == 16 else 1
#: Maximum columns of a board.
MAX_COLUMNS = 13
#: One entry for each board that ``read`` processes in parallel.
ROWS = tuple(range(8))

llvmlite.binding.initialize_native_asmparser()


def pack_weights(weight: np.ndarray) -> np.ndarray:
    """Arrange int8 [outputs, inputs, k, k] in the layout of ``convolve``: [groups, k, inputs / 4, k, GROUP, 4], flat.
    ``inputs`` must be a multiple of 4; the last group is padded with zeros."""
    outputs, inputs, taps, _ = weight.shape
    whole = np.zeros((-(-outputs // GROUP) * GROUP, inputs, taps, taps), np.int8)
    whole[:outputs] = weight
    parts = whole.reshape(-1, GROUP, inputs // QUAD, QUAD, taps, taps)
    return np.ascontiguousarray(parts.transpose(0, 4, 2, 5, 1, 3)).ravel()


def _dot(context, builder, signature, given):
    """A function that emits c plus four products of bytes, a (unsigned) times b (signed), for every int32 lane."""
    if LANES:
        words = ir.VectorType(WORD, GROUP)
        instruction = ir.InlineAsm(ir.FunctionType(words, [words, words, words]),
                                   "vpdpbusd $2, $1, $0" if GROUP == 16 else "{vex} vpdpbusd $2, $1, $0",
                                   "=v,v,v,0" if GROUP == 16 else "=x,x,x,0")
        return lambda a, b, c: builder.call(instruction, [a, b, c])

    pairs = PairWriter(context, builder, signature, given, GROUP)
    shorts = ir.VectorType(SHORT, 2 * GROUP)
    eight = ir.Constant(shorts, [8] * 2 * GROUP)

    def dot(a, b, c):
        """Multiply the lower and the upper bytes of the int16 lanes separately, each extended to int16."""
        a, b = builder.bitcast(a, shorts), builder.bitcast(b, shorts)
        lower = builder.lshr(builder.shl(a, eight), eight), builder.ashr(builder.shl(b, eight), eight)
        upper = builder.lshr(a, eight), builder.ashr(b, eight)
        return pairs.multiply_add(*upper, pairs.multiply_add(*lower, c))

    return dot


@intrinsic
def _convolve_row(typing_context, columns, radius, groups, after, x, weights, row, height, inputs, scales, biases,
                  residual, residual_scale, plane, out, channel):
    """Row ``row`` of ``convolve``, for ``groups`` groups of outputs starting at ``channel``. radius, groups, after and
    the number of columns are compile-time constants."""
    arguments = (columns, radius, groups, after, x, weights, row, height, inputs, scales, biases, residual,
                 residual_scale, plane, out, channel)
    radius, count, ending = constants(radius, groups, after)
    width, taps = columns.count, 2 * radius + 1

    def write(context, builder, signature, given):
        write = Writer(context, builder, signature, given, GROUP)
        load, plus, times, broadcast, multiply_add = (
            write.load, write.plus, write.times, write.broadcast, write.multiply_add)
        bytes_, words, reals = (ir.VectorType(kind, GROUP) for kind in (ir.IntType(8), WORD, REAL))
        zeros, lowest, highest = ir.Constant(words, [0] * GROUP), write.constant(0.0), write.constant(255.0)
        dot = _dot(context, builder, signature, given)

        x, weights, scales, biases, residual, plane, out = (write.data(k) for k in (4, 5, 9, 10, 11, 13, 14))
        row, height, inputs, channel = (write.number(k) for k in (6, 7, 8, 15))
        outputs = write.size(9)
        sums = [[cgutils.alloca_once(builder, words) for _ in range(width)] for _ in range(count)]
        for place in (place for group in sums for place in group):
            builder.store(zeros, place)

        quads = builder.udiv(inputs, INDEX(QUAD))
        first = plus(row, -(taps // 2))
        beyond = plus(row, taps // 2 + 1)
        begin = builder.select(builder.icmp_signed("<", first, INDEX(0)), INDEX(0), first)
        end = builder.select(builder.icmp_signed(">", beyond, height), height, beyond)
        # Number of weights in one kernel row, and in one group of outputs.
        slab = times(quads, taps * GROUP * QUAD)
        whole = times(slab, taps)
        group_0 = times(builder.udiv(channel, INDEX(GROUP)), whole)
        with cgutils.for_range_slice(builder, begin, end, INDEX(1), INDEX) as (source, _):
            line = times(times(source, width), inputs)
            kernel = plus(group_0, times(builder.sub(source, first), slab))
            with cgutils.for_range_slice(builder, INDEX(0), quads, INDEX(1), INDEX) as (quad, _):
                block = plus(kernel, times(quad, taps * GROUP * QUAD))
                here = plus(line, times(quad, QUAD))
                values = [broadcast(load(x, plus(here, times(inputs, cell)), WORD)) for cell in range(width)]
                for tap in range(taps):
                    for group in range(count):
                        weight = load(weights, plus(plus(block, times(whole, group)), tap * GROUP * QUAD), words)
                        for cell in range(width):
                            if 0 <= (from_cell := cell + tap - taps // 2) < width:
                                place = sums[group][cell]
                                total = dot(values[from_cell], weight, builder.load(place))
                                builder.store(total, place)

        for group in range(count):
            own = plus(channel, group * GROUP)
            scale, bias = load(scales, own, reals), load(biases, own, reals)
            for cell in range(width):
                here = plus(times(plus(times(row, width), cell), outputs), own)
                value = multiply_add(builder.sitofp(builder.load(sums[group][cell]), reals), scale, bias)
                if ending in ("add", "move"):
                    before = builder.uitofp(load(residual, here, bytes_), reals)
                    value = multiply_add(before, broadcast(given[12]), value)
                if ending == "move":
                    value = builder.fadd(value, load(plane, here, reals))
                if ending != "none":
                    value = builder.select(builder.fcmp_ordered(">", value, lowest), value, lowest)
                    value = builder.select(builder.fcmp_ordered("<", value, highest), value, highest)
                    value = builder.trunc(builder.fptosi(value, words), bytes_)
                write.store(value, out, here)
        return context.get_dummy_value()

    return types.void(*arguments), write


@njit(error_model="numpy")
def convolve(columns, radius, after, x, weights, scales, biases, residual, residual_scale, plane, out):
    """Convolution of one board ``x`` with bias, residual and activation, channels-last.

    s = scales · Σ x · weights + biases for every output channel; the sums are exact (int32). ``after`` selects the
    output:
    "none": s, float32. "relu": s. "add": s + residual · residual_scale. "move": s + residual · residual_scale + plane.
    The last three are clipped to [0, 255] and truncated to uint8; with 0.5 added to the biases this rounds to nearest.

    columns: a tuple whose length is the width of the board, at most ``MAX_COLUMNS``. radius: 0 (1×1) or 1 (3×3), a
    constant. x: uint8 [rows * columns * inputs]. weights: from ``pack_weights``. scales, biases: float32 [outputs], a
    multiple of ``GROUP``. residual: uint8, plane: float32, out: uint8 or float32 [rows * columns * outputs]; out may be
    ``residual``.
    """
    numba.literally(radius)
    numba.literally(after)
    taps, outputs = 2 * radius + 1, len(scales)
    inputs = len(weights) // (taps * taps * outputs)
    rows = len(x) // (len(columns) * inputs)
    channel = 0
    while channel < outputs:
        together = GROUPS_AT_ONCE > 1 and outputs - channel >= GROUPS_AT_ONCE * GROUP
        for row in range(rows):
            if together:
                _convolve_row(  # type: ignore[call-arg]  # Numba passes the typing context
                    columns, radius, GROUPS_AT_ONCE, after, x, weights, row, rows, inputs, scales, biases, residual,
                    residual_scale, plane, out, channel)
            else:
                _convolve_row(  # type: ignore[call-arg]
                    columns, radius, 1, after, x, weights, row, rows, inputs, scales, biases, residual, residual_scale,
                    plane, out, channel)
        channel += GROUP * (GROUPS_AT_ONCE if together else 1)


@njit(error_model="numpy")
def run_blocks(columns, x, y, weights, scales, biases, residual_scales):
    """Residual blocks of one board, in place in ``x``; ``y`` is scratch for the hidden layer."""
    for k in range(len(residual_scales)):
        i, j = 2 * k, 2 * k + 1
        convolve(columns, 1, "relu", x, weights[i], scales[i], biases[i], x, residual_scales[k], scales[i], y)
        convolve(columns, 1, "add", y, weights[j], scales[j], biases[j], x, residual_scales[k], scales[j], x)


@njit(error_model="numpy")
def scale_to_unit(x):
    """``layers.scale_to_unit`` in bytes: rescale ``x`` to the range 0 to 255, in place."""
    low = high = x[0]
    for value in x:
        low, high = min(low, value), max(high, value)
    # In float32, because Numba subtracts bytes in 64 bits, at a quarter of the speed.
    first = np.float32(low)
    scale = np.float32(255.0) / max(np.float32(high) - first, np.float32(1.0))
    for j in range(len(x)):
        x[j] = np.uint8((np.float32(x[j]) - first) * scale + np.float32(0.5))


@njit(cache=True, error_model="numpy")
def project(columns, weights, scales, biases, latents, features):
    """Scale the towers' outputs to latent states and apply the heads' 1×1 convolution.

    latents: uint8 [B, n], scaled in place. features: uint8 [m, B or more, cells * 4 + 2 p], receives four channels per
    cell for each of m heads, and for the last head also the means and maxima over the board of p more channels."""
    outputs = len(scales)
    cells = latents.shape[1] // (len(weights) // outputs)
    projected = np.empty(cells * outputs, np.uint8)
    pooled = (features.shape[2] - cells * QUAD) // 2
    for i in range(len(latents)):
        x = latents[i]
        scale_to_unit(x)
        convolve(columns, 0, "relu", x, weights, scales, biases, x, scales[0], scales, projected)
        for head in range(len(features)):
            for j in range(cells * QUAD):
                features[head, i, j] = projected[j // QUAD * outputs + head * QUAD + j % QUAD]
        for channel in range(pooled):
            total, most, first = np.int64(cells // 2), np.uint8(0), len(features) * QUAD + channel
            for cell in range(cells):
                total += projected[cell * outputs + first]
                most = max(most, projected[cell * outputs + first])
            features[-1, i, cells * QUAD + channel] = total // cells
            features[-1, i, cells * QUAD + pooled + channel] = most


@njit(error_model="numpy")
def stem_to_bytes(x, scale, out):
    """out = x · scale, rounded to uint8, for non-negative x, float32."""
    for j in range(len(x)):
        out[j] = np.uint8(min(x[j] * scale + np.float32(0.5), np.float32(255)))


@njit(cache=True, error_model="numpy")
def represent(columns, stems, scale, weights, scales, biases, residual_scales, out):
    """The residual blocks of the representation, one board at a time.

    stems: float32 [B, n], the outputs of the first layer. scale: factor that converts them to bytes. out: uint8 [B, n].
    """
    y = np.empty(stems.shape[1], np.uint8)
    for i in range(len(stems)):
        stem_to_bytes(stems[i], scale, out[i])
        run_blocks(columns, out[i], y, weights, scales, biases, residual_scales)


@njit(cache=True, error_model="numpy")
def imagine(columns, latents, parents, actions, stem, stem_scales, stem_biases, latent_scale, planes, weights, scales,
            biases, residual_scales, out):
    """The dynamics' first layer and residual blocks, for ``actions`` [B] in the rows ``parents`` [B] of ``latents``,
    uint8 [m, n]. planes: float32 [A, n], the action encodings. out: uint8 [B, n]."""
    y = np.empty(latents.shape[1], np.uint8)
    for i in range(len(parents)):
        latent, plane = latents[parents[i]], planes[actions[i]]
        convolve(columns, 1, "move", latent, stem, stem_scales, stem_biases, latent, latent_scale, plane, out[i])
        run_blocks(columns, out[i], y, weights, scales, biases, residual_scales)


@njit(error_model="numpy")
def linear(after, x, weights, scales, biases, out):
    """A linear layer: a 1×1 ``convolve`` in which ``ROWS`` samples take the place of the cells of a board row."""
    numba.literally(after)
    convolve(ROWS, 0, after, x, weights, scales, biases, x, scales[0], scales, out)


@njit(cache=True, error_model="numpy")
def read(features, logits, weights, scales, biases, last_weights, last_scales, last_biases):
    """The heads: one linear layer, or two with a relu in between if the head's ``last_weights`` are not empty.

    features: uint8 [heads, rows, n]; rows is a multiple of ``ROWS``. logits: per head float32 [B, outputs], B ≤ rows.
    The other arguments are tuples with one array per head.
    """
    rows = features.shape[1]
    for head in range(len(logits)):
        x, out, hidden = features[head].ravel(), logits[head], len(scales[head])
        if len(last_weights[head]):
            between = np.empty(rows * hidden, np.uint8)
            linear("relu", x, weights[head], scales[head], biases[head], between)
            wide = np.empty((rows, len(last_scales[head])), np.float32)
            linear("none", between, last_weights[head], last_scales[head], last_biases[head], wide.ravel())
        else:
            wide = np.empty((rows, hidden), np.float32)
            linear("none", x, weights[head], scales[head], biases[head], wide.ravel())
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] = wide[i, j]
