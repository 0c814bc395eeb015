"""Healthy environments, in which one thing each is then broken."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces


class Cart(gymnasium.Env):
    """Pushed left or right between two walls; 1 for each step without touching one."""

    wall, limit = 2.0, 200

    def __init__(self):
        self.observation_space = spaces.Box(-4, 4, (2,), np.float32)
        self.action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.velocity = self.np_random.uniform(-0.5, 0.5, 2)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        self.push(action)
        hit = bool(abs(self.position) > self.wall)
        return self.observe(), self.reward(hit), hit, self.steps >= self.limit, {}

    def push(self, action):
        self.velocity = np.clip(0.98 * self.velocity + 0.15 * (int(action) - 1), -1, 1)
        self.position += 0.5 * self.velocity

    def reward(self, hit):
        return 0.0 if hit else 1.0

    def observe(self):
        return np.array([self.position, self.velocity], np.float32)


class Garden(gymnasium.Env):
    """A gardener on 6×6 beds looks for flowers; 1 for each, and another one grows. A thorn costs 1 and ends it."""

    size, limit, flowers = 6, 100, 8
    step_reward, flower_reward, thorn_reward = 0.0, 1.0, -1.0
    moves = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])

    def __init__(self):
        self.observation_space = spaces.Box(0, 1, (3, self.size, self.size), np.uint8)
        self.action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        cells = [divmod(int(i), self.size) for i in self.np_random.permutation(self.size**2)[:3]]
        self.me, self.flower, self.thorn = map(np.array, cells)
        self.steps = self.picked = 0
        return self.observe(), self.info()

    def step(self, action):
        self.steps += 1
        self.move(action)
        reward, ended = self.step_reward, False
        if (self.me == self.thorn).all():
            reward, ended = self.thorn_reward, True
        elif (self.me == self.flower).all():
            reward, self.picked = self.flower_reward, self.picked + 1
            ended = self.picked == self.flowers
            free = [c for c in np.ndindex(self.size, self.size) if c not in (tuple(self.me), tuple(self.thorn))]
            self.flower = np.array(free[self.np_random.integers(len(free))])
        return self.observe(), reward, ended, self.steps >= self.limit, self.info()

    def move(self, action):
        self.me = np.clip(self.me + self.moves[action], 0, self.size - 1)

    def observe(self):
        board = np.zeros((3, self.size, self.size), np.uint8)
        for plane, cell in enumerate((self.me, self.flower, self.thorn)):
            board[(plane, *cell)] = 1
        return board

    def info(self):
        return {}


class Stones(gymnasium.Env):
    """Dominoes are laid on 4×4 cells; a full row or column pays 1 and is cleared. Over when none fits."""

    size = 4

    def __init__(self):
        self.observation_space = spaces.Box(0, 1, (1, self.size, self.size), np.float32)
        self.action_space = spaces.Discrete(2 * self.size**2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.board = (self.np_random.random((self.size, self.size)) < 0.2).astype(np.float32)
        self.steps = 0
        return self.observe(), self.info()

    def cells(self, action):
        down, place = divmod(int(action), self.size**2)
        row, column = divmod(place, self.size)
        return [(row, column), (row + 1, column) if down else (row, column + 1)]

    def fits(self, action):
        return all(max(cell) < self.size and not self.board[cell] for cell in self.cells(action))

    def step(self, action):
        self.steps += 1
        if self.fits(action):
            for cell in self.cells(action):
                self.board[cell] = 1
        rows, columns = self.board.all(1), self.board.all(0)
        self.board[rows] = 0
        self.board[:, columns] = 0
        over = not any(self.fits(a) for a in range(self.action_space.n))
        return self.observe(), float(rows.sum() + columns.sum()), over, self.steps >= 60, self.info()

    def observe(self):
        return self.board[None].copy()

    def mask(self):
        mask = np.array([self.fits(a) for a in range(self.action_space.n)])
        return mask if mask.any() else np.ones_like(mask)

    def info(self):
        return {"action_mask": self.mask()}


class Pig(gymnasium.Env):
    """The game of Pig alone: roll to add to the turn's points, where a 1 loses them, or bank them. 15 turns."""

    def __init__(self):
        self.observation_space = spaces.Box(0, 1, (3,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.turn = self.points = self.banked = 0
        return self.observe(), {}

    def step(self, action):
        reward = 0.0
        if action == 0:
            die = int(self.np_random.integers(1, 7))
            self.points = 0 if die == 1 else min(self.points + die, 60)
            self.turn += die == 1
        else:
            reward, self.points, self.turn = self.points / 10, 0, self.turn + 1
            self.banked += 1
        return self.observe(), reward, self.turn >= 15, False, {}

    def observe(self):
        return np.array([self.points / 60, self.turn / 15, self.banked / 15], np.float32)


class Kite(gymnasium.Env):
    """A kite is steered by two lines (continuous); it earns its height."""

    def __init__(self):
        self.observation_space = spaces.Box(-6, 6, (4,), np.float32)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.speed, self.steps = self.np_random.uniform(-0.5, 0.5, 2), np.zeros(2), 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        self.speed = 0.95 * self.speed + 0.1 * self.pull(np.asarray(action, np.float64))
        self.place = np.clip(self.place + 0.3 * self.speed + 0.03 * self.np_random.normal(size=2), -3, 3)
        return self.observe(), float(self.place[1]), bool(self.place[1] <= -3), self.steps >= 150, {}

    def pull(self, action):
        return action

    def observe(self):
        return np.concatenate([self.place, self.speed]).astype(np.float32)


class Chase(gymnasium.Env):
    """A hare on a ring of 12 fields runs from a fox, which comes nearer at every second step."""

    ring = 12

    def __init__(self):
        self.observation_space = spaces.Box(-1, 1, (5,), np.float32)
        self.action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.hare, self.fox = (int(i) for i in self.np_random.choice(self.ring, 2, replace=False))
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        self.hare = (self.hare + int(action) - 1) % self.ring
        if self.steps % 2:
            ahead = (self.hare - self.fox) % self.ring
            self.fox = (self.fox + (0 if ahead == 0 else 1 if ahead <= self.ring // 2 else -1)) % self.ring
        caught = self.hare == self.fox
        return self.observe(), -1.0 if caught else 0.1, caught, self.steps >= 100, {}

    def observe(self):
        angles = 2 * np.pi * np.array([self.hare, self.fox]) / self.ring
        return np.array([*np.sin(angles), *np.cos(angles), self.steps % 2], np.float32)
