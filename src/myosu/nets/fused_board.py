"""``Encoder`` of a single board for inference on a CPU, by fused convolutions.

It computes the same function in about half the time (``benchmarks/apv.py --plain`` compares): convolution, bias,
residual and relu are one pass, and 3×3 convolutions have a quarter of the multiplications (``kernels.winograd``).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from myosu import kernels
from myosu.nets.encoder import Encoder, ImageEncoder, Observation, _Residual, _Stem
from myosu.nets.fused import fused_conv

#: Observations to the features [n, ``features``] and the output of the convolutions [n, C, H, W] of ``Encoder``.
Encode = Callable[[Observation], tuple[Tensor, Tensor | None]]


def inference_encoder(encoder: Encoder, batch: int = 8) -> Encode:
    """A faster form of ``encoder`` with its present weights, for batches of about ``batch``, if it encodes a single
    board on the CPU, and this torch and processor reproduce its outputs; otherwise ``encoder`` itself."""
    if encoder.cells is None or kernels.PLAIN or not torch.backends.mkldnn.is_available():
        return encoder
    image = encoder.parts[0]
    assert isinstance(image, ImageEncoder)
    if image.out.weight.device.type != "cpu":
        return encoder
    with torch.inference_mode():
        try:
            fused = FusedBoard(encoder.names[0], image, batch)
            zeros_and_ones = torch.arange(2 * math.prod(image.shape)) % 3 % 2
            observation = {encoder.names[0]: zeros_and_ones.view(2, *image.shape)}
            close = all(torch.allclose(expected, actual, atol=1e-3) for expected, actual in
                        zip(encoder(observation), fused(observation), strict=True))  # type: ignore[arg-type]
        except (RuntimeError, AttributeError):
            return encoder
    return fused if close else encoder


class FusedBoard:
    """The convolutions and the linear layer of ``ImageEncoder``, whose part of the observation is called ``name``."""

    def __init__(self, name: str, image: ImageEncoder, batch: int) -> None:
        layers = list(image.convolutions)
        start = next(k for k, layer in enumerate(layers) if isinstance(layer, _Stem))
        stem, board = layers[start], image.cells[1:]
        assert isinstance(stem, _Stem)
        self.name, self.prepare = name, layers[:start]
        self.near = fused_conv(stem.near, batch, board)
        self.whole = (stem.share[:, None] * stem.whole.weight).detach(), (stem.share * stem.whole.bias).detach()
        self.tower = [(fused_conv(block.first, batch, board), fused_conv(block.second, batch, board))
                      for block in layers if isinstance(block, _Residual)]
        # Columns in the order of the convolutions' memory: H, W, C.
        columns = image.out.weight.detach().view(-1, *image.cells).permute(0, 2, 3, 1).flatten(1).contiguous()
        self.out = columns, image.out.bias.detach()

    def __call__(self, observation: Observation) -> tuple[Tensor, Tensor]:
        x = observation[self.name].float()
        for layer in self.prepare:
            x = layer(x)
        whole = F.linear(x.flatten(1), *self.whole)[:, :, None, None]
        x = x.contiguous(memory_format=torch.channels_last)
        height, width = x.shape[2:]
        everywhere = whole.expand(-1, -1, height, width).contiguous(memory_format=torch.channels_last)
        x = self.near.add_relu_(everywhere, x)
        for first, second in self.tower:
            x = second.add_relu_(x, first.relu(x))
        return F.relu_(F.linear(x.permute(0, 2, 3, 1).flatten(1), *self.out)), x
