"""The episodes of a run that were recorded with all that it takes to see them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from myosu.envs.course import Course, replay
from myosu.errors import UserError
from myosu.games import Game
from myosu.runs.episodes import EpisodeIndex

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
        newest = [_listed(record) for record in reversed(index.last(SEARCHED)) if _replayable(record)]
        best = [_listed(record) for record in index.best(LISTED) if _replayable(record)]
        return {"newest": newest[:LISTED], "best": best}

    def course(self, number: int) -> Course:
        """Episode ``number``, played again. Raises UserError where that cannot be."""
        record = EpisodeIndex(self.folder).recorded(number)
        if not _replayable(record):
            raise Missing(f"Episode {number} was recorded without what is needed to see it again.")
        return replay(self.game, record["seed"], record["actions"])


def _replayable(record: dict[str, Any]) -> bool:
    return "actions" in record and "seed" in record


def _listed(record: dict[str, Any]) -> dict[str, Any]:
    return {"episode": record["index"], "length": record["length"], "returns": record["returns"],
            "weights": record["weights_version"]}
