"""The learner that cloning and value networks share: samples recorded games, augments, trains and tests."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from myosu.errors import NonFiniteLoss
from myosu.games.game import Symmetries
from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.replay.replay import Replay, Rows
from myosu.runs.state import State, Weights, copied

#: Maps a batch of the replay's rows to measures [n] by name; ``loss`` is minimised.
Measure = Callable[[Rows], dict[str, Tensor]]
#: Number of held-out rows that ``held_out_loss`` tests.
MOST_TESTED = 8192


class SupervisedLearner:
    """Minimises ``loss`` of ``network`` by Adam, with a learning rate annealed linearly to 0.

    config: has batch_size, learning_rate and symmetries. Rows whose column ``held_out`` is true are never trained on;
    their mean measures are reported as ``held_out_...``.
    """

    def __init__(self, config: Any, network: nn.Module, measure: Measure, symmetries: Symmetries | None,
                 seed: int) -> None:
        self.config, self.network, self.measure = config, network, measure
        self.symmetries = symmetries if config.symmetries else None
        self.rng = np.random.default_rng(seed)
        self.parameters = FlatParameters(network)
        self.optimizer = FlatAdam(self.parameters)

    def update(self, replay: Replay, progress: float) -> dict[str, float]:
        rows = replay.sample_rows(self.config.batch_size, self.rng)
        batch = self._augmented({name: column.take(rows, axis=0) for name, column in replay.columns.items()})
        held_out = torch.from_numpy(batch["held_out"])
        measures = self.measure(batch)
        parts = {f"{prefix}{name}": values[where].mean()
                 for prefix, where in (("", ~held_out), ("held_out_", held_out)) if where.any()
                 for name, values in measures.items()}
        metrics = {name: float(value.detach()) for name, value in parts.items()}
        if not all(map(math.isfinite, metrics.values())):
            raise NonFiniteLoss(f"losses {metrics}", batch)
        if "loss" in parts:
            self.parameters.zero_gradient()
            parts["loss"].backward()
            self.optimizer.step(self.config.learning_rate * (1.0 - progress))
        return metrics

    @torch.inference_mode()
    def held_out_loss(self, replay: Replay) -> float | None:
        """The mean loss of the held-out rows, of at most ``MOST_TESTED`` spread over all; None if there are none."""
        rows = np.flatnonzero(replay.columns["held_out"][:replay.filled])
        if not len(rows):
            return None
        rows = rows[:: math.ceil(len(rows) / MOST_TESTED)]
        losses = [self.measure({name: column.take(some, axis=0) for name, column in replay.columns.items()})["loss"]
                  for some in np.array_split(rows, math.ceil(len(rows) / 256))]
        return float(torch.cat(losses).mean())

    def _augmented(self, batch: Rows) -> Rows:
        """Augment each row with a random symmetry of the game."""
        return batch if self.symmetries is None else self.symmetries.augment(batch, self.rng)

    def weights(self) -> Weights:
        return copied(self.network.state_dict())

    def state_dict(self) -> State:
        return copy.deepcopy({"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(),
                              "rng": self.rng.bit_generator.state})

    def load_state_dict(self, state: State) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
