"""Small Gymnasium environments with habits, importable by worker processes."""

import os
import time
from copy import deepcopy

import gymnasium
import numpy as np
from gymnasium import spaces


class Counter(gymnasium.Env):
    """Counts its steps; ends after ``length``. The observation is always the same array, changed in place."""

    observation_space = spaces.Box(0, 1000, (2,), np.int32)
    action_space = spaces.Discrete(3)

    def __init__(self, length: int = 5, action_space: spaces.Space | None = None) -> None:
        self.length = length
        self.shown = np.zeros(2, np.int32)
        self.actions: list = []
        if action_space is not None:
            self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown[:] = 0, seed % 1000
        return self.shown, {}

    def step(self, action):
        self.actions.append(action)
        assert self.action_space.contains(action), action
        self.shown[0] += 1
        return self.shown, float(self.shown[0]), bool(self.shown[0] >= self.length), False, {}


class Broken(Counter):
    """Does at its third step what ``habit`` says."""

    def __init__(self, habit: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.habit = habit
        if habit == "init":
            raise RuntimeError("no licence")

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        if self.habit == "reset":
            raise RuntimeError("no level")
        if self.habit == "old reset":
            return observation
        if "mask" in self.habit and self.habit != "late mask":
            info["action_mask"] = np.ones(3, np.int8)
        return observation, info

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        if "mask" in self.habit and (self.habit != "late mask" or self.shown[0] == 3):
            info["action_mask"] = np.ones(3, np.int8)
        if self.shown[0] == 3:
            match self.habit:
                case "step":
                    raise ZeroDivisionError("division by zero")
                case "old step":
                    return observation, reward, terminated, info
                case "nan reward":
                    reward = np.nan
                case "list reward":
                    reward = [1, 2]
                case "nan":
                    observation = np.array([np.nan, 0])
                case "shape":
                    observation = np.zeros(3, np.int32)
                case "fractions":
                    observation = np.array([0.5, 0])
                case "long mask":
                    info["action_mask"] = np.ones(4, np.int8)
                case "empty mask":
                    info["action_mask"] = np.zeros(3, np.int8)
                case "no mask":
                    info.clear()
        return observation, reward, terminated, truncated, info


class DiesWhenMade(Counter):
    def __init__(self) -> None:
        os._exit(5)


class FailsOnce(Counter):
    """Does what ``habit`` says at its third step unless the file ``done`` is there."""

    def __init__(self, habit: str, done: str) -> None:
        super().__init__()
        self.habit, self.done = habit, done

    def step(self, action):
        answer = super().step(action)
        if self.shown[0] == 3 and not os.path.exists(self.done):
            with open(self.done, "w"):
                pass
            if self.habit == "hangs":
                time.sleep(1000)
            os._exit(3)
        return answer


class Slow(Counter):
    """A step takes as many tenths of a second as the action says."""

    action_space = spaces.Discrete(20)

    def step(self, action):
        time.sleep(action / 10)
        return super().step(action)


class Everything(gymnasium.Env):
    """A dictionary of every kind of space, and a mask by method."""

    observation_space = spaces.Dict({
        "camera": spaces.Box(0, 255, (4, 5, 3), np.uint8),
        "speed": spaces.Box(-np.inf, np.inf, (), np.float64),
        "gear": spaces.Discrete(4, start=-1),
        "dials": spaces.MultiDiscrete([2, 3]),
        "lamps": spaces.MultiBinary(3),
        "inner": spaces.Dict({"flag": spaces.Box(0, 1, (1,), np.bool_)}),
    })
    action_space = spaces.MultiDiscrete([2, 3], start=[0, 1])

    def __init__(self):
        self.observation_space = deepcopy(self.observation_space)  # each draws its own samples

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.count = 0
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        assert self.action_masks()[[action[0], 2 + action[1] - 1]].all()
        self.count += 1
        return self._observe(), 0, False, self.count == 4, {}

    def action_masks(self):
        return np.array([True, False, True, False, self.count % 2 == 0])

    def _observe(self):
        self.last = self.observation_space.sample()
        self.last["speed"] = np.float64(self.count)
        self.last["inner"]["flag"][:] = True
        return self.last


class Walk(gymnasium.Env):
    """A walk between two walls, pushed about by chance, that passes every check; ``flaw`` plants one fault in it."""

    def __init__(self, flaw: str = "") -> None:
        self.flaw = flaw
        big = 5000.0 if flaw == "badly scaled" else 2.0
        self.observation_space = spaces.Box(-big, big, (2,), np.float64 if flaw == "float64" else np.float32)
        if flaw == "bytes":
            self.observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)
        self.action_space = spaces.Discrete(300 if flaw == "useless moves" else 2)
        self.wall = {"endless": 10**9, "time limit": 10**9, "useless moves": 1}.get(flaw, 5)
        self.buffer, self.mask = np.zeros(2, np.float32), np.ones(2, np.int8)
        self.episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episodes += 1
        self.steps = 0
        self.position = min(self.episodes - 1, 3) if self.flaw == "leftover at reset" else 0
        self.weather = 0.0
        return self.observe(), self.info()

    def step(self, action):
        self.steps += 1
        if action < 2:
            chance = {"foreign chance": np.random.random, "no chance": lambda: 0.7}.get(
                self.flaw, self.np_random.random)()
            self.position += 2 * int(action) - 1 if chance < 0.8 else 0
            self.weather = chance
            if self.flaw == "leftover later" and self.steps > 3:
                self.weather = 1 / self.episodes
        ended = abs(self.position) >= self.wall
        cut = ended and self.flaw == "both ends"
        if self.flaw == "time limit":
            ended = self.steps == 30
        return self.observe(), self.reward(ended), ended, cut, self.info()

    def reward(self, ended):
        reward = np.sign(self.position) if ended else 0.0
        return {"dying early pays": -0.3 if ended else -0.1, "hurry": -1.0, "high reward": 5000.0 * reward,
                "low reward": 0.0001 * reward, "no reward": 0.0, "always 1": float(ended)}.get(self.flaw, float(reward))

    def observe(self):
        shown = np.array([np.clip(self.position / 5, -1, 1), self.weather], np.float32)
        match self.flaw:
            case "outside":
                shown *= 5
            case "dtype" | "float64":
                return shown.astype(np.float64)
            case "live observation":
                self.buffer[:] = shown
                return self.buffer
            case "bytes":
                return np.full((8, 8, 3), 100 + 20 * self.position, np.uint8)
            case "badly scaled":
                shown[0] *= 1000
            case "constant component":
                shown[1] = 0.5
            case "constant":
                shown[:] = 0.5
        return shown

    def info(self):
        if self.flaw not in ("live mask", "illegal moves"):
            return {}
        self.mask[0] = self.position > -3
        return {"action_mask": self.mask if self.flaw == "live mask" else self.mask.copy()}


