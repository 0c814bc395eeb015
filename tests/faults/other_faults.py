"""The hidden set: other variants of the listed kinds, in environments of their own and in Gymnasium's, written to
measure what the doctor finds that it was not made with. They were measured before anything was changed for them."""

from __future__ import annotations

import random
from dataclasses import replace

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import RecordEpisodeStatistics, TransformObservation, TransformReward

from faults.fault import Fault, planter
from faults.other_bases import (
    PAINT,
    SIDE,
    Maze,
    Merge,
    Puck,
    Shop,
    paint_heuristic,
    paint_observe,
    paint_step,
)
from faults.wrong_steps import moving_again, rewarding_first_seat, rewarding_opponent, without_losses
from myosu.games import Symmetries, compiled, connect_four, othello, snake, tictactoe

OTHER_FAULTS: list[Fault] = []
planted, game = planter(OTHER_FAULTS)


def over(name, wrapper, **kwargs):
    """A function that makes Gymnasium's environment ``name`` with ``wrapper`` around it."""
    return lambda: wrapper(gymnasium.make(name, **kwargs))


# --- arrays

@planted("live reference", "planes kept for speed", "live-reference")
class MergeLive(Merge):
    planes = np.zeros((9, 3, 3), np.float32)

    def observe(self):
        self.planes[:] = super().observe()
        return self.planes


@planted("live reference", "a part of a Dict", "live-reference")
class PuckDict(Puck):
    def __init__(self):
        super().__init__()
        box = spaces.Box(-8, 8, (2,), np.float64)
        self.observation_space = spaces.Dict({"place": box, "speed": box, "mark": box})

    def observe(self):
        return {"place": self.place.copy(), "speed": self.velocity(), "mark": self.mark.copy()}

    def velocity(self):
        self.shown = getattr(self, "shown", np.zeros(2))
        self.shown[:] = self.speed
        return self.shown


# --- chance

LEVELS = np.random.default_rng()


@planted("seed ignored", "levels by the module's own generator", "determinism")
class MazeOwnLevels(Maze):
    def draw(self, shape):
        return LEVELS.random(shape)


@planted("seed ignored", "demand by random.randint", "determinism")
class ShopRandom(Shop):
    def demand(self):
        return random.randint(0, 4)


@planted("seed ignored", "the legacy generator", "determinism")
class MergeLegacy(Merge):
    def spawn(self):
        free = np.argwhere(self.board == 0)
        if len(free):
            self.board[tuple(free[np.random.choice(len(free))])] = 1


@planted("left over", "the order of the day before", "leftover")
class ShopKeepsOrder(Shop):
    coming = 0

    def reset(self, **kwargs):
        coming = self.coming
        super().reset(**kwargs)
        self.coming = coming
        return self.observe(), {}


