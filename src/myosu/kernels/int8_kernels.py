"""Convolutions of bytes by the instruction that adds four products of bytes to each of its sums (VPDPBUSD, "VNNI").

Numba compiles what is here, but has no word for that instruction: ``_convolve_row`` writes it in LLVM's language. A
row of the board stays in the registers until its sums are whole, and what lies beyond the board is not multiplied. So a
board goes through a whole tower without leaving the processor's nearest memory.
"""

from __future__ import annotations

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from myosu.kernels.vectors import INDEX, REAL, WORD, Writer, constants, processor_features

#: Bytes of the input, unsigned, and of the weights, signed, whose products go into one sum at once.
FOUR = 4


def sums_at_once() -> int:
    """Sums that the instruction makes here: 16 with AVX-512, 8 with AVX-VNNI; 0 where the processor has neither."""
    features = processor_features()
    if {"avx512vnni", "avx512bw"} <= features:
        return 16
    return 8 if "avxvnni" in features else 0


AT_ONCE = sums_at_once()
#: Output channels come in groups of so many.
GROUP = AT_ONCE or 8
#: Groups whose sums for a row of the board find room in the registers together: there are 32 of them, or 16.
TOGETHER = 2 if AT_ONCE == 16 else 1
#: Cells of such a row, at most.
WIDEST = 13
#: Boards that ``read`` takes at once.
ROWS = tuple(range(8))

llvmlite.binding.initialize_native_asmparser()


