"""MuZero's board model on a CPU in 8-bit integers, for inference.

On processors with integer dot products (``int8_kernels``) it makes several times as many evaluations per second.
Without them, towers are computed by ``int16_kernels``, with finer weights.

Latent states lie in [0, 1] and relu outputs are non-negative, so both are uint8 times a scale. Weights are int8 times a
scale per output channel. Activation scales are calibrated on real positions. The first layer of the representation
stays in float32, as do the linear layers of heads that ``Int8Heads`` does not support.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from myosu.kernels import int8_kernels, int16_kernels, winograd
from myosu.kernels.int8_kernels import GROUP, LANES, MAX_COLUMNS, QUAD, ROWS, pack_weights, project, read
from myosu.nets.conv_norm import ResidualBlock
from myosu.nets.fused import FusedMuZero, board_rows
from myosu.nets.layers import ConvHead, scale_to_unit
from myosu.nets.muzero import BoardDynamics, BoardRepresentation, MuZeroNet, Prediction

#: Scale of a latent state: the value of one step of a byte.
UNIT = 1 / 255
#: Whether towers run in ``int16_kernels``, with a quarter of the multiplications, because VPDPBUSD is missing.
WINOGRAD = not LANES
#: The kernels process this many channels at once.
CHANNELS = 2 * winograd.LANES if WINOGRAD else GROUP


class Int8Conv:
    """A quantised convolution in the layout of ``int8_kernels.convolve``.

    inputs: float32 [n, C, H, W], calibration data. unit: the value of one step of the input bytes. If ``unit_after`` is
    given, outputs are multiplied by 1/unit_after, plus 0.5, then truncated. The bias corrects the mean error that
    rounding the weights causes on ``inputs`` (Nagel et al. 2019): a search averages independent errors out, but a
    systematic overestimate makes untried moves look better.
    """

    #: The kernel's sums are the convolution times this factor.
    gain = 1

    def __init__(self, conv: nn.Conv2d, inputs: Tensor, unit: float, unit_after: float | None = None) -> None:
        units = self.units(conv.weight).clamp_min(1e-12)
        weight = (conv.weight / units[:, None, None, None]).round()
        lost = F.conv2d(inputs, conv.weight - weight * units[:, None, None, None], padding=conv.padding).mean((0, 2, 3))
        bias = lost if conv.bias is None else conv.bias + lost
        self.weights = self.pack(weight)
        missing = -conv.out_channels % GROUP
        after, rounding = (1.0, 0.0) if unit_after is None else (unit_after, 0.5)
        self.scales = F.pad(units * unit / (after * self.gain), (0, missing)).numpy()
        self.biases = F.pad(bias / after + rounding, (0, missing)).numpy()

    @staticmethod
    def units(weight: Tensor) -> Tensor:
        """The value of one step of the integer weights, per output channel."""
        return weight.abs().amax((1, 2, 3)) / 127

    @staticmethod
    def pack(weight: Tensor) -> np.ndarray:
        return pack_weights(weight.to(torch.int8).numpy())


class Int16Conv(Int8Conv):
    """``Int8Conv`` in the layout of ``int16_kernels.convolve``, with weights of 9 to 12 bits."""

    gain = int16_kernels.GAIN

    @staticmethod
    def units(weight: Tensor) -> Tensor:
        return torch.from_numpy(int16_kernels.kernel_units(weight.numpy())).float()

    @staticmethod
    def pack(weight: Tensor) -> np.ndarray:
        return int16_kernels.transform_kernels(weight.to(torch.int64).numpy())


#: The module that computes the towers.
kernels = int16_kernels if WINOGRAD else int8_kernels
TowerConv, TOWER_WEIGHTS = (Int16Conv, np.int32) if WINOGRAD else (Int8Conv, np.int8)


class Int8Tower:
    """Quantised residual blocks. The argument ``x``: float32 [n, C, H, W], calibration inputs; the attribute ``x``: the
    blocks' outputs for them. unit, unit_after: scales of inputs and outputs."""

    def __init__(self, blocks: nn.Module, x: Tensor) -> None:
        assert isinstance(blocks, nn.Sequential)
        self.unit = self.unit_after = unit_of(x)
        layers, residual_scales = [], []
        for block in blocks:
            assert isinstance(block, ResidualBlock)
            unit, middle = self.unit_after, block.first(x)
            after = block.second(middle, residual=x)
            between, self.unit_after = unit_of(middle), unit_of(after)
            layers += [TowerConv(block.first.conv, x, unit, between),
                       TowerConv(block.second.conv, middle, between, self.unit_after)]
            residual_scales.append(unit / self.unit_after)
            x = after
        self.x, channels = x, x.shape[1]
        self.arrays = (
            np.array([layer.weights for layer in layers], TOWER_WEIGHTS).reshape(len(layers), -1 if layers else 0),
            np.array([layer.scales for layer in layers], np.float32).reshape(len(layers), channels),
            np.array([layer.biases for layer in layers], np.float32).reshape(len(layers), channels),
            np.array(residual_scales, np.float32))


