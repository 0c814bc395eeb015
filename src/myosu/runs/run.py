"""A run is a folder with these contents.

    config.json    settings of the run                games.jsonl    one line per finished game (episode)
    checkpoints/   see ``checkpoint.py``               metrics.jsonl  one line every few seconds and per evaluation
    replay/        the replay buffer, in parts        tensorboard/   the same numbers for TensorBoard
    videos/        of episodes, see ``videos.py``
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myosu import trust as trusted
from myosu.envs.making import absolute_name
from myosu.envs.python_objects import code_of
from myosu.errors import UserError
from myosu.runs.config import LIMITS, RunConfig, shape_of
from myosu.runs.files import ABANDONED, clear_parts, hold_folder, remove, write_json, writing_to
from myosu.runs.reading import load_json


@dataclass(frozen=True)
class Run:
    """A run's folder and configuration. start: the checkpoint to resume from, if it is not the latest."""

    folder: Path
    config: RunConfig
    start: Path | None = None

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def replay(self) -> Path:
        return self.folder / "replay"

    def write_config(self) -> None:
        """Write the configuration to config.json if it has changed, as ``open_run`` may change it."""
        file = self.folder / "config.json"
        if RunConfig.from_json(load_json(file), file) != self.config:
            with writing_to(file):
                write_json(file, self.config.to_json())

    def discard_if_unused(self) -> None:
        """Remove the folder if it holds no checkpoint, no episode and nothing else that is not made anew: a run that
        failed at its start."""
        made = {"config.json", ".lock", "checkpoints", "replay", "tensorboard", "games.jsonl", "metrics.jsonl"}
        episodes = self.folder / "games.jsonl"
        if ({path.name for path in self.folder.glob("*")} <= made and not any(self.checkpoints.glob("*"))
                and not (episodes.exists() and episodes.stat().st_size)):
            remove(self.folder)

    def lock(self) -> int:
        """Lock the folder for training until this process ends or closes the returned descriptor, and remove partly
        written files of a killed training."""
        descriptor = hold_folder(self.folder, "trained")
        for folder, pattern in ((self.folder, ".*.part"), (self.checkpoints, ".*.part"), (self.replay, "*.tmp"),
                                (self.replay, ".tmp*"),  # temporary files of safetensors
                                (self.folder / "videos", ".part-*")):
            clear_parts(folder, pattern)
        for folder in (self.folder / "played", self.folder / "played" / "open"):
            clear_parts(folder, ".*.part", ABANDONED)  # a web page's server may be writing there
        return descriptor

    def is_locked(self) -> bool:
        """Whether a process is training in the folder. This takes the lock for a moment, so do not call it often."""
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


def default_folder(config: RunConfig) -> Path:
    """The default folder, ``runs/GAME-ALGORITHM-DATE-TIME``, with a number appended if that exists."""
    # From "module:name/Id-v0" take only the id.
    names = f"{Path(config.game.rpartition(':')[2]).stem}-{Path(config.algorithm).stem}"
    folder = first = Path("runs") / f"{names}-{time.strftime('%Y%m%d-%H%M%S')}"
    number = 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def create_folder(config: RunConfig, folder: str | Path | None = None) -> Run:
    """Create the folder of a new run (``default_folder`` by default). Raises UserError if it already has contents."""
    # Absolute, because an environment may change the working directory.
    folder = Path(folder or default_folder(config)).absolute()
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise UserError(f"{str(folder)!r} is not valid UTF-8, which the files of a run need. Name another folder with "
                        "--run.") from None
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - {
            ".lock", ".config.json.part"}):
        if (folder / "config.json").is_file():
            raise UserError(f"{folder} already holds a run. Resume it: myosu train --resume {folder} . "
                            "Or name another folder with --run.")
        raise UserError(f"{folder} exists and is not a run. Name another folder with --run.")
    config = dataclasses.replace(config, game=absolute_name(config.game), algorithm=absolute_name(config.algorithm),
                                 spec=shape_of(config.environment.spec))
    config = dataclasses.replace(config, code={
        **{source: trusted.digest(source) for source in config.sources}, **code_of(config.game)})
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = hold_folder(folder, "trained")  # before the first file: another training may start here simultaneously
    try:
        if (folder / "config.json").exists():
            raise UserError(f"{folder} already holds a run that another process has just begun.")
        with writing_to(folder):
            try:
                write_json(folder / "config.json", config.to_json())
                for part in ("checkpoints", "replay", "tensorboard"):
                    (folder / part).mkdir(exist_ok=True)
            except OSError:
                Run(folder, config).discard_if_unused()
                raise
    finally:
        os.close(lock)
    if config.read_from is None:
        trusted.remember(*config.sources)
    return Run(folder, config)


def open_run(path: str | Path, trust: bool = False, **changes: Any) -> Run:
    """Open the run in the folder ``path``. ``path`` may also be one of its checkpoints, to resume from it.

    This runs none of the code that the run names. trust: allow that code to run later. changes: fields of
    ``TrainConfig`` to replace, such as a limit; None leaves a field unchanged. config.json keeps the old ones until
    training begins (``Run.write_config``), so that a command that is refused changes nothing.
    """
    named, path = path, Path(path).absolute()
    start = None
    folder = path
    if (path / "manifest.json").is_file() or path.parent.name == "checkpoints":
        folder, start = path.parent.parent, path
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"There is no run in {named}: {file} is missing.")
    config = RunConfig.from_json(load_json(file), file)
    if trust:
        trusted.agree(*config.sources)
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes:
        for name in set(changes) - set(LIMITS) - {"actors", "evaluate_every", "evaluation_opponent", "evaluation_games",
                                                  "checkpoint_every_minutes", "keep_every", "video_every"}:
            raise UserError(f"{name} of a run cannot be changed when it is resumed; start a new run for that.")
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))
    return Run(folder, config, start)

