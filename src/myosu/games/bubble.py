"""Bubble: shoot bubbles at a hanging stack. Groups of three or more of one colour pop; bubbles without a connection to
the ceiling fall.

Rows of eight and seven bubbles alternate in a hexagonal grid. A shot flies straight, bounces off the walls, stops at
the first bubble or at the ceiling and snaps to the nearest cell. It can be aimed at 41 angles, from 70° to the left to
70° to the right. An action is the cell in which the bubble stops; it is legal if some angle reaches that cell. Actions
are not angles because the result of a shot depends only on its cell, and only about half of the angles lead to
different cells (docs/decisions/62-bubbles-cells.md). The colours of the current and the next bubble are visible, and
are among those that still hang. Clearing the board wins. The game ends when the shots run out, or when a bubble stays
in the last row; the latter also costs the price of the remaining shots, so that ending early is never cheaper.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from myosu.games.chance import draw_below, start_chance
from myosu.games.drawing import Colour, canvas, disc, stroke
from myosu.games.game import Game, Symmetries, compiled

WIDTH, ROWS = 8, 14
#: Geometry: bubbles have radius 1; rows are ``ROW_HEIGHT`` apart; y grows downwards from the ceiling at 0.
ROW_HEIGHT = math.sqrt(3)
LEFT, RIGHT = 1.0, 2.0 * WIDTH - 1  # bounds of the x of a flying bubble's centre
SHOOTER_X, SHOOTER_Y = float(WIDTH), 1 + ROW_HEIGHT * ROWS
#: Distance between centres at which a flying bubble stops: less than 2, so that it fits through narrow gaps.
TOUCH = 1.85
NUM_ANGLES = 41
ANGLES = np.linspace(-math.radians(70), math.radians(70), NUM_ANGLES)
#: Maximum number of points of a flight: the start, one bounce per 14 / tan(70°) = 5.1 of the height of at most 24.2,
#: and the end.
PATH_POINTS = 7
#: Neighbours of a cell as (row, column) steps, in even and in odd rows.
NEIGHBOURS = np.array([[(0, -1), (0, 1), (-1, -1), (-1, 0), (1, -1), (1, 0)],
                       [(0, -1), (0, 1), (-1, 0), (-1, 1), (1, 0), (1, 1)]])


#: board: 0 if empty, else the colour, counted from 1; the last entry of an odd row is unused. reached: the cells to
#: which the next shot can fly. current, following: colours of the current and the next bubble. shots: number of
#: remaining shots. colours: number of colours.
STATE = np.dtype([("board", np.int8, (ROWS, WIDTH)), ("reached", np.uint8, (ROWS, WIDTH)), ("chance", np.uint64),
                  ("current", np.int8), ("following", np.int8), ("colours", np.int8), ("shots", np.int16),
                  ("over", np.bool_)], align=True)


@compiled
def width_of(row):
    return WIDTH - row % 2


@compiled
def middle_of(row, column):
    """(x, y) of a cell's centre."""
    return 1.0 + 2.0 * column + row % 2, 1.0 + ROW_HEIGHT * row


@compiled
def fly(board, angle, path):
    """Write the (x, y) of the start, bounces and end of a shot at ``ANGLES[angle]`` to ``path``, float64 [PATH_POINTS,
    2], padded with the end. Returns (row, column) of the cell to which it snaps."""
    x, y = SHOOTER_X, SHOOTER_Y
    right, up = math.sin(ANGLES[angle]), math.cos(ANGLES[angle])
    path[0, 0] = x
    path[0, 1] = y
    for point in range(1, PATH_POINTS):
        # Fly to the ceiling or a wall, whichever is nearer, unless a bubble is in the way.
        way = (y - 1.0) / up
        if right > 0:
            way = min(way, (RIGHT - x) / right)
        elif right < 0:
            way = min(way, (LEFT - x) / right)
        stops = y - way * up <= 1.0 + 1e-9
        for row in range(ROWS):
            for column in range(width_of(row)):
                if board[row, column]:
                    bubble_x, bubble_y = middle_of(row, column)
                    across, along = bubble_x - x, y - bubble_y
                    nearest = across * right + along * up
                    closest = across * across + along * along - nearest * nearest
                    if nearest > 0 and closest < TOUCH * TOUCH:
                        touches = max(0.0, nearest - math.sqrt(TOUCH * TOUCH - closest))
                        if touches < way:
                            way, stops = touches, True
        x += way * right
        y -= way * up
        path[point:, 0] = x
        path[point:, 1] = y
        if stops:
            break
        right = -right
    return nearest_cell(x, y)


