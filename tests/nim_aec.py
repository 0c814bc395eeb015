"""Nim as an AEC environment in PettingZoo's form: players take one or two stones in turn, and who takes the last wins.

Optimal play takes ``stones % 3``, after which the other player loses. ``nim_aec:nim_v0`` names it.
"""

import sys

import numpy as np
from gymnasium import spaces

nim_v0 = sys.modules[__name__]


def env(render_mode=None, stones=4):
    return Nim(stones)


class Nim:
    def __init__(self, stones):
        self.first, self.possible_agents = stones, ["first", "second"]
        self.metadata = {"name": "nim_v0", "render_modes": ["rgb_array"], "render_fps": 2}

    def observation_space(self, agent):
        return spaces.Dict({"observation": spaces.Box(0, 1, (self.first + 1,), np.uint8),
                            "action_mask": spaces.Box(0, 1, (2,), np.int8)})

    def action_space(self, agent):
        return spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        self.agents, self.stones, self.agent_selection = self.possible_agents[:], self.first, "first"
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations, self.truncations = dict.fromkeys(self.agents, False), dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}

    def observe(self, agent):
        """The number of stones, one-hot, and which actions (take one, take two) leave no fewer than none."""
        mask = [1, self.stones >= 2] if agent == self.agent_selection else [0, 0]
        return {"observation": np.eye(self.first + 1, dtype=np.uint8)[self.stones],
                "action_mask": np.array(mask, np.int8)}

    def step(self, action):
        mover, other = self.agent_selection, self.possible_agents[self.agent_selection == "first"]
        if action is None or not self.observe(mover)["action_mask"][action]:
            raise ValueError(f"{mover} took {action} with {self.stones} stones left")
        self.stones -= int(action) + 1
        if not self.stones:
            self.rewards = {mover: 1.0, other: -1.0}
            self.terminations = dict.fromkeys(self.possible_agents, True)
        self.agent_selection = other

    def render(self):
        return np.full((4, 4, 3), self.stones, np.uint8)

    def close(self):
        pass
