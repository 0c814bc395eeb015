"""Othello on bitboards: 64 squares and an explicit pass, which is legal only when nothing else is.

The game ends when neither player can move. Rewards are 0 before the end; the final reward is half the difference in
discs. On a full board this is *discs − 32*. If squares stay empty, *discs − 32* would not be zero-sum (both could
lose); half the difference shares empty squares equally. So 33:20 is +6.5, not +1, and a player who is wiped out 13:0
loses 6.5, not 32.
"""

from functools import cache

import numpy as np

from myosu.games.bitboard import count_bits
from myosu.games.drawing import Colour, canvas, cell, copy_cells, disc, panel
from myosu.games.game import Game, compiled
from myosu.games.symmetry import board_symmetries

PASS = 64

#: Bit ``8 * row + column`` is one square; a1 is bit 0 and the top left. ``own`` holds the discs of the player to move,
#: ``legal`` that player's legal squares (computed once per ply). Player 0 is Black.
STATE = np.dtype(
    [("own", np.uint64), ("opponent", np.uint64), ("legal", np.uint64), ("player", np.int8), ("over", np.bool_)],
    align=True,
)

ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
#: Squares through which a horizontal or diagonal line can pass: all except columns a and h.
INNER = np.uint64(0x7E7E7E7E7E7E7E7E)
CORNERS = np.uint64(0x8100000000000081)
ZERO, ONE, TWO = np.uint64(0), np.uint64(1), np.uint64(2)
RIGHT, DOWN_LEFT, DOWN, DOWN_RIGHT = np.uint64(1), np.uint64(7), np.uint64(8), np.uint64(9)


@compiled
def _reach_up(start, through, shift):
    """Squares of ``through`` in an unbroken line from ``start`` towards higher bits (parallel prefix, up to 6
    steps)."""
    double, line = shift * TWO, through & (start << shift)
    line |= through & (line << shift)
    pairs = through & (through << shift)
    line |= pairs & (line << double)
    return line | (pairs & (line << double))


@compiled
def _reach_down(start, through, shift):
    double, line = shift * TWO, through & (start >> shift)
    line |= through & (line >> shift)
    pairs = through & (through >> shift)
    line |= pairs & (line >> double)
    return line | (pairs & (line >> double))


@compiled
def legal_squares(own, opponent):
    """Legal squares for the player with the discs ``own``."""
    inner = opponent & INNER
    moves = (_reach_up(own, inner, RIGHT) << RIGHT) | (_reach_down(own, inner, RIGHT) >> RIGHT)
    moves |= (_reach_up(own, opponent, DOWN) << DOWN) | (_reach_down(own, opponent, DOWN) >> DOWN)
    moves |= (_reach_up(own, inner, DOWN_LEFT) << DOWN_LEFT) | (_reach_down(own, inner, DOWN_LEFT) >> DOWN_LEFT)
    moves |= (_reach_up(own, inner, DOWN_RIGHT) << DOWN_RIGHT) | (_reach_down(own, inner, DOWN_RIGHT) >> DOWN_RIGHT)
    return moves & ~(own | opponent)


@compiled
def _flipped_along(move, own, through, shift):
    up = _reach_up(move, through, shift)
    down = _reach_down(move, through, shift)
    return (up if (up << shift) & own else ZERO) | (down if (down >> shift) & own else ZERO)


@compiled
def flipped_discs(own, opponent, square):
    """Discs that are flipped when the player with the discs ``own`` plays on ``square``."""
    move, inner = ONE << np.uint64(square), opponent & INNER
    flips = _flipped_along(move, own, inner, RIGHT) | _flipped_along(move, own, opponent, DOWN)
    return flips | _flipped_along(move, own, inner, DOWN_LEFT) | _flipped_along(move, own, inner, DOWN_RIGHT)


@compiled
def init(state, seed):
    state.own = np.uint64(0x0000000810000000)
    state.opponent = np.uint64(0x0000001008000000)
    state.legal = legal_squares(state.own, state.opponent)
    state.player = 0
    state.over = False


@compiled
def legal_actions(state, mask):
    legal = ALL if state.over else state.legal
    for square in range(64):
        mask[square] = (legal >> np.uint64(square)) & ONE
    mask[PASS] = state.over or legal == ZERO


@compiled
def step(state, action):
    own, opponent = state.own, state.opponent
    if action != PASS:
        flips = flipped_discs(own, opponent, action)
        own |= flips | (ONE << np.uint64(action))
        opponent &= ~flips
    legal = legal_squares(opponent, own)
    state.own, state.opponent, state.legal = opponent, own, legal
    state.player = 1 - state.player
    state.over = legal == ZERO and legal_squares(own, opponent) == ZERO
    return (0.5 * (count_bits(own) - count_bits(opponent)) if state.over else 0.0), state.over


@compiled
def _write_plane(out, plane, board):
    for row in range(8):
        for column in range(8):
            out[plane, row, column] = (board >> np.uint64(8 * row + column)) & ONE


@compiled
def observe(state, out):
    """Planes: discs of the player to move, of the opponent, legal squares."""
    _write_plane(out, 0, state.own)
    _write_plane(out, 1, state.opponent)
    _write_plane(out, 2, state.legal)


@compiled
def to_play(state):
    return state.player


