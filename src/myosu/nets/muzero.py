"""The MuZero model: representation, dynamics and prediction (Schrittwieser et al. 2020)."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from myosu.nets.conv_norm import ConvNorm, ResidualBlock
from myosu.nets.layers import (
    CellHead,
    ConvHead,
    last_linear,
    mlp,
    scale_gradient,
    scale_to_unit,
)


class Prediction(NamedTuple):
    """The model's outputs after an action.

    latent: [B, ...]. reward_logits: [B, atoms], or None if rewards are not predicted. value_logits: [B, atoms].
    policy_logits: [B, A]. The reward belongs to the player who acted, the value to the player to move in ``latent``.
    """

    latent: Tensor
    reward_logits: Tensor | None
    value_logits: Tensor
    policy_logits: Tensor


class HeadOutputs(NamedTuple):
    """The heads' outputs for the K + 1 latent states of B unrolls, flattened time-major.

    policy_logits: [(K + 1) B, A]. value_logits: [(K + 1) B, atoms]. reward_logits: [K B, atoms], of the imagined
    states, or None without a reward head. planes: [(K + 1) B, planes, H, W], or None without a decoder."""

    policy_logits: Tensor
    value_logits: Tensor
    reward_logits: Tensor | None
    planes: Tensor | None


class MuZeroNet(nn.Module):
    """MuZero's network: ``initial`` encodes an observation, ``recurrent`` predicts the state after an action.

    Boards and images ([C, H, W]) use residual towers, vectors ([D]) MLPs with ``channels`` hidden units.

    rewards: add a reward head. consistency: add the projector and predictor of the self-supervised loss.
    decoded_planes: number of planes that auxiliary losses decode from a latent board. dynamics: False for a network
    that only evaluates positions (AlphaZero); then only ``initial``, ``represent``, ``read`` and ``unroll`` of no
    action work.
    """

    def __init__(self, observation_shape: tuple[int, ...], num_actions: int, channels: int, blocks: int, atoms: int,
                 rewards: bool = True, consistency: bool = False, decoded_planes: int = 0,
                 dynamics: bool = True) -> None:
        super().__init__()
        self.observation_shape, self.num_actions, self.atoms = observation_shape, num_actions, atoms
        if len(observation_shape) == 3:
            planes, height, width = observation_shape
            cells = height * width
            self.latent_shape: tuple[int, ...] = (channels, height, width)
            self.representation: nn.Module = BoardRepresentation(planes, channels, blocks)
            self.dynamics: BoardDynamics | VectorDynamics | None = (
                BoardDynamics(num_actions, height, width, channels, blocks) if dynamics else None)
            by_cell = num_actions > cells and num_actions % cells == 0
            self.policy: nn.Module = (CellHead(channels, num_actions // cells) if by_cell else
                                      ConvHead(channels, cells, num_actions, located=4))
            self.value: nn.Module = ConvHead(channels, cells, atoms, located=4, hidden=64)
            self.reward: nn.Module | None = (
                ConvHead(channels, cells, atoms, located=4, pooled=16, hidden=64) if rewards else None)
        else:
            size = int(torch.tensor(observation_shape).prod())
            self.latent_shape = (channels,)
            self.representation = VectorRepresentation(size, channels, blocks)
            self.dynamics = VectorDynamics(num_actions, channels, blocks) if dynamics else None
            self.policy = mlp(channels, channels, num_actions)
            self.value = mlp(channels, channels, atoms)
            self.reward = mlp(channels, channels, atoms) if rewards else None
        # Value and reward start at the middle of their support and the policy uniform, so there is no noise to unlearn.
        for head in filter(None, (self.policy, self.value, self.reward)):
            last = last_linear(head)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        # Only for auxiliary losses: decodes planes from the latent board, cell by cell.
        self.decoder = nn.Conv2d(channels, decoded_planes, 1) if decoded_planes else None
        # SimSiam's projector and predictor, for EfficientZero's self-supervised consistency loss.
        latent_size = int(torch.tensor(self.latent_shape).prod())
        self.projector = mlp(latent_size, 128, 128) if consistency else None
        self.predictor = mlp(128, 64, 128) if consistency else None

    def represent(self, observation: Tensor) -> Tensor:
        return scale_to_unit(self.representation(observation))

    def start_at_zero(self, points: Tensor) -> None:
        """Set the output biases so that values and rewards start near 0 even if the middle of ``points`` is not 0."""
        if points[0] != -points[-1]:
            distance = (torch.arange(len(points)) - points.abs().argmin()).abs()
            for head in filter(None, (self.value, self.reward)):
                last_linear(head).bias.data.copy_(-distance)

    def initial(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """observation [B, *shape], any dtype → latent [B, ...], value_logits [B, atoms], policy_logits [B, A]."""
        latent = self.represent(observation)
        return latent, self.value(latent), self.policy(latent)

    def action_codes(self) -> Tensor:
        """The encodings of all actions, [A, ...]. Compute them once for several calls of ``imagine``."""
        assert self.dynamics is not None
        return self.dynamics.codes()

    def imagine(self, latent: Tensor, action: Tensor, codes: Tensor | None = None) -> Tensor:
        """The latent state [B, ...] after ``action``, int64 [B]. codes: from ``action_codes``."""
        assert self.dynamics is not None
        return scale_to_unit(self.dynamics(latent, action, self.action_codes() if codes is None else codes))

    def unroll(self, latent: Tensor, actions: Tensor) -> list[Tensor]:
        """The K + 1 latent states [B, ...] along ``actions``, int64 [K, B], starting with ``latent``. The gradient is
        halved at every step, so that early dynamics steps do not receive K times as much (MuZero, appendix G)."""
        latents, codes = [latent], self.action_codes() if len(actions) else None
        for k, action in enumerate(actions):
            latents.append(self.imagine(scale_gradient(latents[k], 0.5) if k else latent, action, codes))
        return latents

    def board_heads(self) -> list[ConvHead | CellHead]:
        """The heads that read a latent board: policy, value and, if there is one, reward. Empty for vector
        observations."""
        return [head for head in (self.policy, self.value, self.reward) if isinstance(head, ConvHead | CellHead)]

    def read(self, latents: list[Tensor]) -> HeadOutputs:
        """The outputs of all heads for ``latents``, each [B, ...], from ``unroll``."""
        first, heads, decoder = len(latents[0]), self.board_heads(), self.decoder
        if not heads:
            joined = torch.cat(latents)
            reward = None if self.reward is None else self.reward(joined[first:])
            return HeadOutputs(self.policy(joined), self.value(joined), reward, None)
        # The heads' first layers are fused into one convolution, which reads each latent state once, while it is
        # cached.
        convs = [head.project for head in heads] + ([] if decoder is None else [decoder])
        weight, bias = (torch.cat([getattr(conv, name) for conv in convs]) for name in ("weight", "bias"))
        projected = torch.cat([F.conv2d(latent, weight, bias) for latent in latents])
        parts = projected.split([conv.out_channels for conv in convs], dim=1)
        policy, value = (head.read(part) for head, part in zip(heads[:2], parts[:2], strict=True))
        return HeadOutputs(policy, value, heads[2].read(parts[2][first:]) if len(heads) > 2 else None,
                           None if decoder is None else parts[-1])

    def recurrent(self, latent: Tensor, action: Tensor) -> Prediction:
        """latent [B, ...], action int64 [B]."""
        latent = self.imagine(latent, action)
        reward = None if self.reward is None else self.reward(latent)
        return Prediction(latent, reward, self.value(latent), self.policy(latent))

    def for_inference(self, dtype: torch.dtype) -> MuZeroNet:
        """A frozen copy in ``dtype`` with every batch normalisation folded into its convolution."""
        net = copy.deepcopy(self).eval()
        net.projector = net.predictor = net.decoder = None
        for module in net.modules():
            if isinstance(module, ConvNorm):
                module.fuse()
        return net.to(dtype).to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]


def action_layers(num_actions: int, cells: int) -> int:
    """Number of layers if action = layer * cells + cell, with at most one further action (a pass); 0 if actions do not
    correspond to cells."""
    return num_actions // cells if num_actions % cells <= 1 else 0


class BoardRepresentation(nn.Module):
    def __init__(self, planes: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.stem = ConvNorm(planes, channels)
        self.tower = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))

    def forward(self, observation: Tensor) -> Tensor:
        x = observation.to(self.stem.conv.weight.dtype, memory_format=torch.channels_last)
        return self.tower(self.stem(x))


class BoardDynamics(nn.Module):
    """relu(latent + norm(conv(latent)) + action encoding), then the residual tower."""

    def __init__(self, num_actions: int, height: int, width: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.actions: nn.Module = ActionPlanes(num_actions, height, width, channels)
        self.stem = ConvNorm(channels, channels)
        self.tower = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))

    def codes(self) -> Tensor:
        return self.actions()

    def forward(self, latent: Tensor, action: Tensor, codes: Tensor) -> Tensor:
        # index_select copies whole boards, forwards and backwards; indexing copies element by element.
        return self.tower(self.stem(latent, residual=codes.index_select(0, action).add_(latent)))


class ActionPlanes(nn.Module):
    """The encodings of all actions as boards that are added to the latent state, [A, channels, H, W].

    If actions correspond to cells, in one or several layers, the encoding at a cell depends on its distance and
    direction from the action: each layer has one learnt kernel twice as large as the board, shifted to the action.
    A small convolution around the action's cell would reach only its neighbours, and the tower would have to carry a
    move across the board before it could flip a long line. Actions that correspond to columns are encoded in the same
    way. All other actions have one value per channel, the same for all cells.
    """

    def __init__(self, num_actions: int, height: int, width: int, channels: int) -> None:
        super().__init__()
        self.board, self.channels = (height, width), channels
        self.layers = action_layers(num_actions, height * width)
        # Number of rows and columns of the actions of one layer.
        self.reach = (height, width)
        if not self.layers:
            self.layers, self.reach = (1, (1, width)) if num_actions == width else (0, (0, 0))
        others = num_actions - self.layers * self.reach[0] * self.reach[1]
        # Initialised as large as the activations they are added to, so that an action can switch channels on and off.
        self.others = nn.Parameter(torch.randn(others, channels, 1, 1))
        rows, columns = (max(0, 2 * size - 1) for size in self.reach)
        self.kernel = nn.Parameter(0.05 * torch.randn(self.layers * channels, rows, columns))

    def forward(self) -> Tensor:
        others = self.others.expand(-1, -1, *self.board)
        if not self.layers:
            return others
        rows, columns = self.reach
        # placed[l, i, j, c, y, x] = kernel[l, c, rows − 1 − i + y, columns − 1 − j + x] at (i, j) of layer l
        moved = self.kernel.unfold(1, rows, 1).unfold(2, columns, 1).flip(1, 2)
        placed = moved.unflatten(0, (self.layers, self.channels)).permute(0, 2, 3, 1, 4, 5)
        return torch.cat([placed.flatten(0, 2).expand(-1, -1, *self.board), others])


class VectorRepresentation(nn.Module):
    def __init__(self, size: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.layers = mlp(size, channels, channels, layers=max(1, blocks))

    def forward(self, observation: Tensor) -> Tensor:
        return self.layers(observation.flatten(1).to(next(self.parameters()).dtype))


class VectorDynamics(nn.Module):
    def __init__(self, num_actions: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.num_actions = num_actions
        self.layers = mlp(channels + num_actions, channels, channels, layers=max(1, blocks))

    def codes(self) -> Tensor:
        return torch.eye(self.num_actions, dtype=next(self.parameters()).dtype, device=next(self.parameters()).device)

    def forward(self, latent: Tensor, action: Tensor, codes: Tensor) -> Tensor:
        return latent + self.layers(torch.cat([latent, codes[action]], dim=1))