class Int8Heads:
    """The quantised heads, calibrated on ``latent``, float32 [n, C, H, W].

    Their joint 1×1 convolution outputs bytes, which span for each channel the range of its outputs on ``latent``. The
    linear layers after it are also int8 if every head has ``QUAD`` spatial channels and only the last head has pooled
    channels; otherwise they stay in float32."""

    def __init__(self, float_model: FusedMuZero, latent: Tensor) -> None:
        self.float_model, joined = float_model, float_model.joined
        found = joined(latent)
        self.low, high = found.amin((0, 2, 3)), found.amax((0, 2, 3))
        self.span = (high - self.low).clamp_min(1e-6)
        assert joined.bias is not None
        project = _as_conv(joined.weight[:, :, 0, 0] / self.span[:, None], (joined.bias - self.low) / self.span)
        self.project = _arrays(Int8Conv(project, latent, UNIT, UNIT))
        heads = [head for head in float_model.heads if isinstance(head, ConvHead) and head.located == QUAD]
        self.pooled = joined.out_channels - QUAD * len(heads)
        self.layers: tuple[tuple[np.ndarray, ...], ...] = ()
        if len(heads) == len(float_model.heads) and self.pooled == heads[-1].project.out_channels - QUAD:
            unit = (found - self.low[:, None, None]) / self.span[:, None, None]
            layers = [self._layers(head, k, unit) for k, head in enumerate(heads)]
            self.layers = tuple(zip(*layers, strict=True))

    def _layers(self, head: ConvHead, k: int, unit: Tensor) -> tuple[np.ndarray, ...]:
        """The linear layers of head ``k``, rewritten to read channels scaled to [0, 1] (instead of [low, high]) and in
        channels-last order. unit: the convolution's outputs on the calibration data, scaled in the same way."""
        located, pooled = slice(QUAD * k, QUAD * (k + 1)), slice(unit.shape[1] - self.pooled, None)
        inputs = unit[:, located].permute(0, 2, 3, 1).flatten(1)
        x = torch.cat([inputs, unit[:, pooled].mean((2, 3)), unit[:, pooled].amax((2, 3))], dim=1)[:, :, None, None]
        first = head.out if head.hidden is None else head.hidden
        own, rest = first.weight.split([inputs.shape[1], first.in_features - inputs.shape[1]], dim=1)
        rest = F.pad(rest, (0, 2 * self.pooled - rest.shape[1]))  # only the last head reads pooled channels
        own = own.unflatten(1, (QUAD, -1))
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

    def features_buffer(self, boards: Tensor) -> Tensor:
        """An uninitialised buffer for the features that ``read`` takes, for ``boards`` [B, H, W, C]."""
        size, height, width = boards.shape[:3]
        if self.layers:
            rows = -(-size // len(ROWS)) * len(ROWS)
            features = height * width * QUAD + 2 * self.pooled
            return torch.empty(len(self.float_model.heads), rows, features, dtype=torch.uint8)
        return torch.empty(-(-len(self.low) // QUAD), size, height * width * QUAD, dtype=torch.uint8)

    def read(self, features: Tensor, boards: Tensor) -> list[Tensor]:
        """The heads' logits, float32 [B, outputs] each, from the ``features`` of ``boards``."""
        size, height, width = boards.shape[:3]
        if self.layers:
            logits = [torch.empty(size, head.out.out_features) for head in self.float_model.heads]
            read(features.numpy(), tuple(x.numpy() for x in logits), *self.layers)
            return logits
        inputs = features.view(-1, size, height, width, QUAD).permute(1, 0, 4, 2, 3).flatten(1, 2)
        scale, low = (self.span * UNIT)[:, None, None], self.low[:, None, None]
        return self.float_model.read(inputs[:, : len(self.low)] * scale + low)


class Int8MuZero:
    """``initial`` and (with dynamics) ``recurrent`` of a board model from ``MuZeroNet.for_inference``, with uint8
    latent states.

    observation: [n, ...], positions to calibrate the activation scales."""

    def __init__(self, net: MuZeroNet, batch: int, observation: Tensor) -> None:
        self.float_model = FusedMuZero(net, batch)
        representation, dynamics = net.representation, net.dynamics
        assert isinstance(representation, BoardRepresentation)
        self.columns = tuple(range(net.latent_shape[2]))
        #: The board's width in the form that the towers' kernels expect.
        self.width = len(self.columns) if WINOGRAD else self.columns
        self.represented = Int8Tower(representation.tower, representation.stem(observation.float()))
        if dynamics is None:
            self.heads = Int8Heads(self.float_model, net.represent(observation))
            return
        assert isinstance(dynamics, BoardDynamics)
        latent, action = _imagined(net, observation)
        moved = dynamics.stem(latent, residual=latent + self.float_model.actions[action])
        self.imagined = Int8Tower(dynamics.tower, moved)
        planes = board_rows(self.float_model.actions) / np.float32(self.imagined.unit)
        if WINOGRAD:
            planes = int16_kernels.pad_planes(planes, net.latent_shape)
        self.stem = (*_arrays(TowerConv(dynamics.stem.conv, latent, UNIT, self.imagined.unit)),
                     np.float32(UNIT / self.imagined.unit), planes)
        self.heads = Int8Heads(self.float_model, torch.cat([latent, scale_to_unit(self.imagined.x)]))

    def initial(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``MuZeroNet.initial`` with uint8 latent states."""
        x = self.float_model.observe(observation).permute(0, 2, 3, 1)
        latent = torch.empty_like(x, dtype=torch.uint8)
        kernels.represent(self.width, x.flatten(1).numpy(), np.float32(1 / self.represented.unit),
                          *self.represented.arrays, latent.flatten(1).numpy())
        policy, value, *_ = self._predict(latent)
        return latent.permute(0, 3, 1, 2), value, policy

    def recurrent(self, latent: Tensor, action: Tensor) -> Prediction:
        """latent: uint8 [B, C, H, W], channels-last in memory. action: int64 [B]."""
        boards = latent.permute(0, 2, 3, 1)
        return self.imagine(boards, np.arange(len(latent)), action.numpy(), torch.empty_like(boards))

    def imagine(self, latents: Tensor, parents: np.ndarray, actions: np.ndarray, out: Tensor) -> Prediction:
        """``recurrent`` from the rows ``parents``, int64 [B], of ``latents``, uint8 [n, H, W, C]. Writes the new latent
        states to ``out`` [B, H, W, C] without an intermediate copy."""
        kernels.imagine(self.width, latents.flatten(1).numpy(), parents, actions, *self.stem, *self.imagined.arrays,
                        out.flatten(1).numpy())
        policy, value, *reward = self._predict(out)
        return Prediction(out.permute(0, 3, 1, 2), reward[0] if reward else None, value, policy)

    def _predict(self, boards: Tensor) -> list[Tensor]:
        """The heads' logits from the towers' outputs, uint8 [B, H, W, C], which are scaled to latent states in
        place."""
        features = self.heads.features_buffer(boards)
        project(self.columns, *self.heads.project, boards.flatten(1).numpy(), features.numpy())
        return self.heads.read(features, boards)


def int8_fits(net: MuZeroNet, device: torch.device) -> bool:
    """Whether this CPU has the instructions, the network fits the kernels, and the outputs are close to float32's."""
    if device.type != "cpu" or not isinstance(net.representation, BoardRepresentation):
        return False
    channels, _, width = net.latent_shape
    if not (LANES or winograd.AVAILABLE) or channels % CHANNELS or width > MAX_COLUMNS:
        return False
    with torch.inference_mode():
        plain = net.for_inference(torch.float32)
        observation, action = torch.rand(2, *net.observation_shape), torch.tensor([0, 1])
        try:
            model = Int8MuZero(plain, 2, observation)
            actual = model.initial(observation)[0]
            actual = actual if net.dynamics is None else model.recurrent(actual, action).latent
        except (RuntimeError, AttributeError, AssertionError):
            return False
        expected = plain.initial(observation)[0]
        expected = expected if net.dynamics is None else plain.recurrent(expected, action).latent
        return torch.allclose(expected, actual * UNIT, atol=0.1)


def _arrays(conv: Int8Conv) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return conv.weights, conv.scales, conv.biases


def _as_conv(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A linear layer as a 1×1 convolution."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1).requires_grad_(False)
    conv.weight.copy_(weight[:, :, None, None])
    assert conv.bias is not None
    conv.bias.copy_(bias)
    return conv


def to_bytes(latent: Tensor) -> Tensor:
    """A latent state in [0, 1] as uint8."""
    return (latent * 255).round_().to(torch.uint8)


def unit_of(activations: Tensor) -> float:
    """The scale at which 255 represents the maximum of ``activations``."""
    return max(float(activations.max()), 1e-6) / 255


def _imagined(net: MuZeroNet, observation: Tensor, moves: int = 2) -> tuple[Tensor, Tensor]:
    """Latent states and actions as in a search: ``moves`` steps of the greedy policy from ``observation``."""
    latent, _, policy = net.initial(observation)
    latents, actions = [latent], [policy.argmax(dim=1)]
    for _ in range(moves - 1):
        latent, _, _, policy = net.recurrent(latents[-1], actions[-1])
        latents.append(latent)
        actions.append(policy.argmax(dim=1))
    return torch.cat(latents), torch.cat(actions)
