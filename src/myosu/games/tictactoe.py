"""Tic-tac-toe: three in a row wins. Reward +1 to the player who completes a row; a full board is a draw."""

from functools import cache

import numpy as np

from myosu.games.drawing import canvas, cell, copy_cells, ring, stroke
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
    """Planes: marks of the player to move, of the opponent."""
    for a in range(9):
        out[0, a // 3, a % 3] = state.board[a] == state.player
        out[1, a // 3, a % 3] = state.board[a] == 1 - state.player


@compiled
def to_play(state):
    return state.player


def render(state) -> str:
    marks = "XO."
    return "\n".join(" ".join(marks[c] for c in row) for row in state["board"].reshape(3, 3))


def draw(state, pixels: int = 112) -> np.ndarray:
    """An image of the position, uint8 [H, W, 3], with ``pixels`` × ``pixels`` per square."""
    empty, *others = _boards(pixels)
    image = empty.copy()
    for player, other in enumerate(others):
        squares = [divmod(square, 3) for square in np.flatnonzero(state["board"] == player).tolist()]
        copy_cells(image, other, squares, pixels, pixels // 4)
    return image


@cache
def _boards(pixels: int) -> tuple[np.ndarray, ...]:
    """Images of the empty board, of a board full of crosses, and of a board full of rings."""
    margin, side = pixels // 4, 3 * pixels
    empty = canvas(side + 2 * margin, side + 2 * margin, (250, 247, 241))
    for line in (margin + pixels, margin + 2 * pixels):
        stroke(empty, (line, margin), (line, margin + side), 0.02 * pixels, (205, 198, 186))
        stroke(empty, (margin, line), (margin + side, line), 0.02 * pixels, (205, 198, 186))
    crosses, rings = empty.copy(), empty.copy()
    near, far, middle = 0.26 * pixels, 0.74 * pixels, 0.5 * pixels
    for row, column in np.ndindex(3, 3):
        square = cell(crosses, row, column, pixels, margin)
        stroke(square, (near, near), (far, far), 0.065 * pixels, (226, 93, 80))
        stroke(square, (near, far), (far, near), 0.065 * pixels, (226, 93, 80))
        ring(cell(rings, row, column, pixels, margin), middle, middle, 0.25 * pixels, 0.13 * pixels, (46, 134, 150))
    return empty, crosses, rings


def action_name(action: int) -> str:
    return "abc"[action % 3] + str(action // 3 + 1)


def parse_action(text: str) -> int:
    text = text.strip().lower()
    if len(text) != 2 or text[0] not in "abc" or text[1] not in "123":
        raise ValueError(f"{text!r} is not a square: write a column a–c and a row 1–3, such as b2")
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
    draw=draw,
)
