"""Converts a torch network to programs that the page runs, which are lists of layers (``layers.py``), and weights.

A program is a list of calls [layer, arguments...]. Each argument is an integer or a place in memory: ["buffer", k,
offset] is a position in buffer k, ["weights", k] the array k of weights, ["given", name] an argument from the page.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from myosu.algorithms import dqn, ppo
from myosu.errors import UserError
from myosu.games import Game
from myosu.nets.conv_norm import ResidualBlock
from myosu.nets.encoder import ActionHead, Encoder, ImageEncoder, RunningNorm, _Residual, _Stem
from myosu.nets.layers import CellHead, ConvHead
from myosu.nets.muzero import (
    ActionPlanes,
    BoardDynamics,
    BoardRepresentation,
    MuZeroNet,
    VectorDynamics,
    VectorRepresentation,
)
from myosu.publish import layers
from myosu.publish.layers import board_size, lanes
from myosu.runs.state import rounded_halves

#: A place in memory, in the form that the page reads.
Place = list[Any]
NONE, RELU, TANH = range(3)
#: Bits of the fraction of a float16, and the fewest of them that a page keeps: errors of at most 1 in 128.
FRACTION_BITS, LEAST_BITS = 10, 6


class Programs:
    """Programs that share their buffers and weights."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.shape = game.observation_shape
        self.buffers: list[int] = []
        self.weights: list[np.ndarray] = []
        self._kept: dict[bytes, int] = {}
        self.programs: dict[str, list[list[Any]]] = {}
        self._calls: list[list[Any]] = []

    def begin(self, name: str) -> None:
        self._calls = self.programs[name] = []

    def to_json(self) -> dict[str, Any]:
        """Buffers, programs, and the start of each array of weights; without the weights themselves."""
        starts = np.cumsum([0, *(weights.size for weights in self.weights)]).tolist()
        return {"buffers": self.buffers, "weights": starts, "programs": self.programs}

    def all_weights(self) -> np.ndarray:
        """All weights, float32 [size]."""
        return np.concatenate([np.zeros(0, np.float32), *(weights.ravel() for weights in self.weights)])

    # Memory.

    def buffer(self, size: int) -> Place:
        self.buffers.append(size)
        return ["buffer", len(self.buffers) - 1, 0]

    def keep(self, weights: Tensor | np.ndarray) -> Place:
        """Equal arrays are kept once: the heads of MuZero are a part of both programs."""
        array = np.ascontiguousarray(torch.as_tensor(weights).detach().float().numpy())
        number = self._kept.setdefault(array.tobytes(), len(self.weights))
        if number == len(self.weights):
            self.weights.append(array)
        return ["weights", number]

    def call(self, layer: Callable, *arguments: int | Place) -> None:
        self._calls.append([layer.__name__, *arguments])

    # Boards: [H + 2, W + 2, lanes(C)].

    def board(self, channels: int) -> Place:
        return self.buffer(board_size(self.shape[1], self.shape[2], channels))

    def picture(self) -> Place:
        """The observation as a board."""
        out = self.board(self.shape[0])
        self.call(layers.picture, ["given", "observation"], out, *self.shape, lanes(self.shape[0]))
        return out

    def convolution(self, conv: nn.Conv2d, x: Place, relu: bool = False, residual: Place | None = None,
                    bias: Place | None = None, out: Place | None = None) -> Place:
        """conv(x), + residual if given, then relu if ``relu``. bias: replaces the convolution's own bias."""
        reach = conv.kernel_size[0] // 2
        assert conv.kernel_size in ((1, 1), (3, 3)) and conv.padding == (reach, reach) and conv.stride == (1, 1)
        inputs, outputs = lanes(conv.in_channels), lanes(conv.out_channels)
        padded = torch.zeros(outputs, inputs, *conv.kernel_size)
        padded[:conv.out_channels, :conv.in_channels] = conv.weight.detach()
        in_fours = padded.unflatten(0, (-1, 4)).permute(0, 3, 4, 2, 1)
        if bias is None:
            assert conv.bias is not None
            bias = self.keep(_padded(conv.bias))
        out = self.board(conv.out_channels) if out is None else out
        self.call(layers.convolve, x, self.keep(in_fours), bias, out if residual is None else residual, out,
                  *self.shape[1:], inputs, outputs, reach, int(residual is not None), int(relu))
        return out

    def flat(self, board: Place, channels: int, first: int = 0, of: int | None = None, out: Place | None = None
             ) -> Place:
        """``channels`` channels of a board with ``of`` channels, starting at ``first``, as [channels, H, W]."""
        out = self.buffer(channels * self.cells) if out is None else out
        self.call(layers.flatten, board, out, first, channels, *self.shape[1:], lanes(of or channels))
        return out

    @property
    def cells(self) -> int:
        return self.shape[1] * self.shape[2]

    # Vectors.

    def vector(self) -> Place:
        """The observation as a vector."""
        size = int(np.prod(self.shape))
        out = self.buffer(size)
        self.call(layers.plain, ["given", "observation"], out, size)
        return out

    def linear(self, weight: Tensor, bias: Tensor, x: Place, activation: int = NONE) -> Place:
        """A linear layer. weight: [outputs, inputs], as in torch."""
        out = self.buffer(len(weight))
        self.call(layers.linear, x, self.keep(weight.t()), self.keep(bias), out, weight.shape[1], len(weight),
                  activation)
        return out

    def chain(self, modules: nn.Sequential, x: Place) -> Place:
        """Linear layers, each followed by normalisation and activation where ``modules`` has them."""
        steps = [module for module in modules if isinstance(module, nn.Linear | nn.LayerNorm | nn.ReLU | nn.Tanh)]
        for k, module in enumerate(steps):
            after = steps[k + 1] if k + 1 < len(steps) else None
            if isinstance(module, nn.Linear):
                activation = RELU if isinstance(after, nn.ReLU) else TANH if isinstance(after, nn.Tanh) else NONE
                x = self.linear(module.weight, module.bias, x, activation)
            elif isinstance(module, nn.LayerNorm):
                size = module.normalized_shape[0]
                if isinstance(after, nn.Tanh):
                    raise UserError("A network with a tanh behind a layer normalisation cannot be published.")
                self.call(layers.normalize, x, self.keep(module.weight), self.keep(module.bias), size,
                          int(isinstance(after, nn.ReLU)))
        return x


