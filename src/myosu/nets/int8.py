"""MuZero's board model on a CPU in 8-bit integers, for inference: three times as many evaluations a second where the
processor multiplies bytes (VNNI, AMX).

Latent states lie between 0 and 1 and a relu's outputs above 0, so both are unsigned bytes times a scale. Weights are
signed bytes times a scale for each output channel. What a scale must reach is seen in the activations of real
positions. The observation, the heads and what they predict at the root stay in float32.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from myosu.nets.fused import FusedMuZero, board_rows
from myosu.nets.layers import ResidualBlock, scale_to_unit
from myosu.nets.muzero import BoardDynamics, BoardRepresentation, MuZeroNet, Prediction


class Int8Conv:
    """A convolution of unsigned bytes times ``scale``. Inputs and outputs are channels-last.

    seen: float32 [n, C, H, W], the like of what it will read. The greatest of it becomes a byte's greatest, and what
    the rounding of weights changes in its mean goes into the bias (Nagel et al. 2019): a search averages over errors
    that differ, but values that are all too high make moves look better that it has not tried.
    """

    def __init__(self, conv: nn.Conv2d, seen: Tensor, batch: int) -> None:
        self.scale, self.padding = scale_of(seen), list(conv.padding)
        self.weight_scales = conv.weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / 127
        self.weight_zeros = torch.zeros(conv.out_channels, dtype=torch.int32)
        scales = self.weight_scales[:, None, None, None]
        weight = (conv.weight / scales).round()
        lost = F.conv2d(seen, conv.weight - weight * scales, padding=conv.padding).mean((0, 2, 3))
        self.bias = lost if conv.bias is None else conv.bias + lost
        size = [batch, *seen.shape[1:]]
        self.weight = torch.ops.onednn.qconv_prepack(
            weight.to(torch.int8), self.weight_scales, self.scale, 0, [1, 1], self.padding, [1, 1], 1, size)

    def __call__(self, x: Tensor) -> Tensor:
        """conv(x) as float32."""
        return self._pointwise(x, 1.0, torch.float32, "none")

    def relu(self, x: Tensor, scale: float) -> Tensor:
        """relu(conv(x)) as bytes times ``scale``."""
        return self._pointwise(x, scale, torch.uint8, "relu")

    def _pointwise(self, x: Tensor, scale: float, dtype: torch.dtype, after: str) -> Tensor:
        return torch.ops.onednn.qconv_pointwise(
            x, self.scale, 0, self.weight, self.weight_scales, self.weight_zeros, self.bias, [1, 1], self.padding,
            [1, 1], 1, scale, 0, dtype, after, [], "")

    def add_relu_(self, residual: Tensor, residual_scale: float, residual_zero: int, x: Tensor, scale: float) -> Tensor:
        """relu(residual + conv(x)) as bytes times ``scale``, written over ``residual``."""
        return torch.ops.onednn.qconv2d_pointwise.binary(
            x, self.scale, 0, self.weight, self.weight_scales, self.weight_zeros, residual, self.bias, [1, 1],
            self.padding, [1, 1], 1, scale, 0, torch.uint8, residual_scale, residual_zero, "sum", 1.0, "relu", [], "")


class Int8MuZero:
    """``initial`` and ``recurrent`` of a board model that ``MuZeroNet.for_inference`` made, whose latent states are
    uint8. ``observation`` [n, ...] are positions to see the activations of."""

    def __init__(self, net: MuZeroNet, batch: int, observation: Tensor) -> None:
        self.exact = FusedMuZero(net, batch)
        dynamics = net.dynamics
        assert isinstance(dynamics, BoardDynamics) and isinstance(dynamics.tower, nn.Sequential)
        latent, action = _imagined(net, observation)
        planes = self.exact.actions
        # The sum before the first relu may be negative: a byte's 0 stands for the least of it.
        low, high = float(planes.min()), float(planes.max()) + 1.0
        self.sum_scale = (high - low) / 255
        self.sum_zero = round(-low / self.sum_scale)
        self.planes = (planes / self.sum_scale + self.sum_zero).permute(0, 2, 3, 1).flatten(1).contiguous().numpy()
        self.stem = Int8Conv(dynamics.stem.conv, latent, batch)
        x = F.relu(latent + dynamics.stem(latent) + planes[action])
        self.tower: list[tuple[Int8Conv, Int8Conv]] = []
        for block in dynamics.tower:
            assert isinstance(block, ResidualBlock)
            middle = F.relu(block.first(x))
            self.tower.append((Int8Conv(block.first.conv, x, batch), Int8Conv(block.second.conv, middle, batch)))
            x = F.relu(x + block.second(middle))
        #: The scale of what each convolution of the sum reads next, and of what the tower puts out.
        self.scales = [first.scale for first, _ in self.tower] + [scale_of(x)]
        self.project = Int8Conv(self.exact.joined, scale_to_unit(x), batch)

    def initial(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        latent, value, policy = self.exact.initial(observation)
        return to_bytes(latent), value, policy

    def recurrent(self, latent: Tensor, action: Tensor) -> Prediction:
        """latent uint8 [B, ...], action int64 [B]."""
        x = torch.empty_like(latent)
        scale = np.float32(1 / 255 / self.sum_scale)
        _add_planes(board_rows(latent), self.planes, action.numpy(), scale, board_rows(x))
        x = self.stem.add_relu_(x, self.sum_scale, self.sum_zero, latent, self.scales[0])
        for (first, second), after in zip(self.tower, self.scales[1:], strict=True):
            x = second.add_relu_(x, first.scale, 0, first.relu(x, second.scale), after)
        _scale_rows_to_unit(board_rows(x))
        policy, value, *reward = self.exact.read(self.project(x))
        return Prediction(x, reward[0] if reward else None, value, policy)


def int8_fits(net: MuZeroNet, device: torch.device) -> bool:
    """Whether this processor multiplies bytes and this torch has the operators, with results near those of float32.

    Without such instructions oneDNN adds two products in 16 bits, which overflow."""
    if device.type != "cpu" or not isinstance(net.representation, BoardRepresentation):
        return False
    instructions: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    if not any(instructions.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8")):
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
        return torch.allclose(expected, actual / 255, atol=0.1)


def to_bytes(latent: Tensor) -> Tensor:
    """A latent state, from 0 to 1, as this model keeps it."""
    return (latent * 255).round_().to(torch.uint8)


def scale_of(activations: Tensor) -> float:
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


@numba.njit(cache=True, error_model="numpy", fastmath={"nsz", "reassoc"})
def _add_planes(latents, planes, actions, scale, out):
    """out = latents * scale + planes[actions], rounded to bytes."""
    for i in range(len(latents)):
        latent, plane, row = latents[i], planes[actions[i]], out[i]
        for j in range(len(row)):
            row[j] = np.uint8(min(max(latent[j] * scale + plane[j] + np.float32(0.5), np.float32(0)), np.float32(255)))


@numba.njit(cache=True, error_model="numpy", fastmath={"nsz", "reassoc"})
def _scale_rows_to_unit(rows):
    """``scale_to_unit`` of bytes, in place: every row from 0 to 255."""
    for i in range(len(rows)):
        row = rows[i]
        low = high = row[0]
        for value in row:
            low, high = min(low, value), max(high, value)
        scale = np.float32(255.0) / np.float32(max(high - low, 1))
        for j in range(len(row)):
            row[j] = np.uint8(np.float32(row[j] - low) * scale + np.float32(0.5))
