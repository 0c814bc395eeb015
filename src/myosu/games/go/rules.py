"""Go with the Tromp–Taylor rules.

Positional superko: a move may not repeat any earlier position, regardless of the player to move. Passing is an action;
two passes in a row end the game. A player's score is its area (stones, and empty points that only its colour reaches),
plus ``komi`` for White. Dead stones are not removed: they must be captured before the end. Suicide, if the setting
allows it, removes the player's own chain. A game that reaches ``max_plies`` (by default three times the number of
points) is scored as it stands. The reward is 1 for a win, −1 for a loss, 0 for a draw (impossible with a half-point
komi).

Points are named as in GTP: columns A to T without I, rows from 1 at the bottom.
"""

from __future__ import annotations

import numpy as np

from myosu.games.game import Game, compiled
from myosu.games.go.board import (
    BLACK,
    EMPTY,
    NOWHERE,
    WHITE,
    area,
    board_fields,
    clear,
    in_atari,
    place,
    point_of,
    width_of,
)
from myosu.games.go.drawing import draw, stone_grid
from myosu.games.go.features import FEATURES, make_observe_features
from myosu.games.go.legal import is_legal, key_of
from myosu.games.symmetry import board_symmetries

#: Number of positions in an observation.
HISTORY = 8
COLUMNS = "ABCDEFGHJKLMNOPQRST"


def state_dtype(size: int, max_plies: int) -> np.dtype:
    """Record of a position.

    hashes: of the position after each ply, beginning with the empty board. recent: the last eight occupants of each
    point, two bits each, the newest in the lowest bits. held: bit 0 if Black ever had a stone on the point, bit 1 for
    White. captures: stones captured by Black and by White. last: the point of the last move, NOWHERE after a pass.
    """
    points = (size + 2) ** 2
    # The fields of the board come last, because Numba warns about a record that begins with the fields of another.
    return np.dtype([("hashes", np.uint64, (max_plies + 1,)), ("recent", np.uint16, (points,)),
                     ("held", np.uint8, (points,)), ("captures", np.int16, (2,)), ("komi", np.float32),
                     ("ply", np.int16), ("last", np.int16), ("passes", np.int8), ("player", np.int8),
                     ("suicide", np.bool_), ("over", np.bool_), *board_fields(size)], align=True)


@compiled
def start(state, komi, suicide):
    clear(state)
    state.hashes[:] = 0
    state.recent[:] = 0
    state.held[:] = 0
    state.captures[:] = 0
    state.komi = komi
    state.ply = 0
    state.last = NOWHERE
    state.passes = 0
    state.player = 0
    state.suicide = suicide
    state.over = False


@compiled
def legal_actions(state, mask):
    width = width_of(state)
    cells = (width - 2) ** 2
    for cell in range(cells):
        mask[cell] = state.over or is_legal(state, point_of(cell, width))
    mask[cells] = True


@compiled
def step(state, action):
    if state.over:
        return 0.0, True  # ``hashes`` has no room for more plies
    width, colour = width_of(state), state.player + 1
    key = state.hashes[state.ply]
    state.ply += 1
    if action == (width - 2) ** 2:
        state.passes += 1
        state.last = NOWHERE
        state.ko = NOWHERE
    else:
        point = point_of(action, width)
        stone, taken = place(state, point, colour)
        suicide = state.stones[point] == EMPTY
        key ^= key_of(point, colour)
        for _ in range(taken):
            key ^= key_of(stone, colour if suicide else BLACK + WHITE - colour)
            stone = np.int64(state.link[stone])
        state.captures[1 - state.player if suicide else state.player] += taken
        state.held[point] |= colour
        state.passes = 0
        state.last = point
    state.hashes[state.ply] = key
    stones = state.stones
    for point in range(width * width):
        state.recent[point] = state.recent[point] << 2 | stones[point]
    state.over = state.passes == 2 or state.ply == len(state.hashes) - 1
    reward = 0.0
    if state.over:
        reward = np.sign(score(state)) * (1 if state.player == 0 else -1)
    state.player = 1 - state.player
    return reward, state.over


@compiled
def score(state):
    """Black's area minus White's area and komi, in the current position."""
    return float(area(state)) - state.komi


