"""Healthy environments and games of the third set, unlike those before: a lift, a tank with two valves, a ball to catch
(an image), a courier with a Dict and a MultiDiscrete; Hex, Nim and Domineering for two, which have no common side."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

from myosu.games import Game, Symmetries, compiled


class Lift(gymnasium.Env):
    """Up, down, or open the door of a lift for six floors. 1 for each passenger who gets out at their floor."""

    floors, limit, pay = 6, 60, 1.0

    def __init__(self):
        self.observation_space = spaces.Box(0, 1, (3 * self.floors,), np.float32)
        self.action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.floor = 0, int(self.draw() * self.floors)
        self.empty()
        self.calls()
        return self.observe(), self.info()

    def empty(self):
        self.waiting = np.zeros(self.floors, int)  # where each wants to go, counted from 1; 0: nobody
        self.riders = np.zeros(self.floors, int)

    def draw(self):
        return self.np_random.random()

    def calls(self):
        if self.draw() < 0.3:
            here, there = int(self.draw() * self.floors), int(self.draw() * self.floors)
            if here != there and not self.waiting[here]:
                self.waiting[here] = 1 + there

    def move(self, action):
        if action == 0:
            self.floor = min(self.floor + 1, self.floors - 1)
        elif action == 1:
            self.floor = max(self.floor - 1, 0)
        return self.open() if action == 2 else 0.0

    def open(self):
        out, self.riders[self.floor] = self.riders[self.floor], 0
        if self.waiting[self.floor] and self.riders.sum() < 4:
            self.riders[self.waiting[self.floor] - 1] += 1
            self.waiting[self.floor] = 0
        return self.pay * out

    def step(self, action):
        self.steps += 1
        reward = self.move(int(action))
        self.calls()
        return self.observe(), float(reward), False, self.steps >= self.limit, self.info()

    def observe(self):
        return np.concatenate([np.arange(self.floors) == self.floor, self.waiting / self.floors,
                               self.riders / 4]).astype(np.float32)

    def info(self):
        return {}


class Tank(gymnasium.Env):
    """Two valves, in and out, keep a tank at a level that is wanted; the stream is slow to follow the valves."""

    limit, scale = 100, 1.0

    def __init__(self):
        self.observation_space = spaces.Box(-1, 1, (3,), np.float32)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.stream = 0, 0.0
        self.level, self.wanted = self.np_random.random(2)
        return self.observe(), {}

    def flow(self, action):
        return 0.1 * ((action[0] + 1) / 2 - (action[1] + 1) / 2)

    def step(self, action):
        self.steps += 1
        self.stream = 0.7 * self.stream + 0.3 * float(self.flow(np.clip(action, -1, 1)))
        self.level = float(np.clip(self.level + self.stream, 0, 1))
        if self.np_random.random() < 0.02:
            self.wanted = self.np_random.random()
        reward = -self.scale * (self.level - self.wanted) ** 2
        return self.observe(), float(reward), False, self.steps >= self.limit, {}

    def observe(self):
        return np.array([self.level, self.wanted, 10 * self.stream], np.float32)


class Catch(gymnasium.Env):
    """A ball falls aslant, 10×10 bytes; the paddle is three wide. 1 for a catch, −1 for a miss; three misses end it."""

    size, limit = 10, 200
    moves = (-1, 0, 1)

    def __init__(self):
        self.observation_space = spaces.Box(0, 255, (1, self.size, self.size), np.uint8)
        self.action_space = spaces.Discrete(len(self.moves))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.missed, self.paddle = 0, 0, int(self.draw(1, self.size - 1))
        self.serve()
        return self.observe(), {}

    def draw(self, low, high):
        return self.np_random.integers(low, high)

    def serve(self):
        self.ball, self.slant = [0, int(self.draw(0, self.size))], int(self.draw(-1, 2))
        self.before = tuple(self.ball)

    def step(self, action):
        self.steps += 1
        self.paddle = int(np.clip(self.paddle + self.moves[int(action)], 1, self.size - 2))
        self.before = tuple(self.ball)
        if not 0 <= self.ball[1] + self.slant < self.size:
            self.slant = -self.slant
        self.ball = [self.ball[0] + 1, self.ball[1] + self.slant]
        reward = 0.0
        if self.ball[0] == self.size - 1:
            caught = abs(self.ball[1] - self.paddle) <= 1
            reward = 1.0 if caught else -1.0
            self.missed += not caught
            self.serve()
        return self.observe(), reward, self.missed >= 3, self.steps >= self.limit, {}

    def observe(self):
        image = np.zeros((1, self.size, self.size), np.uint8)
        image[0, self.before[0], self.before[1]] = 100
        image[0, self.ball[0], self.ball[1]] = 255
        image[0, -1, self.paddle - 1:self.paddle + 2] = 200
        return image


class Courier(gymnasium.Env):
    """One or two cells in one of four directions, on 6×6; fetch the parcel, bring it home for 1. A pit ends it."""

    size, limit = 6, 80
    directions = ((-1, 0), (0, 1), (1, 0), (0, -1))

    def __init__(self):
        self.observation_space = spaces.Dict({
            "map": spaces.Box(0, 1, (4, self.size, self.size), np.float32),
            "loaded": spaces.Box(0, 1, (1,), np.float32)})
        self.action_space = spaces.MultiDiscrete([4, 2])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        places = self.np_random.permutation(self.size ** 2)[:4]
        self.me, self.parcel, self.home, self.pit = (divmod(int(place), self.size) for place in places)
        self.steps, self.loaded = 0, False
        return self.observe(), {}

    def walk(self, action):
        down, right = self.directions[int(action[0])]
        far = 1 + int(action[1])
        self.me = (int(np.clip(self.me[0] + far * down, 0, self.size - 1)),
                   int(np.clip(self.me[1] + far * right, 0, self.size - 1)))

    def step(self, action):
        self.steps += 1
        self.walk(action)
        fell = self.me == self.pit
        reward = self.handle()
        return self.observe(), reward, fell, self.steps >= self.limit, {}

    def handle(self):
        if self.me == self.parcel:
            self.loaded = True
        if self.loaded and self.me == self.home:
            self.loaded = False
            return 1.0
        return 0.0

    def observe(self):
        planes = np.zeros((4, self.size, self.size), np.float32)
        for plane, place in zip(planes, (self.me, self.parcel, self.home, self.pit), strict=True):
            plane[place] = 1
        return {"map": planes, "loaded": np.array([self.loaded], np.float32)}


# --- Hex on 5×5: the first player joins top and bottom, the second left and right

H = 5
HEX_STATE = np.dtype([("board", np.int8, (H * H,)), ("player", np.int8), ("over", np.bool_)], align=True)


@compiled
def hex_init(state, seed):
    state.board[:] = 0
    state.player, state.over = 0, False


@compiled
def hex_legal(state, mask):
    for a in range(H * H):
        mask[a] = state.over or state.board[a] == 0


@compiled
def hex_joined(board, mark):
    """Whether stones of ``mark`` join their two sides."""
    seen, stack, height = np.zeros(H * H, np.bool_), np.empty(H * H, np.int64), 0
    for k in range(H):
        start = k if mark == 1 else k * H
        if board[start] == mark:
            seen[start] = True
            stack[height] = start
            height += 1
    while height:
        height -= 1
        row, column = stack[height] // H, stack[height] % H
        if (row if mark == 1 else column) == H - 1:
            return True
        for down in range(-1, 2):
            for right in range(-1, 2):
                r, c = row + down, column + right
                if down != right and 0 <= r < H and 0 <= c < H and board[r * H + c] == mark and not seen[r * H + c]:
                    seen[r * H + c] = True
                    stack[height] = r * H + c
                    height += 1
    return False


@compiled
def hex_step(state, action):
    mark = 1 + state.player
    state.board[action] = mark
    state.player = 1 - state.player
    state.over = hex_joined(state.board, mark)
    return (1.0 if state.over else 0.0), state.over


@compiled
def hex_observe(state, out):
    mark = 1 + state.player
    for a in range(H * H):
        out[0, a // H, a % H] = state.board[a] == mark
        out[1, a // H, a % H] = state.board[a] == 3 - mark
        out[2, a // H, a % H] = state.player


@compiled
def to_play(state):
    return state.player


@compiled
def hex_heuristic(state):
    """How much nearer the stones of the player to move are to the middle."""
    lead = 0.0
    for a in range(H * H):
        if state.board[a] != 0:
            near = 4 - abs(a // H - 2) - abs(a % H - 2)
            lead += near if state.board[a] == 1 + state.player else -near
    return lead / 20


CELLS = np.arange(H * H)
HALF_TURN = np.stack([CELLS, CELLS[::-1]])
HEX = Game(name="hex", num_players=2, num_actions=H * H, observation_shape=(3, H, H), state_dtype=HEX_STATE,
           init=hex_init, legal_actions=hex_legal, step=hex_step, observe=hex_observe, to_play=to_play,
           reward_range=(-1.0, 1.0), max_plies=H * H, heuristic=hex_heuristic,
           symmetries=Symmetries(HALF_TURN, HALF_TURN),
           render=lambda state: "\n".join(" " * r + " ".join(".XO"[c] for c in state["board"][r * H:r * H + H])
                                          for r in range(H)))

# --- Nim: whoever takes the last match wins

HEAPS, MOST = 4, 7
NIM_STATE = np.dtype([("heaps", np.int16, (HEAPS,)), ("player", np.int8), ("over", np.bool_)], align=True)


@compiled
def nim_init(state, seed):
    rest = seed
    for k in range(HEAPS):
        rest = rest * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        state.heaps[k] = 1 + np.int64((rest >> np.uint64(33)) % np.uint64(MOST))
    state.player, state.over = 0, False


@compiled
def nim_legal(state, mask):
    for a in range(HEAPS * MOST):
        mask[a] = state.over or a % MOST < state.heaps[a // MOST]


@compiled
def nim_step(state, action):
    state.heaps[action // MOST] -= 1 + action % MOST
    state.player = 1 - state.player
    state.over = state.heaps.sum() == 0
    return (1.0 if state.over else 0.0), state.over


@compiled
def nim_observe(state, out):
    for k in range(HEAPS):
        for n in range(MOST):
            out[0, k, n] = n < state.heaps[k]


NIM = Game(name="nim", num_players=2, num_actions=HEAPS * MOST, observation_shape=(1, HEAPS, MOST),
           state_dtype=NIM_STATE, init=nim_init, legal_actions=nim_legal, step=nim_step, observe=nim_observe,
           to_play=to_play, reward_range=(-1.0, 1.0), max_plies=HEAPS * MOST,
           render=lambda state: " ".join(str(n) for n in state["heaps"]))

# --- Domineering on 5×5: the first player's dominoes stand, the second's lie; who cannot move has lost

DOMINO_STATE = np.dtype([("full", np.uint8, (H, H)), ("player", np.int8), ("over", np.bool_)], align=True)


@compiled
def domino_init(state, seed):
    state.full[:, :] = 0
    state.player, state.over = 0, False


@compiled
def domino_fits(state, action):
    row, column = action // H, action % H
    r, c = row + 1 - state.player, column + state.player
    return r < H and c < H and not state.full[row, column] and not state.full[r, c]


@compiled
def domino_legal(state, mask):
    for a in range(H * H):
        mask[a] = state.over or domino_fits(state, a)


@compiled
def domino_step(state, action):
    row, column = action // H, action % H
    state.full[row, column] = 1
    state.full[row + 1 - state.player, column + state.player] = 1
    state.player = 1 - state.player
    state.over = True
    for a in range(H * H):
        state.over = state.over and not domino_fits(state, a)
    return (1.0 if state.over else 0.0), state.over


@compiled
def domino_observe(state, out):
    for a in range(H * H):
        out[0, a // H, a % H] = state.full[a // H, a % H]
        out[1, a // H, a % H] = state.player


DOMINO = Game(name="domineering", num_players=2, num_actions=H * H, observation_shape=(2, H, H),
              state_dtype=DOMINO_STATE, init=domino_init, legal_actions=domino_legal, step=domino_step,
              observe=domino_observe, to_play=to_play, reward_range=(-1.0, 1.0), max_plies=H * H,
              render=lambda state: "\n".join("".join(".#"[int(c)] for c in row) for row in state["full"]))
