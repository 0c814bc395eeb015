"""Nim: take one, two or three of 21 stones; whoever takes the last one wins."""

import numpy as np

from myosu.games import Game, compiled

STONES = 21
STATE = np.dtype([("stones", np.int8), ("player", np.int8)], align=True)


@compiled
def init(state, seed):
    state.stones = STONES
    state.player = 0


@compiled
def legal_actions(state, mask):
    for action in range(3):
        mask[action] = state.stones == 0 or action < state.stones


@compiled
def step(state, action):
    state.stones -= action + 1
    state.player = 1 - state.player
    over = state.stones == 0
    return (1.0 if over else 0.0), over


@compiled
def observe(state, out):
    for count in range(STONES + 1):
        out[count] = state.stones == count


@compiled
def to_play(state):
    return state.player


def render(state) -> str:
    return f"{state['stones']} stones  " + "o" * int(state["stones"])


GAME = Game(
    name="nim",
    num_players=2,
    num_actions=3,
    observation_shape=(STONES + 1,),
    state_dtype=STATE,
    init=init,
    legal_actions=legal_actions,
    step=step,
    observe=observe,
    to_play=to_play,
    render=render,
    reward_range=(-1.0, 1.0),
    max_plies=STONES,
    action_name=lambda action: str(action + 1),
    parse_action=lambda text: int(text) - 1,
)
