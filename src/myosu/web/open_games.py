"""Files of the page's games, so that they survive the server. Each file holds the moves and is rewritten after each
move."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from myosu.errors import UserError
from myosu.runs.games import GameRecord, read_game, write_game

#: Maximum number of games kept; the oldest are deleted.
KEPT = 1000


class OpenGames:
    """The game files in ``folder``, named by the game's id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, name: str, game: GameRecord) -> None:
        """Write the game as it is now.

        The file survives the end of this process at any moment. A power failure may cost the last moves, because
        waiting for the disk would delay every other game. Raises OSError.
        """
        path = self._path(name)
        if not path.exists():
            for old in self._files()[KEPT - 1:]:
                old.unlink(missing_ok=True)
        write_game(path, game, durable=False)

    def find(self, name: str) -> GameRecord | None:
        """Read a game, or return None if there is none with this name. Raises UserError if the file is damaged."""
        if not re.fullmatch(r"[\w-]+", name, re.ASCII):  # never open a path from a request
            return None
        path = self._path(name)
        return read_game(path) if path.exists() else None

    def unfinished(self) -> Iterator[tuple[str, GameRecord]]:
        """Names and records of games that are not over, the most recently played first. Damaged files are skipped."""
        for path in self._files():
            try:
                game = read_game(path)
            except UserError:
                continue
            if not (game.terminated or game.truncated):
                yield path.stem, game

    def _files(self) -> list[Path]:
        """The files, newest first."""
        return sorted(self.folder.glob("*.json"), key=_changed, reverse=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed in the meantime
        return 0.0
