"""The episodes of a run: ``games.jsonl`` lists them, and ``videos/`` holds videos of some, by the same index.

The list is read line by line, because there may be hundreds of thousands of episodes.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from myosu.errors import UserError
from myosu.runs.games import EpisodeLine, GameRecord
from myosu.runs.reading import read_lines

VIDEO_FORMATS = (".mp4", ".gif")


class EpisodeIndex:
    """The episodes of the run in ``folder``. Raises UserError if there is no run."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise UserError(f"There is no run in {folder}: {folder / 'config.json'} is missing.")
        self.folder, self._file = folder, folder / "games.jsonl"

    def last(self, count: int) -> list[GameRecord]:
        """The newest, oldest first."""
        return [GameRecord.of_line(line) for line in read_lines(self._file, EpisodeLine, last=count)]

    def best(self, count: int) -> list[GameRecord]:
        """Those with the best returns, best first."""
        return heapq.nlargest(count, self._records(), key=_merit)

    def with_actions(self) -> Iterator[GameRecord]:
        """Those that can be replayed, oldest first."""
        return (record for record in self._records() if record.replayable)

    def recorded(self, which: int | Literal["best"]) -> GameRecord:
        """The replayable episode with this index, or the best one. Raises UserError if there is none."""
        if which == "best":
            best = max(self.with_actions(), key=_merit, default=None)
            if best is None:
                raise UserError(f"No episode in {self.folder} has its actions recorded yet.")
            return best
        newest, nearest = -1, list[int]()
        for record in self._records():
            newest = record.index
            if record.replayable:
                if newest == which:
                    return record
                nearest = [*nearest[-1:], newest] if newest > which else [newest]
                if newest > which:
                    break
        if not 0 <= which <= newest:
            raise UserError(f"There is no episode {which} in {self.folder}: it has {newest + 1} so far, from 0.")
        raise UserError(f"The actions of episode {which} were not recorded. The nearest that were: "
                        f"{' and '.join(map(str, nearest)) or 'none'}.")

    def _records(self) -> Iterator[GameRecord]:
        return map(GameRecord.of_line, read_lines(self._file, EpisodeLine))


def _merit(record: GameRecord) -> tuple[float, int]:
    """Sort key of the best episode. In two-player games the winner's return counts; among equals the newest is best."""
    return max(record.returns, default=-math.inf), record.index


def video_path(folder: Path, index: int) -> Path:
    return folder / "videos" / f"episode-{index:06d}.mp4"


def find_videos(folder: Path) -> list[tuple[int, Path]]:
    """The videos in the run's folder, by the index of their episode."""
    named = ((path, re.fullmatch(r"episode-(\d+)", path.stem)) for path in sorted((folder / "videos").glob("*")))
    return [(int(match[1]), path) for path, match in named if match and path.suffix in VIDEO_FORMATS]
