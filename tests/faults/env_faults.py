"""Gymnasium environments with one mistake each."""

from __future__ import annotations

import random

import gymnasium
import numpy as np
from gymnasium import spaces

from faults.bases import Cart, Chase, Garden, Kite, Pig, Stones
from faults.fault import Fault, planter

ENV_FAULTS: list[Fault] = []
planted, _ = planter(ENV_FAULTS)


# --- the array that is returned is the one that is written to

@planted("live reference", "the board itself", "live-reference")
class StonesLive(Stones):
    def observe(self):
        return self.board[None]


@planted("live reference", "one buffer for all", "live-reference")
class CartLive(Cart):
    def reset(self, **kwargs):
        self.buffer = np.zeros(2, np.float32)
        return super().reset(**kwargs)

    def observe(self):
        self.buffer[:] = self.position, self.velocity
        return self.buffer


@planted("live reference", "the mask", "live-reference")
class StonesLiveMask(Stones):
    def __init__(self):
        super().__init__()
        self.kept = np.ones(2 * self.size**2, bool)

    def info(self):
        self.kept[:] = self.mask()
        return {"action_mask": self.kept}


# --- chance that no seed rules

@planted("seed ignored", "np.random in reset", "determinism")
class GardenGlobal(Garden):
    def reset(self, *, seed=None, options=None):
        answer = super().reset(seed=seed)
        self.flower = np.random.randint(0, self.size, 2)
        return self.observe(), answer[1]


@planted("seed ignored", "random.random in step", "determinism")
class CartWind(Cart):
    def push(self, action):
        super().push(action)
        self.position += 0.02 * (random.random() - 0.5)


@planted("seed ignored", "a generator made once", "leftover", "determinism")
class PigOwnDice(Pig):
    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(7)

    def reset(self, **kwargs):
        super().reset(**kwargs)
        self.points = int(self.rng.integers(0, 20))
        return self.observe(), {}


# --- what a new episode still has of the last one

@planted("left over", "the velocity", "leftover")
class CartKeepsSpeed(Cart):
    velocity = 0.0

    def reset(self, **kwargs):
        before = self.velocity
        super().reset(**kwargs)
        self.velocity = before
        return self.observe(), {}


@planted("left over", "the score", "leftover")
class PigKeepsScore(Pig):
    banked = 0

    def reset(self, **kwargs):
        before = self.banked
        super().reset(**kwargs)
        self.banked = before % 15
        return self.observe(), {}


@planted("left over", "the fox's step", "leftover")
class ChaseKeepsStep(Chase):
    steps = 0

    def reset(self, **kwargs):
        before = self.steps
        super().reset(**kwargs)
        self.steps = before % 2
        return self.observe(), {}


# --- spaces that do not hold

@planted("dtype", "float64 for float32", "observation-dtype")
class CartDouble(Cart):
    def observe(self):
        return np.array([self.position, self.velocity])


@planted("dtype", "a list of numbers", "observation-dtype")
class PigList(Pig):
    def observe(self):
        return [self.points / 60, self.turn / 15, self.banked / 15]


@planted("dtype", "integers for bytes", "observation-dtype")
class GardenLong(Garden):
    def observe(self):
        return super().observe().astype(np.int64)


@planted("out of bounds", "unscaled", "observation-space")
class CartFar(Cart):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)


@planted("out of bounds", "points above 1", "observation-space")
class PigRich(Pig):
    def observe(self):
        return np.array([self.points / 10, self.turn / 15, self.banked / 15], np.float32)


@planted("out of bounds", "negative", "observation-space")
class KiteDeep(Kite):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 6, (4,), np.float32)


# --- masks

def masked(base, mask):
    """``base`` with the mask that ``mask(env)`` gives."""
    class Masked(base):
        def info(self):
            return {"action_mask": mask(self)}
    return Masked


@planted("mask lists illegal moves", "over the edge", "mask-illegal")
class StonesEdge(Stones):
    def mask(self):
        return np.array([all(max(c) == self.size or (max(c) < self.size and not self.board[c]) for c in self.cells(a))
                         for a in range(self.action_space.n)])


