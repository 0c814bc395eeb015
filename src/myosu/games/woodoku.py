"""Woodoku: place pieces on a 9×9 board; full rows, columns and 3×3 boxes vanish. The game ends when no piece fits.

Three different pieces are drawn at random, and again when all three are placed. Each lies in a 5×5 box, and the action
``81 * piece + 9 * row + column`` puts the centre of that box on the cell. A move that clears nothing earns the
piece's number of cells; one that clears ``combo`` rows, columns and boxes earns ``28 * combo + 10 * straight + cells −
20``, where ``straight`` is the number of consecutive clearing moves. A box whose three rows or three columns are
cleared anyway does not count again. An illegal placement changes nothing and earns nothing.

``GAME`` is the corrected game. ``PUBLISHED`` reproduces gym-woodoku step for step: there two of the eight L-shaped
pieces are missing, its option to play without boxes is ignored, and the observation does not show ``straight``, on
which the reward depends. (gym-woodoku also returns its own board instead of a copy; that has no counterpart here,
because the caller provides the output array.)
"""

from __future__ import annotations

from functools import cache

import numpy as np

from myosu.games.chance import draw_below, start_chance
from myosu.games.drawing import Colour, canvas, cell, copy_cells, panel
from myosu.games.game import Game, Symmetries, compiled

SIZE, BOX = 9, 5
#: The two pieces that gym-woodoku lacks; they are last in ``PIECES``.
MISSING = ("#./#./##", "##/#./#.")
SHAPES = ("#", "##", "#./.#", "###", "#../.#./..#", "##/#.", "####", "#.../.#../..#./...#", "##/##", "###/#..",
          "###/.#.", "##./.##", "#####", "###/#../#..", ".#./###/.#.", "###/.#./.#.", "###/#.#")
#: Number of bits of ``straight``. A clearing move removes at least four cells net, of at most 80, which bounds it.
STRAIGHT_BITS = 5

STATE = np.dtype([("board", np.uint8, (SIZE, SIZE)), ("chance", np.uint64), ("pieces", np.int8, (3,)),
                  ("straight", np.int8), ("published", np.bool_), ("boxes", np.bool_), ("over", np.bool_)], align=True)


def _orientations() -> list[np.ndarray]:
    """All distinct rotations and reflections of the shapes."""
    found: dict[str, np.ndarray] = {}
    for shape in SHAPES:
        grid = np.array([[mark == "#" for mark in row] for row in shape.split("/")])
        for turned in (np.rot90(side, turn) for side in (grid, grid.T) for turn in range(4)):
            found["/".join("".join(".#"[int(cell)] for cell in row) for row in turned)] = turned
    return [grid for name, grid in found.items() if name not in MISSING] + [found[name] for name in MISSING]


