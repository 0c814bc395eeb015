"""Positions as JSON for the page. The page has no rules: it draws the view and offers the actions listed in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from myosu.envs.game_history import GameHistory, Position
from myosu.games import Game, bubble, snake, woodoku
from myosu.games.go.board import owners
from myosu.games.go.rules import COLUMNS
from myosu.players.gtp import title

Board = dict[str, Any]


def view(history: GameHistory, position: Position) -> dict[str, Any]:
    """``position`` of ``history`` as JSON.

    legal: the legal actions. last: the action that led here. mover: who played it. board: one of the boards below, by
    its ``kind``.
    """
    game, ply = history.game, position.ply
    legal = [] if position.over else np.flatnonzero(history.legal_actions(position)).tolist()
    before = history.position(ply - 1) if ply else None
    last = history.actions[ply - 1] if ply else None
    return {
        "ply": ply, "to_play": position.to_play, "returns": position.returns, "over": position.over,
        "truncated": position.truncated, "legal": legal, "last": last, "mover": before.to_play if before else None,
        "board": board_of(game)(history, position, legal, before, last),
    }


def pieces(history: GameHistory, position: Position) -> np.ndarray:
    """int [cells]: 0 empty, 1 the first player's, 2 the second player's.

    The first two planes of the observation must hold the pieces of the player to move and of the opponent.
    """
    own, opponent = history.observation(position)[:2].reshape(2, -1).astype(int)
    return own + 2 * opponent if position.to_play == 0 else 2 * own + opponent


def _grid(history: GameHistory, position: Position, legal: list[int], before: Position | None, last: int | None,
          line: int = 0, drops: bool = False) -> Board:
    """A board of cells with pieces.

    cells: as ``pieces``. options: for each legal action except passing, [action, the cell it fills, the cells it
    flips]. placed, flipped: by the last action. line: the cells of a winning line. drops: whether a click anywhere in a
    column selects its lowest free cell. score: each player's number of pieces, if pieces flip.
    """
    rows, columns = history.game.observation_shape[1:]
    cells = pieces(history, position)

    def change(after: Position, old: np.ndarray) -> tuple[int, list[int]]:
        new = pieces(history, after)
        placed = np.flatnonzero((old == 0) & (new != 0))
        return (int(placed[0]) if len(placed) else -1), np.flatnonzero((old != 0) & (new != old)).tolist()

    options = [[action, *change(history.after(position, action), cells)] for action in legal
               if action != history.game.pass_action]
    placed, flipped = change(position, pieces(history, before)) if before else (-1, [])
    turns = history.game.pass_action is not None
    return {
        "kind": "grid", "rows": rows, "columns": columns, "drops": drops, "cells": cells.tolist(), "options": options,
        "placed": placed, "flipped": flipped, "pass": turns and history.game.pass_action in legal,
        "line": _line(cells.reshape(rows, columns), line) if line and position.over else [],
        "score": [int((cells == piece).sum()) for piece in (1, 2)] if turns else None,
    }


def _line(cells: np.ndarray, length: int) -> list[int]:
    """The cells of all lines of ``length`` equal pieces."""
    rows, columns = cells.shape
    found: set[int] = set()
    for row, column in np.ndindex(rows, columns):
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            places = [(row + k * down, column + k * right) for k in range(length)]
            if all(0 <= r < rows and 0 <= c < columns and cells[r, c] == cells[row, column] != 0 for r, c in places):
                found |= {r * columns + c for r, c in places}
    return sorted(found)


def _go(history: GameHistory, position: Position, legal: list[int], before: Position | None, last: int | None) -> Board:
    """A grid, with the additions of Go.

    files: the letters of the columns; rows count from the bottom. score: stones captured by each player; at the end
    each player's area, White's including komi. owners: at the end, the owner of each cell, as in ``cells``. komi: of
    White.
    """
    board = _grid(history, position, legal, before, last)
    size, state = board["columns"], position.state
    board |= {"files": COLUMNS[:size], "flipped": [], "owners": None, "score": state["captures"].tolist(),
              "komi": float(state["komi"])}
    if position.over:
        found = owners(state).reshape(size + 2, size + 2)[1:-1, 1:-1].reshape(-1)
        board["owners"] = found.tolist()
        board["score"] = [int((found == 1).sum()), float((found == 2).sum() + state["komi"])]
    return board


def _snake(history: GameHistory, position: Position, *_: Any) -> Board:
    """body: cells from the head to the tail."""
    state = position.state
    return {"kind": "snake", "rows": len(state["stamps"]), "columns": len(state["stamps"]),
            "body": snake.body(state)[::-1], "targets": np.flatnonzero(state["targets"]).tolist()}


def _woodoku(history: GameHistory, position: Position, legal: list[int], before: Position | None, last: int | None
             ) -> Board:
    """The board of Woodoku.

    cells: 0 or 1. pieces: for each slot, the [row, column] of its cells relative to the middle of its box. fits: for
    each slot, the legal cells for that middle; the action is 81 · slot + cell, listed in ``legal``. placed, cleared: by
    the last action.
    """
    size = woodoku.SIZE
    cells = position.state["board"].reshape(-1).astype(int)
    middle = woodoku.BOX // 2
    pieces = [(np.argwhere(box) - middle).tolist() for box in woodoku.piece_boxes(position.state)]
    placed: list[int] = []
    cleared: list[int] = []
    if before is not None and last is not None:
        slot, cell = divmod(last, size * size)
        offsets = np.argwhere(woodoku.piece_boxes(before.state)[slot]) - middle
        placed = [int(cell + size * row + column) for row, column in offsets]
        was = before.state["board"].reshape(-1).astype(int)
        was[placed] = 1
        cleared = np.flatnonzero((was == 1) & (cells == 0)).tolist()
    fits = [[action % 81 for action in legal if action // 81 == slot] for slot in range(3)]
    return {"kind": "woodoku", "rows": size, "columns": size, "cells": cells.tolist(), "pieces": pieces, "fits": fits,
            "placed": placed, "cleared": cleared, "straight": int(position.state["straight"])}


BUBBLE_DEGREES = np.degrees(bubble.ANGLES).round(1).tolist()


def _bubble(history: GameHistory, position: Position, legal: list[int], before: Position | None, last: int | None
            ) -> Board:
    """The board of Bubble. Lengths and [x, y] are in radii of a bubble.

    cells: 0 free, otherwise the colour; −1 no cell. shots_of: for each angle, the ``degrees`` to the right, the
    ``path`` of a shot and the ``cell`` it reaches. ways: for each action, which is a cell, the index of the angle; −1
    if no shot reaches it. shot: of the last action, its path, cell and colour, and [cell, colour] of the bubbles that
    are gone. shots: the number left. Common to all levels: ``bubble_field``.
    """
    state = position.state
    exists = np.arange(bubble.WIDTH) < np.array([[bubble.width_of(row)] for row in range(bubble.ROWS)])

    def fly(state: Any, angle: int) -> dict[str, Any]:
        path, cell = bubble.flight(state, angle)
        return {"degrees": BUBBLE_DEGREES[angle], "path": path.round(3).tolist(), "cell": cell}

    shot = None
    if before is not None and last is not None:
        flown = fly(before.state, int(bubble.angles_to_cells(before.state)[last]))
        shot = flown | {"cell": last, "colour": int(before.state["current"])}
        was = before.state["board"].reshape(-1).copy()
        was[shot["cell"]] = shot["colour"]
        gone = np.flatnonzero((was > 0) & (state["board"].reshape(-1) == 0))
        shot["gone"] = [[int(cell), int(was[cell])] for cell in gone]
    return {
        "kind": "bubble", **bubble_field(), "cells": np.where(exists, state["board"], -1).reshape(-1).tolist(),
        "current": int(state["current"]), "following": int(state["following"]),
        "shots": int(state["shots"]), "shot": shot,
        "shots_of": [fly(state, angle) for angle in range(bubble.NUM_ANGLES)],
        "ways": bubble.angles_to_cells(state).tolist(),
    }


def bubble_field() -> Board:
    """The part of the board that is equal in all positions of Bubble."""
    rows, width = bubble.ROWS, bubble.WIDTH
    return {
        "rows": rows, "columns": width, "size": [2 * width, round(bubble.SHOOTER_Y + 1.3, 2)],
        "deadline": round(bubble.middle_of(rows - 1, 0)[1] - 0.4, 2), "colours": bubble.NAMES,
        "middles": [[round(at, 3) for at in bubble.middle_of(*divmod(cell, width))] for cell in range(rows * width)],
    }


def _text(history: GameHistory, position: Position, *_: Any) -> Board:
    """For a game without a board on the page."""
    return {"kind": "text", "text": history.game.render(position.state)}


def board_of(game: Game) -> Callable[..., Board]:
    """The function that makes the board of a position of ``game``."""
    return BOARDS.get("go" if title(game) == "Go" else game.name, _text)


BOARDS: dict[str, Callable[..., Board]] = {
    "go": _go,
    "othello": _grid, "connect_four": partial(_grid, line=4, drops=True), "tictactoe": partial(_grid, line=3),
    "snake": _snake, "snake-published": _snake, "woodoku": _woodoku, "woodoku-published": _woodoku, "bubble": _bubble,
}