class Endless(gymnasium.Env):
    """Pays 1 at every step for ever, but is cut after a few. The value is 1 / (1 − γ) = 2 for γ = 1/2."""

    observation_space, action_space = spaces.Box(0, 1, (1,), np.float32), spaces.Discrete(1)

    def __init__(self, limit=3):
        self.limit = limit

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        self.count += 1
        return np.ones(1, np.float32), 1.0, False, self.count == self.limit, {}


class Forbidden(gymnasium.Env):
    """Two steps; ``pays`` for each of two actions. Action 1 is legal only at the beginning."""

    observation_space, action_space = spaces.Box(0, 2, (1,), np.float32), spaces.Discrete(2)

    def __init__(self, pays=(1.0, 4.0)):
        self.pays = pays

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return self.observe()

    def observe(self):
        return np.full(1, self.count, np.float32), {"action_mask": np.array([True, self.count == 0])}

    def step(self, action):
        assert action == 0 or self.count == 0, "an illegal action"
        self.count += 1
        observation, info = self.observe()
        return observation, self.pays[action], self.count == 2, False, info


class Lock(gymnasium.Env):
    """A corridor of ``length`` doors, each of which one of three actions opens; the others lead back to the start.
    Behind the last one is the only reward, 1. By chance it is found once in 3^length tries."""

    def __init__(self, length=12):
        self.length = length
        self.observation_space = spaces.Box(0.0, 1.0, (length + 1,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.keys = np.random.default_rng(1).integers(3, size=length)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.count = 0
        return self._observe(), {}

    def step(self, action):
        self.count += 1
        self.place = self.place + 1 if action == self.keys[self.place] else 0
        done = self.place == self.length
        return self._observe(), float(done), done, self.count == 4 * self.length, {}

    def _observe(self):
        return np.eye(self.length + 1, dtype=np.float32)[self.place]


class Recall(gymnasium.Env):
    """The first of four observations says what to do at the last; the others say nothing."""

    observation_space, action_space = spaces.Box(-1, 1, (1,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.secret, self.steps = int(self.np_random.integers(2)), 0
        return np.array([2 * self.secret - 1], np.float32), {}

    def step(self, action):
        self.steps += 1
        reward = (1.0 if action == self.secret else -1.0) if self.steps == 4 else 0.0
        return np.zeros(1, np.float32), reward, self.steps == 4, False, {}


class Aim(gymnasium.Env):
    """One step with a mixed action: 1 − (aim − o)² for the observation o, which is 0 or 1, and 0, 1 or 2 for the
    choice; choice 2 is not legal where o is 1."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Dict({"choice": spaces.Discrete(3, start=5), "aim": spaces.Box(-2, 4, (1,), np.float32)})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown = int(self.np_random.integers(2))
        return self.observe()

    def observe(self):
        return np.full(1, self.shown, np.float32), {"action_mask": np.array([True, True, self.shown == 0])}

    def step(self, action):
        assert self.action_space.contains(action), action
        choice = int(action["choice"]) - 5
        assert choice < 2 or self.shown == 0, "an illegal choice"
        return self.observe()[0], 1.0 - float(action["aim"][0] - self.shown) ** 2 + choice, True, False, {}


class TwoChoices(gymnasium.Env):
    """Two choices; each pays 1 by itself if it is the right one: 1 of 0, 1 and 2 of 0, 1, 2."""

    observation_space, action_space = spaces.Box(0, 1, (1,), np.float32), spaces.MultiDiscrete([2, 3])

    def reset(self, *, seed=None, options=None):
        return np.ones(1, np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), float(action[0] == 1) + float(action[1] == 2), True, False, {}


class WithoutVelocities(gymnasium.ObservationWrapper):
    """CartPole that shows where things are and not how they move."""

    def __init__(self, env=None):
        super().__init__(env or gymnasium.make("CartPole-v1"))
        low, high = self.env.observation_space.low[[0, 2]], self.env.observation_space.high[[0, 2]]
        self.observation_space = spaces.Box(low, high)

    def observation(self, observation):
        return observation[[0, 2]]
