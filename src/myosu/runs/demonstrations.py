"""Games that people played, one JSON file each (``docs/play.md``), from which later training can learn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from myosu.errors import UserError
from myosu.runs.files import write_json
from myosu.runs.games import GameRecord, Seat
from myosu.runs.reading import load_json, tell


def write_demonstration(path: Path, record: GameRecord) -> None:
    """Write ``path`` atomically, and an Othello game also as SGF beside it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record.to_json())
    if record.game == "othello":
        path.with_suffix(".sgf").write_text(othello_sgf(record), encoding="utf-8")


def read_demonstration(path: Path) -> GameRecord:
    """Read one game. Raises UserError if the file is missing or damaged."""
    return GameRecord.from_json(load_json(path), path)


def read_demonstrations(folder: Path) -> Iterator[GameRecord]:
    """The games in ``folder`` (``RUN/played``), oldest first. Damaged files are skipped with one notice."""
    for path in sorted(folder.glob("*.json")):
        try:
            record = read_demonstration(path)
        except UserError as error:
            tell(f"{error} It is left out.")
            continue
        yield record


def othello_sgf(record: GameRecord) -> str:
    """The game in the Smart Game Format (FF[4], GM[2]): squares are column and row as letters, a pass is empty. Raises
    UserError if it is not a complete record of an Othello game."""
    if record.game != "othello" or len(record.players) != 2:
        raise UserError("Only games of Othello between two players can be written as SGF.")
    course = record.course()
    names = [_player_name(player) for player in record.players]
    lead = round(2 * course.now.returns[0])
    result = "0" if lead == 0 else f"{'B' if lead > 0 else 'W'}+{abs(lead)}"
    root = f"(;FF[4]GM[2]SZ[8]CA[UTF-8]AP[Myosu]PB[{names[0]}]PW[{names[1]}]"
    root += f"RE[{result}]" if course.now.over else ""
    letters = "abcdefgh"
    moves = [f";{'BW'[ply % 2]}[{'' if action == 64 else letters[action % 8] + letters[action // 8]}]"
             for ply, action in enumerate(course.actions)]
    lines = ["".join(moves[k:k + 12]) for k in range(0, len(moves), 12)]
    return "\n".join([root, *lines]) + ")\n"


def _player_name(player: Seat) -> str:
    name = player["kind"]
    if name == "agent":
        name = f"{player.get('run', name)} {player.get('checkpoint', '')}".rstrip()
    return name.replace("\\", "\\\\").replace("]", "\\]")