def pack(weights: np.ndarray, bytes: int) -> bytes:
    """float32 [size] as float16: first all low bytes, then all high bytes. With signs and exponents side by side, the
    gzipped file is a fifteenth smaller.

    bytes: of the ten bits of the fractions as many are kept, at least ``LEAST_BITS``, as fit into this number of bytes
    when gzipped. The other bits are 0.
    """
    for bits in range(FRACTION_BITS, LEAST_BITS - 1, -1):
        packed = rounded_halves(weights, bits).astype("<f2").view(np.uint8).reshape(-1, 2).T.tobytes()
        if len(gzip.compress(packed)) <= bytes:
            break
    return packed


def _padded(x: Tensor) -> Tensor:
    out = torch.zeros(lanes(len(x)))
    out[:len(x)] = x.detach()
    return out


# MuZero, and Muesli without a search: "initial" computes a latent state, its policy and its value; "recurrent" computes
# the next latent state, "next", from the arguments "latent" and "action".


def of_muzero(programs: Programs, net: MuZeroNet, imagines: bool) -> dict[str, Any]:
    """Programs of a MuZero model. net: from ``for_inference``, in float32. imagines: whether to include "recurrent"."""
    boards = isinstance(net.representation, BoardRepresentation)
    channels = net.latent_shape[0]
    size = board_size(net.latent_shape[1], net.latent_shape[2], channels) if boards else channels
    programs.begin("initial")
    if isinstance(net.representation, BoardRepresentation):
        x = programs.convolution(net.representation.stem.conv, programs.picture(), relu=True)
        latent = _tower(programs, net.representation.tower, x)
    else:
        assert isinstance(net.representation, VectorRepresentation)
        latent = programs.chain(net.representation.layers, programs.vector())
    _scale(programs, latent, channels, boards)
    found: dict[str, Any] = {"size": size, "root": latent, **_heads(programs, net, latent, imagined=False)}
    if imagines:
        programs.begin("recurrent")
        latent = _imagine(programs, net)
        _scale(programs, latent, channels, boards)
        found |= {"next": latent, "imagined": _heads(programs, net, latent, imagined=True)}
    return found


