"""MuZero's board model on a CPU in 8-bit integers, for inference: several times as many evaluations a second where the
processor multiplies bytes (``int8_kernels``).

Latent states lie between 0 and 1 and a relu's outputs above 0, so both are unsigned bytes times a scale. Weights are
signed bytes times a scale for each output channel. What a scale must reach is seen in the activations of real
positions. The observation's first layer stays in float32, and heads of other kinds than the usual two.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from myosu.kernels.int8_kernels import AT_ONCE, FOUR, GROUP, ROWS, WIDEST, imagine, lay_out, read, represent
from myosu.nets.conv_norm import ResidualBlock
from myosu.nets.fused import FusedMuZero, board_rows
from myosu.nets.layers import ConvHead, scale_to_unit
from myosu.nets.muzero import BoardDynamics, BoardRepresentation, MuZeroNet, Prediction

#: What a byte of a latent state stands for.
UNIT = 1 / 255


class Int8Conv:
    """A convolution as ``convolve`` takes it.

    seen: float32 [n, C, H, W], the like of what it will read, in bytes times ``unit``; what it puts out is divided by
    ``unit_after``, and to be rounded by cutting off, as bytes are, if that is given. What the rounding of weights
    changes in the mean of ``seen`` goes into the bias (Nagel et al. 2019): a search averages over errors that differ,
    but values that are all too high make moves look better that it has not tried.
    """

    def __init__(self, conv: nn.Conv2d, seen: Tensor, unit: float, unit_after: float | None = None) -> None:
        units = conv.weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / 127
        weight = (conv.weight / units[:, None, None, None]).round()
        lost = F.conv2d(seen, conv.weight - weight * units[:, None, None, None], padding=conv.padding).mean((0, 2, 3))
        bias = lost if conv.bias is None else conv.bias + lost
        self.weights = lay_out(weight.to(torch.int8).numpy())
        missing = -conv.out_channels % GROUP
        after, rounding = (1.0, 0.0) if unit_after is None else (unit_after, 0.5)
        self.scales = F.pad(units * unit / after, (0, missing)).numpy()
        self.biases = F.pad(bias / after + rounding, (0, missing)).numpy()


class Int8Tower:
    """Residual blocks, as the kernels take them. x: float32 [n, C, H, W], the like of what they read; afterwards what
    they put out. unit, unit_after: what the bytes stand for there and there."""

    def __init__(self, blocks: nn.Module, x: Tensor) -> None:
        assert isinstance(blocks, nn.Sequential)
        self.unit = self.unit_after = unit_of(x)
        layers, residual_scales = [], []
        for block in blocks:
            assert isinstance(block, ResidualBlock)
            unit, middle = self.unit_after, block.first(x)
            after = block.second(middle, residual=x)
            between, self.unit_after = unit_of(middle), unit_of(after)
            layers += [Int8Conv(block.first.conv, x, unit, between),
                       Int8Conv(block.second.conv, middle, between, self.unit_after)]
            residual_scales.append(unit / self.unit_after)
            x = after
        self.x, channels = x, x.shape[1]
        self.arrays = (
            np.array([layer.weights for layer in layers], np.int8).reshape(len(layers), 9 * channels * channels),
            np.array([layer.scales for layer in layers], np.float32).reshape(len(layers), channels),
            np.array([layer.biases for layer in layers], np.float32).reshape(len(layers), channels),
            np.array(residual_scales, np.float32))


class Int8Heads:
    """The heads' first layer, which puts out bytes whose least and greatest are those of ``latent``, float32 [n, C, H,
    W], the like of what they read; and what they make of them. Heads that read other than ``FOUR`` channels cell by
    cell, or of which another than the last reads pooled ones, go on in float32 after it."""

    def __init__(self, exact: FusedMuZero, latent: Tensor) -> None:
        self.exact, joined = exact, exact.joined
        found = joined(latent)
        self.low, high = found.amin((0, 2, 3)), found.amax((0, 2, 3))
        self.span = (high - self.low).clamp_min(1e-6)
        assert joined.bias is not None
        project = _as_conv(joined.weight[:, :, 0, 0] / self.span[:, None], (joined.bias - self.low) / self.span)
        self.project = _arrays(Int8Conv(project, latent, UNIT, UNIT))
        heads = [head for head in exact.heads if isinstance(head, ConvHead) and head.located == FOUR]
        self.pooled = joined.out_channels - FOUR * len(heads)
        self.layers: tuple[tuple[np.ndarray, ...], ...] = ()
        if len(heads) == len(exact.heads) and self.pooled == heads[-1].project.out_channels - FOUR:
            unit = (found - self.low[:, None, None]) / self.span[:, None, None]
            layers = [self._layers(head, k, unit) for k, head in enumerate(heads)]
            self.layers = tuple(zip(*layers, strict=True))

    def _layers(self, head: ConvHead, k: int, unit: Tensor) -> tuple[np.ndarray, ...]:
        """The linear layers of head ``k``; unit: what the first layer puts out, each channel from 0 to 1. They read
        that instead of low to high, and cell by cell instead of channel by channel."""
        located, pooled = slice(FOUR * k, FOUR * (k + 1)), slice(unit.shape[1] - self.pooled, None)
        seen = unit[:, located].permute(0, 2, 3, 1).flatten(1)
        x = torch.cat([seen, unit[:, pooled].mean((2, 3)), unit[:, pooled].amax((2, 3))], dim=1)[:, :, None, None]
        first = head.out if head.hidden is None else head.hidden
        own, rest = first.weight.split([seen.shape[1], first.in_features - seen.shape[1]], dim=1)
        rest = F.pad(rest, (0, 2 * self.pooled - rest.shape[1]))  # what only the last head reads
        own = own.unflatten(1, (FOUR, -1))
        weight = torch.cat([(own * self.span[located, None]).transpose(1, 2).flatten(1),
                            rest * self.span[pooled].repeat(2)], dim=1)
        conv = _as_conv(weight, first.bias + own.sum(2) @ self.low[located] + rest @ self.low[pooled].repeat(2))
        if head.hidden is None:
            nothing = np.zeros(0, np.float32)
            return *_arrays(Int8Conv(conv, x, UNIT)), np.zeros(0, np.int8), nothing, nothing
        z = F.relu(conv(x))
        between = unit_of(z)
        last = Int8Conv(_as_conv(head.out.weight, head.out.bias), z, between)
        return *_arrays(Int8Conv(conv, x, UNIT, between)), *_arrays(last)

    def room(self, boards: Tensor) -> Tensor:
        """Room for what ``read`` needs of ``boards`` [B, H, W, C]."""
        size, height, width = boards.shape[:3]
        if self.layers:
            rows = -(-size // len(ROWS)) * len(ROWS)
            return torch.empty(len(self.exact.heads), rows, height * width * FOUR + 2 * self.pooled, dtype=torch.uint8)
        return torch.empty(-(-len(self.low) // FOUR), size, height * width * FOUR, dtype=torch.uint8)

    def read(self, features: Tensor, boards: Tensor) -> list[Tensor]:
        """What the heads make of what the first layer put out for ``boards``."""
        size, height, width = boards.shape[:3]
        if self.layers:
            logits = [torch.empty(size, head.out.out_features) for head in self.exact.heads]
            read(features.numpy(), tuple(x.numpy() for x in logits), *self.layers)
            return logits
        seen = features.view(-1, size, height, width, FOUR).permute(1, 0, 4, 2, 3).flatten(1, 2)
        return self.exact.read(seen[:, : len(self.low)] * (self.span * UNIT)[:, None, None] + self.low[:, None, None])


class Int8MuZero:
    """``initial`` and ``recurrent`` of a board model that ``MuZeroNet.for_inference`` made, whose latent states are
    uint8. ``observation`` [n, ...] are positions to see the activations of."""

    def __init__(self, net: MuZeroNet, batch: int, observation: Tensor) -> None:
        self.exact = FusedMuZero(net, batch)
        representation, dynamics = net.representation, net.dynamics
        assert isinstance(representation, BoardRepresentation) and isinstance(dynamics, BoardDynamics)
        self.columns = tuple(range(net.latent_shape[2]))
        self.represented = Int8Tower(representation.tower, representation.stem(observation.float()))
        latent, action = _imagined(net, observation)
        moved = dynamics.stem(latent, residual=latent + self.exact.actions[action])
        self.imagined = Int8Tower(dynamics.tower, moved)
        planes = board_rows(self.exact.actions) / np.float32(self.imagined.unit)
        self.stem = (*_arrays(Int8Conv(dynamics.stem.conv, latent, UNIT, self.imagined.unit)),
                     np.float32(UNIT / self.imagined.unit), planes)
        self.heads = Int8Heads(self.exact, torch.cat([latent, scale_to_unit(self.imagined.x)]))

    def initial(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``MuZeroNet.initial``; the latent state is uint8."""
        x = self.exact.observe(observation).permute(0, 2, 3, 1)
        latent, features = torch.empty_like(x, dtype=torch.uint8), self.heads.room(x)
        represent(self.columns, x.flatten(1).numpy(), np.float32(1 / self.represented.unit), *self.represented.arrays,
                  *self.heads.project, latent.flatten(1).numpy(), features.numpy())
        policy, value, *_ = self.heads.read(features, latent)
        return latent.permute(0, 3, 1, 2), value, policy

    def recurrent(self, latent: Tensor, action: Tensor) -> Prediction:
        """latent uint8 [B, C, H, W] with the channels last in memory, action int64 [B]."""
        boards = latent.permute(0, 2, 3, 1)
        return self.imagine(boards, np.arange(len(latent)), action.numpy(), torch.empty_like(boards))

    def imagine(self, latents: Tensor, parents: np.ndarray, actions: np.ndarray, out: Tensor) -> Prediction:
        """``recurrent`` from the boards ``parents``, int64 [B], of ``latents``, uint8 [n, H, W, C], into ``out`` [B, H,
        W, C] without a copy on the way."""
        features = self.heads.room(out)
        imagine(self.columns, latents.flatten(1).numpy(), parents, actions, *self.stem, *self.imagined.arrays,
                *self.heads.project, out.flatten(1).numpy(), features.numpy())
        policy, value, *reward = self.heads.read(features, out)
        return Prediction(out.permute(0, 3, 1, 2), reward[0] if reward else None, value, policy)


