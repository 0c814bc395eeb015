"""Reads and writes Go games in SGF (with sgfmill); every move read is checked against the rules.

Only the main line is read. Handicap stones, and other black stones set up before the first move, become moves of Black
with passes of White between them; moves out of turn are treated likewise. A game that ended by resignation or on time
has its result, but no passes at its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from sgfmill import sgf, sgf_grammar

from myosu.errors import UserError
from myosu.games.game import Game
from myosu.games.go.rules import make_game

#: Maximum size of a file in bytes; a game takes a few kilobytes.
MOST_BYTES = 20_000_000
#: Comments that mark moves that no player chose.
RANDOM, CLEANUP, HANDICAP = "random", "cleanup", "handicap"


@dataclass
class GoRecord:
    """One game.

    actions: of Black and White alternately, as in ``make_game(size)``. comments: of each action, "" if there is none.
    winner: 1 Black, −1 White, 0 draw, None if the result is unknown. result: as in the file (``B+3.5``, ``W+R``).
    """

    size: int
    actions: list[int]
    komi: float = 7.5
    result: str = ""
    black: str = ""
    white: str = ""
    comments: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.comments = self.comments or [""] * len(self.actions)

    @property
    def winner(self) -> int | None:
        if self.result.strip().lower() in ("0", "draw", "jigo"):
            return 0
        found = re.match(r"\s*([BbWw])\s*\+", self.result)
        return (1 if found[1] in "Bb" else -1) if found else None

    def chosen(self) -> np.ndarray:
        """bool [moves]: the moves to learn from. Excluded are passes, everything after the first pass (dead stones are
        captured there, in arbitrary order), and moves with the comment random, cleanup or handicap."""
        free = np.array([comment in (RANDOM, CLEANUP, HANDICAP) for comment in self.comments], np.bool_)
        passes = np.array(self.actions, np.int64) == self.size**2
        given = np.array([comment == HANDICAP for comment in self.comments], np.bool_)
        return ~free & ~passes & (np.cumsum(passes & ~given) == 0)


def read_sgf(path: Path) -> list[GoRecord]:
    """The games in a file. Raises UserError with the file's name and the move if the file is invalid."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise UserError(f"{path} has {size / 1e6:.0f} MB; a file of games may have {MOST_BYTES / 1e6:.0f}. Split it.")
    return parse_sgf(path.read_bytes(), str(path))


def read_folder(folder: Path) -> tuple[list[GoRecord], list[str]]:
    """All distinct games in the ``.sgf`` files below ``folder``, and the errors of the files that were skipped.

    Raises UserError if there is no game at all.
    """
    games: dict[tuple, GoRecord] = {}
    left_out = []
    for path in sorted(folder.rglob("*.sgf")):
        try:
            for game in read_sgf(path):
                games.setdefault((game.size, *game.actions), game)
        except (UserError, OSError) as error:
            left_out.append(str(error))
    if not games:
        why = f"of {len(left_out)} files none could be read; the first: {left_out[0]}" if left_out else "no .sgf file"
        raise UserError(f"There are no games in {folder}: {why}")
    return list(games.values()), left_out


def parse_sgf(data: bytes, name: str) -> list[GoRecord]:
    """The games in ``data``; ``name`` is for messages."""
    try:
        trees = sgf_grammar.parse_sgf_collection(data)
    except ValueError as error:
        raise UserError(f"{name} is not SGF, or cut off: {error}.") from None
    return [_record(tree, name if len(trees) == 1 else f"{name}, game {k + 1}") for k, tree in enumerate(trees)]


def format_sgf(record: GoRecord) -> str:
    """The game as the text of an SGF file."""
    game = sgf.Sgf_game(record.size, encoding="UTF-8")
    root = game.get_root()
    for key, value in (("RE", record.result), ("PB", record.black), ("PW", record.white)):
        if value:
            root.set(key, value)
    root.set("KM", record.komi)
    root.set("AP", ("Myosu", "1"))
    for ply, (action, comment) in enumerate(zip(record.actions, record.comments, strict=True)):
        node = game.extend_main_sequence()
        row, column = divmod(action, record.size)
        node.set_move("bw"[ply % 2], None if row == record.size else (record.size - 1 - row, column))
        if comment:
            node.set("C", comment)
    return game.serialise(wrap=100).decode()


