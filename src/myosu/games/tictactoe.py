"""Tic-tac-toe: three in a row wins. Reward +1 to the player who completes a row; a full board is a draw."""

import numpy as np

from myosu.games.game import Game, compiled
from myosu.games.symmetry import board_symmetries

STATE = np.dtype([("board", np.int8, (9,)), ("player", np.int8), ("over", np.bool_)], align=True)
LINES = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]])


@compiled
def init(state, seed):
    state.board[:] = -1
    state.player = 0
    state.over = False


@compiled
def legal_actions(state, mask):
    for a in range(9):
        mask[a] = state.over or state.board[a] == -1


@compiled
def step(state, action):
    player = state.player
    state.board[action] = player
    state.player = 1 - player
    won = False
    for k in range(8):
        a, b, c = LINES[k]
        won = won or (state.board[a] == player and state.board[b] == player and state.board[c] == player)
    full = True
    for a in range(9):
        full = full and state.board[a] != -1
    state.over = won or full
    return (1.0 if won else 0.0), state.over


@compiled
def observe(state, out):
    """Planes: the mover's marks, the opponent's."""
    for a in range(9):
        out[0, a // 3, a % 3] = state.board[a] == state.player
        out[1, a // 3, a % 3] = state.board[a] == 1 - state.player


@compiled
def to_play(state):
    return state.player


def render(state) -> str:
    marks = "XO."
    return "\n".join(" ".join(marks[c] for c in row) for row in state["board"].reshape(3, 3))


def action_name(action: int) -> str:
    return "abc"[action % 3] + str(action // 3 + 1)


def parse_action(text: str) -> int:
    text = text.strip().lower()
    if len(text) != 2 or text[0] not in "abc" or text[1] not in "123":
        raise ValueError(f"{text!r} is no square: write a column a–c and a row 1–3, such as b2")
    return "123".index(text[1]) * 3 + "abc".index(text[0])


GAME = Game(
    name="tictactoe",
    num_players=2,
    num_actions=9,
    observation_shape=(2, 3, 3),
    state_dtype=STATE,
    init=init,
    legal_actions=legal_actions,
    step=step,
    observe=observe,
    to_play=to_play,
    render=render,
    reward_range=(-1.0, 1.0),
    max_plies=9,
    action_name=action_name,
    parse_action=parse_action,
    symmetries=board_symmetries(3, 3),
)
