"""Episodes of a run that were recorded completely enough to be replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from myosu.envs.game_history import GameHistory
from myosu.errors import UserError
from myosu.games import Game
from myosu.runs.games import GameRecord
from myosu.runs.recordings import open_recording

#: Number of episodes offered of each kind, and number of newest episodes searched for them (one in ten has actions).
LISTED, SEARCHED = 30, 2000


class Missing(UserError):
    """The requested thing does not exist."""


class Recordings:
    """Recordings of the run in ``folder``, which was trained on ``game``."""

    def __init__(self, folder: Path, game: Game) -> None:
        self.folder, self.game = folder, game

    def list(self) -> dict[str, Any]:
        """The newest episodes, newest first, and the best. Reads the whole index."""
        index = open_recording(self.folder)
        newest = [_listed(record) for record in reversed(index.last(SEARCHED)) if record.replayable]
        best = [_listed(record) for record in index.best(LISTED) if record.replayable]
        return {"newest": newest[:LISTED], "best": best}

    def history(self, number: int) -> GameHistory:
        """Replay episode ``number``. Raises UserError if that is impossible."""
        return open_recording(self.folder).find(number).history(self.game)


def _listed(record: GameRecord) -> dict[str, Any]:
    return {"episode": record.index, "length": record.length, "returns": record.returns,
            "weights": record.weights_version}
