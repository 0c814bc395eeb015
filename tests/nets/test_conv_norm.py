"""Training with the Winograd kernels, compared with torch's own layers."""

import copy

import numpy as np
import pytest
import torch

from myosu.kernels import winograd
from myosu.nets.conv_norm import ConvNorm, winograd_fits

pytestmark = pytest.mark.skipif(not winograd.AVAILABLE, reason="not written for this processor")


def layer_and_input(shape, inputs, outputs, boards):
    torch.manual_seed(0)
    layer = ConvNorm(inputs, outputs).train()
    with torch.no_grad():
        layer.norm.weight.uniform_(0.5, 2)
        layer.norm.bias.normal_()
    return layer, torch.randn(boards, inputs, *shape), torch.randn(boards, outputs, *shape)


def test_winograd_tile_by_hand():
    transform_input, transform_output = (
        second @ first for first, second in (winograd.TRANSFORMS["input"], winograd.TRANSFORMS["output"]))
    seen = np.array([1.0, 2, 3, 4, 5, 6])
    for kernel, expected in (([1, 1, 1], [6, 9, 12, 15]), ([1, 0, -1], [-2] * 4), ([0, 10, 1], [23, 34, 45, 56])):
        assert np.allclose(transform_output @ ((winograd.KERNEL @ kernel) * (transform_input @ seen)), expected)


@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize(("shape", "inputs", "outputs", "boards"), [
    ((8, 8), 32, 32, 19), ((6, 7), 64, 64, 5), ((3, 3), 16, 48, 3), ((9, 13), 32, 16, 7), ((1, 2), 16, 16, 70)])
def test_outputs_gradients_and_statistics_equal_torch(shape, inputs, outputs, boards, added):
    layer, x, residual = layer_and_input(shape, inputs, outputs, boards)
    exact, grad_output = copy.deepcopy(layer).double(), torch.randn(boards, outputs, *shape)
    found = []
    for module, kind in ((layer, torch.float32), (exact, torch.float64)):
        given = [part.to(kind).requires_grad_() for part in (x, residual)[:1 + added]]
        assert winograd_fits(module.conv, given[0]) == (kind == torch.float32)
        out = module(*given)
        gradients = torch.autograd.grad(out, [*given, *module.parameters()], grad_output.to(kind))
        found.append([out, *gradients, *module.buffers()])
    for ours, expected in zip(*found, strict=True):
        ours, expected = ours.detach().double(), expected.detach().double()
        assert torch.allclose(ours, expected, rtol=0, atol=3e-5 * float(expected.abs().max()))


def test_unsupported_channel_counts_fall_back_to_torch():
    layer, x, _ = layer_and_input((3, 3), 12, 20, 4)
    assert not winograd_fits(layer.conv, x)
    layer(x).sum().backward()
    assert layer.conv.weight.grad.abs().sum() > 0


def test_nan_is_propagated():
    layer, x, _ = layer_and_input((4, 4), 16, 16, 3)
    x[1, 2, 3, 3] = torch.nan
    out = layer(x)
    assert out.isnan().any() and layer.norm.running_mean.isnan().any()
    grad_output = torch.ones_like(out)
    grad_output[0] = torch.nan
    assert torch.autograd.grad(out, layer.conv.weight, grad_output)[0].isnan().any()