def lay_out(weight: np.ndarray) -> np.ndarray:
    """int8 [outputs, inputs, k, k] as ``convolve`` reads it: [groups, k, inputs / 4, k, GROUP, 4], flat. ``inputs``
    must be a multiple of 4; missing outputs of the last group are zeros."""
    outputs, inputs, taps, _ = weight.shape
    whole = np.zeros((-(-outputs // GROUP) * GROUP, inputs, taps, taps), np.int8)
    whole[:outputs] = weight
    parts = whole.reshape(-1, GROUP, inputs // FOUR, FOUR, taps, taps)
    return np.ascontiguousarray(parts.transpose(0, 4, 2, 5, 1, 3)).ravel()


@intrinsic
def _convolve_row(typing_context, columns, reach, groups, after, x, weights, row, height, inputs, scales, biases,
                  residual, residual_scale, plane, out, channel):
    """Row ``row`` of ``convolve``, for the ``groups`` groups of outputs from ``channel`` on. reach, groups and after
    are constants: they and the number of columns are known when this is compiled."""
    arguments = (columns, reach, groups, after, x, weights, row, height, inputs, scales, biases, residual,
                 residual_scale, plane, out, channel)
    reach, count, ending = constants(reach, groups, after)
    width, taps = columns.count, 2 * reach + 1

    def write(context, builder, signature, given):
        write = Writer(context, builder, signature, given, GROUP)
        load, plus, times, everywhere, multiply_add = (
            write.load, write.plus, write.times, write.everywhere, write.multiply_add)
        bytes_, words, reals = (ir.VectorType(kind, GROUP) for kind in (ir.IntType(8), WORD, REAL))
        zeros, lowest, highest = ir.Constant(words, [0] * GROUP), write.constant(0.0), write.constant(255.0)
        dot = ir.InlineAsm(ir.FunctionType(words, [words, words, words]),
                           "vpdpbusd $2, $1, $0" if GROUP == 16 else "{vex} vpdpbusd $2, $1, $0",
                           "=v,v,v,0" if GROUP == 16 else "=x,x,x,0")

        x, weights, scales, biases, residual, plane, out = (write.data(k) for k in (4, 5, 9, 10, 11, 13, 14))
        row, height, inputs, channel = (write.number(k) for k in (6, 7, 8, 15))
        outputs = write.size(9)
        sums = [[cgutils.alloca_once(builder, words) for _ in range(width)] for _ in range(count)]
        for place in (place for group in sums for place in group):
            builder.store(zeros, place)

        quads = builder.udiv(inputs, INDEX(FOUR))
        first = plus(row, -(taps // 2))
        beyond = plus(row, taps // 2 + 1)
        begin = builder.select(builder.icmp_signed("<", first, INDEX(0)), INDEX(0), first)
        end = builder.select(builder.icmp_signed(">", beyond, height), height, beyond)
        # The weights of a row of the kernel, and of a group.
        slab = times(quads, taps * GROUP * FOUR)
        whole = times(slab, taps)
        group_0 = times(builder.udiv(channel, INDEX(GROUP)), whole)
        with cgutils.for_range_slice(builder, begin, end, INDEX(1), INDEX) as (source, _):
            line = times(times(source, width), inputs)
            kernel = plus(group_0, times(builder.sub(source, first), slab))
            with cgutils.for_range_slice(builder, INDEX(0), quads, INDEX(1), INDEX) as (quad, _):
                block = plus(kernel, times(quad, taps * GROUP * FOUR))
                here = plus(line, times(quad, FOUR))
                seen = [everywhere(load(x, plus(here, times(inputs, cell)), WORD)) for cell in range(width)]
                for tap in range(taps):
                    for group in range(count):
                        weight = load(weights, plus(plus(block, times(whole, group)), tap * GROUP * FOUR), words)
                        for cell in range(width):
                            if 0 <= (from_cell := cell + tap - taps // 2) < width:
                                place = sums[group][cell]
                                builder.store(builder.call(dot, [seen[from_cell], weight, builder.load(place)]), place)

        for group in range(count):
            own = plus(channel, group * GROUP)
            scale, bias = load(scales, own, reals), load(biases, own, reals)
            for cell in range(width):
                here = plus(times(plus(times(row, width), cell), outputs), own)
                value = multiply_add(builder.sitofp(builder.load(sums[group][cell]), reals), scale, bias)
                if ending in ("add", "move"):
                    before = builder.uitofp(load(residual, here, bytes_), reals)
                    value = multiply_add(before, everywhere(given[12]), value)
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
def convolve(columns, reach, after, x, weights, scales, biases, residual, residual_scale, plane, out):
    """out = a convolution of one board ``x`` and what comes after it, channels-last.

    With s = Σ x · weights (1 byte each, exact) · scales + biases, of each output channel, ``after`` says what is put
    out: "none" s, float32; "relu" s, "add" s + residual · residual_scale, "move" the same + plane, all three cut to
    [0, 255] and cut off to bytes, so that 0.5 in ``biases`` rounds them.

    columns: a tuple with as many entries as the board has columns, ``WIDEST`` at most. reach: cells that the kernel
    looks to each side, a constant, 0 or 1. x: uint8 [rows * columns * inputs]. weights: what ``lay_out`` gave. scales,
    biases: float32 [outputs], a multiple of ``GROUP``. residual: uint8, plane: float32, out: uint8 or float32
    [rows * columns * outputs]; out may be ``residual``.
    """
    numba.literally(reach)
    numba.literally(after)
    taps, outputs = 2 * reach + 1, len(scales)
    inputs = len(weights) // (taps * taps * outputs)
    rows = len(x) // (len(columns) * inputs)
    channel = 0
    while channel < outputs:
        together = TOGETHER > 1 and outputs - channel >= TOGETHER * GROUP
        for row in range(rows):
            if together:
                _convolve_row(  # type: ignore[call-arg]  # the compiler passes the first
                    columns, reach, TOGETHER, after, x, weights, row, rows, inputs, scales, biases, residual,
                    residual_scale, plane, out, channel)
            else:
                _convolve_row(  # type: ignore[call-arg]
                    columns, reach, 1, after, x, weights, row, rows, inputs, scales, biases, residual, residual_scale,
                    plane, out, channel)
        channel += GROUP * (TOGETHER if together else 1)


@njit(error_model="numpy")
def climb(columns, x, y, weights, scales, biases, residual_scales):
    """Residual blocks of one board, from ``x`` to ``x``; ``y`` is room for what lies between."""
    for k in range(len(residual_scales)):
        i, j = 2 * k, 2 * k + 1
        convolve(columns, 1, "relu", x, weights[i], scales[i], biases[i], x, residual_scales[k], scales[i], y)
        convolve(columns, 1, "add", y, weights[j], scales[j], biases[j], x, residual_scales[k], scales[j], x)


@njit(error_model="numpy", fastmath={"nsz", "reassoc"})
def scale_to_unit(x, out):
    """``layers.scale_to_unit`` of the bytes of a board: out = x from 0 to 255."""
    low = high = x[0]
    for value in x:
        low, high = min(low, value), max(high, value)
    scale = np.float32(255.0) / np.float32(max(high - low, 1))
    for j in range(len(x)):
        out[j] = np.uint8(np.float32(x[j] - low) * scale + np.float32(0.5))


@njit(error_model="numpy")
def finish(columns, x, weights, scales, biases, found, out, i, features):
    """out[i] = the latent state that the tower's end ``x`` makes; features[:, i]: what the heads read of it. ``found``
    is room for their first layer, cell by cell."""
    scale_to_unit(x, out[i])
    convolve(columns, 0, "relu", out[i], weights, scales, biases, x, scales[0], scales, found)
    outputs = len(scales)
    cells = len(found) // outputs
    for head in range(len(features)):
        for j in range(cells * FOUR):
            features[head, i, j] = found[j // FOUR * outputs + head * FOUR + j % FOUR]
    pooled = (features.shape[2] - cells * FOUR) // 2
    for channel in range(pooled):
        total, most, first = np.int64(cells // 2), np.uint8(0), len(features) * FOUR + channel
        for cell in range(cells):
            total += found[cell * outputs + first]
            most = max(most, found[cell * outputs + first])
        features[-1, i, cells * FOUR + channel] = total // cells
        features[-1, i, cells * FOUR + pooled + channel] = most


@njit(cache=True, error_model="numpy")
def represent(columns, stems, scale, weights, scales, biases, residual_scales, project, project_scales, project_biases,
              out, features):
    """The representation after its first layer, float32 ``stems`` [B, n] times ``scale`` in bytes, into ``out``, uint8
    [B, n], one board after the other. features: uint8 [m, B or more, cells * 4 + 2 p], what the heads' first layer
    makes of it: m times four channels, cell by cell, and with the last of them the means and the greatest of p more."""
    x, y = np.empty(stems.shape[1], np.uint8), np.empty(stems.shape[1], np.uint8)
    found = np.empty(stems.shape[1] // scales.shape[1] * len(project_scales), np.uint8)
    for i in range(len(stems)):
        for j in range(len(x)):
            x[j] = np.uint8(min(stems[i, j] * scale + np.float32(0.5), np.float32(255)))
        climb(columns, x, y, weights, scales, biases, residual_scales)
        finish(columns, x, project, project_scales, project_biases, found, out, i, features)


@njit(cache=True, error_model="numpy")
def imagine(columns, latents, parents, actions, stem, stem_scales, stem_biases, latent_scale, planes, weights, scales,
            biases, residual_scales, project, project_scales, project_biases, out, features):
    """The dynamics, from the rows ``parents`` of ``latents``, uint8 [m, n], by ``actions`` [B], whose ``planes`` are
    float32 [A, n]; out and features as above."""
    x, y = np.empty(latents.shape[1], np.uint8), np.empty(latents.shape[1], np.uint8)
    found = np.empty(latents.shape[1] // scales.shape[1] * len(project_scales), np.uint8)
    for i in range(len(parents)):
        latent, plane = latents[parents[i]], planes[actions[i]]
        convolve(columns, 1, "move", latent, stem, stem_scales, stem_biases, latent, latent_scale, plane, x)
        climb(columns, x, y, weights, scales, biases, residual_scales)
        finish(columns, x, project, project_scales, project_biases, found, out, i, features)


@njit(error_model="numpy")
def read_rows(after, x, weights, scales, biases, out):
    """``convolve`` as a linear layer: ``ROWS`` rows of x at once are what a row of cells is to a convolution."""
    numba.literally(after)
    convolve(ROWS, 0, after, x, weights, scales, biases, x, scales[0], scales, out)


@njit(cache=True, error_model="numpy")
def read(features, logits, weights, scales, biases, last_weights, last_scales, last_biases):
    """The heads: one linear layer, or two with a relu between where ``last_weights`` of a head has any. features: uint8
    [heads, rows, n], a multiple of ``ROWS`` rows. The rest are tuples with one array a head; logits: float32 [B,
    outputs], of the first rows."""
    rows = features.shape[1]
    for head in range(len(logits)):
        x, out, hidden = features[head].ravel(), logits[head], len(scales[head])
        if len(last_weights[head]):
            between = np.empty(rows * hidden, np.uint8)
            read_rows("relu", x, weights[head], scales[head], biases[head], between)
            wide = np.empty((rows, len(last_scales[head])), np.float32)
            read_rows("none", between, last_weights[head], last_scales[head], last_biases[head], wide.ravel())
        else:
            wide = np.empty((rows, hidden), np.float32)
            read_rows("none", x, weights[head], scales[head], biases[head], wide.ravel())
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] = wide[i, j]