def _imagine(programs: Programs, net: MuZeroNet) -> Place:
    given, action, dynamics = ["given", "latent"], ["given", "action"], net.dynamics
    if isinstance(dynamics, VectorDynamics):
        size = net.latent_shape[0]
        joined = programs.buffer(size + net.num_actions)
        programs.call(layers.join_action, given, joined, action, size, net.num_actions)
        x = programs.chain(dynamics.layers, joined)
        programs.call(layers.add, given, x, size)
        return x
    assert isinstance(dynamics, BoardDynamics)
    planes, channels = dynamics.actions, net.latent_shape[0]
    assert isinstance(planes, ActionPlanes)
    rows, columns = planes.reach
    kernel = torch.zeros(planes.layers, *planes.kernel.shape[1:], lanes(channels))
    if planes.layers:
        kernel[..., :channels] = planes.kernel.detach().unflatten(0, (planes.layers, channels)).permute(0, 2, 3, 1)
    others = torch.zeros(len(planes.others), lanes(channels))
    others[:, :channels] = planes.others.detach()[:, :, 0, 0]
    moved = programs.board(channels)
    programs.call(layers.add_action, given, programs.keep(kernel), programs.keep(others), moved, action,
                  *net.latent_shape[1:], lanes(channels), planes.layers, rows, columns)
    x = programs.convolution(dynamics.stem.conv, given, relu=True, residual=moved)
    return _tower(programs, dynamics.tower, x)


def _tower(programs: Programs, tower: nn.Sequential, x: Place) -> Place:
    for block in tower:
        assert isinstance(block, ResidualBlock)
        first = programs.convolution(block.first.conv, x, relu=True)
        x = programs.convolution(block.second.conv, first, relu=True, residual=x)
    return x


def _scale(programs: Programs, latent: Place, channels: int, boards: bool) -> None:
    if boards:
        programs.call(layers.scale_board, latent, *programs.shape[1:], lanes(channels), channels)
    else:
        programs.call(layers.scale_vector, latent, channels)


def _heads(programs: Programs, net: MuZeroNet, latent: Place, imagined: bool) -> dict[str, Place | None]:
    reward = net.reward if imagined else None
    return {"policy": _head(programs, net.policy, latent), "value": _head(programs, net.value, latent),
            "reward": None if reward is None else _head(programs, reward, latent)}


def _head(programs: Programs, head: nn.Module, latent: Place) -> Place:
    if isinstance(head, nn.Sequential):
        return programs.chain(head, latent)
    if isinstance(head, CellHead):
        hidden = programs.convolution(head.project, latent, relu=True)
        return programs.flat(programs.convolution(_as_convolution(head.out), hidden), head.out.out_features)
    assert isinstance(head, ConvHead)
    channels, cells = head.project.out_channels, programs.cells
    pooled = channels - head.located
    projected = programs.convolution(head.project, latent)
    features = programs.buffer(head.located * cells + 2 * pooled)
    programs.flat(projected, head.located, of=channels, out=features)
    if pooled:
        rest = programs.flat(projected, pooled, head.located, channels)
        programs.call(layers.pool, rest, ["buffer", features[1], head.located * cells], pooled, cells)
    if head.hidden is not None:
        features = programs.linear(head.hidden.weight, head.hidden.bias, features, RELU)
    return programs.linear(head.out.weight, head.out.bias, features)


def _as_convolution(linear: nn.Linear) -> nn.Conv2d:
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.weight.data, conv.bias.data = linear.weight.detach()[:, :, None, None], linear.bias.detach()  # type: ignore[union-attr]
    return conv


# PPO and DQN: "initial" computes the outputs of the heads.


