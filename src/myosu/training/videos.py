"""Videos of episodes, which are replayed from their seeds and actions, on request or during training.

imageio is optional and imported only to make a video.
"""

from __future__ import annotations

import os
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from myosu.envs.playback import Playback
from myosu.envs.python_objects import pack_object, unpack_object
from myosu.envs.registry import Environment, load_environment
from myosu.errors import UserError
from myosu.processes import end, end_with, spawn
from myosu.runs.games import GameRecord
from myosu.runs.videos import video_path

if TYPE_CHECKING:  # it imports torch, which the video process does not need
    from myosu.runs.run import Run


def make_video(environment: Environment, record: GameRecord, path: Path) -> str:
    """Write a video of the episode of ``record``, which must be replayable, to ``path``, an .mp4 or a .gif, atomically.
    Returns a notice if the replayed episode differs from the record; otherwise "".

    Raises UserError if imageio is missing, the environment renders no images, or ``path`` cannot be written.
    """
    path = path.absolute()  # the environment may change the working directory
    part = _part(path)
    with closing(Playback(environment)) as playback:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.touch()  # its error message is clearer than imageio's
            with closing(_open_writer(part, playback.fps)) as writer:
                for image in playback.images(*record.seed_and_actions(), record.replies):
                    writer.append_data(_even(image))
            os.replace(part, path)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error}") from error
        finally:
            part.unlink(missing_ok=True)
        return _difference(environment, record, playback)


def _part(path: Path) -> Path:
    return path.with_name(f".part-{path.name}")


def require_imageio() -> Any:
    """Import imageio, which writes videos. Raises UserError if it is not installed."""
    try:
        import imageio.v2
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        raise UserError('Videos need imageio: pip install "myosu[video]"') from None
    return imageio.v2


def _open_writer(path: Path, fps: float) -> Any:
    imageio = require_imageio()
    if path.suffix == ".gif":
        return imageio.get_writer(path, duration=1000 / fps, loop=0)
    return imageio.get_writer(path, fps=fps, macro_block_size=1)  # the default would stretch images to multiples of 16


def _even(image: np.ndarray) -> np.ndarray:
    """The image padded to an even height and width, which MP4 requires."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _difference(environment: Environment, record: GameRecord, playback: Playback) -> str:
    # Sums of float32 rewards depend on the order of addition.
    if (playback.length == record.length and playback.terminated != record.truncated
            and np.allclose(playback.returns, record.returns, rtol=1e-4, atol=1e-4)):
        return ""
    was, now = (" and ".join(f"{value:g}" for value in returns) for returns in (record.returns, playback.returns))
    return (f"The video of episode {record.index} does not show what happened: it had a return of {was} in "
            f"{record.length} steps; played again it got {now} in {playback.length}. {environment.name} does not "
            "do the same after the same seed and actions.")


class VideoProcess:
    """Makes videos in a separate process during training, one at a time. Of the episodes submitted meanwhile, only the
    last is kept; ``myosu episodes`` can make videos of the others later. After a failure it makes no more videos, and
    training continues.

    Raises UserError if the run asks for videos but imageio is not installed.
    """

    def __init__(self, run: Run) -> None:
        if run.config.train.video_every:
            require_imageio()  # fail now, not after the first thousand episodes
        self._folder, self._environment = run.folder, (run.config.game, run.config.env_kwargs, run.config.rewards)
        self._process: Any = None
        self._failed = False
        self._filmed: GameRecord | None = None
        self._waiting: GameRecord | None = None

    @property
    def busy(self) -> bool:
        return self._filmed is not None

    def submit(self, record: GameRecord) -> None:
        self._waiting = record
        self._begin()

    def _begin(self) -> None:
        if self.busy or self._failed or self._waiting is None:
            return
        if self._process is None:
            packed_object = pack_object(self._environment[0])
            self._process, self._connection = spawn(_film, packed_object, self._folder, *self._environment)
        self._filmed, self._waiting = self._waiting, None
        with suppress(OSError):  # the process has died, which notices() reports
            self._connection.send(self._filmed)

    def notices(self, timeout: float = 0.0) -> list[str]:
        """New notices for the user. Waits up to ``timeout`` seconds for the video that is being made."""
        if not self.busy:
            return []
        try:
            if not self._connection.poll(timeout):
                return []
            notice, self._failed = self._connection.recv()
        except (EOFError, OSError):
            end(self._process)
            notice, self._failed = f"the process that makes them died (exit code {self._process.exitcode})", True
        self._filmed = None
        if self._failed:
            notice = f"No more videos are made: {notice}"
        self._begin()
        return [notice] if notice else []

    def close(self) -> None:
        if self._process is not None:
            self._connection.close()
            self._process.terminate()
            end(self._process)
            if self._filmed is not None:
                _part(video_path(self._folder, self._filmed.index)).unlink(missing_ok=True)


def _film(connection: Connection, parent: int, packed_object: bytes, folder: Path, name: str, kwargs: dict[str, Any],
          rewards: str) -> None:
    end_with(parent)
    os.nice(5)  # actors and learner have priority
    told = False
    try:
        environment = None
        while True:
            record = connection.recv()
            try:
                if environment is None:
                    unpack_object(packed_object)
                    environment = load_environment(name, kwargs, rewards)
                notice = make_video(environment, record, video_path(folder, record.index))
            except Exception as error:
                connection.send((str(error) if isinstance(error, UserError) else repr(error), True))
            else:
                connection.send(("" if told else notice, False))
                told = told or bool(notice)
    except (EOFError, ConnectionError):
        pass
