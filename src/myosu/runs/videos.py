"""File names of videos of a run's episodes, by the index of the episode in ``games.jsonl``."""

from __future__ import annotations

import re
from pathlib import Path

VIDEO_FORMATS = (".mp4", ".gif")


def video_path(folder: Path, index: int) -> Path:
    return folder / "videos" / f"episode-{index:06d}.mp4"


def find_videos(folder: Path) -> list[tuple[int, Path]]:
    """The videos in the run's folder: pairs of episode index and path, sorted by path."""
    named = ((path, re.fullmatch(r"episode-(\d+)", path.stem)) for path in sorted((folder / "videos").glob("*")))
    return [(int(match[1]), path) for path, match in named if match and path.suffix in VIDEO_FORMATS]
