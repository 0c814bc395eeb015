"""Connect Four: 7 columns, 6 rows. Reward +1 to the player who makes four in a row; a full board is a draw."""

from functools import cache

import numpy as np

from myosu.games.bitboard import count_bits
from myosu.games.drawing import Colour, canvas, cell, copy_cells, disc, panel
from myosu.games.game import Game, Symmetries, compiled

ROWS, COLUMNS = 6, 7

#: Bit ``7 * column + height`` is one cell; height 0 is the bottom. The seventh bit of a column is always 0, so that no
#: line wraps into the next column. ``own`` holds the discs of the player to move.
STATE = np.dtype([("own", np.uint64), ("opponent", np.uint64), ("player", np.int8), ("over", np.bool_)], align=True)

ZERO, ONE = np.uint64(0), np.uint64(1)
UP, RIGHT, RIGHT_DOWN, RIGHT_UP = np.uint64(1), np.uint64(7), np.uint64(6), np.uint64(8)
CELLS = np.uint64(sum(0x3F << (7 * column) for column in range(COLUMNS)))
TOP_CELLS = np.uint64(sum(1 << (7 * column + ROWS - 1) for column in range(COLUMNS)))


@compiled
def _has_line(discs, shift):
    pairs = discs & (discs >> shift)
    return (pairs & (pairs >> (shift + shift))) != ZERO


@compiled
def has_four(discs):
    return _has_line(discs, UP) or _has_line(discs, RIGHT) or _has_line(discs, RIGHT_DOWN) or _has_line(discs, RIGHT_UP)


@compiled
def init(state, seed):
    state.own = ZERO
    state.opponent = ZERO
    state.player = 0
    state.over = False


@compiled
def legal_actions(state, mask):
    occupied = state.own | state.opponent
    for column in range(COLUMNS):
        full = (occupied >> np.uint64(7 * column + ROWS - 1)) & ONE
        mask[column] = state.over or not full


@compiled
def step(state, action):
    occupied = state.own | state.opponent
    shift = np.uint64(7 * action)
    # Adding 1 to the bits of a column carries to its lowest empty cell.
    disc = ((occupied >> shift & np.uint64(0x3F)) + ONE) << shift & ~occupied
    own = state.own | disc
    won = has_four(own)
    state.own, state.opponent = state.opponent, own
    state.player = 1 - state.player
    state.over = won or (occupied | disc) & TOP_CELLS == TOP_CELLS
    return (1.0 if won else 0.0), state.over


@compiled
def observe(state, out):
    """Planes: discs of the player to move, of the opponent. Row 0 is the top."""
    for row in range(ROWS):
        for column in range(COLUMNS):
            cell = np.uint64(7 * column + ROWS - 1 - row)
            out[0, row, column] = (state.own >> cell) & ONE
            out[1, row, column] = (state.opponent >> cell) & ONE


@compiled
def to_play(state):
    return state.player


@compiled
def _lines_open_to(own, opponent, shift):
    """Score of the lines of four without a disc of ``opponent``: 0.004 each, plus 0.05 if ``own`` has three of the
    cells."""
    free = CELLS & ~opponent
    two, three = shift + shift, shift + shift + shift
    lines = free & (free >> shift) & (free >> two) & (free >> three)
    a, b, c, d = own, own >> shift, own >> two, own >> three
    threes = lines & ((a & b & (c | d)) | (c & d & (a | b)))
    return 0.004 * count_bits(lines) + 0.05 * count_bits(threes)


@compiled
def heuristic(state):
    """Difference of the players' scores for lines of four that can still be completed."""
    value = 0.0
    for shift in (UP, RIGHT, RIGHT_DOWN, RIGHT_UP):
        value += _lines_open_to(state.own, state.opponent, shift) - _lines_open_to(state.opponent, state.own, shift)
    return value


def render(state) -> str:
    first, second = int(state["own"]), int(state["opponent"])
    if state["player"] == 1:
        first, second = second, first

    def mark(row: int, column: int) -> str:
        cell = 7 * column + ROWS - 1 - row
        return "X" if first >> cell & 1 else "O" if second >> cell & 1 else "."

    rows = [" ".join(mark(row, column) for column in range(COLUMNS)) for row in range(ROWS)]
    return "\n".join([*rows, "a b c d e f g"])


def draw(state, pixels: int = 56) -> np.ndarray:
    """An image of the position, uint8 [H, W, 3], with ``pixels`` × ``pixels`` per cell."""
    empty, *others = _boards(pixels)
    image = empty.copy()
    first, second = state["own"], state["opponent"]
    if state["player"] == 1:
        first, second = second, first
    for other, discs in zip(others, (first, second), strict=True):
        cells = [(ROWS - 1 - height, column) for column in range(COLUMNS) for height in range(ROWS)
                 if int(discs) >> 7 * column + height & 1]
        copy_cells(image, other, cells, pixels, pixels // 2)
    return image


@cache
def _boards(pixels: int) -> tuple[np.ndarray, ...]:
    """Images of the empty board, of a board full of the first player's discs, and of the second player's."""
    margin, frame = pixels // 2, pixels // 5
    height, width = ROWS * pixels, COLUMNS * pixels
    empty = canvas(height + 2 * margin, width + 2 * margin, (238, 242, 249))
    panel(empty, margin - frame, margin - frame, height + 2 * frame, width + 2 * frame, 0.35 * pixels, (36, 84, 184),
          raised=True)
    first, second = empty.copy(), empty.copy()
    for row, column in np.ndindex(ROWS, COLUMNS):
        _hole(cell(empty, row, column, pixels, margin), (27, 62, 142), (24, 53, 122))
        _hole(cell(first, row, column, pixels, margin), (232, 72, 66), (198, 46, 46))
        _hole(cell(second, row, column, pixels, margin), (252, 205, 70), (230, 168, 36))
    return empty, first, second


def _hole(image: np.ndarray, face: Colour, edge: Colour) -> None:
    """Draw a hole on the image of a cell, with the disc (or background) behind it."""
    size = len(image)
    disc(image, 0.5 * size, 0.5 * size, 0.42 * size, (20, 46, 108))
    disc(image, 0.52 * size, 0.5 * size, 0.4 * size, edge)
    disc(image, 0.52 * size, 0.5 * size, 0.29 * size, face, softness=1.5)


def action_name(action: int) -> str:
    return "abcdefg"[action]


def parse_action(text: str) -> int:
    text = text.strip().lower()
    if len(text) != 1 or text not in "abcdefg":
        raise ValueError(f"{text!r} is not a column: write one of a–g")
    return "abcdefg".index(text)


def _mirrored() -> Symmetries:
    cells, actions = np.arange(ROWS * COLUMNS), np.arange(COLUMNS)
    return Symmetries(
        cells=np.stack([cells, cells.reshape(ROWS, COLUMNS)[:, ::-1].reshape(-1)]).astype(np.int64),
        actions=np.stack([actions, actions[::-1]]).astype(np.int64),
    )


GAME = Game(
    name="connect_four",
    num_players=2,
    num_actions=COLUMNS,
    observation_shape=(2, ROWS, COLUMNS),
    state_dtype=STATE,
    init=init,
    legal_actions=legal_actions,
    step=step,
    observe=observe,
    to_play=to_play,
    render=render,
    reward_range=(-1.0, 1.0),
    max_plies=ROWS * COLUMNS,
    action_name=action_name,
    parse_action=parse_action,
    symmetries=_mirrored(),
    heuristic=heuristic,
    draw=draw,
)
