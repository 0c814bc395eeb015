"""A recurrent encoder: the encoded observation concatenated with the output of an LSTM."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from myosu.envs.vector import EnvSpec
from myosu.nets.encoder import Encoder, Observation, has_images


class Memory(nn.Module):
    """Recurrent encoder; returns [encoded observation, output of an LSTM], float32 [n, ``features``].

    The recurrent state, float32 [B, ``state_size``], is the LSTM's hidden state and cell state; 0 at the start of an
    episode.
    """

    def __init__(self, spec: EnvSpec, hidden: tuple[int, ...], channels: int, blocks: int, size: int) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden if has_images(spec) else (), channels, blocks)
        self.lstm = nn.LSTM(self.encoder.features, size, batch_first=True)
        self.features, self.state_size = self.encoder.features + size, 2 * size

    def spec(self, spec: EnvSpec) -> EnvSpec:
        """``spec`` for networks whose input is this module's output instead of the observation."""
        return replace(spec, observation_shape=(self.features,), observation_dtype=np.float32, observation_bounds=())

    def forward(self, observation: Observation, state: Tensor) -> tuple[Observation, Tensor]:
        """Encode B sequences of T observations each, given as n = B · T rows, from the state [B, ...] before their
        first steps. Returns the n outputs and the state after the last steps."""
        x, _ = self.encoder(observation)
        return self.remember(x.view(len(state), -1, x.shape[1]), state)

    def remember(self, x: Tensor, state: Tensor) -> tuple[Observation, Tensor]:
        """``forward`` for observations that are already encoded, [B, T, ...]."""
        hidden, cell = (part[None].contiguous() for part in state.chunk(2, dim=1))
        found, (hidden, cell) = self.lstm(x, (hidden, cell))
        return {"": torch.cat([x, found], dim=2).flatten(0, 1)}, torch.cat([hidden[0], cell[0]], dim=1)
