"""Environments: the vector interface, its implementations, and Myosu's games as Gymnasium and PettingZoo environments.

Importing this package registers ``myosu/Snake-v0``, ``myosu/SnakePublished-v0``, ``myosu/Woodoku-v0``,
``myosu/WoodokuPublished-v0``, ``myosu/Bubble-v0``, ``myosu/AnimatedBubble-v0`` and the five probes with Gymnasium. An
id can include the package: ``myosu.envs:myosu/Snake-v0``.
"""

import gymnasium

# Entry points are strings, so that registering imports neither the games nor Numba.
for _name, _game in (("Snake", "snake"), ("SnakePublished", "snake-published"),
                     ("Woodoku", "woodoku"), ("WoodokuPublished", "woodoku-published"), ("Bubble", "bubble")):
    gymnasium.register(f"myosu/{_name}-v0", "myosu.envs.game_env:GameEnv", kwargs={"game": _game})
gymnasium.register("myosu/AnimatedBubble-v0", "myosu.envs.animated:AnimatedBubble")
for _name in ("ProbeConstant", "ProbeObservation", "ProbeDiscount", "ProbeAction", "ProbeBoth"):
    gymnasium.register(f"myosu/{_name}-v0", f"myosu.envs.probes:{_name}")
