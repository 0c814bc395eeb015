"""Exact comparison of the 8-bit integer convolutions with torch's."""

import os
import subprocess
import sys

import llvmlite.binding
import numpy as np
import pytest
import torch
from numba import njit
from torch.nn import functional as F

from myosu.kernels import winograd
from myosu.kernels.int8_kernels import GROUP, LANES, MAX_COLUMNS, convolve, pack_weights, scale_to_unit

pytestmark = pytest.mark.skipif(not (LANES or winograd.AVAILABLE), reason="this processor has not AVX2")

#: Features of a laptop's processor with AVX-VNNI, whose vectors are half as long as those of AVX-512.
LAPTOP = "+64bit,+avx,+avx2,+fma,+avxvnni,+bmi,+bmi2,+sse4.2,+popcnt,+f16c,+lzcnt"


def drawn(shape, inputs, outputs, taps, seed=0):
    """A random board, weights, scales, biases, residual and plane."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (*shape, inputs), dtype=np.uint8)
    weight = rng.integers(-127, 128, (outputs, inputs, taps, taps)).astype(np.int8)
    scales = rng.uniform(0.2, 1, outputs).astype(np.float32) / 8000
    biases = rng.uniform(-20, 90, outputs).astype(np.float32)
    return (x, weight, scales, biases, rng.integers(0, 256, (*shape, outputs), dtype=np.uint8),
            rng.uniform(-30, 30, (*shape, outputs)).astype(np.float32))


def compiled(radius, after):
    @njit
    def run(columns, x, weights, scales, biases, residual, residual_scale, plane, out):
        convolve(columns, radius, after, x, weights, scales, biases, residual, residual_scale, plane, out)

    return run


@pytest.mark.parametrize(("after", "shape", "inputs", "groups", "taps"), [
    ("none", (6, 7), 64, 4, 3), ("relu", (6, 7), 64, 4, 3), ("add", (6, 7), 64, 4, 3), ("move", (6, 7), 64, 4, 3),
    ("add", (8, 8), 32, 2, 3), ("add", (3, 3), 16, 1, 3), ("add", (5, 4), 16, 3, 3), ("add", (4, MAX_COLUMNS), 4, 2, 3),
    ("relu", (1, 1), 8, 2, 3), ("none", (8, 8), 32, 1, 1), ("relu", (2, 8), 256, 5, 1)])
def test_sums_are_exact(after, shape, inputs, groups, taps):
    outputs = groups * GROUP
    x, weight, scales, biases, residual, plane = drawn(shape, inputs, outputs, taps)
    out = np.zeros((*shape, outputs), np.float32 if after == "none" else np.uint8)
    compiled(taps // 2, after)(tuple(range(shape[1])), x.ravel(), pack_weights(weight), scales, biases,
                               residual.ravel(), np.float32(0.5), plane.ravel(), out.ravel())
    sums = F.conv2d(torch.from_numpy(x).permute(2, 0, 1)[None].double(), torch.from_numpy(weight).double(),
                    padding=taps // 2)[0].permute(1, 2, 0).numpy()
    expected = sums * scales + biases
    if after in ("add", "move"):
        expected += residual * 0.5
    if after == "move":
        expected += plane
    if after == "none":
        assert np.allclose(out, expected, rtol=1e-5, atol=1e-3)
        return
    assert ((expected > 0) & (expected < 255)).mean() > 0.05, "clipping must not hide the sums"
    expected = np.clip(expected, 0, 255)
    wrong = out != np.floor(expected)
    # In float32, only a sum next to an integer may be truncated to the neighbouring one.
    assert np.abs(expected - np.round(expected))[wrong].max(initial=0) < 1e-3


def test_scaling_to_unit_by_hand():
    x = np.array([10, 20, 12, 30], np.uint8)
    scale_to_unit(x)
    assert x.tolist() == [0, 128, 26, 255]  # 127.5 and 25.5 are rounded up
    x = np.full(4, 7, np.uint8)
    scale_to_unit(x)
    assert x.tolist() == [0, 0, 0, 0]


def test_avx_vnni_gives_the_same_results():
    if not llvmlite.binding.get_host_cpu_features().get("avxvnni"):
        pytest.skip("this processor has not AVX-VNNI")
    environment = {**os.environ, "NUMBA_CPU_NAME": "alderlake", "NUMBA_CPU_FEATURES": LAPTOP}
    command = [sys.executable, "-m", "pytest", "-q", "-k", "exact", "-p", "no:cacheprovider", __file__]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and set(result.stdout.split()[0]) == {"."}, result.stdout  # none skipped
