"""The third set: other variants again, in the environments and games of ``third_bases``. Whoever wrote them had read
the list of kinds and docs/doctor.md, but not one line of the checks; they were measured before anything was changed."""

from __future__ import annotations

import random
from dataclasses import replace

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import RecordEpisodeStatistics, TransformReward

from faults.env_faults import masked
from faults.fault import Fault, planter
from faults.third_bases import (
    DOMINO,
    HEX,
    MOST,
    NIM,
    Catch,
    Courier,
    H,
    Lift,
    Tank,
    domino_step,
    hex_heuristic,
    hex_joined,
    hex_observe,
    hex_step,
    nim_observe,
    nim_step,
)
from myosu.games import compiled
from myosu.games.symmetry import board_symmetries

THIRD_FAULTS: list[Fault] = []
planted, game = planter(THIRD_FAULTS)


# --- arrays and seeds

@planted("live reference", "the camera's image", "live-reference")
class CatchLive(Catch):
    image = np.zeros((1, 10, 10), np.uint8)

    def observe(self):
        self.image[:] = super().observe()
        return self.image


@planted("live reference", "a view of the state", "live-reference")
class TankLive(Tank):
    def reset(self, **kwargs):
        self.state = np.zeros(3, np.float32)
        return super().reset(**kwargs)

    def observe(self):
        self.state[:] = super().observe()
        return self.state[:]


@planted("seed ignored", "numpy's global generator", "determinism")
class LiftGlobal(Lift):
    def draw(self):
        return np.random.random()


@planted("seed ignored", "a new random.Random at each reset", "determinism")
class CatchUnseeded(Catch):
    def reset(self, *, seed=None, options=None):
        self.random = random.Random()
        return super().reset(seed=seed)

    def draw(self, low, high):
        return self.random.randrange(low, high)


@planted("starts with the last episode's state", "passengers stay in the lift", "leftover", "determinism")
class LiftKeeps(Lift):
    def empty(self):
        if not hasattr(self, "riders"):
            self.riders = np.zeros(self.floors, int)
        self.waiting = np.zeros(self.floors, int)


@planted("starts with the last episode's state", "the stream goes on", "leftover", "determinism")
class TankKeeps(Tank):
    stream = 0.0

    def reset(self, *, seed=None, options=None):
        stream = self.stream
        super().reset(seed=seed)
        self.stream = stream
        return self.observe(), {}


@planted("observation outside its space", "litres, of which the space knows nothing", "observation-space")
class TankLitres(Tank):
    def observe(self):
        return super().observe() * np.float32(40)


@planted("observation of another type", "int64 for bytes", "observation-dtype", "observation-space")
class CatchInt(Catch):
    def observe(self):
        return super().observe().astype(np.int64)


# --- actions

@planted("aliased actions", "down goes up", "aliased-actions", "dead-actions")
class LiftUp(Lift):
    def move(self, action):
        return super().move(0 if action == 1 else action)


@planted("aliased actions", "faster moves are cut", "aliased-actions", hints=("dead-actions",))
class CatchFast(Catch):
    moves = (-1, 0, 1, -1, 1)  # meant as -2 and 2, but cut to a cell


@planted("ignored actions", "the second valve", "ignored-actions")
class TankOneValve(Tank):
    def flow(self, action):
        return 0.1 * action[0]


@planted("ignored actions", "always one cell", "ignored-actions", "aliased-actions")
class CourierSlow(Courier):
    def walk(self, action):
        super().walk((action[0], 0))


@planted("dead actions", "the door never opens", "dead-actions", "no-signal", hints=("useless-moves",))
class LiftNoDoor(Lift):
    def open(self):
        return 0.0


@planted("dead actions", "right", "dead-actions", "aliased-actions")
class CatchNoRight(Catch):
    moves = (-1, 0, 0)


# --- masks

def _can(env):
    return np.array([env.floor < env.floors - 1, env.floor > 0,
                     bool(env.waiting[env.floor] or env.riders[env.floor])])


LiftMasked = masked(Lift, _can)
planted("mask lists illegal actions", "up on the top floor", "mask-illegal")(
    masked(Lift, lambda env: np.array([True, env.floor > 0, bool(env.waiting[env.floor] or env.riders[env.floor])])))
planted("mask all true", "a lift", "mask-all-true", "mask-illegal")(masked(Lift, lambda env: np.ones(3, bool)))
planted("mask misses legal actions", "no door where nobody waits", "mask-missing")(
    masked(Lift, lambda env: np.array([env.floor < 5, env.floor > 0, bool(env.waiting[env.floor])])))


@planted("stale mask", "before the lift moved", "mask-stale")
class LiftStale(Lift):
    def reset(self, **kwargs):
        self.old = None
        return super().reset(**kwargs)

    def info(self):
        now, self.old = self.old, _can(self)
        return {"action_mask": self.old if now is None else now}


# --- what the observation tells

@planted("hidden information", "where the ball comes from", "hidden-information")
class CatchNoSlant(Catch):
    def observe(self):
        image = super().observe()
        image[image == 100] = 0
        return image


