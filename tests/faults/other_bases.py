"""More healthy environments and a game, unlike those of ``bases``: a maze, a shop, a puck on ice, a sliding puzzle with
merging tiles; and a game for two of painting a board, in which the last mover may lose."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

from myosu.games import Game, compiled
from myosu.games.symmetry import board_symmetries


class Maze(gymnasium.Env):
    """A maze of 7×7 cells, of which a quarter are walls; 1 for reaching the exit, which is never walled off."""

    size, limit = 7, 80
    moves = ((-1, 0), (0, 1), (1, 0), (0, -1))

    def __init__(self):
        self.observation_space = spaces.Box(0, 1, (3, self.size, self.size), np.float32)
        self.action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, reached = 0, set()
        while len(reached) < 10:
            self.walls = self.draw((self.size, self.size)) < 0.25
            self.me = (int(self.draw(()) * self.size), int(self.draw(()) * self.size))
            self.walls[self.me] = False
            reached = self.reachable()
        self.exit = sorted(reached - {self.me})[int(self.draw(()) * (len(reached) - 1))]
        return self.observe(), self.info()

    def draw(self, shape):
        return self.np_random.random(shape)

    def reachable(self):
        found, border = {self.me}, [self.me]
        while border:
            cell = border.pop()
            for action in range(4):
                after = self.after(cell, action)
                if after not in found:
                    found.add(after)
                    border.append(after)
        return found

    def after(self, cell, action):
        row, column = cell[0] + self.moves[action][0], cell[1] + self.moves[action][1]
        inside = 0 <= row < self.size and 0 <= column < self.size
        return (row, column) if inside and not self.walls[row, column] else cell

    def step(self, action):
        self.steps += 1
        self.me = self.after(self.me, int(action))
        out = self.is_out()
        return self.observe(), float(out), out, self.steps >= self.limit, self.info()

    def is_out(self):
        return self.me == self.exit

    def observe(self):
        planes = np.zeros((3, self.size, self.size), np.float32)
        planes[0] = self.walls
        planes[1][self.me] = planes[2][self.exit] = 1
        return planes

    def info(self):
        return {}


class Shop(gymnasium.Env):
    """A shop orders 0 to 4 crates a day, which arrive the day after. Sales pay 1, storage and orders cost. 60 days; a
    shop that owes 8 is closed."""

    limit = 60

    def __init__(self):
        self.observation_space = spaces.Box(-2, 2, (4,), np.float32)
        self.action_space = spaces.Discrete(5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.stock, self.coming, self.day, self.cash = 5, 0, 0, 0.0
        return self.observe(), {}

    def step(self, action):
        self.day += 1
        self.stock, self.coming = min(self.stock + self.coming, 20), self.ordered(int(action))
        sold = min(self.stock, self.demand())
        self.stock -= sold
        reward = self.pay(sold)
        self.cash = min(self.cash + reward, 16.0)
        return self.observe(), reward, self.cash <= -8, self.day >= self.limit, {}

    def ordered(self, action):
        return action

    def demand(self):
        return int(self.np_random.integers(0, 5))

    def pay(self, sold):
        return 1.0 * sold - 0.1 * self.stock - 0.5 * self.coming

    def observe(self):
        return np.array([self.stock / 20, self.coming / 4, self.day % 7 / 7, self.cash / 16], np.float32)


class Puck(gymnasium.Env):
    """A puck on ice is pushed by two forces to a mark: the nearer, the better; at the mark 5, and over. Out of the
    rink, over as well."""

    limit = 150

    def __init__(self):
        self.observation_space = spaces.Box(-8, 8, (6,), np.float32)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.mark = self.np_random.uniform(-1, 1, 2), self.np_random.uniform(-2, 2, 2)
        self.speed, self.steps = np.zeros(2), 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        before = float(np.abs(self.place - self.mark).sum())
        self.speed = 0.97 * self.speed + 0.08 * self.force(np.asarray(action, np.float64))
        self.place = self.place + 0.4 * self.speed
        apart = float(np.abs(self.place - self.mark).sum())
        there, out = apart < 0.3, bool(np.abs(self.place).max() > 4)
        reward = before - apart + 5.0 * there - 1.0 * out
        return self.observe(), reward, there or out, self.steps >= self.limit, {}

    def force(self, action):
        return action

    def observe(self):
        return np.concatenate([self.place, self.speed, self.mark - self.place]).astype(np.float32)


class Merge(gymnasium.Env):
    """2048 on 3×3 cells: all tiles slide, equal ones merge and pay a tenth of their exponent. Over when none moves."""

    size = 3

    def __init__(self):
        self.observation_space = spaces.Box(0, 1, (9, self.size, self.size), np.float32)
        self.action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.board = np.zeros((self.size, self.size), np.int64)
        self.spawn()
        self.spawn()
        return self.observe(), self.info()

    def spawn(self):
        free = np.argwhere(self.board == 0)
        if len(free):
            self.board[tuple(free[self.np_random.integers(len(free))])] = 1

    def slide(self, row):
        tiles, merged, paid = [t for t in row if t], [], 0.0
        while tiles:
            tile = tiles.pop(0)
            if tiles and tiles[0] == tile:
                tiles.pop(0)
                tile = min(tile + 1, 8)
                paid += tile / 10
            merged.append(tile)
        return merged + [0] * (self.size - len(merged)), paid

    def moved(self, action):
        turned = np.rot90(self.board, action)
        rows = [self.slide(list(row)) for row in turned]
        return np.rot90(np.array([row for row, _ in rows]), -action).copy(), sum(paid for _, paid in rows)

    def can(self, action):
        return bool((self.moved(action)[0] != self.board).any())

    def step(self, action):
        board, paid = self.moved(int(action))
        if (board != self.board).any():
            self.board = board
            self.spawn()
        over = not any(self.can(a) for a in range(4))
        return self.observe(), self.pay(paid), over, False, self.info()

    def pay(self, paid):
        return paid

    def observe(self):
        return (self.board == np.arange(9)[:, None, None]).astype(np.float32)

    def mask(self):
        mask = np.array([self.can(a) for a in range(4)])
        return mask if mask.any() else np.ones(4, bool)

    def info(self):
        return {"action_mask": self.mask()}


# --- painting a board of 4×4, for two: a brush colours its cell and the neighbours; every cell can be the centre once

SIDE = 4
PAINT_STATE = np.dtype([("colour", np.int8, (SIDE, SIDE)), ("used", np.uint8, (SIDE * SIDE,)), ("player", np.int8),
                        ("over", np.bool_)], align=True)


@compiled
def paint_init(state, seed):
    state.colour[:, :] = 0
    state.used[:] = 0
    state.player, state.over = 0, False


@compiled
def paint_legal(state, mask):
    for a in range(SIDE * SIDE):
        mask[a] = state.over or state.used[a] == 0


@compiled
def paint_step(state, action):
    mark = 1 + state.player
    row, column = action // SIDE, action % SIDE
    for r in range(SIDE):
        for c in range(SIDE):
            if abs(r - row) + abs(c - column) <= 1:
                state.colour[r, c] = mark
    state.used[action] = 1
    state.player = 1 - state.player
    state.over = True
    lead = 0
    for a in range(SIDE * SIDE):
        if not state.used[a]:
            state.over = False
        lead += 1 if state.colour[a // SIDE, a % SIDE] == mark else -1
    return (lead / 16 if state.over else 0.0), state.over


@compiled
def paint_observe(state, out):
    mark = 1 + state.player
    for row in range(SIDE):
        for column in range(SIDE):
            out[0, row, column] = state.colour[row, column] == mark
            out[1, row, column] = state.colour[row, column] == 3 - mark
            out[2, row, column] = state.used[row * SIDE + column]


@compiled
def paint_to_play(state):
    return state.player


@compiled
def paint_heuristic(state):
    """The lead of the player to move."""
    lead = 0
    for a in range(SIDE * SIDE):
        if state.colour[a // SIDE, a % SIDE] != 0:
            lead += 1 if state.colour[a // SIDE, a % SIDE] == 1 + state.player else -1
    return lead / 16


PAINT = Game(name="paint", num_players=2, num_actions=SIDE * SIDE, observation_shape=(3, SIDE, SIDE),
             state_dtype=PAINT_STATE, init=paint_init, legal_actions=paint_legal, step=paint_step,
             observe=paint_observe, to_play=paint_to_play, reward_range=(-1.0, 1.0), max_plies=SIDE * SIDE,
             render=lambda state: "\n".join("".join(".XO"[c] for c in row) for row in state["colour"]),
             symmetries=board_symmetries(SIDE, SIDE), heuristic=paint_heuristic)
