"""What a reward signal is, and several of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from myosu.errors import UserError

#: Columns [n, ...] of n steps by name, see ``replay.transitions``: observation, next_observation, legal_actions,
#: action, reward (the environment's), terminated, truncated, env_id, remaining, and what else an algorithm stores.
Steps = Mapping[str, np.ndarray]


class RewardSignal(Protocol):
    """A source of rewards. Learners ask for them when they learn, so that a signal may change its mind about steps that
    are stored."""

    name: str
    weight: float  # of its rewards in the sum
    discount: float  # γ of its returns, in [0, 1]

    def rewards(self, steps: Steps) -> np.ndarray:
        """float32 [n], before the weight."""

    def update(self, steps: Steps) -> dict[str, float]:
        """Learn from steps before their rewards are asked for; losses by name. On-policy learners call it once with all
        steps of a rollout, in the order of time; off-policy learners with every sample."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class RewardSignals:
    """The signals of one learner. Those of one discount are one return, with one value: there are as many values as
    ``discounts``, and what is maximised is their sum. Raises UserError where signals do not go together."""

    def __init__(self, signals: Sequence[RewardSignal]) -> None:
        names = [signal.name for signal in signals]
        if len(set(names)) < len(names):
            raise UserError(f"Two reward signals have one name ({', '.join(names)}): name each differently.")
        if not any(signal.weight for signal in signals):
            raise UserError("There is nothing to learn for: all reward signals have the weight 0 "
                            f"({', '.join(names) or 'there is none'}).")
        self.signals = list(signals)
        self.discounts = list(dict.fromkeys(signal.discount for signal in signals))

    def rewards(self, steps: Steps) -> np.ndarray:
        """float32 [n, discounts]: the weighted sums of the signals of each discount."""
        sums = np.zeros((len(self.discounts), len(steps["reward"])), np.float32)
        for signal in self.signals:
            sums[self.discounts.index(signal.discount)] += np.float32(signal.weight) * signal.rewards(steps)
        return sums.T

    def update(self, steps: Steps) -> dict[str, float]:
        """The losses as "signal_loss"."""
        return {f"{signal.name}_{name}": value for signal in self.signals
                for name, value in signal.update(steps).items()}

    def state_dict(self) -> dict[str, Any]:
        return {signal.name: signal.state_dict() for signal in self.signals}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for signal in self.signals:
            signal.load_state_dict(state[signal.name])
