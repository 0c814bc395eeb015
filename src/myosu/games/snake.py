"""Snake: eat targets (+1 each) and grow; hitting a wall or oneself ends the game (−1), and filling the board wins it.

``GAME`` is the corrected game. ``PUBLISHED`` reproduces gym-snakegame step for step: there the tail's cell still counts
as occupied in the move in which the tail leaves it, a full board is not a win (the test precedes the growth, so the
next move is a death), several targets may start on one cell, and a snake that moves in circles never ends the game. In
``GAME`` such a snake starves (−1) when it has eaten nothing in as many moves as the board has cells, which is enough
time to visit every cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np

from myosu.games.chance import draw_below, start_chance
from myosu.games.drawing import canvas, cell, disc, stroke
from myosu.games.game import Game, Symmetries, compiled
from myosu.games.symmetry import board_symmetries

#: Actions are directions, and ``direction ^ 2`` is the opposite one.
NAMES = ("down", "right", "up", "left")
ROW_STEPS, COLUMN_STEPS = np.array([1, 0, -1, 0]), np.array([0, 1, 0, -1])
RIGHT = 1

#: Planes of the corrected game: the head; the targets; from ``LINKS`` on, one plane per direction, which marks the
#: segments whose next segment towards the head lies in that direction; from ``HUNGER`` on, the binary digits of the
#: number of moves since the last target, one constant plane each.
HEAD, TARGET, LINKS, HUNGER = 0, 1, 2, 6


def state_dtype(size: int) -> np.dtype:
    """Record of a position. stamps: the move in which the head entered each cell; the snake occupies the cells with a
    stamp of at least ``tail``. head: the stamp of the head's cell. channels: 0 in the corrected game, else the number
    of channels of the published observation.
    """
    return np.dtype([("stamps", np.int32, (size, size)), ("targets", np.uint8, (size, size)), ("chance", np.uint64),
                     ("head", np.int32), ("tail", np.int32), ("hunger", np.int32), ("row", np.int16),
                     ("column", np.int16), ("heading", np.int8), ("channels", np.int8), ("over", np.bool_)],
                    align=True)


@compiled
def _start(state, seed, targets, channels):
    size = state.stamps.shape[0]
    middle = size // 2
    state.stamps[:] = 0
    state.targets[:] = 0
    start_chance(state, seed)
    state.head = 3
    state.tail = 1
    state.hunger = 0
    state.row = middle
    state.column = middle
    state.heading = RIGHT
    state.channels = channels
    state.over = False
    for segment in range(3):
        state.stamps[middle, middle - segment] = 3 - segment
    for _ in range(targets):
        _place_target(state, channels > 0)


@compiled
def _place_target(state, may_overlap):
    """Place a target on a random free cell, if there is one. may_overlap: whether cells with a target count as free."""
    size, free = state.stamps.shape[0], 0
    for row in range(size):
        for column in range(size):
            free += state.stamps[row, column] < state.tail and (may_overlap or state.targets[row, column] == 0)
    if free == 0:
        return
    left = draw_below(state, free)
    for row in range(size):
        for column in range(size):
            if state.stamps[row, column] < state.tail and (may_overlap or state.targets[row, column] == 0):
                if left == 0:
                    state.targets[row, column] = 1
                    return
                left -= 1


@compiled
def legal_actions(state, mask):
    """All directions except turning back; in the published game all four."""
    for action in range(4):
        mask[action] = state.over or state.channels > 0 or action != state.heading ^ 2


@compiled
def step(state, action):
    size, published = state.stamps.shape[0], state.channels > 0
    heading = state.heading if action == state.heading ^ 2 else action  # turning back counts as going straight on
    row, column = state.row + ROW_STEPS[heading], state.column + COLUMN_STEPS[heading]
    if row < 0 or row >= size or column < 0 or column >= size:
        state.over = True
        return -1.0, True
    eats = state.targets[row, column] == 1
    # The tail's cell becomes free in the same move, unless the snake grows. The published game tests before that.
    if state.stamps[row, column] >= (state.tail if published else state.tail + 1):
        state.over = True
        return -1.0, True
    state.heading = heading
    state.row = row
    state.column = column
    state.head += 1
    state.stamps[row, column] = state.head
    if eats:
        state.hunger = 0
        state.targets[row, column] = 0
        _place_target(state, False)
        state.over = not published and state.head - state.tail + 1 == size * size
        return 1.0, state.over
    state.tail += 1
    state.hunger += 1
    state.over = not published and state.hunger == size * size
    return (-1.0 if state.over else 0.0), state.over


@compiled
def observe(state, out):
    if state.channels == 0:
        _observe_planes(state, out)
    else:
        _observe_published(state, out)


@compiled
def _observe_planes(state, out):
    size = state.stamps.shape[0]
    for row in range(size):
        for column in range(size):
            stamp = state.stamps[row, column]
            out[HEAD, row, column] = stamp == state.head
            out[TARGET, row, column] = state.targets[row, column]
            for direction in range(4):
                r, c = row + ROW_STEPS[direction], column + COLUMN_STEPS[direction]
                inside = 0 <= r < size and 0 <= c < size
                out[LINKS + direction, row, column] = (
                    inside and stamp >= state.tail and state.stamps[r, c] == stamp + 1)
    for plane in range(HUNGER, out.shape[0]):
        out[plane] = (state.hunger >> (plane - HUNGER)) & 1


@compiled
def _observe_published(state, out):
    """Segments are numbered from the head (1) to the tail; a target is size² + 1. With one
    channel it holds both; two channels: snake, targets; four: body, head, tail, targets."""
    size, length = state.stamps.shape[0], state.head - state.tail + 1
    out[:] = 0
    last = state.channels - 1
    for row in range(size):
        for column in range(size):
            if state.targets[row, column]:
                out[last, row, column] = size * size + 1
            elif state.stamps[row, column] >= state.tail:
                place = state.head - state.stamps[row, column] + 1
                channel = 0
                if state.channels == 4:
                    channel = 1 if place == 1 else 2 if place == length else 0
                out[channel, row, column] = place


@compiled
def to_play(state):
    return 0


def render(state) -> str:
    """@ is the head, o the body, # the tail, * a target."""
    stamps, head, tail = state["stamps"], state["head"], state["tail"]
    marks = np.full(stamps.shape, ".")
    marks[stamps >= tail] = "o"
    marks[stamps == tail] = "#"
    marks[stamps == head] = "@"
    marks[state["targets"] == 1] = "*"
    return "\n".join([*(" ".join(row) for row in marks), f"length {head - tail + 1}"])


