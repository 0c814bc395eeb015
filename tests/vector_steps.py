"""Steps of a vector environment (``myosu.envs.vector``), for tests."""

import numpy as np


def start(env):
    env.reset()
    return env.recv()


def act(env, actions, ids=None, min_ready=None):
    """Send ``actions`` to the environments ``ids``, by default all, and wait for ``min_ready`` results."""
    env.send(np.asarray(actions), np.arange(env.num_envs) if ids is None else np.asarray(ids))
    return env.recv(min_ready)