@compiled
def nearest_cell(x, y):
    """The cell nearest to a stopped bubble. It is free and adjacent to what stopped it, because every point between the
    walls is within 2 / √3 of a cell, and every bubble is at least ``TOUCH`` away."""
    best, at_row, at_column = np.inf, 0, 0
    for row in range(ROWS):
        for column in range(width_of(row)):
            cell_x, cell_y = middle_of(row, column)
            distance = (cell_x - x) ** 2 + (cell_y - y) ** 2
            if distance < best - 1e-9:
                best, at_row, at_column = distance, row, column
    return at_row, at_column


@compiled
def other_cell(x, y):
    """Like ``nearest_cell``, but the rightmost of two equally near cells, so that the rules are mirror-symmetric."""
    row, column = nearest_cell(LEFT + RIGHT - x, y)
    return row, width_of(row) - 1 - column


@compiled
def aim(state):
    """Mark the cells that the next shot can reach."""
    state.reached[:] = 0
    path = np.empty((PATH_POINTS, 2))
    for angle in range(NUM_ANGLES):
        row, column = fly(state.board, angle, path)
        state.reached[row, column] = 1
        row, column = other_cell(path[-1, 0], path[-1, 1])
        state.reached[row, column] = 1


@compiled
def find_ways(board, ways):
    """Write to ``ways`` [112], for each cell, the angle of the shortest flight to it; −1 if it is unreachable."""
    ways[:] = -1
    path, least = np.empty((PATH_POINTS, 2)), np.full(ROWS * WIDTH, np.inf)
    for angle in range(NUM_ANGLES):
        row, column = fly(board, angle, path)
        other_row, other_column = other_cell(path[-1, 0], path[-1, 1])
        length = 0.0
        for point in range(1, PATH_POINTS):
            length += math.sqrt((path[point, 0] - path[point - 1, 0]) ** 2 + (path[point, 1] - path[point - 1, 1]) ** 2)
        for cell in (row * WIDTH + column, other_row * WIDTH + other_column):
            if length < least[cell]:
                ways[cell], least[cell] = angle, length


@compiled
def _spread(board, marks, stack, count, colour):
    """Flood fill: mark all bubbles (of ``colour``; 0: of any colour) connected to the ``count`` cells on ``stack``,
    which are already marked. Returns the number of newly marked bubbles."""
    added = 0
    while count > 0:
        count -= 1
        row, column = stack[count] // WIDTH, stack[count] % WIDTH
        for k in range(6):
            r, c = row + NEIGHBOURS[row % 2, k, 0], column + NEIGHBOURS[row % 2, k, 1]
            if r < 0 or r >= ROWS or c < 0 or c >= width_of(r) or marks[r, c] or board[r, c] == 0:
                continue
            if colour == 0 or board[r, c] == colour:
                marks[r, c] = True
                stack[count] = r * WIDTH + c
                count += 1
                added += 1
    return added