def body(state) -> list[int]:
    """The snake's cells, from the tail to the head."""
    length = int(state["head"] - state["tail"]) + 1
    return np.argsort(state["stamps"], axis=None)[-length:].tolist()


#: Number of shades from the dark tail to the light head.
SHADES = 24


def draw(state, pixels: int = 32) -> np.ndarray:
    """An image of the position, uint8 [H, W, 3], with ``pixels`` × ``pixels`` per cell."""
    size, length = len(state["stamps"]), int(state["head"] - state["tail"]) + 1
    image = _ground(size, pixels).copy()

    def put(place: int, sprite: Callable, *looks: int | None) -> None:
        row, column = divmod(place, size)
        cell(image, row, column, pixels)[:] = sprite(pixels, (row + column) % 2, *looks)

    for place in np.flatnonzero(state["targets"]).tolist():
        put(place, _target)
    cells = body(state)
    headings = {size: 0, 1: 1, -size: 2, -1: 3}
    behind = None
    for number, (place, following) in enumerate(pairwise(cells)):
        ahead = headings[following - place]
        put(place, _segment, behind, ahead, number * SHADES // length)
        behind = ahead ^ 2
    put(cells[-1], _head, behind, int(state["heading"]))
    return image


@cache
def _ground(size: int, pixels: int) -> np.ndarray:
    image = canvas(size * pixels, size * pixels, (38, 46, 56))
    light = np.add.outer(np.arange(size), np.arange(size)) % 2 == 0
    image[light.repeat(pixels, 0).repeat(pixels, 1)] = (43, 52, 63)
    return image


def _free(pixels: int, odd: int) -> np.ndarray:
    return cell(_ground(2, pixels), 0, odd, pixels).copy()


@cache
def _target(pixels: int, odd: int) -> np.ndarray:
    image = _free(pixels, odd)
    disc(image, 0.5 * pixels, 0.5 * pixels, 0.32 * pixels, (231, 76, 60))
    disc(image, 0.4 * pixels, 0.4 * pixels, 0.07 * pixels, (255, 190, 180))
    return image


@cache
def _segment(pixels: int, odd: int, behind: int | None, ahead: int | None, shade: int) -> np.ndarray:
    """A segment of the snake, joined to its neighbours in the directions ``behind`` and ``ahead``."""
    image, middle = _free(pixels, odd), 0.5 * pixels
    radius = round(0.36 * pixels)  # an integer, because overlapping anti-aliased edges would add up
    fresh = shade / SHADES
    colour = int(30 + 40 * fresh), int(110 + 105 * fresh), int(80 + 40 * fresh)
    disc(image, middle, middle, radius, colour)
    for heading in (behind, ahead):
        if heading is not None:
            end = middle + pixels * ROW_STEPS[heading], middle + pixels * COLUMN_STEPS[heading]
            stroke(image, (middle, middle), end, radius, colour)
    return image


@cache
def _head(pixels: int, odd: int, behind: int | None, heading: int) -> np.ndarray:
    image = _segment(pixels, odd, behind, None, SHADES).copy()
    ahead = np.array([ROW_STEPS[heading], COLUMN_STEPS[heading]])
    for side in (-1, 1):
        y, x = pixels * (0.5 + 0.12 * ahead + 0.16 * side * ahead[::-1])
        disc(image, y, x, 0.1 * pixels, (250, 250, 250))
        disc(image, y + 0.03 * pixels * ahead[0], x + 0.03 * pixels * ahead[1], 0.05 * pixels, (20, 24, 30))
    return image


def action_name(action: int) -> str:
    return NAMES[action]


def parse_action(text: str) -> int:
    text = text.strip().lower()
    for action, name in enumerate(NAMES):
        if text and name.startswith(text):
            return action
    raise ValueError(f"{text!r} is not a direction: write down, right, up or left, or its first letter")


def _symmetries(size: int, planes: int) -> Symmetries:
    """The eight symmetries of the board; direction actions and direction planes rotate with it. planes: number of
    planes; 0: no plane encodes a direction."""
    cells = board_symmetries(size, size).cells
    places = np.stack(np.divmod(cells, size), -1).reshape(-1, size, size, 2)  # [S, row, column] -> original place
    steps = np.stack([ROW_STEPS, COLUMN_STEPS], -1)
    moved = places[:, 1 + ROW_STEPS, 1 + COLUMN_STEPS] - places[:, None, 1, 1]  # [S, direction, 2]
    actions = (moved[:, :, None] == steps).all(-1).argmax(-1).astype(np.int64)
    if planes == 0:
        return Symmetries(cells, actions)
    turned = np.tile(np.arange(planes), (len(cells), 1))
    turned[:, LINKS:HUNGER] = LINKS + actions
    return Symmetries(cells, actions, turned)


def make_game(published: bool = False, size: int | None = None, targets: int = 1, channels: int = 1) -> Game:
    """Snake on ``size`` × ``size`` cells (default 10, published 15). channels: 1, 2 or 4, of the published
    observation."""
    size = size or (15 if published else 10)
    if size < 5 or targets < 1 or channels not in (1, 2, 4):
        raise ValueError(f"size {size}, targets {targets}, channels {channels}: the size must be 5 or more, the "
                         "targets 1 or more, the channels 1, 2 or 4")
    mode, cells = channels if published else 0, size * size
    planes = mode or HUNGER + math.ceil(math.log2(cells))

    @compiled
    def init(state, seed):
        _start(state, seed, targets, mode)

    return Game(
        name="snake-published" if published else "snake",
        num_players=1,
        num_actions=4,
        observation_shape=(planes, size, size),
        state_dtype=state_dtype(size),
        init=init,
        legal_actions=legal_actions,
        step=step,
        observe=observe,
        to_play=to_play,
        render=render,
        reward_range=(-1.0, float(cells - 3)),
        # Starvation bounds the corrected game; the published one could continue for ever and is truncated.
        max_plies=20 * cells if published else (cells - 3) * cells,
        observation_dtype=np.uint32 if published else np.uint8,
        observation_range=(0, cells + 1 if published else 1),
        action_name=action_name,
        parse_action=parse_action,
        symmetries=_symmetries(size, 0 if published else planes),
        draw=draw,
        fps=10,
    )


GAME = make_game()
PUBLISHED = make_game(published=True)