def of_ppo(programs: Programs, net: ppo.ActorCritic) -> dict[str, Any]:
    if net.cell is not None:
        raise UserError("An agent with a memory (lstm_size) cannot be published yet.")
    programs.begin("initial")
    # The value in units of the rewards, summed over the heads of all discounts.
    mean, deviation = (torch.from_numpy(x.reshape(-1)).float() for x in net.value._moments())
    value = (net.value.linear.weight * deviation[:, None]).sum(0, keepdim=True)
    bias = (net.value.linear.bias * deviation + mean).sum(0, keepdim=True)
    if net.towers is None:
        features, cells = _encode(programs, net.encoder)
        return {"policy": _action_head(programs, net.policy, features, cells),
                "value": programs.linear(value, bias, features)}
    x, _ = _encode(programs, net.encoder)
    policy, values = x, x
    activation = RELU if net.towers.rectified else TANH
    for weight, shift in net.towers.layers:
        policy = programs.linear(weight[0].t(), shift[0, 0], policy, activation)
        values = programs.linear(weight[1].t(), shift[1, 0], values, activation)
    assert isinstance(net.policy.out, nn.Linear)
    return {"policy": programs.linear(net.policy.out.weight, net.policy.out.bias, policy),
            "value": programs.linear(value, bias, values)}


def of_dqn(programs: Programs, net: dqn.QNet) -> dict[str, Any]:
    programs.begin("initial")
    features, cells = _encode(programs, net.encoder)
    if net.value is None:
        return {"q": _action_head(programs, net.advantage, features, cells)}
    # Even features belong to the value stream, odd ones to the advantages; the other weights are 0.
    size = net.encoder.features
    value = torch.zeros(1, size)
    value[:, ::2] = net.value.weight.detach()
    advantage = _action_head(programs, net.advantage, features, cells, (size, slice(1, None, 2)))
    out = programs.buffer(programs.game.num_actions)
    programs.call(layers.duel, programs.linear(value, net.value.bias, features), advantage, out,
                  programs.game.num_actions)
    return {"q": out}


def _encode(programs: Programs, encoder: Encoder) -> tuple[Place, Place | None]:
    """The features and, for a board, the output of the convolutions."""
    part, norm = encoder.parts[0], encoder.norms[0]
    if not isinstance(part, ImageEncoder):
        x = programs.vector()
        if isinstance(norm, RunningNorm):
            scale = 1 / (norm.variance.float() + 1e-8).sqrt()
            programs.call(layers.standardize, x, programs.keep(norm.mean.flatten()), programs.keep(scale.flatten()),
                          norm.mean.numel())
        assert isinstance(part, nn.Sequential)
        return programs.chain(part, x), None
    if not part.is_board:
        raise UserError(f"Observations of the shape {programs.shape} are images; only boards can be published.")
    x = programs.picture()
    for module in part.convolutions:
        if isinstance(module, _Stem):
            seen = programs.flat(x, programs.shape[0])
            share = module.share.detach()
            whole = programs.linear(_padded_rows(share[:, None] * module.whole.weight.detach()),
                                    _padded(share * module.whole.bias.detach() + module.near.bias.detach()),  # type: ignore[union-attr]
                                    seen)
            x = programs.convolution(module.near, x, relu=True, bias=whole)  # the relu comes next
        elif isinstance(module, _Residual):
            first = programs.convolution(module.first, x, relu=True)
            x = programs.convolution(module.second, first, relu=True, residual=x)
    features = programs.linear(part.out.weight, part.out.bias, programs.flat(x, part.cells[0]), RELU)
    return features, x


def _padded_rows(x: Tensor) -> Tensor:
    out = torch.zeros(lanes(len(x)), x.shape[1])
    out[:len(x)] = x
    return out


def _action_head(programs: Programs, head: ActionHead, features: Place, cells: Place | None,
                 spread: tuple[int, slice] | None = None) -> Place:
    """An ``ActionHead``. spread: (number of features, slice of the features that the head reads)."""
    if isinstance(head.out, nn.Conv2d):
        assert cells is not None
        return programs.flat(programs.convolution(head.out, cells), head.out.out_channels)
    assert isinstance(head.out, nn.Linear)
    weight = head.out.weight.detach()
    if spread is not None:
        size, which = spread
        weight = torch.zeros(len(weight), size)
        weight[:, which] = head.out.weight.detach()
    return programs.linear(weight, head.out.bias, features)