@compiled
def observe(state, out):
    """Planes: stones of the player to move and of the opponent, in the current and the seven previous positions; then a
    constant plane, 1 if Black is to move."""
    width, own = width_of(state), state.player + 1
    for cell in range((width - 2) ** 2):
        recent = np.int64(state.recent[point_of(cell, width)])
        row, column = cell // (width - 2), cell % (width - 2)
        for k in range(HISTORY):
            occupant = recent >> 2 * k & 3
            out[2 * k, row, column] = occupant == own
            out[2 * k + 1, row, column] = occupant == BLACK + WHITE - own
        out[2 * HISTORY, row, column] = own == BLACK


@compiled
def to_play(state):
    return state.player


@compiled
def heuristic(state):
    """The lead of the player to move, less a point for each own stone in atari and plus a point for each of the
    opponent's, divided by the number of points plus |komi|."""
    width, stones, lead = width_of(state), state.stones, score(state)
    for cell in range((width - 2) ** 2):
        point = point_of(cell, width)
        if stones[point] != EMPTY and in_atari(state, np.int64(state.chain[point])):
            lead += -1.0 if stones[point] == BLACK else 1.0
    lead /= (width - 2) ** 2 + abs(state.komi)
    return lead if state.player == 0 else -lead


def render(state) -> str:
    """X is Black, O is White; the last move is in parentheses."""
    grid = stone_grid(state)
    size = len(grid)
    lines = [f"   {' '.join(COLUMNS[:size])}"]
    for row in range(size):
        cells = " ".join(".XO"[stone] for stone in grid[row])
        line = f"{size - row:2} {cells} "
        if state["last"] != NOWHERE and state["last"] // (size + 2) == row + 1:
            column = 2 * (state["last"] % (size + 2))
            line = f"{line[:column]}({line[column + 1]}){line[column + 3:]}"
        lines.append(line.rstrip())
    black, white = state["captures"]
    return "\n".join([*lines, f"X has taken {black}, O {white}; komi {state['komi']:g}"])


def point_name(action: int, size: int) -> str:
    return "pass" if action == size * size else f"{COLUMNS[action % size]}{size - action // size}"


def parse_point(text: str, size: int) -> int:
    """The action for a point's name or "pass". Raises ValueError for other text."""
    name = text.strip().upper()
    if name in ("PASS", "PA"):
        return size * size
    column, row = COLUMNS.find(name[:1] or "?"), name[1:]
    if not (0 <= column < size and row.isdecimal() and row.isascii() and 1 <= int(row) <= size):
        raise ValueError(f"{text.strip()!r} is not a move: write a column A–{COLUMNS[size - 1]} (there is no I) and a "
                         f"row 1–{size}, such as {COLUMNS[size // 2]}{size // 2 + 1}, or pass")
    return (size - int(row)) * size + column


def make_game(size: int = 9, komi: float = 7.5, suicide: bool = False, max_plies: int | None = None,
              features: bool = False) -> Game:
    """Go on ``size`` × ``size`` points. suicide: whether it is legal. max_plies: by default 3 · size². features:
    whether observations are AlphaGo's input features (``go.features``) instead of the last eight positions."""
    plies = max_plies or 3 * size * size
    if not 2 <= size <= 19 or not 2 * size * size <= plies <= 10_000 or abs(komi) > size * size:
        raise ValueError(f"size {size}, komi {komi:g}, max_plies {plies}: the size must be 2 to 19, the komi at most "
                         "as many points as the board has, the plies at least twice as many and at most 10000")

    @compiled
    def init(state, seed):
        start(state, komi, suicide)

    return Game(
        name=f"go{size}-features" if features else f"go{size}",
        num_players=2,
        num_actions=size * size + 1,
        observation_shape=(FEATURES if features else 2 * HISTORY + 1, size, size),
        state_dtype=state_dtype(size, plies),
        init=init,
        legal_actions=legal_actions,
        step=step,
        observe=make_observe_features(size) if features else observe,
        to_play=to_play,
        render=render,
        reward_range=(-1.0, 1.0),
        max_plies=plies,
        pass_action=size * size,
        action_name=lambda action: point_name(action, size),
        parse_action=lambda text: parse_point(text, size),
        symmetries=board_symmetries(size, size, extra_actions=1),
        heuristic=heuristic,
        score=score,
        draw=draw,
    )


GO9, GO13, GO19 = make_game(9), make_game(13), make_game(19)
GO9_FEATURES, GO19_FEATURES = make_game(9, features=True), make_game(19, features=True)