@planted("mask lists illegal moves", "only the first cell is looked at", "mask-illegal")
class StonesFirstCell(Stones):
    def mask(self):
        return ~np.tile(self.board.reshape(-1) > 0, 2)


@planted("mask lists illegal moves", "a wall is not seen", "mask-illegal")
class GardenWall(Garden):
    def info(self):
        row, column = self.me
        return {"action_mask": np.array([row > 0, column < self.size - 1, True, column > 0])}


@planted("mask misses legal moves", "off by one", "mask-missing")
class StonesShort(Stones):
    def mask(self):
        mask = np.array([self.fits(a) and max(max(self.cells(a))) < self.size - 1 for a in range(32)])
        return mask if mask.any() else np.array([self.fits(a) for a in range(32)]) | (~self.board.any())


@planted("mask misses legal moves", "one direction", "mask-missing")
class GardenNoLeft(Garden):
    def info(self):
        row, column = self.me
        return {"action_mask": np.array([row > 0, column < 5, row < 5, column > 1])}


@planted("mask misses legal moves", "down only where across fits", "mask-missing")
class StonesOneWay(Stones):
    def mask(self):
        mask = super().mask()
        mask[16:] &= mask[:16]
        return mask if mask.any() else super().mask()


class _Stale:
    """The mask of the position before."""

    def reset(self, **kwargs):
        self.kept = None
        return super().reset(**kwargs)

    def info(self):
        now = super().info()["action_mask"]
        before, self.kept = self.kept, now
        return {"action_mask": now if before is None else before}


@planted("stale mask", "dominoes", "mask-stale")
class StonesStale(_Stale, Stones):
    pass


@planted("stale mask", "walls", "mask-stale")
class GardenStale(_Stale, masked(Garden, lambda e: np.array([e.me[0] > 0, e.me[1] < 5, e.me[0] < 5, e.me[1] > 0]))):
    pass


@planted("stale mask", "made before the move", "mask-stale")
class StonesMaskFirst(Stones):
    def step(self, action):
        mask = self.mask()
        *answer, _ = super().step(action)
        return *answer, {"action_mask": mask}


@planted("mask all true", "dominoes", "mask-all-true", "mask-illegal")
class StonesAll(Stones):
    def mask(self):
        return np.ones(32, bool)


@planted("mask all true", "walls", "mask-all-true", "mask-illegal")
class GardenAll(Garden):
    def info(self):
        return {"action_mask": np.ones(4, np.int8)}


@planted("mask all true", "a fault costs the game", "mask-all-true", "mask-illegal")
class StonesStrict(Stones):
    def mask(self):
        return np.ones(32, np.int8)

    def step(self, action):
        if not self.fits(action):
            return self.observe(), -5.0, True, False, self.info()
        return super().step(action)


# --- actions

@planted("dead action", "left is forgotten", "dead-actions")
class GardenThree(Garden):
    moves = np.array([(-1, 0), (0, 1), (1, 0), (0, 0)])


@planted("dead action", "half of the places", "dead-actions")
class StonesHalf(Stones):
    def fits(self, action):
        return action < 16 and super().fits(action)

    def info(self):
        return {}


@planted("dead action", "one line of the kite", "ignored-actions", "dead-actions")
class KiteOneLine(Kite):
    def pull(self, action):
        return np.array([action[0], 0.2])


@planted("aliased actions", "left is right", "aliased-actions")
class GardenAlias(Garden):
    moves = np.array([(-1, 0), (0, 1), (1, 0), (0, 1)])


@planted("aliased actions", "truncated to a bool", "aliased-actions")
class CartBool(Cart):
    def push(self, action):
        super().push(2 * bool(action))


@planted("aliased actions", "modulo", "aliased-actions")
class ChaseTwo(Chase):
    def step(self, action):
        return super().step(2 * (int(action) % 2))


@planted("ignored actions", "the last one counts", "ignored-actions")
class CartDeaf(Cart):
    def push(self, action):
        super().push(2 if self.position < 0 else 0)


@planted("ignored actions", "drawn at random", "ignored-actions")
class GardenOwnWill(Garden):
    def move(self, action):
        super().move(int(self.np_random.integers(4)))