class RunningMean(gymnasium.ObservationWrapper):
    """Subtracts the mean of all observations so far."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = spaces.Box(-np.inf, np.inf, env.observation_space.shape, np.float32)
        self.count, self.mean = 0, 0.0

    def observation(self, observation):
        self.count += 1
        self.mean = self.mean + (observation - self.mean) / self.count
        return np.asarray(observation - self.mean, np.float32)


@planted("left over", "a running mean", "leftover")
def running_mean():
    return RunningMean(gymnasium.make("MountainCar-v0"))


@planted("left over", "walls are added, never taken away", "leftover")
class MazeGrows(Maze):
    old = None

    def reset(self, **kwargs):
        super().reset(**kwargs)
        if self.old is not None:
            self.walls |= self.old
            self.walls[self.me] = self.walls[self.exit] = False
        self.old = self.walls & (np.add.outer(np.arange(7), np.arange(7)) == 7)
        return self.observe(), {}


# --- spaces

@planted("dtype", "float64 out of a wrapper", "observation-dtype")
def doubles():
    env = gymnasium.make("MountainCar-v0")
    return TransformObservation(env, lambda o: o.astype(np.float64) / 2, env.observation_space)


@planted("dtype", "booleans for floats", "observation-dtype")
class MergeBool(Merge):
    def observe(self):
        return super().observe() > 0


@planted("out of bounds", "the space of another version", "observation-space")
def narrow():
    env = gymnasium.make("Pendulum-v1")
    return TransformObservation(env, lambda o: o, spaces.Box(-1, 1, (3,), np.float32))


@planted("out of bounds", "shares above 1", "observation-space")
class ShopRich(Shop):
    def observe(self):
        return super().observe() * np.array([20, 1, 1, 1], np.float32)


# --- masks

@planted("mask lists illegal moves", "until the game is over", "mask-all-true", "mask-illegal")
class MergeAnything(Merge):
    def mask(self):
        return np.ones(4, bool)


@planted("mask lists illegal moves", "the border is not looked at", "mask-illegal")
class MazeNoBorder(Maze):
    def info(self):
        cells = [(self.me[0] + r, self.me[1] + c) for r, c in self.moves]
        return {"action_mask": np.array([not (min(cell) >= 0 and max(cell) < 7 and self.walls[cell])
                                         for cell in cells])}


@planted("mask misses legal moves", "merging without sliding", "mask-missing")
class MergeOnlySlides(Merge):
    def mask(self):
        mask = np.array([(np.sort(self.moved(a)[0] > 0, None) == np.sort(self.board > 0, None)).all() and self.can(a)
                         for a in range(4)])
        return mask if mask.any() else super().mask()


@planted("mask misses legal moves", "never twice in the same direction", "mask-missing")
class MazeNoRepeat(Maze):
    last = -1

    def step(self, action):
        self.last = int(action)
        return super().step(action)

    def info(self):
        mask = np.array([self.after(self.me, a) != self.me for a in range(4)])
        if mask.sum() > 1 and self.last >= 0:
            mask[self.last] = False
        return {"action_mask": mask if mask.any() else np.ones(4, bool)}


@planted("stale mask", "of the maze", "mask-stale")
class MazeStale(Maze):
    def step(self, action):
        mask = self.free()
        *answer, _ = super().step(action)
        return *answer, {"action_mask": mask}

    def free(self):
        mask = np.array([self.after(self.me, a) != self.me for a in range(4)])
        return mask if mask.any() else np.ones(4, bool)

    def info(self):
        return {"action_mask": self.free()}


@planted("stale mask", "before the new tile", "mask-stale", "mask-illegal", "mask-missing")
class MergeMaskFirst(Merge):
    def step(self, action):
        mask = self.mask()
        *answer, _ = super().step(action)
        return *answer, {"action_mask": mask}


# --- actions

@planted("dead action", "a key that is not bound", "dead-actions")
class MazeThreeKeys(Maze):
    moves = ((-1, 0), (0, 0), (1, 0), (0, -1))


@planted("dead action", "one order is never placed", "dead-actions", "aliased-actions")
class ShopNoFour(Shop):
    def ordered(self, action):
        return action if action < 4 else 0


@planted("ignored actions", "the first force twice", "ignored-actions")
class PuckOneForce(Puck):
    def force(self, action):
        return np.array([action[0], action[0]])


@planted("ignored actions", "clipped before it is scaled", "ignored-actions")
class PuckClipped(Puck):
    def force(self, action):
        return np.clip(100 * np.asarray(action) + 200, -1, 1)


class Twice(gymnasium.ActionWrapper):
    def action(self, action):
        return 2 * int(action > 0)


@planted("aliased actions", "waiting is full throttle", "aliased-actions")
def twice():
    return Twice(gymnasium.make("MountainCar-v0"))


@planted("aliased actions", "orders are capped", "aliased-actions")
class ShopCapped(Shop):
    def ordered(self, action):
        return min(action, 3)


# --- hidden

def without(name, *kept):
    """Gymnasium's ``name`` whose observation keeps these components only."""
    def make():
        env = gymnasium.make(name)
        box = env.observation_space
        return TransformObservation(env, lambda o: o[list(kept)], spaces.Box(box.low[list(kept)], box.high[list(kept)],
                                                                             dtype=np.float32))
    return make


planted("hidden information", "CartPole's velocities", "hidden-information")(without("CartPole-v1", 0, 2))
planted("hidden information", "Acrobot's velocities", "hidden-information")(without("Acrobot-v1", 0, 1, 2, 3))
planted("hidden information", "MountainCar's velocity", "hidden-information")(without("MountainCar-v0", 0))


