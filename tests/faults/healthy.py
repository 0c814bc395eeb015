"""Environments and games without a fault; the doctor must say nothing worse than a note of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import gymnasium
import numpy as np

from faults.bases import Cart, Chase, Garden, Kite, Pig, Stones
from faults.env_faults import Middle, Nearer, masked
from faults.game_faults import DICE, FIVE
from faults.other_bases import PAINT, Maze, Merge, Puck, Shop
from faults.third_bases import DOMINO, HEX, NIM, Catch, Courier, Lift, Tank
from faults.third_faults import LiftMasked
from myosu.games.registry import find_game

MaskedMaze = masked(Maze, lambda env: np.array([env.after(env.me, action) != env.me for action in range(4)]))
Walled = masked(Garden, lambda env: np.array([env.me[0] > 0, env.me[1] < 5, env.me[0] < 5, env.me[1] > 0]))


def _shaped():
    return Nearer(Garden())


def _centred():
    return gymnasium.wrappers.TimeLimit(Middle(Cart()), 50)


#: Of Gymnasium's own; Taxi has another version in another version of Gymnasium.
GYMNASIUM = ("CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1", "Acrobot-v1", "Blackjack-v1",
             "FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "CliffWalkingSlippery-v1", "Taxi-v4",
             "LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3", "BipedalWalkerHardcore-v3",
             *(f"myosu.envs:myosu/{name}-v0" for name in ("Snake", "SnakePublished", "Woodoku", "WoodokuPublished",
                                                         "ProbeConstant", "ProbeObservation", "ProbeDiscount",
                                                         "ProbeAction", "ProbeBoth")))
#: What is true of an environment of others, and so no false alarm: nothing ends CliffWalking but its goal, chance
#: hardly ever finds the one reward of FrozenLake8x8, and the BipedalWalkers use the world of their physics engine again
#: (``doctor/test_leftover.py``); the hull of the hardcore one turns further than ±π, the bounds of its space. Four of
#: MiniGrid's seven actions do nothing in a room without objects, and the plane for the state of doors is constant where
#: there are none.
TRUE_OF = {"FrozenLake8x8-v1": {"no-signal"}, "CliffWalking-v1": {"endless"}, "CliffWalkingSlippery-v1": {"endless"},
           "BipedalWalker-v3": {"leftover"}, "BipedalWalkerHardcore-v3": {"leftover", "observation-space"},
           "minigrid:MiniGrid-Empty-5x5-v0": {"dead-actions", "constant-observation"},
           "minigrid:MiniGrid-FourRooms-v0": {"dead-actions", "constant-observation"},
           "minigrid:MiniGrid-Dynamic-Obstacles-5x5-v0": {"constant-observation"}}
#: Of MiniGrid and of Gymnasium's physics by MuJoCo, where they are installed.
MINIGRID = ("MiniGrid-Empty-5x5-v0", "MiniGrid-DoorKey-5x5-v0", "MiniGrid-FourRooms-v0",
            "MiniGrid-Dynamic-Obstacles-5x5-v0", "MiniGrid-LavaCrossingS9N1-v0", "MiniGrid-Fetch-5x5-N2-v0")
GAMES = ("tictactoe", "connect_four", "othello", "snake", "woodoku")

#: Name, and what makes it: a ``Game``, or a function that makes an environment, or its id.
HEALTHY: dict[str, Any | Callable] = {
    **{name: name for name in GYMNASIUM},
    **{f"minigrid:{name}": f"minigrid:{name}" for name in MINIGRID if find_spec("minigrid")},
    **{base.__name__: base for base in (Cart, Garden, Stones, Pig, Kite, Chase, Maze, Shop, Puck, Merge,
                                              Lift, Tank, Catch, Courier)},
    "Walled": Walled, "masked Maze": MaskedMaze, "masked Lift": LiftMasked,
    "shaped Garden": _shaped, "centred Cart": _centred,
    **{name: find_game(name)[0] for name in GAMES}, "five in a row": FIVE, "dice": DICE, "paint": PAINT,
    "hex": HEX, "nim": NIM, "domineering": DOMINO,
}