@compiled
def score(state):
    """Black's discs minus White's; empty squares count for the winner."""
    lead = count_bits(state.own) - count_bits(state.opponent)
    if state.player == 1:
        lead = -lead
    return float(lead + np.sign(lead) * (64 - count_bits(state.own | state.opponent)))


@compiled
def heuristic(state):
    """Corners and mobility, plus the disc difference when the board is nearly full."""
    own, opponent = state.own, state.opponent
    corners = count_bits(own & CORNERS) - count_bits(opponent & CORNERS)
    mobility = count_bits(state.legal) - count_bits(legal_squares(opponent, own))
    discs = count_bits(own) - count_bits(opponent)
    return 4.0 * corners + 0.5 * mobility + (0.5 * discs if count_bits(own | opponent) > 54 else 0.0)


def render(state) -> str:
    """X is Black, O is White, * a square where the player to move may place a disc."""
    black, white = int(state["own"]), int(state["opponent"])
    if state["player"] == 1:
        black, white = white, black
    legal = 0 if state["over"] else int(state["legal"])

    def mark(square: int) -> str:
        return next((c for c, board in (("X", black), ("O", white), ("*", legal)) if board >> square & 1), ".")

    rows = [f"{row + 1} " + " ".join(mark(8 * row + column) for column in range(8)) for row in range(8)]
    return "\n".join(["  a b c d e f g h", *rows, f"X {black.bit_count()}  O {white.bit_count()}"])


def draw(state, pixels: int = 48) -> np.ndarray:
    """An image of the position, uint8 [H, W, 3], with ``pixels`` × ``pixels`` per square and dots on legal squares."""
    empty, *others = _boards(pixels)
    image = empty.copy()
    black, white = state["own"], state["opponent"]
    if state["player"] == 1:
        black, white = white, black
    legal = ZERO if state["over"] else state["legal"]
    for other, board in zip(others, (black, white, legal), strict=True):
        squares = [divmod(square, 8) for square in range(64) if int(board) >> square & 1]
        copy_cells(image, other, squares, pixels, pixels // 2)
    return image


@cache
def _boards(pixels: int) -> tuple[np.ndarray, ...]:
    """Images of the empty board, and of boards full of black discs, of white discs and of dots."""
    margin, side, lines = pixels // 2, 8 * pixels, (27, 88, 60)
    empty = canvas(side + 2 * margin, side + 2 * margin, (44, 33, 27))
    panel(empty, margin - 4, margin - 4, side + 8, side + 8, 6, (24, 66, 46))
    panel(empty, margin - 1, margin - 1, side + 2, side + 2, 3, (42, 128, 86), raised=True)
    for line in range(1, 8):
        place = margin + line * pixels
        empty[place - 1:place + 1, margin:margin + side] = empty[margin:margin + side, place - 1:place + 1] = lines
    for y in (2, 6):
        for x in (2, 6):
            disc(empty, margin + y * pixels, margin + x * pixels, 0.09 * pixels, lines)
    black, white, dots = (empty.copy() for _ in range(3))
    for row, column in np.ndindex(8, 8):
        _disc(cell(black, row, column, pixels, margin), (18, 19, 22), (34, 36, 41), (92, 97, 108))
        _disc(cell(white, row, column, pixels, margin), (196, 196, 190), (234, 233, 228), (255, 255, 255))
        disc(cell(dots, row, column, pixels, margin), pixels / 2, pixels / 2, 0.11 * pixels, (12, 40, 28), opacity=0.45)
    return empty, black, white, dots


def _disc(image: np.ndarray, edge: Colour, face: Colour, light: Colour) -> None:
    """Draw a disc on the image of its square: shadow, edge, face, highlight."""
    size = len(image)
    disc(image, 0.55 * size, 0.52 * size, 0.39 * size, (0, 0, 0), softness=0.14 * size, opacity=0.4)
    disc(image, 0.5 * size, 0.5 * size, 0.41 * size, edge)
    disc(image, 0.485 * size, 0.495 * size, 0.375 * size, face, softness=0.04 * size)
    disc(image, 0.36 * size, 0.4 * size, 0.11 * size, light, softness=0.26 * size, opacity=0.55)


def action_name(action: int) -> str:
    return "pass" if action == PASS else "abcdefgh"[action % 8] + str(action // 8 + 1)


def parse_action(text: str) -> int:
    text = text.strip().lower()
    if text in ("pass", "pa"):
        return PASS
    if len(text) != 2 or text[0] not in "abcdefgh" or text[1] not in "12345678":
        raise ValueError(f"{text!r} is not a move: write a column a–h and a row 1–8, such as d3, or pass")
    return "12345678".index(text[1]) * 8 + "abcdefgh".index(text[0])


GAME = Game(
    name="othello",
    num_players=2,
    num_actions=65,
    observation_shape=(3, 8, 8),
    state_dtype=STATE,
    init=init,
    legal_actions=legal_actions,
    step=step,
    observe=observe,
    to_play=to_play,
    render=render,
    reward_range=(-32.0, 32.0),
    max_plies=80,
    pass_action=PASS,
    action_name=action_name,
    parse_action=parse_action,
    symmetries=board_symmetries(8, 8, extra_actions=1),
    heuristic=heuristic,
    score=score,
    draw=draw,
)
