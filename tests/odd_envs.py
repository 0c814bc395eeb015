"""Environments with one odd answer each, importable by name: of ``Ten`` steps, 1 for each."""

import copy
import os
import pickle
import signal
import sys
import tempfile

import gymnasium
import numpy as np
from gymnasium import spaces


class Ten(gymnasium.Env):
    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self, habit: str = "") -> None:
        self.habit, self.steps = habit, 0
        match habit:
            case "int keys":
                self.observation_space = spaces.Dict({0: Ten.observation_space, 1: spaces.Discrete(3)})
            case "empty key":
                self.observation_space = spaces.Dict({"": Ten.observation_space, "b": spaces.Discrete(3)})
            case "text":
                self.observation_space = spaces.Dict({"direction": spaces.Discrete(4), "mission": spaces.Text(9)})
            case "mask":
                self.observation_space = spaces.Dict({"observation": Ten.observation_space,
                                                      "action_mask": spaces.Box(0, 1, (3,), np.int8)})
            case "far":
                self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
            case "lamps":
                self.action_space = spaces.MultiBinary(4)
            case "tuple":
                self.action_space = spaces.Tuple([spaces.Discrete(3, start=5), spaces.MultiDiscrete([2, 2]),
                                                  spaces.MultiBinary(2)])
            case "dict":
                self.action_space = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Discrete(3)})
            case "no limit":
                self._max_episode_steps = -1
            case "takes Ctrl-C":
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            case "numpy errors":
                np.seterr(all="raise")
            case "exits when made":
                sys.exit(3)
            case "changes folder":
                os.chdir(tempfile.gettempdir())

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.steps = seed, 0
        return self.see(), self.info()

    def step(self, action):
        assert self.action_space.contains(action), action
        assert type(action) is type(self.action_space.sample()), type(action)
        self.steps += 1
        if self.steps == 3:
            match self.habit:
                case "exits":
                    sys.exit()
                case "interrupts":
                    raise KeyboardInterrupt
                case "ctrl-c":
                    os.kill(os.getpid(), signal.SIGINT)
        if self.habit == "mask":
            assert action != 1, "an illegal action"
        return self.see(), 1e39 if self.habit == "huge reward" else 1.0, self.steps == 10, False, self.info()

    def see(self):
        seen = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        match self.habit:
            case "int keys":
                return {0: seen, 1: 2}
            case "empty key":
                return {"": seen, "b": 2}
            case "text":
                return {"direction": 2, "mission": "get it"}
            case "mask":
                return {"observation": seen, "action_mask": np.array([1, 0, 1], np.int8)}
            case "far":
                return np.array([0.1, np.finfo(np.float64).max, 0.3])
        return seen

    def info(self):
        return {"info none": None, "ragged mask": {"action_mask": [True, [False, True]]}}.get(self.habit, {})

    def close(self):
        if self.habit == "close":
            raise RuntimeError("not connected")


class Lookahead(gymnasium.Wrapper):
    """Tries an action in a copy before it acts."""

    def step(self, action):
        copied = copy.deepcopy(self.env)
        copied.step(action)
        copied.step(action)
        self.snapshot = pickle.dumps(self.env)
        return self.env.step(action)


class Doubled(gymnasium.RewardWrapper):
    def __init__(self, env, by=2.0):
        super().__init__(env)
        self.by = by

    def reward(self, reward):
        return self.by * reward


def three():
    return 3.0


def make_ten():
    return Ten()


gymnasium.register("OddTen-v0", Ten)
