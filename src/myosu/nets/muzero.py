"""The MuZero model: representation, dynamics and prediction (Schrittwieser et al. 2020)."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from myosu.nets.layers import ConvHead, ConvNorm, ResidualBlock, last_linear, mlp, scale_to_unit


class Prediction(NamedTuple):
    """latent [B, ...], reward_logits [B, atoms], value_logits [B, atoms], policy_logits [B, A].

    The reward belongs to the player who acted, the value to the player to move in ``latent``.
    """

    latent: Tensor
    reward_logits: Tensor
    value_logits: Tensor
    policy_logits: Tensor


class MuZeroNet(nn.Module):
    """``initial`` encodes an observation, ``recurrent`` imagines an action.

    Boards and images ([C, H, W]) get residual towers, vectors ([D]) multilayer perceptrons of ``channels`` units.
    """

    def __init__(self, observation_shape: tuple[int, ...], num_actions: int, channels: int, blocks: int, atoms: int,
                 consistency: bool = False, decoded_planes: int = 0) -> None:
        super().__init__()
        self.num_actions, self.atoms = num_actions, atoms
        if len(observation_shape) == 3:
            planes, height, width = observation_shape
            cells = height * width
            self.latent_shape: tuple[int, ...] = (channels, height, width)
            self.representation: nn.Module = BoardRepresentation(planes, channels, blocks)
            self.dynamics: nn.Module = BoardDynamics(num_actions, height, width, channels, blocks)
            self.policy: nn.Module = ConvHead(channels, cells, num_actions, head_channels=4)
            self.value: nn.Module = ConvHead(channels, cells, atoms, head_channels=4, hidden=64)
            self.reward: nn.Module = ConvHead(channels, cells, atoms, head_channels=4, hidden=64)
        else:
            size = int(torch.tensor(observation_shape).prod())
            self.latent_shape = (channels,)
            self.representation = VectorRepresentation(size, channels, blocks)
            self.dynamics = VectorDynamics(num_actions, channels, blocks)
            self.policy = mlp(channels, channels, num_actions)
            self.value = mlp(channels, channels, atoms)
            self.reward = mlp(channels, channels, atoms)
        # The value and reward start at the middle of their support, the policy uniform: no noise to be unlearnt.
        for head in (self.policy, self.value, self.reward):
            last = last_linear(head)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        # For auxiliary losses alone: planes read off the latent board, cell by cell.
        self.decoder = nn.Conv2d(channels, decoded_planes, 1) if decoded_planes else None
        # SimSiam's projector and predictor, as EfficientZero uses them for the self-supervised consistency loss.
        latent_size = int(torch.tensor(self.latent_shape).prod())
        self.projector = mlp(latent_size, 128, 128) if consistency else None
        self.predictor = mlp(128, 64, 128) if consistency else None

    def represent(self, observation: Tensor) -> Tensor:
        return scale_to_unit(self.representation(observation))

    def initial(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """observation [B, *shape], any number type → latent, value_logits, policy_logits."""
        latent = self.represent(observation)
        return latent, self.value(latent), self.policy(latent)

    def recurrent(self, latent: Tensor, action: Tensor) -> Prediction:
        """latent [B, ...], action int64 [B]."""
        latent = scale_to_unit(self.dynamics(latent, action))
        return Prediction(latent, self.reward(latent), self.value(latent), self.policy(latent))

    def for_inference(self, dtype: torch.dtype) -> MuZeroNet:
        """A copy in ``dtype`` with every normalisation folded into its convolution."""
        net = copy.deepcopy(self).eval()
        net.projector = net.predictor = net.decoder = None
        for module in net.modules():
            if isinstance(module, ConvNorm):
                module.fuse()
        return net.to(dtype).to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]


class BoardRepresentation(nn.Module):
    def __init__(self, planes: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.stem = ConvNorm(planes, channels)
        self.tower = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))

    def forward(self, observation: Tensor) -> Tensor:
        x = observation.to(self.stem.conv.weight.dtype, memory_format=torch.channels_last)
        return self.tower(F.relu(self.stem(x)))


class BoardDynamics(nn.Module):
    """relu(latent + norm(conv(latent)) + encoding of the action), then the tower."""

    planes: Tensor

    def __init__(self, num_actions: int, height: int, width: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.register_buffer("planes", action_planes(num_actions, height, width), persistent=False)
        self.encode = nn.Conv2d(self.planes.shape[1], channels, 3, padding=1)
        self.stem = ConvNorm(channels, channels)
        self.tower = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        # One small convolution encodes every action there is; it is exact and cheaper than one plane a sample.
        table = self.encode(self.planes)
        return self.tower(F.relu(latent + self.stem(latent) + table[action]))


def action_planes(num_actions: int, height: int, width: int) -> Tensor:
    """float32 [A, P, H, W]: a one at the action's cell where actions are cells (a further action is a plane of
    ones of its own), a column of ones where they are columns, a constant plane an action otherwise."""
    cells = height * width
    if cells <= num_actions <= cells + 1:
        planes = torch.zeros(num_actions, num_actions - cells + 1, height, width)
        planes[:cells, 0] = torch.eye(cells).view(cells, height, width)
        planes[cells:, 1:] = 1.0
        return planes
    if num_actions == width:
        return torch.eye(width).view(width, 1, 1, width).expand(-1, -1, height, -1).contiguous()
    return torch.eye(num_actions).view(num_actions, num_actions, 1, 1).expand(-1, -1, height, width).contiguous()


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

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        one_hot = F.one_hot(action, self.num_actions).to(latent.dtype)
        return latent + self.layers(torch.cat([latent, one_hot], dim=1))