PIECES = _orientations()
#: Cells of each piece in its 5×5 box, centred; an even side is centred on the last cell of its first half.
CELL_COUNTS = np.array([piece.sum() for piece in PIECES])
CELLS = np.zeros((len(PIECES), 5, 2), np.int64)
for _number, _piece in enumerate(PIECES):
    CELLS[_number, :CELL_COUNTS[_number]] = np.argwhere(_piece) + [2 - (side - 1) // 2 for side in _piece.shape]


@compiled
def _start(state, seed, published, boxes):
    state.board[:] = 0
    state.straight = 0
    state.published = published
    state.boxes = boxes
    state.over = False
    start_chance(state, seed)
    _draw_pieces(state)


@compiled
def _draw_pieces(state):
    """Draw three different pieces."""
    count = len(CELL_COUNTS) - (len(MISSING) if state.published else 0)
    first, second, third = draw_below(state, count), draw_below(state, count - 1), draw_below(state, count - 2)
    second += second >= first
    third += third >= min(first, second)
    third += third >= max(first, second)
    state.pieces[0] = first
    state.pieces[1] = second
    state.pieces[2] = third


@compiled
def _fits(state, slot, row, column):
    piece = state.pieces[slot]
    if piece < 0:
        return False
    for k in range(CELL_COUNTS[piece]):
        r, c = row - 2 + CELLS[piece, k, 0], column - 2 + CELLS[piece, k, 1]
        if r < 0 or r >= SIZE or c < 0 or c >= SIZE or state.board[r, c]:
            return False
    return True


@compiled
def _nothing_fits(state):
    for slot in range(3):
        for row in range(SIZE):
            for column in range(SIZE):
                if _fits(state, slot, row, column):
                    return False
    return True


@compiled
def _full_lines(state):
    """Bit sets of the full rows, columns and boxes, and their total number."""
    rows, columns, boxes, combo = 0, 0, 0, 0
    for a in range(SIZE):
        full_row, full_column = True, True
        for b in range(SIZE):
            full_row &= state.board[a, b]
            full_column &= state.board[b, a]
        rows |= full_row << a
        columns |= full_column << a
        combo += full_row + full_column
    if state.boxes:
        for box in range(SIZE):
            top, left = box // 3 * 3, box % 3 * 3
            full = rows >> top & 7 != 7 and columns >> left & 7 != 7  # else its rows or columns clear it
            for cell in range(9):
                full &= state.board[top + cell // 3, left + cell % 3]
            boxes |= full << box
            combo += full
    return rows, columns, boxes, combo


@compiled
def _put(state, piece, row, column, value):
    for k in range(CELL_COUNTS[piece]):
        state.board[row - 2 + CELLS[piece, k, 0], column - 2 + CELLS[piece, k, 1]] = value


@compiled
def _clear(state):
    """Clear the full rows, columns and boxes. Returns their number."""
    rows, columns, boxes, combo = _full_lines(state)
    if combo > 0:
        for row in range(SIZE):
            for column in range(SIZE):
                if (rows >> row | columns >> column | boxes >> (row // 3 * 3 + column // 3)) & 1:
                    state.board[row, column] = 0
    return combo


@compiled
def legal_actions(state, mask):
    for slot in range(3):
        for row in range(SIZE):
            for column in range(SIZE):
                mask[81 * slot + 9 * row + column] = state.over or _fits(state, slot, row, column)


@compiled
def step(state, action):
    slot, row, column = action // 81, action % 81 // 9, action % 9
    if not _fits(state, slot, row, column):
        return 0.0, state.over
    piece = state.pieces[slot]
    cells = CELL_COUNTS[piece]
    _put(state, piece, row, column, 1)
    combo = _clear(state)
    state.straight = state.straight + 1 if combo > 0 else 0
    state.pieces[slot] = -1
    if state.pieces[0] < 0 and state.pieces[1] < 0 and state.pieces[2] < 0:
        _draw_pieces(state)
    state.over = _nothing_fits(state)
    return (28.0 * combo + 10.0 * state.straight + cells - 20.0 if combo > 0 else float(cells)), state.over


@compiled
def observe(state, out):
    """Planes: the board; three for the pieces, in the central 5×5 cells. In the corrected game also, per piece, the
    cells where it fits, where it would clear at least one line or box, and where at least two; and the binary digits
    of ``straight``, one constant plane each."""
    out[:] = 0
    for row in range(SIZE):
        for column in range(SIZE):
            out[0, row, column] = state.board[row, column]
    for slot in range(3):
        piece = state.pieces[slot]
        if piece >= 0:
            for k in range(CELL_COUNTS[piece]):
                out[1 + slot, 2 + CELLS[piece, k, 0], 2 + CELLS[piece, k, 1]] = 1
    if out.shape[0] > 4:
        for slot in range(3):
            for row in range(SIZE):
                for column in range(SIZE):
                    if _fits(state, slot, row, column):
                        out[4 + slot, row, column] = 1
                        _put(state, state.pieces[slot], row, column, 1)
                        combo = _full_lines(state)[3]
                        out[7 + slot, row, column] = combo >= 1
                        out[10 + slot, row, column] = combo >= 2
                        _put(state, state.pieces[slot], row, column, 0)
        for digit in range(STRAIGHT_BITS):
            out[13 + digit] = (state.straight >> digit) & 1


@compiled
def to_play(state):
    return 0


def piece_boxes(state) -> np.ndarray:
    """The three pieces in their boxes, bool [3, 5, 5]."""
    boxes = np.zeros((3, BOX, BOX), np.bool_)
    for box, piece in zip(boxes, state["pieces"], strict=True):
        if piece >= 0:
            box[tuple(CELLS[piece, :CELL_COUNTS[piece]].T)] = True
    return boxes


def render(state) -> str:
    rows = [f"{row + 1} " + " ".join(".#"[int(cell)] for cell in cells) for row, cells in enumerate(state["board"])]
    boxes = ["   ".join(" ".join(".#"[int(cell)] for cell in line) for line in lines)
             for lines in piece_boxes(state).swapaxes(0, 1)]
    return "\n".join(["  a b c d e f g h i", *rows, "", "1           2           3", *boxes,
                      f"straight {state['straight']}"])


PAGE, WOOD, LIGHT_WOOD, FREE, FREE_BOX = (
    (244, 233, 214), (166, 102, 52), (192, 124, 66), (224, 202, 168), (233, 216, 188))


def draw(state, pixels: int = 32) -> np.ndarray:
    """An image of the position, uint8 [H, W, 3], with ``pixels`` × ``pixels`` per cell of the board."""
    margin, small = pixels // 2, pixels // 2
    empty, full = _boards(pixels)
    image, side, piece = empty.copy(), SIZE * pixels, _piece_tile(small)
    copy_cells(image, full, np.argwhere(state["board"]), pixels, margin)
    gap = (side - 3 * BOX * small) // 2
    for slot, box in enumerate(piece_boxes(state)):
        for row, column in np.argwhere(box):
            top, left = 2 * margin + side + row * small, margin + slot * (BOX * small + gap) + column * small
            image[top:top + small, left:left + small] = piece
    return image


@cache
def _boards(pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of the empty and of the full board."""
    margin, side = pixels // 2, SIZE * pixels
    empty = canvas(side + BOX * (pixels // 2) + 3 * margin, side + 2 * margin, PAGE)
    full = empty.copy()
    for row, column in np.ndindex(SIZE, SIZE):
        _tile(cell(empty, row, column, pixels, margin), FREE_BOX if (row // 3 + column // 3) % 2 else FREE)
        _tile(cell(full, row, column, pixels, margin), WOOD, raised=True)
    return empty, full


@cache
def _piece_tile(pixels: int) -> np.ndarray:
    image = canvas(pixels, pixels, PAGE)
    _tile(image, LIGHT_WOOD, raised=True)
    return image


def _tile(image: np.ndarray, colour: Colour, raised: bool = False) -> None:
    """Fill the image of a cell except for a border of one pixel."""
    size = len(image)
    panel(image, 1, 1, size - 2, size - 2, size / 5, colour, raised)


def action_name(action: int) -> str:
    return f"{action // 81 + 1}{'abcdefghi'[action % 9]}{action % 81 // 9 + 1}"


def parse_action(text: str) -> int:
    text = text.strip().lower()
    if len(text) != 3 or text[0] not in "123" or text[1] not in "abcdefghi" or text[2] not in "123456789":
        raise ValueError(f"{text!r} is not a move: write a piece 1–3, a column a–i and a row 1–9 for the centre of the "
                         "piece's box, such as 2e5")
    return (int(text[0]) - 1) * 81 + (int(text[2]) - 1) * 9 + "abcdefghi".index(text[1])


def _transposed() -> Symmetries:
    """Only the transposition, because the centre of an even side (and with it the action) does not rotate."""
    cells = np.arange(SIZE * SIZE)
    both = np.stack([cells, cells.reshape(SIZE, SIZE).T.reshape(-1)])
    return Symmetries(both, np.concatenate([both + 81 * slot for slot in range(3)], axis=1))


def make_game(published: bool = False, boxes: bool = True) -> Game:
    """Woodoku. boxes: whether full 3×3 boxes are cleared too; always true in the published game."""
    boxes = boxes or published

    @compiled
    def init(state, seed):
        _start(state, seed, published, boxes)

    return Game(
        name="woodoku-published" if published else "woodoku",
        num_players=1,
        num_actions=3 * SIZE * SIZE,
        observation_shape=(4 if published else 4 + 3 * 3 + STRAIGHT_BITS, SIZE, SIZE),
        state_dtype=STATE,
        init=init,
        legal_actions=legal_actions,
        step=step,
        observe=observe,
        to_play=to_play,
        render=render,
        # A good player can play for ever; clearing everything that is placed earns about 15 points per move.
        reward_range=(0.0, 15_000.0),
        max_plies=1000,
        action_name=action_name,
        parse_action=parse_action,
        # gym-woodoku lacks two pieces whose transposes it has, so it is not symmetric.
        symmetries=None if published else _transposed(),
        draw=draw,
    )


GAME = make_game()
PUBLISHED = make_game(published=True)
