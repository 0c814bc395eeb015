"""Exact comparison of the 16-bit integer convolutions with torch's."""

import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import numpy as np
import pytest
import torch
from numba import njit
from torch.nn import functional as F

from myosu.kernels import winograd
from myosu.kernels.int16_kernels import (
    GAIN,
    buffers,
    convolve,
    imagine,
    kernel_units,
    pad_planes,
    transform_kernels,
)

pytestmark = pytest.mark.skipif(not winograd.AVAILABLE, reason="this processor has not AVX2")

CHANNELS = 2 * winograd.LANES
#: Features of a processor with AVX2 but without integer dot products.
AVX2 = "+64bit,+avx,+avx2,+fma,+bmi,+bmi2,+sse4.2,+popcnt,+f16c,+lzcnt"


@njit
def sums(x, boards, shape, weights, scales, biases, planes, actions, tiles, points, out):
    convolve("relu", x, boards, shape, weights, scales, biases, x, np.float32(0), planes, actions, tiles, points, out)


def padded(boards, like):
    out = np.zeros_like(like)
    out[:len(boards), 1:boards.shape[1] + 1, 1:boards.shape[2] + 1] = boards
    return out


def convolved(boards, weight):
    """The exact convolution of integers, [B, H, W, C]."""
    x, weight = torch.from_numpy(boards).double(), torch.from_numpy(weight).double()
    return F.conv2d(x.permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(("shape", "blocks"), [((8, 8), 1), ((6, 7), 2), ((3, 3), 1), ((9, 5), 1)])
def test_a_layer_with_action_planes_is_exact(shape, blocks):
    """The dynamics' first layer, for more boards than are processed together, from parents in any order."""
    channels, boards = blocks * CHANNELS, 37
    rng = np.random.default_rng(0)
    latents = rng.integers(0, 256, (boards, *shape, channels), dtype=np.uint8)
    parents, actions = rng.permutation(boards), rng.integers(0, 3, boards)
    planes = rng.uniform(-30, 30, (3, *shape, channels)).astype(np.float32)
    weight = rng.normal(size=(channels, channels, 3, 3))
    weight = np.round(weight / kernel_units(weight)[:, None, None, None])
    x = latents[parents]
    exact = convolved(x, weight)
    scales, biases = (100 / exact.std((0, 1, 2))).astype(np.float32), rng.uniform(-20, 90, channels).astype(np.float32)
    out = np.zeros((boards, exact[0].size), np.uint8)
    imagine(shape[1], latents.reshape(boards, -1), parents, actions, transform_kernels(weight.astype(np.int64)),
            scales / np.float32(GAIN), biases, np.float32(0.5), pad_planes(planes.reshape(3, -1), (channels, *shape)),
            np.zeros((0, 0), np.int32), np.zeros((0, channels), np.float32), np.zeros((0, channels), np.float32),
            np.zeros(0, np.float32), out)
    expected = np.clip(exact * scales + biases + 0.5 * x + planes[actions], 0, 255)
    assert ((expected > 0) & (expected < 255)).mean() > 0.3, "clipping must not hide the sums"
    wrong = out.reshape(expected.shape) != np.floor(expected)
    # In float32, only a sum next to an integer may be truncated to the neighbouring one.
    assert np.abs(expected - np.round(expected))[wrong].max(initial=0) < 1e-3


@pytest.mark.parametrize("point", [(0, 0), (1, 1), (1, 3), (3, 4), (5, 2)])
@pytest.mark.parametrize("channels", [CHANNELS, 8 * CHANNELS])
def test_the_greatest_sums_do_not_overflow(point, channels):
    """Inputs and weights whose products all have the same sign at one point of a transformed tile."""
    index = point[0] * winograd.SIDE + point[1]
    inputs = np.kron(*2 * [winograd.BUTTERFLY @ winograd.SPLIT])[index].reshape(6, 6)
    weight = np.sign(np.kron(*2 * [winograd.KERNEL])[index]).reshape(3, 3) * np.ones((channels, channels, 1, 1))
    weight = np.round(weight / kernel_units(weight)[:, None, None, None])
    positive, boards = inputs > 0, np.zeros((2, 12, 12, channels), np.int64)
    boards[0, 3:9, 3:9], boards[1, 3:9, 3:9] = 255 * positive[..., None], 255 * ~positive[..., None]
    exact = convolved(boards, weight)
    scale = 254 / np.abs(exact).max()
    shape = (12, 12, channels)
    x, out, tiles, points = buffers(shape)
    for sign in (1, -1):
        sums(padded(boards, x), 2, shape, transform_kernels(weight.astype(np.int64)),
             np.full(channels, sign * scale / GAIN, np.float32), np.full(channels, 0.5, np.float32),
             np.zeros((1, 0), np.float32), np.zeros(len(x), np.int64), tiles, points, out)
        expected = np.floor(np.clip(sign * scale * exact + 0.5, 0, 255))
        assert np.abs(out[:2, 1:13, 1:13] - expected).max() <= 1
    assert (out[:, 0] == 0).all() and (out[:, 13] == 0).all(), "the margin stays zero"


@pytest.mark.slow
def test_avx2_only_processor_gives_the_same_results():
    """With AVX2 only: these convolutions, 8-bit kernels without integer dot products, a network of both, and training
    with shorter vectors."""
    if not llvmlite.binding.get_host_cpu_features().get("avx2"):
        pytest.skip("this processor has not AVX2")
    environment = {**os.environ, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": AVX2}  # part of the cache's key
    bytes_, nets = Path(__file__).with_name("test_int8_kernels.py"), Path(__file__).parents[1] / "nets"
    tests = [f"{__file__}::test_a_layer_with_action_planes_is_exact",
             f"{bytes_}::test_sums_are_exact[none-shape9-32-1-1]", f"{bytes_}::test_sums_are_exact[add-shape6-16-3-3]",
             f"{nets}/test_nets.py::test_int8_network_is_close_to_float32[shape0-65-2-True]",
             f"{nets}/test_conv_norm.py::test_outputs_gradients_and_statistics_equal_torch"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0 and result.stdout.split()[0] == 17 * ".", result.stdout  # none skipped