def _record(tree, name: str) -> GoRecord:
    game = _open(tree, name)
    size = game.get_size()
    if not 2 <= size <= 19:
        raise UserError(f"{name} is a game on {size}×{size} points; 2 to 19 can be read.")
    root = game.get_root()
    black, white, empty = root.get_setup_stones()
    if white or empty:
        raise UserError(f"{name} begins in the middle of a game: white stones are set up.")
    plays = [("b", point, HANDICAP) for point in sorted(black)]
    for node in game.get_main_sequence()[1:]:
        if node.has_setup_stones():
            raise UserError(f"{name} sets up stones in the middle of the game.")
    plays += [(*node.get_move(), _text(node, "C")) for node in game.get_main_sequence()
              if node.has_property("B") or node.has_property("W")]
    record = GoRecord(size, [], game.get_komi(), _text(root, "RE"), _text(root, "PB"), _text(root, "PW"))
    for colour, point, comment in plays:
        if colour != "bw"[len(record.actions) % 2]:
            record.actions.append(size * size)
            record.comments.append(HANDICAP)
        record.actions.append(size * size if point is None else (size - 1 - point[0]) * size + point[1])
        record.comments.append(comment)
    _check_moves(record, name)
    return record


def _open(tree, name: str) -> sgf.Sgf_game:
    """Parse the tree. If the encoding is unknown or wrong, names and comments may be garbled, but moves are ASCII in
    every encoding."""
    for encoding in (None, "UTF-8", "ISO-8859-1"):
        try:
            game = sgf.Sgf_game.from_coarse_game_tree(tree, override_encoding=encoding)
            for node in game.get_main_sequence():
                for key in ("C", "PB", "PW", "RE"):
                    _text(node, key)
            game.get_komi()
            moves = 0
            for node in game.get_main_sequence():
                moves += node.has_property("B") or node.has_property("W")
                try:
                    node.get_move()
                except ValueError:
                    raise UserError(f"{name}, move {moves}: {_raw(node)} is not a point of a board of "
                                    f"{game.get_size()}×{game.get_size()}.") from None
            return game
        except (LookupError, UnicodeError):
            continue
        except ValueError as error:
            problem = str(error)
            if "encoding" in problem.lower():
                continue
            raise UserError(f"{name}: {problem}.") from None
    raise UserError(f"{name}: its encoding is unknown.")


def _raw(node) -> str:
    """A node's move as the file writes it."""
    key = "B" if node.has_property("B") else "W"
    return f"{key}[{node.get_raw(key).decode(errors='replace')}]"


def _text(node, key: str) -> str:
    return str(node.get(key)) if node.has_property(key) else ""


@cache
def _rules(size: int) -> Game:
    return make_game(size, max_plies=max(2000, 3 * size * size))


def _check_moves(record: GoRecord, name: str) -> None:
    game = _rules(record.size)
    wrong = first_illegal(game, record.actions)
    if wrong is not None:
        said = sum(comment != HANDICAP for comment in record.comments[:wrong + 1])
        raise UserError(f"{name}, move {said}: {game.action_name(record.actions[wrong])} is illegal"
                        " (occupied, suicide, a repeated position, or after the end).")


def first_illegal(game: Game, actions: Iterable[int]) -> int | None:
    """The index of the first illegal action, None if all are legal."""
    state, mask, ended = game.new_states(1)[0], np.empty(game.num_actions, np.bool_), False
    for ply, action in enumerate(actions):
        game.legal_actions(state, mask)
        if ended or not mask[action]:
            return ply
        _, ended = game.step(state, action)
    return None
