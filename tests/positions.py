"""What the rules of a game say of one position."""

import numpy as np


def look(game, state):
    observation = np.full(game.observation_shape, 99, game.observation_dtype)
    game.observe(state, observation)
    return observation


def legal(game, state):
    """bool [num_actions]"""
    mask = np.zeros(game.num_actions, np.bool_)
    game.legal_actions(state, mask)
    return mask
