"""Environments: the stepping contract, what keeps it, and Myosu's own games for other people's tools.

Importing this package registers ``myosu/Snake-v0``, ``myosu/SnakePublished-v0``, ``myosu/Woodoku-v0``,
``myosu/WoodokuPublished-v0``, ``myosu/Bubble-v0``, ``myosu/AnimatedBubble-v0`` and the five probes with Gymnasium. An
id can name the package as well: ``myosu.envs:myosu/Snake-v0``.
"""

import gymnasium

# As text, so that registering imports neither the games nor Numba.
for _name, _game in (("Snake", "snake"), ("SnakePublished", "snake-published"),
                     ("Woodoku", "woodoku"), ("WoodokuPublished", "woodoku-published"), ("Bubble", "bubble")):
    gymnasium.register(f"myosu/{_name}-v0", "myosu.envs.game_env:GameEnv", kwargs={"game": _game})
gymnasium.register("myosu/AnimatedBubble-v0", "myosu.envs.animated:AnimatedBubble")
for _name in ("ProbeConstant", "ProbeObservation", "ProbeDiscount", "ProbeAction", "ProbeBoth"):
    gymnasium.register(f"myosu/{_name}-v0", f"myosu.envs.probes:{_name}")