@planted("hidden information", "what was ordered", "hidden-information")
class ShopBlind(Shop):
    def observe(self):
        return super().observe() * np.array([1, 0, 1, 1], np.float32) + np.array([0, self.day / 60, 0, 0], np.float32)


@planted("hidden information", "the exit", "hidden-information")
class MazeNoExit(Maze):
    def observe(self):
        planes = super().observe()
        planes[2] = planes[1]
        return planes


# --- rewards

@planted("delayed reward", "merges are paid a move late", "delayed-reward")
class MergeLate(Merge):
    owed = 0.0

    def pay(self, paid):
        paid, self.owed = self.owed, paid
        return paid

    def reset(self, **kwargs):
        self.owed = 0.0
        return super().reset(**kwargs)


@planted("delayed reward", "sales are paid the next day", "delayed-reward")
class ShopLate(Shop):
    owed = 0.0

    def pay(self, sold):
        owed, self.owed = self.owed, 1.0 * sold
        return owed - 0.1 * self.stock - 0.5 * self.coming

    def reset(self, **kwargs):
        self.owed = 0.0
        return super().reset(**kwargs)


@planted("delayed reward", "income late, costs at once", "delayed-reward")
class ShopLateIncome(ShopLate):
    """The account is not shown, so that nothing but the reward tells of the income."""

    def observe(self):
        return super().observe() * np.array([1, 1, 1, 0], np.float32) + np.array([0, 0, 0, self.day / 60], np.float32)


class Note(gymnasium.Wrapper):
    """The rewards of the sixth note: -1 a step, 20 for the target, -20 for death."""

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, 20.0 if reward > 0 else -20.0 if terminated else -1.0, terminated, truncated, info


@planted("dying pays", "the sixth note, in Snake itself", "early-end")
def snake_note():
    return Note(gymnasium.make("myosu.envs:myosu/SnakePublished-v0"))


@planted("dying pays", "fuel that costs too much", "early-end")
class PuckFuel(Puck):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, reward - 0.5, *rest


@planted("dying pays", "the sign of living", "early-end")
def cost_of_living():
    return TransformReward(gymnasium.make("CartPole-v1"), lambda reward: -reward)


# --- pictures

