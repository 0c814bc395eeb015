"""Mistakes in a game's ``step`` that need no knowledge of the game: each function takes a correct ``step`` and returns
a broken one."""

from __future__ import annotations

from myosu.games.loops import compiled_loop


def rewarding_first_seat(step):
    """The reward is that of the first player, whoever moved."""
    @compiled_loop  # its cache recognises a function that closes over ``step``
    def broken(state, action):
        seat = state.player
        reward, over = step(state, action)
        return (reward if seat == 0 else -reward), over
    return broken


def rewarding_opponent(step):
    """The mover gets the other player's reward."""
    @compiled_loop  # its cache recognises a function that closes over ``step``
    def broken(state, action):
        reward, over = step(state, action)
        return -reward, over
    return broken


def without_losses(step):
    """A loss of the mover is scored as a draw."""
    @compiled_loop  # its cache recognises a function that closes over ``step``
    def broken(state, action):
        reward, over = step(state, action)
        return max(reward, 0.0), over
    return broken


def moving_again(step, again, at_end=False):
    """The mover also takes the next turn after ``action == again``; at_end: also where the game is over."""
    @compiled_loop  # its cache recognises a function that closes over ``step``
    def broken(state, action):
        seat = state.player
        reward, over = step(state, action)
        if action == again and (at_end or not over):
            state.player = seat
        return reward, over
    return broken