@compiled
def pop_and_drop(board, row, column):
    """Remove the bubbles that pop and fall because of the new bubble at (row, column). Returns (popped, fallen, size of
    its colour group)."""
    marks, stack = np.zeros((ROWS, WIDTH), np.bool_), np.empty(ROWS * WIDTH, np.int64)
    marks[row, column] = True
    stack[0] = row * WIDTH + column
    together = 1 + _spread(board, marks, stack, 1, board[row, column])
    if together < 3:
        return 0, 0, together
    for r in range(ROWS):
        for c in range(WIDTH):
            if marks[r, c]:
                board[r, c] = 0
    marks[:] = False
    count = 0
    for c in range(WIDTH):
        if board[0, c]:
            marks[0, c] = True
            stack[count] = c
            count += 1
    _spread(board, marks, stack, count, 0)
    fallen = 0
    for r in range(ROWS):
        for c in range(WIDTH):
            if board[r, c] and not marks[r, c]:
                board[r, c] = 0
                fallen += 1
    return together, fallen, together


@compiled
def _hangs(board, colour):
    for row in range(ROWS):
        for column in range(WIDTH):
            if board[row, column] == colour:
                return True
    return False


@compiled
def _draw_colour(state):
    """A uniformly random colour among those that hang; 1 if the board is empty."""
    count = 0
    for colour in range(1, state.colours + 1):
        count += _hangs(state.board, colour)
    if count == 0:
        return 1
    left = draw_below(state, count)
    for colour in range(1, state.colours + 1):
        if _hangs(state.board, colour):
            if left == 0:
                return colour
            left -= 1
    return 1


@compiled
def _start(state, seed, rows, colours, shots):
    state.board[:] = 0
    state.colours = colours
    state.shots = shots
    state.over = False
    start_chance(state, seed)
    for row in range(rows):
        for column in range(width_of(row)):
            state.board[row, column] = 1 + draw_below(state, colours)
    state.current = _draw_colour(state)
    state.following = _draw_colour(state)
    aim(state)


@compiled
def _shoot(state, row, column):
    """Execute a shot. Returns the number of removed bubbles. A shot at an unreachable cell is lost."""
    popped, fallen = 0, 0
    if state.reached[row, column]:
        state.board[row, column] = state.current
        popped, fallen, _ = pop_and_drop(state.board, row, column)
    state.shots -= 1
    empty = not state.board.any()
    state.over = empty or state.shots == 0 or state.board[ROWS - 1].any()
    # If the next bubble's colour no longer hangs, it is replaced by one that does.
    state.current = state.following if _hangs(state.board, state.following) else _draw_colour(state)
    state.following = _draw_colour(state)
    aim(state)
    return popped + fallen


@compiled
def legal_actions(state, mask):
    for row in range(ROWS):
        for column in range(WIDTH):
            mask[WIDTH * row + column] = state.over or state.reached[row, column] != 0


#: Number of binary digits of the remaining shots, one plane each.
SHOT_BITS = 6


#: Indices of the planes before those of the colours.
REACHED, POPS, FALLS = 0, 1, 2
COLOURS_FROM = 3


@compiled
def observe(state, out):
    """Planes: the cells that a shot reaches; of these, the cells where it pops bubbles; the cells where other bubbles
    fall as well; the bubbles of each colour; the odd rows, which are shifted half a bubble to the right; and constant
    planes: whether the next bubble has the colour of the current one, and the binary digits of the remaining shots.

    The first colour plane is for the current bubble's colour, the second for the next bubble's if it differs, and the
    rest follow in order. The rules are symmetric in the colours, so what is learnt about one holds for all."""
    out[:] = 0
    for row in range(ROWS):
        for column in range(width_of(row)):
            colour = state.board[row, column]
            if colour:
                out[COLOURS_FROM + _seen_as(state, colour), row, column] = 1
            elif state.reached[row, column]:
                board = state.board.copy()
                board[row, column] = state.current
                popped, fallen, _ = pop_and_drop(board, row, column)
                out[REACHED, row, column] = 1
                out[POPS, row, column] = popped > 0
                out[FALLS, row, column] = fallen > 0
        out[COLOURS_FROM + state.colours, row] = row % 2
    after = COLOURS_FROM + state.colours + 1
    out[after] = state.following == state.current
    for digit in range(SHOT_BITS):
        out[after + 1 + digit] = (state.shots >> digit) & 1


