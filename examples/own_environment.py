"""Train on a Gymnasium environment of your own, with a wrapper. Usage: python own_environment.py [MINUTES]"""

import sys

import gymnasium
import numpy as np
from gymnasium import spaces

import myosu


class Corridor(gymnasium.Env):
    """Find the end of a dark corridor: the agent sees only whether it is in the first or the last place."""

    action_space = spaces.Discrete(3)  # left, stay, right
    observation_space = spaces.Box(0, 1, (2,), np.float32)

    def __init__(self, length: int = 8) -> None:
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.integers(self.length)
        return self.look(), {}

    def step(self, action):
        self.place = max(0, self.place + int(action) - 1)
        found = self.place >= self.length
        return self.look(), 1.0 if found else -0.1, found, False, {}

    def look(self):
        return np.array([self.place == 0, self.place == self.length - 1], np.float32)


def make_corridor(length: int = 8) -> gymnasium.Env:
    return gymnasium.wrappers.TimeLimit(Corridor(length), max_episode_steps=40)


minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0

for finding in myosu.check(make_corridor, games=10):
    print(finding)  # mistakes in the environment; here there are none

run = myosu.train(make_corridor, minutes=minutes, env_kwargs={"length": 10}, num_envs=8, evaluation_games=20)

# The run's folder stores the environment's name, not its code: in another program, pass it again.
agent = myosu.load(run.folder, env=make_corridor)
result = myosu.evaluate(agent, games=50)
low, high = result["mean_reward_ci95"]
print(f"Reward {result['mean_reward']:.2f} ({low:.2f} to {high:.2f}); going straight to the end gives 0.4 to 1.")
