"""The interface of a reward signal, and a weighted set of signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from myosu.errors import UserError

#: Columns [n, ...] of n steps by name, see ``replay.transitions``: observation, next_observation, legal_actions,
#: action, reward (the environment's), terminated, truncated, env_id, remaining, and whatever else an algorithm stores.
Steps = Mapping[str, np.ndarray]


class RewardSignal(Protocol):
    """A source of rewards. Learners compute rewards when they train, so a signal may change its rewards for stored
    steps."""

    name: str
    weight: float  # of its rewards in the weighted sum
    discount: float  # γ of its returns, in [0, 1]
    episodic: bool  # whether its returns end where an episode terminates; else they continue into the next episode

    def rewards(self, steps: Steps) -> np.ndarray:
        """Unweighted rewards, float32 [n]."""

    def update(self, steps: Steps) -> dict[str, float]:
        """Train on steps, before ``rewards`` is called for them. Returns losses by name. On-policy learners call it
        once per rollout, with all steps in chronological order; off-policy learners once per sampled batch."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class RewardSignals:
    """The reward signals of one learner.

    Signals that agree in (discount, episodic) share one return and one value head. ``returns`` lists these pairs, and
    the learner maximises the sum of the returns. Raises UserError if two signals have the same name or all weights are
    0.
    """

    def __init__(self, signals: Sequence[RewardSignal]) -> None:
        names = [signal.name for signal in signals]
        if len(set(names)) < len(names):
            raise UserError(f"Two reward signals have the same name ({', '.join(names)}): give each its own name.")
        if not any(signal.weight for signal in signals):
            raise UserError("There is nothing to learn: all reward signals have weight 0 "
                            f"({', '.join(names) or 'there is none'}).")
        self.signals = list(signals)
        self.returns = list(dict.fromkeys((signal.discount, signal.episodic) for signal in signals))
        self.discounts = [discount for discount, _ in self.returns]

    def rewards(self, steps: Steps) -> np.ndarray:
        """The weighted sum of the signals of each return, float32 [n, returns]."""
        sums = np.zeros((len(self.returns), len(steps["reward"])), np.float32)
        for signal in self.signals:
            kind = self.returns.index((signal.discount, signal.episodic))
            sums[kind] += np.float32(signal.weight) * signal.rewards(steps)
        return sums.T

    def update(self, steps: Steps) -> dict[str, float]:
        """Update every signal. Returns losses by the names "{signal}_{loss}"."""
        return {f"{signal.name}_{name}": value for signal in self.signals
                for name, value in signal.update(steps).items()}

    def state_dict(self) -> dict[str, Any]:
        return {signal.name: signal.state_dict() for signal in self.signals}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for signal in self.signals:
            signal.load_state_dict(state[signal.name])
