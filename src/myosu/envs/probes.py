"""Five environments with exactly known values, to test algorithms.

Each needs one more ability than the one before. Values are those of the optimal policy; γ is the discount.

- ``myosu/ProbeConstant-v0``: one action, one observation, one step, reward 1. Value 1.
- ``myosu/ProbeObservation-v0``: one action, one step, the reward is the observation, which is 1 or -1. Value: the
  observation.
- ``myosu/ProbeDiscount-v0``: one action, two steps, observations 0 and 1, the second step pays 1. Values γ and 1.
- ``myosu/ProbeAction-v0``: two actions, one step, action 1 pays 1 and action 0 pays -1. Value 1.
- ``myosu/ProbeBoth-v0``: two actions, one step, action 1 pays 1 if the observation is 1, action 0 pays 1 if
  it is -1, and otherwise the reward is -1. Value 1.

``myosu.envs`` registers them; an id can include the package: ``myosu.envs:myosu/ProbeBoth-v0``.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

#: Observation after the end of an episode; an algorithm must not use it.
END = 2.0


class _Probe(gymnasium.Env):
    """Base class of the probes. Observations are float32 [1]."""

    observation_space = spaces.Box(-1.0, END, (1,), np.float32)
    action_space = spaces.Discrete(1)
    observation = 1.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.observation = self.first()
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward, self.observation = self.rules(int(action))
        return self._observe(), reward, self.observation == END, False, {}

    def first(self) -> float:
        """The first observation."""
        return 1.0

    def rules(self, action: int) -> tuple[float, float]:
        """Reward and next observation."""
        raise NotImplementedError

    def _observe(self) -> np.ndarray:
        return np.array([self.observation], np.float32)


class ProbeConstant(_Probe):
    def rules(self, action: int) -> tuple[float, float]:
        return 1.0, END


class ProbeObservation(_Probe):
    def first(self) -> float:
        return float(self.np_random.choice([-1.0, 1.0]))

    def rules(self, action: int) -> tuple[float, float]:
        return self.observation, END


class ProbeDiscount(_Probe):
    def first(self) -> float:
        return 0.0

    def rules(self, action: int) -> tuple[float, float]:
        return self.observation, self.observation + 1.0


class ProbeAction(_Probe):
    action_space = spaces.Discrete(2)

    def rules(self, action: int) -> tuple[float, float]:
        return (1.0 if action == 1 else -1.0), END


class ProbeBoth(ProbeObservation):
    action_space = spaces.Discrete(2)

    def rules(self, action: int) -> tuple[float, float]:
        return (1.0 if action == (self.observation > 0) else -1.0), END