@planted("ignored actions", "rounded away", "ignored-actions")
class KiteRounded(Kite):
    def pull(self, action):
        return 0.9 * (np.asarray(action) * 0.4).round()


# --- what decides is not shown

@planted("hidden information", "velocity", "hidden-information")
class CartBlind(Cart):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(-4, 4, (1,), np.float32)

    def observe(self):
        return np.array([self.position], np.float32)


@planted("hidden information", "the opponent", "hidden-information")
class ChaseBlind(Chase):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(-1, 1, (3,), np.float32)

    def observe(self):
        return super().observe()[[0, 2, 4]]


@planted("hidden information", "the turn's points", "hidden-information")
class PigBlind(Pig):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 1, (2,), np.float32)

    def observe(self):
        return super().observe()[1:]


@planted("hidden information", "the die already cast", "hidden-information")
class PigKnownDie(gymnasium.Env):
    """Take the die that lies under the cup, or pay a little for another one."""

    observation_space, action_space = spaces.Box(0, 1, (1,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.die, self.turn = int(self.np_random.integers(1, 7)), 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.turn += 1
        reward = self.die - 3.5 if action == 0 else -0.5
        self.die = int(self.np_random.integers(1, 7))
        return np.full(1, self.turn / 20, np.float32), reward, self.turn == 20 or reward < -2, False, {}


# --- rewards

class _Late:
    """The reward of the step before."""

    def reset(self, **kwargs):
        self.owed = 0.0
        return super().reset(**kwargs)

    def step(self, action):
        observation, reward, *rest = super().step(action)
        reward, self.owed = self.owed, reward
        return observation, reward, *rest


@planted("delayed reward", "flowers", "delayed-reward")
class GardenLate(_Late, Garden):
    pass


@planted("delayed reward", "banked points", "delayed-reward")
class PigLate(_Late, Pig):
    pass


@planted("delayed reward", "cleared lines", "delayed-reward")
class StonesLate(_Late, Stones):
    pass


@planted("dying pays", "the notes' own: -1 a step, 20 for a flower, -20 for death", "early-end")
class GardenNote(Garden):
    step_reward, flower_reward, thorn_reward = -1.0, 20.0, -20.0


@planted("dying pays", "a small penalty", "early-end")
class CartCosts(Cart):
    def reward(self, hit):
        return -5.0 if hit else -0.1 if abs(self.position) > 0.3 else 0.05


@planted("dying pays", "a step costs, death is free", "early-end")
class GardenFreeDeath(Garden):
    step_reward, thorn_reward, limit = -0.1, -0.2, 300


@planted("integer division", "a picture of zeros", "constant-observation", "integer-division")
class GardenDivided(Garden):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 1, (3, 6, 6), np.float32)

    def observe(self):
        return (200 * super().observe() // 255).astype(np.float32)


@planted("integer division", "one component", "constant-observation", "integer-division")
class PigDivided(Pig):
    def observe(self):
        return np.array([self.points // 60, self.turn / 15, self.banked / 15], np.float32)


@planted("integer division", "bytes divided", "integer-division", "constant-observation")
class GardenBytes(Garden):
    """Grey values divided before they become floats: all but the brightest are lost."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (3, 6, 6), np.uint8)

    def observe(self):
        return (super().observe() * np.array([255, 200, 100], np.uint8)[:, None, None]) // 255


@planted("empty plane", "thorns are never drawn", "constant-observation")
class GardenNoThorn(Garden):
    def observe(self):
        board = super().observe()
        board[2] = 0
        return board


@planted("empty plane", "a plane that nobody fills", "constant-observation")
class StonesSpare(Stones):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 1, (2, 4, 4), np.float32)

    def observe(self):
        return np.stack([self.board, np.zeros_like(self.board)])


@planted("empty plane", "a component that stays", "constant-observation")
class ChaseStill(Chase):
    def observe(self):
        shown = super().observe()
        shown[4] = 0
        return shown


@planted("time limit as an end", "always", "time-limit")
class KiteTimed(Kite):
    def step(self, action):
        observation, reward, ended, cut, info = super().step(action)
        return observation, reward, ended or cut, False, info


@planted("time limit as an end", "seldom", "time-limit")
class CartTimed(Cart):
    limit = 60

    def step(self, action):
        observation, reward, ended, cut, info = super().step(action)
        return observation, reward, ended or cut, False, info


@planted("time limit as an end", "old done", "time-limit")
class ChaseDone(Chase):
    def step(self, action):
        observation, reward, terminated, _, info = super().step(action)
        done = terminated or self.steps >= 25
        return observation, reward, done, False, info


@planted("both ends", "done twice", "both-ends")
class CartBoth(Cart):
    def step(self, action):
        observation, reward, ended, cut, info = super().step(action)
        return observation, reward, ended or cut, ended or cut, info


@planted("both ends", "of the gardener", "both-ends")
class GardenBoth(Garden):
    def step(self, action):
        observation, reward, ended, cut, info = super().step(action)
        return observation, reward, ended, ended or cut, info


@planted("both ends", "of the hare", "both-ends")
class ChaseBoth(Chase):
    def step(self, action):
        observation, reward, ended, _, info = super().step(action)
        return observation, reward, ended, ended, info


@planted("reward scale", "thousands", "reward-scale")
class GardenThousands(Garden):
    flower_reward, thorn_reward = 5000.0, -5000.0


@planted("reward scale", "thousandths", "reward-scale")
class CartTiny(Cart):
    def reward(self, hit):
        return -0.001 if hit else 0.00001


@planted("reward scale", "hundreds a step", "reward-scale")
class KiteHundreds(Kite):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, 300 * reward, *rest


@planted("observations badly scaled", "metres and radians", "observation-scale")
class CartMillimetres(Cart):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(-4000, 4000, (2,), np.float32)

    def observe(self):
        return np.array([1000 * self.position, self.velocity], np.float32)


@planted("observations badly scaled", "a clock of ticks", "observation-scale")
class ChaseTicks(Chase):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(-1, 1e6, (5,), np.float32)

    def observe(self):
        shown = super().observe()
        shown[4] = 1000 * self.steps
        return shown


@planted("observations badly scaled", "tiny", "observation-scale")
class KiteTiny(Kite):
    def observe(self):
        return super().observe() * np.array([1, 1, 1e-3, 1e-3], np.float32)


# --- wrappers

class Nearer(gymnasium.RewardWrapper):
    """Shaping: a little for being near to the flower."""

    def reward(self, reward):
        garden = self.unwrapped
        return reward - 0.02 * float(np.abs(garden.me - garden.flower).sum())


class Middle(gymnasium.RewardWrapper):
    def reward(self, reward):
        return reward - 0.1 * abs(float(self.unwrapped.position))


class SkipsInner(gymnasium.Wrapper):
    """Repeats an action, on the bare environment."""

    def step(self, action):
        total = 0.0
        for _ in range(2):
            observation, reward, terminated, truncated, info = self.env.unwrapped.step(action)
            total += reward
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


class OwnScore(gymnasium.Wrapper):
    """Adds the score to info, and returns the environment's own reward by mistake."""

    def step(self, action):
        observation, _, terminated, truncated, info = self.env.step(action)
        reward = self.unwrapped.last
        return observation, reward, terminated, truncated, {**info, "score": reward}


class RemembersReward(Garden):
    def step(self, action):
        answer = super().step(action)
        self.last = answer[1]
        return answer


@planted("shaping dropped", "an outer wrapper steps the bare environment", "wrapper-skipped")
def skips():
    return SkipsInner(Nearer(Garden()))


@planted("shaping dropped", "only the sign is kept", "reward-flattened")
def flattened():
    return gymnasium.wrappers.TransformReward(Middle(Cart()), lambda reward: float(reward > 0))


@planted("shaping dropped", "an outer wrapper takes the raw reward", "reward-flattened", "wrapper-skipped")
def raw():
    return OwnScore(Nearer(RemembersReward()))


# --- the rest

@planted("no signal", "never a reward", "no-signal")
class GardenNothing(Garden):
    flower_reward, thorn_reward = 0.0, 0.0


@planted("no signal", "1 whatever happens", "no-signal")
class KiteAlways(Kite):
    def step(self, action):
        observation, _, ended, cut, info = super().step(action)
        return observation, 0.0, ended, cut, info


@planted("no signal", "the difference of what is the same", "no-signal")
class CartDifference(Cart):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, reward - self.reward(bool(abs(self.position) > self.wall)), *rest


@planted("endless", "no limit", "endless")
class CartEndless(Cart):
    limit, wall = 10**9, 10**9

    def observe(self):
        return np.clip(super().observe(), -4, 4)


@planted("endless", "no thorn, no limit", "endless")
class GardenEndless(Garden):
    limit, flowers = 10**9, 10**9

    def reset(self, **kwargs):
        super().reset(**kwargs)
        self.thorn = np.array([-1, -1])
        return self.observe(), {}


@planted("endless", "of the kite", "endless")
class KiteEndless(Kite):
    def step(self, action):
        return *super().step(action)[:2], False, False, {}


@planted("not finite", "a division by zero", "contract")
class CartNaN(Cart):
    def reward(self, hit):
        return float(np.float64(1) / np.float64(self.steps - 5)) if self.steps >= 5 else 0.0


@planted("not finite", "NaN in an observation", "contract")
class KiteNaN(Kite):
    def observe(self):
        return super().observe() * (np.nan if self.steps == 9 else 1)


@planted("not finite", "a logarithm of nothing", "contract")
class PigLog(Pig):
    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, float(np.log(np.float64(self.points))), *rest


@planted("hundreds of useless actions", "no mask", "useless-moves")
class StonesMany(Stones):
    size = 12

    def reset(self, **kwargs):
        super().reset(**kwargs)
        self.board[:] = self.np_random.random((self.size, self.size)) < 0.6
        return self.observe(), {}

    def info(self):
        return {}


@planted("hundreds of useless actions", "a button for every pixel", "useless-moves")
class Buttons(gymnasium.Env):
    observation_space, action_space = spaces.Box(0, 1, (2,), np.float32), spaces.Discrete(400)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.target, self.tries, self.done = int(self.np_random.integers(20)), 0, 0
        return self.observe(), {}

    def step(self, action):
        self.tries += 1
        hit = action == self.target
        self.done += hit
        if hit:
            self.target = int(self.np_random.integers(20))
        return self.observe(), float(hit), False, self.tries >= 500, {}

    def observe(self):
        return np.array([self.target / 20, self.done % 2], np.float32)


@planted("hundreds of useless actions", "piece, row and column", "useless-moves")
class Cupboard(Stones):
    """Puts one of ten things, of which two are there, on one of 36 shelves, of which most are full."""

    def __init__(self):
        self.observation_space, self.action_space = spaces.Box(0, 1, (48,), np.float32), spaces.Discrete(360)

    def reset(self, *, seed=None, options=None):
        gymnasium.Env.reset(self, seed=seed)
        self.there, self.shelves = np.zeros(12, np.float32), (self.np_random.random(36) < 0.5).astype(np.float32)
        self.there[self.np_random.permutation(10)[:2]] = 1
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        thing, shelf = divmod(int(action), 36)
        self.steps += 1
        fits = bool(self.there[thing] and not self.shelves[shelf])
        if fits:
            self.there[thing] = 0
            self.there[self.np_random.integers(10)] = 1
            self.shelves[shelf] = 1
        return self.observe(), float(fits), bool(self.shelves.all()), self.steps >= 200, {}

    def observe(self):
        return np.concatenate([self.there, self.shelves])


@planted("dies under examination", "sys.exit", "crash", "contract")
class CartQuits(Cart):
    def step(self, action):
        if self.steps == 7:
            raise SystemExit(0)
        return super().step(action)


@planted("dies under examination", "the process ends", "crash")
class CartAborts(Cart):
    def step(self, action):
        if self.steps == 7:
            import os
            os._exit(7)
        return super().step(action)


@planted("dies under examination", "hangs", "hang")
class CartHangs(Cart):
    def step(self, action):
        if self.steps == 7:
            import time
            time.sleep(10_000)
        return super().step(action)
