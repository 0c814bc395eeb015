"""Episodic counts: a reward for what has not been seen yet in this episode."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from myosu.errors import UserError
from myosu.rewards.curiosity import ReturnScale
from myosu.rewards.signals import Steps


class EpisodicCounts:
    """r = 1 / √N(s_{t+1}) / σ, where N counts how often an observation came in this episode, this time included.

    Beside RND it keeps an agent moving on where everything has been seen in earlier episodes (Badia et al. 2020; Henaff
    et al. 2023). Observations count as the same only if all their numbers are, so it is for grids and boards. Divided
    by σ, see ``ReturnScale``.

    Raises UserError without ``num_envs``: samples of a replay do not show what came before them.
    """

    name = "counts"
    episodic = True  # or the end of an episode would pay, after which everything is new again

    def __init__(self, discount: float, weight: float = 1.0, num_envs: int = 0) -> None:
        if not num_envs:
            raise UserError("curiosity = counts needs whole episodes in their order, which a replay does not give: "
                            "use it with ppo, or rnd or icm here.")
        self.discount, self.weight = discount, weight
        self.scale = ReturnScale(discount, num_envs)
        #: Of each environment's episode: how often each observation came, by a digest.
        self.counts: list[Counter[bytes]] = [Counter() for _ in range(num_envs)]
        #: Of the steps that ``update`` saw last, in their order.
        self._latest = np.zeros(0, np.float32)

    def rewards(self, steps: Steps) -> np.ndarray:
        """Of the steps that ``update`` saw last."""
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
