"""A run is a folder.

    config.json    what it was started with            games.jsonl    one line a finished game (episode)
    checkpoints/   see ``checkpoint.py``               metrics.jsonl  one line every few seconds or evaluation
    replay/        the positions, saved in parts       tensorboard/   the same numbers for TensorBoard
    videos/        of episodes, see ``episodes.py``
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myosu.errors import UserError
from myosu.runs.config import LIMITS, RunConfig, shape_of
from myosu.runs.files import hold_folder, write_json


@dataclass(frozen=True)
class Run:
    """``start``: the checkpoint to go on from, where it is not the latest."""

    folder: Path
    config: RunConfig
    start: Path | None = None

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def replay(self) -> Path:
        return self.folder / "replay"

    def lock(self) -> int:
        """Hold the folder until this process ends or closes the descriptor; nobody else may train in it."""
        return hold_folder(self.folder, "trained")

    def is_locked(self) -> bool:
        """Whether somebody trains in it now. Tries the lock for an instant, so ask seldom."""
        try:
            descriptor = os.open(self.folder / ".lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def create_folder(config: RunConfig, folder: str | Path | None = None) -> Run:
    """Make the folder (``runs/GAME-ALGORITHM-DATE-TIME`` by default). Raises UserError where something is already."""
    if folder is None:
        # Of "module:name/Id-v0" only the id names a folder well.
        names = f"{Path(config.game.rpartition(':')[2]).stem}-{Path(config.algorithm).stem}"
        folder = Path("runs") / f"{names}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if (folder / "config.json").is_file():
            raise UserError(f"{folder} already holds a run. Go on with it: myosu train --resume {folder} . "
                            "Or name another folder with --run.")
        raise UserError(f"{folder} exists and is no run. Name another folder with --run.")
    config = dataclasses.replace(config, game=_absolute(config.game), algorithm=_absolute(config.algorithm),
                                 spec=shape_of(config.environment.spec))
    data = config.to_json()
    for part in ("checkpoints", "replay", "tensorboard"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", data)
    return Run(folder, config)


def open_run(path: str | Path, **changes: Any) -> Run:
    """The run in the folder ``path``; ``path`` may also be one of its checkpoints, to go on from that one.

    changes: fields of ``TrainConfig`` to replace, such as a later limit; None leaves a field as it is.
    """
    path = Path(path)
    start = None
    folder = path
    if (path / "manifest.json").is_file() or path.parent.name == "checkpoints":
        folder, start = path.parent.parent, path
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"There is no run in {path}: {file} is missing.")
    try:
        data = json.loads(file.read_text())
        config = RunConfig.from_json(data)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read: {type(error).__name__} {error}.") from error
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes:
        for name in set(changes) - set(LIMITS) - {"actors", "evaluate_every", "evaluation_games",
                                                  "checkpoint_every_minutes", "keep_every", "video_every"}:
            raise UserError(f"{name} of a run cannot be changed when it goes on; start a new run for that.")
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))
        write_json(file, config.to_json())
    return Run(folder, config, start)


def _absolute(name: str) -> str:
    """A file of the user's own is found again from any folder."""
    return str(Path(name).resolve()) if name.endswith(".py") else name