@planted("integer division", "exponents of tiles", "constant-observation", "integer-division")
class MergeDivided(Merge):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 1, (1, 3, 3), np.float32)

    def observe(self):
        return (self.board // 11).astype(np.float32)[None]


@planted("integer division", "the eighth note: a byte picture in a wrapper", "integer-division",
         "constant-observation")
def snake_bytes():
    env = gymnasium.make("myosu.envs:myosu/SnakePublished-v0")
    shape = env.observation_space.shape
    bright = TransformObservation(env, lambda o: (o * 255).astype(np.uint8), spaces.Box(0, 255, shape, np.uint8))
    return TransformObservation(bright, lambda o: o // 255, bright.observation_space)


@planted("empty plane", "walls are not drawn", "constant-observation")
class MazeNoWalls(Maze):
    def observe(self):
        planes = super().observe()
        planes[0] = 0
        return planes


@planted("empty plane", "the stock is never shown", "constant-observation")
class ShopNoStock(Shop):
    def observe(self):
        return super().observe() * np.array([0, 1, 1, 1], np.float32)


# --- ends

class Done(gymnasium.Wrapper):
    """An old ``done`` in place of two ends."""

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated or truncated, False, info


planted("time limit as an end", "Pendulum's", "time-limit")(over("Pendulum-v1", Done))
planted("time limit as an end", "CartPole's, at 60", "time-limit")(over("CartPole-v1", Done, max_episode_steps=60))


@planted("time limit as an end", "of the shop", "time-limit")
class ShopDone(Shop):
    def step(self, action):
        observation, reward, ended, cut, info = super().step(action)
        return observation, reward, ended or cut, False, info


class Double(gymnasium.Wrapper):
    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated or truncated, terminated or truncated, info


planted("both ends", "MountainCar's", "both-ends")(over("MountainCar-v0", Double))
planted("both ends", "of the maze", "both-ends")(lambda: Double(Maze()))

# --- scales

planted("reward scale", "Pendulum in another unit", "reward-scale")(
    over("Pendulum-v1", lambda env: TransformReward(env, lambda reward: 500 * reward)))


@planted("reward scale", "in cents of cents", "reward-scale")
class ShopCents(Shop):
    def pay(self, sold):
        return 10_000 * super().pay(sold)


@planted("observations badly scaled", "CartPole in millimetres", "observation-scale")
def millimetres():
    scale = np.array([1000, 1, 1, 1], np.float32)
    env = gymnasium.make("CartPole-v1")
    return TransformObservation(env, lambda o: o * scale, spaces.Box(-np.inf, np.inf, (4,), np.float32))


@planted("observations badly scaled", "a date as a number", "observation-scale")
class ShopDate(Shop):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(-2, 1e8, (4,), np.float32)

    def observe(self):
        return super().observe() + np.array([0, 0, 20_261_100 + self.day, 0], np.float32)


# --- wrappers

class Bonus(gymnasium.RewardWrapper):
    def reward(self, reward):
        return reward - 0.1 * abs(float(np.ravel(self.unwrapped.state)[0]))


class Repeat(gymnasium.Wrapper):
    """Repeats an action, past everything between."""

    def step(self, action):
        for _ in range(2):
            answer = self.unwrapped.step(action)
            if answer[2]:
                break
        return answer


planted("shaping dropped", "repeated past the shaping", "wrapper-skipped")(
    lambda: Repeat(Bonus(gymnasium.make("CartPole-v1").unwrapped)))
planted("shaping dropped", "clipped to its sign", "reward-flattened")(
    over("CartPole-v1", lambda env: TransformReward(Bonus(env), np.sign)))
planted("records below the reward", "the eleventh note", "wrapper-order")(
    over("CartPole-v1", lambda env: Bonus(RecordEpisodeStatistics(env))))

# --- the rest

@planted("no signal", "the exit is compared by identity", "no-signal")
class MazeNeverOut(Maze):
    def is_out(self):
        return self.me is self.exit


@planted("endless", "no limit, no border", "endless")
class PuckEndless(Puck):
    def step(self, action):
        observation, reward, *_ = super().step(action)
        return np.clip(observation, -8, 8), reward, False, False, {}


@planted("not finite", "an average of nothing", "contract")
class ShopAverage(Shop):
    def pay(self, sold):
        return float(np.float64(super().pay(sold)) / np.float64(sold))


class NoMask(gymnasium.Wrapper):
    """Without the mask: neither in ``info`` nor by a method."""

    def has_wrapper_attr(self, name):
        return name != "action_masks" and super().has_wrapper_attr(name)

    def reset(self, **kwargs):
        return self.env.reset(**kwargs)[0], {}

    def step(self, action):
        return *self.env.step(action)[:4], {}


planted("hundreds of useless actions", "the fifth note: Woodoku without a mask", "useless-moves")(
    over("myosu.envs:myosu/WoodokuPublished-v0", NoMask))


@planted("dies under examination", "an exception after a while", "contract")
class MergeFails(Merge):
    def pay(self, paid):
        if self.board.max() >= 5:
            raise IndexError("list index out of range")
        return paid


@planted("dies under examination", "aborts", "crash")
class MazeAborts(Maze):
    def step(self, action):
        if self.steps == 12:
            import os
            os.abort()
        return super().step(action)


# --- games: painting, and the library's with other mistakes


@compiled
def paint_mirrored(state, action):
    """The second player's brush lands on the mirrored cell, but the cell that was named is used up."""
    if state.player == 1:
        wanted = action
        mirrored = action // SIDE * SIDE + SIDE - 1 - action % SIDE
        was = state.used[mirrored]
        reward = paint_step(state, mirrored)[0]
        state.used[mirrored] = was
        state.used[wanted] = 1
        state.over = state.used.all()
        return (reward if state.over else 0.0), state.over
    return paint_step(state, action)


@compiled
def paint_any(state, mask):
    for a in range(SIDE * SIDE):
        mask[a] = True


@compiled
def paint_no_column(state, mask):
    some = False
    for a in range(SIDE * SIDE):
        mask[a] = state.over or (state.used[a] == 0 and a % SIDE < SIDE - 1)
        some = some or mask[a]
    if not some:
        for a in range(SIDE * SIDE):
            mask[a] = state.used[a] == 0


@compiled
def paint_first_view(state, out):
    for row in range(SIDE):
        for column in range(SIDE):
            out[0, row, column] = state.colour[row, column] == 1
            out[1, row, column] = state.colour[row, column] == 2
            out[2, row, column] = state.used[row * SIDE + column]


@compiled
def paint_halved(state, out):
    paint_observe(state, out)
    for row in range(SIDE):
        for column in range(SIDE):
            out[2, row, column] = state.used[row * SIDE + column] // 2


@compiled
def paint_keeps_used(state, seed):
    state.colour[:, :] = 0
    state.player, state.over = 0, False
    for a in range(SIDE * SIDE - 1):
        state.used[a] = 0


@compiled
def paint_other_heuristic(state):
    return -paint_heuristic(state)


@compiled
def paint_last_column(state, action):
    """The last column is read as the one before it, while that is free."""
    if action % SIDE == SIDE - 1 and state.used[action - 1] == 0:
        action -= 1
    return paint_step(state, action)


game("reward to the wrong seat", "paint, for the first player",
     replace(PAINT, step=rewarding_first_seat(paint_step)), "reward-owner", hints=("heuristic",))
game("draw unless the mover won", "paint", replace(PAINT, step=without_losses(paint_step)), "draws")
game("skipped turn", "paint, a corner", replace(PAINT, step=moving_again(paint_step, 0)), "alternation")
game("second player's moves", "paint, mirrored", replace(PAINT, step=paint_mirrored, symmetries=None), "seat-moves")
game("a game's mask lists illegal moves", "paint, everything", replace(PAINT, legal_actions=paint_any, max_plies=64),
     "mask-illegal", "overwriting", hints=("truncation",))
game("a game's mask misses legal moves", "paint, a column", replace(PAINT, legal_actions=paint_no_column,
                                                                    symmetries=None), "mask-missing")
game("seen from one side", "paint", replace(PAINT, observe=paint_first_view), "point-of-view")
game("a game's plane is empty", "paint, bool divided", replace(PAINT, observe=paint_halved), "constant-observation")
game("a game's actions", "paint, two columns", replace(PAINT, step=paint_last_column, symmetries=None),
     "aliased-actions", "mask-illegal")
game("wrong symmetries", "paint, actions turned the other way", replace(PAINT, symmetries=Symmetries(
    PAINT.symmetries.cells, PAINT.symmetries.inverse_actions)), "symmetries")
game("support too wide", "paint at 16, for shares", replace(PAINT, reward_range=(-16.0, 16.0)), "support")
game("heuristic", "paint, of the other side", replace(PAINT, heuristic=paint_other_heuristic), "heuristic")
game("a game starts with the last one's state", "paint, a cell", replace(PAINT, init=paint_keeps_used), "init")


@compiled
def four_second_left(state, action):
    """The second player's disc falls one column to the left, where there is room."""
    occupied = state.own | state.opponent
    if state.player == 1 and action > 0 and not (occupied >> np.uint64(7 * (action - 1) + 5)) & np.uint64(1):
        action -= 1
    return connect_four_step(state, action)


@compiled
def snake_no_target(state, out):
    snake_observe(state, out)
    out[TARGET] = 0


@compiled
def ttt_other_cell(state, action):
    """The last two cells are exchanged for the second player."""
    if state.player == 1 and action >= 7 and state.board[15 - action] == -1:
        action = 15 - action
    return ttt_step(state, action)


connect_four_step, othello_step, ttt_step, snake_observe = (
    connect_four.step, othello.step, tictactoe.step, snake.observe)
TARGET = snake.TARGET
game("second player's moves", "Connect Four, one to the left", replace(connect_four.GAME, step=four_second_left,
                                                                       symmetries=None), "seat-moves")
game("second player's moves", "tic-tac-toe, two cells exchanged", replace(tictactoe.GAME, step=ttt_other_cell,
                                                                          symmetries=None), "seat-moves")
game("reward to the wrong seat", "Othello, to the loser",
     replace(othello.GAME, step=rewarding_opponent(othello_step)), "reward-owner", "heuristic")
game("a game's plane is empty", "Snake, the target", replace(snake.GAME, observe=snake_no_target, symmetries=None),
     "constant-observation", "hidden-information")