def int8_fits(net: MuZeroNet, device: torch.device) -> bool:
    """Whether this processor multiplies bytes and the board is one for it, with results near those of float32."""
    if device.type != "cpu" or not isinstance(net.representation, BoardRepresentation) or not AT_ONCE:
        return False
    channels, _, width = net.latent_shape
    if channels % GROUP or width > WIDEST:
        return False
    with torch.inference_mode():
        plain = net.for_inference(torch.float32)
        observation, action = torch.rand(2, *net.observation_shape), torch.tensor([0, 1])
        try:
            model = Int8MuZero(plain, 2, observation)
            actual = model.recurrent(model.initial(observation)[0], action).latent
        except (RuntimeError, AttributeError, AssertionError):
            return False
        expected = plain.recurrent(plain.initial(observation)[0], action).latent
        return torch.allclose(expected, actual * UNIT, atol=0.1)


def _arrays(conv: Int8Conv) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return conv.weights, conv.scales, conv.biases


def _as_conv(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A linear layer as a convolution of one cell."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1).requires_grad_(False)
    conv.weight.copy_(weight[:, :, None, None])
    assert conv.bias is not None
    conv.bias.copy_(bias)
    return conv


def to_bytes(latent: Tensor) -> Tensor:
    """A latent state, from 0 to 1, as this model keeps it."""
    return (latent * 255).round_().to(torch.uint8)


def unit_of(activations: Tensor) -> float:
    """What a byte must stand for, so that 255 of it reach the greatest."""
    return max(float(activations.max()), 1e-6) / 255


def _imagined(net: MuZeroNet, observation: Tensor, moves: int = 2) -> tuple[Tensor, Tensor]:
    """Latent states and actions, as a search meets them: the policy's own from ``observation``, some moves on."""
    latent, _, policy = net.initial(observation)
    latents, actions = [latent], [policy.argmax(dim=1)]
    for _ in range(moves - 1):
        latent, _, _, policy = net.recurrent(latents[-1], actions[-1])
        latents.append(latent)
        actions.append(policy.argmax(dim=1))
    return torch.cat(latents), torch.cat(actions)