@compiled
def _seen_as(state, colour):
    """Index, from 0, of a colour's plane among the colour planes."""
    if colour == state.current:
        return 0
    if colour == state.following:
        return 1
    place = 1 if state.following == state.current else 2
    for other in range(1, colour):
        place += other != state.current and other != state.following
    return place


@compiled
def heuristic(state):
    """A rough estimate of the future rewards, for the greedy player: each bubble costs shots, fewer next to bubbles of
    its colour."""
    value = 0.0
    for row in range(ROWS):
        for column in range(width_of(row)):
            colour = state.board[row, column]
            if colour == 0:
                continue
            value -= 0.02
            for k in range(6):
                r, c = row + NEIGHBOURS[row % 2, k, 0], column + NEIGHBOURS[row % 2, k, 1]
                if 0 <= r < ROWS and 0 <= c < width_of(r) and state.board[r, c] == colour:
                    value += 0.002
    return value


@compiled
def to_play(state):
    return 0


NAMES = ("none", "red", "yellow", "green", "blue", "purple", "orange", "white")
LETTERS = ".rygbpow"


def render(state) -> str:
    rows = [" " * (row % 2) + " ".join(LETTERS[colour] for colour in cells[:WIDTH - row % 2])
            for row, cells in enumerate(state["board"])]
    return "\n".join([*rows, f"shoot {LETTERS[state['current']]}, then {LETTERS[state['following']]}, "
                             f"{state['shots']} shots left"])


def flight(state, angle: int) -> tuple[np.ndarray, int]:
    """The points (x, y) of a shot's path, f64 [n, 2], and the cell ``8 · row + column`` to which it snaps."""
    path = np.empty((PATH_POINTS, 2))
    row, column = fly(state["board"], angle, path)
    ends = int((path == path[-1]).all(1).argmax())
    return path[:ends + 1], row * WIDTH + column


def angles_to_cells(state) -> np.ndarray:
    """The angle of the shortest flight to each cell, int8 [112]; −1 if the cell is unreachable."""
    ways = np.empty(ROWS * WIDTH, np.int8)
    find_ways(state["board"], ways)
    return ways


BACKGROUND, LINE = (30, 36, 58), (150, 160, 190)
COLOURS: tuple[Colour, ...] = ((232, 76, 72), (245, 190, 60), (72, 178, 106), (70, 140, 232), (168, 98, 214),
                               (240, 130, 60), (210, 214, 224))


