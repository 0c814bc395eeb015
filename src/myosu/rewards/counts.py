"""Episodic counts: an intrinsic reward for observations that are new in this episode."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from myosu.errors import UserError
from myosu.rewards.curiosity import ReturnScale
from myosu.rewards.signals import Steps


class EpisodicCounts:
    """r = 1 / √N(s_{t+1}) / σ, where N is the number of visits to an observation in this episode, this one included.

    Combined with RND it keeps an agent exploring states that it knows from earlier episodes (Badia et al. 2020; Henaff
    et al. 2023). Observations are the same only if all their numbers are equal, so it suits grids and boards. For the
    division by σ, see ``ReturnScale``.

    Raises UserError without ``num_envs``, because samples of a replay do not contain the steps before them.
    """

    name = "counts"
    episodic = True  # otherwise ending an episode would pay, because everything is new again after it

    def __init__(self, discount: float, weight: float = 1.0, num_envs: int = 0) -> None:
        if not num_envs:
            raise UserError("curiosity = counts needs whole episodes in order, which a replay does not give: "
                            "use it with ppo, or use rnd or icm here.")
        self.discount, self.weight = discount, weight
        self.scale = ReturnScale(discount, num_envs)
        #: For each environment's episode, the number of visits by the observation's digest.
        self.counts: list[Counter[bytes]] = [Counter() for _ in range(num_envs)]
        #: Unscaled rewards of the steps of the last ``update``, in order.
        self._latest = np.zeros(0, np.float32)

    def rewards(self, steps: Steps) -> np.ndarray:
        """Rewards of the steps of the last ``update``, which must be the same steps."""
        assert len(steps["reward"]) == len(self._latest), "update() comes before, with the same steps"
        return self.scale(self._latest)

    def update(self, steps: Steps) -> dict[str, float]:
        ended = steps["terminated"] | steps["truncated"]
        self._latest = np.empty(len(ended), np.float32)
        for t, (seen, env) in enumerate(zip(steps["next_observation"], steps["env_id"].tolist(), strict=True)):
            counts = self.counts[env]
            counts[digest := hashlib.blake2b(seen.tobytes(), digest_size=8).digest()] += 1
            self._latest[t] = counts[digest] ** -0.5
            if ended[t]:
                counts.clear()
        self.scale.observe(self._latest, steps)
        return {"novelty": float(self._latest.mean())}

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale.state_dict(),
                "counts": [{digest.hex(): n for digest, n in counts.items()} for counts in self.counts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale.load_state_dict(state["scale"])
        self.counts = [Counter({bytes.fromhex(digest): n for digest, n in counts.items()})
                       for counts in state["counts"]]
