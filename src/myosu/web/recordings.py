"""The episodes of a run that were recorded with all that it takes to see them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from myosu.envs.course import Course
from myosu.errors import UserError
from myosu.games import Game
from myosu.runs.episodes import EpisodeIndex
from myosu.runs.games import GameRecord

#: Episodes offered of each kind, and among how many of the newest they are looked for: one in ten has its actions.
LISTED, SEARCHED = 30, 2000


class Missing(UserError):
    """There is no such thing."""


class Recordings:
    """Of the run in ``folder``, trained on ``game``."""

    def __init__(self, folder: Path, game: Game) -> None:
        self.folder, self.game = folder, game

    def list(self) -> dict[str, Any]:
        """The newest, newest first, and the best. Reads the whole index."""
        index = EpisodeIndex(self.folder)
        newest = [_listed(record) for record in reversed(index.last(SEARCHED)) if record.replayable]
        best = [_listed(record) for record in index.best(LISTED) if record.replayable]
        return {"newest": newest[:LISTED], "best": best}

    def course(self, number: int) -> Course:
        """Episode ``number``, played again. Raises UserError where that cannot be."""
        record = EpisodeIndex(self.folder).recorded(number)
        if not record.replayable:
            raise Missing(f"Episode {number} was recorded without what is needed to see it again.")
        return record.course(self.game)


def _listed(record: GameRecord) -> dict[str, Any]:
    return {"episode": record.index, "length": record.length, "returns": record.returns,
            "weights": record.weights_version}