@planted("hidden information", "the level that is wanted", "hidden-information")
class TankUnwanted(Tank):
    def observe(self):
        observation = super().observe()
        observation[1] = 0
        return observation


@planted("hidden information", "whether the courier is loaded", "hidden-information", "constant-observation")
class CourierForgets(Courier):
    def observe(self):
        return super().observe() | {"loaded": np.zeros(1, np.float32)}


@planted("integer division", "floors by six", "constant-observation", "integer-division")
class LiftDivided(Lift):
    def observe(self):
        return np.concatenate([np.arange(self.floors) == self.floor, self.waiting // (self.floors + 1),
                               self.riders // 4]).astype(np.float32)


@planted("integer division", "bytes by 255", "integer-division")
class CatchDivided(Catch):
    def observe(self):
        return super().observe() // 255


@planted("empty plane", "the parcel", "constant-observation", "hidden-information")
class CourierNoParcel(Courier):
    def observe(self):
        observation = super().observe()
        observation["map"][1] = 0
        return observation


@planted("observation not scaled", "litres, in a space that knows", "observation-scale")
class TankBig(Tank):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(-5000, 5000, (3,), np.float32)

    def observe(self):
        return super().observe() * np.float32(5000)


# --- rewards

@planted("reward delayed by a step", "whoever got out pays later", "delayed-reward")
class LiftLate(Lift):
    def reset(self, **kwargs):
        self.due = 0.0
        return super().reset(**kwargs)

    def move(self, action):
        paid, self.due = self.due, super().move(action)
        return paid


@planted("reward delayed by a step", "the level before the last", "delayed-reward")
class TankLate(Tank):
    def reset(self, **kwargs):
        self.due = 0.0
        return super().reset(**kwargs)

    def step(self, action):
        observation, reward, ended, cut, info = super().step(action)
        paid, self.due = self.due, reward
        return observation, paid, ended, cut, info


@planted("dying pays", "−0.5 a step, −3 in the pit", "early-end")
class CourierTired(Courier):
    def step(self, action):
        observation, reward, ended, cut, info = super().step(action)
        return observation, reward - 0.5 - 3 * ended, ended, cut, info


@planted("dying pays", "−1 a step, three misses end it", "early-end")
class CatchTired(Catch):
    def step(self, action):
        observation, reward, ended, cut, info = super().step(action)
        return observation, reward - 1, ended, cut, info


@planted("reward scale", "cents", "reward-scale")
class LiftCents(Lift):
    pay = 10_000.0


@planted("reward scale", "square millimetres", "reward-scale")
class TankMillimetres(Tank):
    scale = 1e6


@planted("no signal", "paid for a parcel nobody is given", "no-signal")
class CourierUnpaid(Courier):
    def handle(self):
        super().handle()
        return 0.0


# --- ends

@planted("truncation as termination", "a lift's day", "time-limit", hints=("early-end",))
class LiftDay(Lift):
    def step(self, action):
        observation, reward, _, cut, info = super().step(action)
        return observation, reward, cut, False, info


@planted("truncation as termination", "a courier's, where pits end it too", "time-limit", hints=("early-end",))
class CourierDay(Courier):
    limit = 30

    def step(self, action):
        observation, reward, ended, cut, info = super().step(action)
        return observation, reward, ended or cut, False, info


@planted("both ends at once", "the tank's limit", "both-ends")
class TankBoth(Tank):
    def step(self, action):
        observation, reward, _, cut, info = super().step(action)
        return observation, reward, cut, cut, info


@planted("endless", "a lift that never rests", "endless")
class LiftEndless(Lift):
    limit = 10 ** 9


@planted("crash", "an index past the top floor", "crash", "contract")
class LiftRaises(Lift):
    def move(self, action):
        if action == 0:
            self.floor += 1
        self.waiting[self.floor]
        return super().move(action) if action else 0.0


@planted("hang", "waits for a passenger", "hang")
class LiftWaits(Lift):
    def calls(self):
        while self.steps > 5 and not self.waiting.any():
            pass


# --- wrappers

class Straight(gymnasium.Wrapper):
    def step(self, action):
        return self.unwrapped.step(action)


class OneForAny(gymnasium.Wrapper):
    """Meant to limit rewards to one, but loses how bad a level is."""

    def step(self, action):
        observation, reward, *rest = self.env.step(action)
        return observation, float(np.sign(reward)), *rest


planted("a wrapper that drops shaping", "straight to the tank", "wrapper-skipped")(
    lambda: Straight(TransformReward(Tank(), lambda reward: 1 + reward)))
planted("a wrapper that drops shaping", "the sign of a tank's error", "reward-flattened")(lambda: OneForAny(Tank()))
planted("statistics below the reward", "a lift", "wrapper-order")(
    lambda: TransformReward(RecordEpisodeStatistics(Lift()), lambda reward: 10 * reward - 0.1))


# --- games

@compiled
def hex_for_second(state, action):
    """What the second player wins is told as the first player's."""
    seat = state.player
    reward, ended = hex_step(state, action)
    return (-reward if seat == 1 else reward), ended


@compiled
def hex_both(state, action):
    """Whoever moves wins when anybody's sides are joined, top to bottom."""
    mark = 1 + state.player
    state.board[action] = mark
    state.player = 1 - state.player
    full = True
    for a in range(H * H):
        full = full and state.board[a] != 0
    won = hex_joined(state.board, 1)
    state.over = won or full
    return (1.0 if won and mark == 1 else 0.0), state.over


@compiled
def hex_anywhere(state, mask):
    for a in range(H * H):
        mask[a] = state.over or state.board[a] == 0 or a < H


@compiled
def hex_no_corner(state, mask):
    some = False
    for a in range(H * H):
        mask[a] = state.over or (state.board[a] == 0 and a != H * H - 1)
        some = some or mask[a]
    if not some:
        mask[H * H - 1] = True


@compiled
def hex_transposed(state, action):
    """The second player's stone lands on the transposed cell, if that is free."""
    other = action % H * H + action // H
    if state.player == 1 and state.board[other] == 0:
        action = other
    return hex_step(state, action)


@compiled
def hex_absolute(state, out):
    for a in range(H * H):
        out[0, a // H, a % H] = state.board[a] == 1
        out[1, a // H, a % H] = state.board[a] == 2
        out[2, a // H, a % H] = 0


@compiled
def hex_no_own(state, out):
    hex_observe(state, out)
    for a in range(H * H):
        out[0, a // H, a % H] //= 2


@compiled
def hex_keeps(state, seed):
    state.player, state.over = 0, False
    for a in range(1, H * H):
        state.board[a] = 0


@compiled
def hex_for_first(state):
    value = hex_heuristic(state)
    return value if state.player == 0 else -value


@compiled
def nim_again(state, action):
    """Who empties a heap moves again."""
    seat = state.player
    reward, ended = nim_step(state, action)
    if state.heaps[action // MOST] == 0:
        state.player = seat
    return reward, ended


@compiled
def nim_at_most_three(state, action):
    """A move of more than three takes three."""
    return nim_step(state, action - max(action % MOST - 2, 0))


@compiled
def nim_no_heap(state, out):
    nim_observe(state, out)
    out[0, 3] = 0


@compiled
def nim_any(state, mask):
    for a in range(4 * MOST):
        mask[a] = state.over or state.heaps[a // MOST] > 0


@compiled
def nim_step_cut(state, action):
    """Takes what there is."""
    heap = action // MOST
    taken = min(1 + action % MOST, state.heaps[heap])
    return nim_step(state, heap * MOST + taken - 1)


@compiled
def domino_again(state, action):
    """The turn is skipped after a move in the first row."""
    seat = state.player
    reward, ended = domino_step(state, action)
    if action < H and not ended:
        state.player = seat
    return reward, ended


@compiled
def domino_unseen(state, out):
    for a in range(H * H):
        out[0, a // H, a % H] = state.full[a // H, a % H]
        out[1, a // H, a % H] = 0


game("reward to the wrong seat", "Hex, the second player's", replace(HEX, step=hex_for_second), "reward-owner",
     hints=("heuristic",))
game("draw unless the mover won", "Hex, only top to bottom counts", replace(HEX, step=hex_both, symmetries=None),
     "draws", "reward-owner", hints=("heuristic",))
game("a game's mask lists illegal moves", "Hex, the first row", replace(HEX, legal_actions=hex_anywhere, max_plies=99,
                                                                        symmetries=None), "mask-illegal", "overwriting")
game("a game's mask lists illegal moves", "Nim, more than there is", replace(
    NIM, legal_actions=nim_any, step=nim_step_cut), "mask-illegal", "aliased-actions")
game("a game's mask misses legal moves", "Hex, a corner", replace(HEX, legal_actions=hex_no_corner, symmetries=None),
     "mask-missing")
game("second player's moves", "Hex, transposed", replace(HEX, step=hex_transposed), "seat-moves")
game("seen from one side", "Hex", replace(HEX, observe=hex_absolute), "point-of-view", "hidden-information")
game("a game's plane is empty", "Hex, own stones halved", replace(HEX, observe=hex_no_own), "constant-observation")
game("a game starts with the last one's state", "Hex, a cell", replace(HEX, init=hex_keeps, symmetries=None), "init")
game("wrong symmetries", "Hex, as a square board", replace(HEX, symmetries=board_symmetries(H, H)), "symmetries")
game("support too wide", "Hex at 25", replace(HEX, reward_range=(-25.0, 25.0)), "support")
game("heuristic", "Hex, for the first player", replace(HEX, heuristic=hex_for_first), "heuristic")
game("skipped turn", "Nim, an emptied heap", replace(NIM, step=nim_again), "alternation")
game("skipped turn", "Domineering, the first row", replace(DOMINO, step=domino_again), "alternation")
game("a game's actions", "Nim, three at most", replace(NIM, step=nim_at_most_three), "aliased-actions", "mask-illegal")
game("a game's plane is empty", "Nim, a heap", replace(NIM, observe=nim_no_heap), "constant-observation",
     "hidden-information")
game("seen from one side", "Domineering, whose turn it is", replace(DOMINO, observe=domino_unseen),
     "point-of-view", "hidden-information", "constant-observation")