def draw(state, pixels: int = 24) -> np.ndarray:
    """An image of the position, uint8 [H, W, 3], with ``pixels`` per bubble."""
    radius = pixels / 2
    image = _ground(pixels).copy()

    def put(x: float, y: float, colour: int, size: int) -> None:
        picture, cover = _bubble(colour, size)
        top, left = round(y * radius - size / 2), round(x * radius - size / 2)
        part = image[top:top + size, left:left + size]
        part[cover] = picture[cover]

    for row, column in np.argwhere(state["board"]):
        x, y = middle_of(row, column)
        put(x, y, int(state["board"][row, column]), pixels)
    put(SHOOTER_X, SHOOTER_Y, int(state["current"]), pixels)
    put(SHOOTER_X - 4, SHOOTER_Y, int(state["following"]), round(0.7 * pixels))
    left = int(state["shots"])
    for shot in range(left):
        disc(image, (SHOOTER_Y - 0.5 + shot // 12 * 0.4) * radius, (SHOOTER_X + 2.5 + shot % 12 * 0.4) * radius,
             0.13 * radius, LINE)
    return image


@cache
def _ground(pixels: int) -> np.ndarray:
    radius = pixels / 2
    image = canvas(math.ceil((SHOOTER_Y + 1.5) * radius), WIDTH * pixels, BACKGROUND)
    y = (ROW_HEIGHT * (ROWS - 1) + 0.6) * radius
    stroke(image, (y, 0), (y, WIDTH * pixels), 0.6, LINE, opacity=0.5)
    return image


@cache
def _bubble(colour: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of a bubble, and the mask of its pixels."""
    middle, rim = pixels / 2, COLOURS[colour - 1]
    image = canvas(pixels, pixels, BACKGROUND)
    shade: Colour = (rim[0] * 3 // 4, rim[1] * 3 // 4, rim[2] * 3 // 4)
    disc(image, middle, middle, 0.47 * pixels, shade)
    disc(image, 0.47 * pixels, 0.47 * pixels, 0.4 * pixels, rim, softness=pixels / 8)
    disc(image, 0.32 * pixels, 0.34 * pixels, 0.09 * pixels, (255, 255, 255), softness=pixels / 10, opacity=0.8)
    return image, (image != BACKGROUND).any(-1)


def action_name(action: int) -> str:
    """Column (a from the left) and row (1 at the ceiling) of the cell."""
    row, column = divmod(action, WIDTH)
    return f"{'abcdefgh'[column]}{row + 1}"


def parse_action(text: str) -> int:
    text = text.strip().lower()
    column, row = text[:1], text[1:]
    if column not in tuple("abcdefgh") or row not in map(str, range(1, ROWS + 1)):
        raise ValueError(f"{text!r} is not a cell: write a column a to h and a row 1 to {ROWS}, such as d3")
    return WIDTH * (int(row) - 1) + "abcdefgh".index(column)


def _mirrored() -> Symmetries:
    cells = np.arange(ROWS * WIDTH)
    mirrored = cells.reshape(ROWS, WIDTH).copy()
    for row in range(ROWS):
        mirrored[row, :width_of(row)] = mirrored[row, :width_of(row)][::-1]
    both = np.stack([cells, mirrored.reshape(-1)])
    return Symmetries(cells=both, actions=both)


def make_game(rows: int = 6, colours: int = 4, shots: int = 60, bubble_reward: float = 0.01, shot_price: float = 0.03,
              clear_reward: float = 1.0) -> Game:
    """A level of ``rows`` rows in ``colours`` colours, with ``shots`` shots to clear it. Rewards: ``bubble_reward`` per
    removed bubble, −``shot_price`` per shot, ``clear_reward`` for clearing the board."""
    if not 1 <= rows <= ROWS - 2 or not 1 <= colours <= len(COLOURS) or not 1 <= shots < 2**SHOT_BITS:
        raise ValueError(f"rows {rows}, colours {colours}, shots {shots}: there can be 1 to {ROWS - 2} rows, 1 to "
                         f"{len(COLOURS)} colours and 1 to {2**SHOT_BITS - 1} shots")
    if not 0 <= bubble_reward <= shot_price or not clear_reward > 0:
        raise ValueError(f"bubble_reward {bubble_reward}, shot_price {shot_price}, clear_reward {clear_reward}: a shot "
                         "must cost at least what a bubble earns, and clearing must earn something")

    @compiled
    def init(state, seed):
        _start(state, seed, rows, colours, shots)

    @compiled
    def step(state, action):
        gone = _shoot(state, action // WIDTH, action % WIDTH)
        cleared = not state.board.any()
        paid = 1 + (state.shots if state.over and not cleared else 0)
        return bubble_reward * gone - shot_price * paid + (clear_reward if cleared else 0.0), state.over

    # Without clearing, all shots are paid for, and at best all bubbles that ever existed except one are removed.
    bubbles = rows * WIDTH - rows // 2 + shots
    return Game(
        name="bubble",
        num_players=1,
        num_actions=ROWS * WIDTH,
        observation_shape=(COLOURS_FROM + colours + 2 + SHOT_BITS, ROWS, WIDTH),
        state_dtype=STATE,
        init=init,
        legal_actions=legal_actions,
        step=step,
        observe=observe,
        to_play=to_play,
        render=render,
        reward_range=(-shot_price * shots, clear_reward + bubble_reward * bubbles),
        max_plies=shots,
        success_return=bubble_reward * bubbles - shot_price * shots + clear_reward / 2,
        action_name=action_name,
        parse_action=parse_action,
        symmetries=_mirrored(),
        heuristic=heuristic,
        draw=draw,
    )


GAME = make_game()
