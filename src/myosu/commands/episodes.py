"""``myosu episodes``"""

from __future__ import annotations

import json as json_module
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from myosu.commands.options import parse
from myosu.errors import UserError
from myosu.runs.games import GameRecord
from myosu.runs.recordings import Recording, merit, open_recording
from myosu.runs.videos import VIDEO_FORMATS, find_videos, video_path


@dataclass
class Options:
    """List recorded games, make the video of one from its seed and actions, or convert those whose actions were
    recorded to another format."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run's folder, one of myosu record, of games that people played (RUN/played) or of SGF files, or the file of one
    game."""
    last: int = 20
    """Number of the newest episodes to list."""
    best: int | None = None
    """List this many of the best episodes instead."""
    video: int | Literal["best"] | None = None
    """Make a video of the episode with this index, or of the best one. This needs recorded actions, which one episode
    in ten has, and each new best episode in single-player environments."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = None
    """File of the video, an .mp4 or .gif; RUN/videos/episode-INDEX.mp4 by default."""
    demo: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write all episodes whose actions were recorded, or the --best ones of them, to a .demo file of Unity's
    ML-Agents."""
    minari: Annotated[str | None, tyro.conf.arg(metavar="DATASET")] = None
    """Write the episodes whose actions were recorded as this dataset of Minari on this machine, such as
    snake/agent-v0."""
    minari_format: Literal["hdf5", "arrow"] = "hdf5"
    """Format of this dataset's files."""
    sgf: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Write the games of Go or Othello whose moves were recorded, or the --best ones of them, as SGF files."""
    json: bool = False
    """Print JSON only, a line for each episode."""
    trust: bool = False
    """Allow user code (files or modules) that the run names. Only videos, --demo, --minari and --sgf need it."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "episodes", arguments)
    for name, value in (("last", options.last), ("best", options.best)):
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: it must be 1 or more.")
    if options.output is not None and options.video is None:
        raise UserError("-o names the file of a video: add --video INDEX, or --video best.")
    if options.output is not None and options.output.suffix not in VIDEO_FORMATS:
        raise UserError(f"-o {options.output}: a video is an {' or '.join(VIDEO_FORMATS)} file.")
    recording = open_recording(options.run)
    if options.trust and recording.origin is not None:
        recording.origin.agree()
    if options.demo is not None:
        return _write_demo(options, options.demo, recording)
    if options.video is not None:
        return _make_video(options, recording)
    if options.minari is not None:
        return _write_minari(options, options.minari, recording)
    if options.sgf is not None:
        return _write_sgf(options, options.sgf, recording)
    episodes = recording.last(options.last) if options.best is None else recording.best(options.best)
    videos = dict(find_videos(options.run))
    if options.json:
        for episode in episodes:
            _print_json(episode, videos.get(episode.index))
    elif episodes:
        # Without a terminal, a fixed width keeps each episode on one line for programs that read the output.
        Console(width=None if sys.stdout.isatty() else 120).print(_table(episodes, videos))
    else:
        print(f"No episode of {options.run} has ended yet.")
    return 0


def _make_video(options: Options, recording: Recording) -> int:
    from myosu.training.videos import make_video

    assert options.video is not None
    episode = recording.find(options.video)
    folder = options.run if options.run.is_dir() else options.run.parent
    path = options.output or video_path(folder, episode.index)
    difference = make_video(recording.environment, episode, path)
    if options.json:
        _print_json(episode, path)
    else:
        print(f"Episode {episode.index}, return {_numbers(episode.returns)} in {episode.length} steps: {path}")
    if difference:
        print(f"myosu: {difference}", file=sys.stderr)
    return int(bool(difference))


def _write_demo(options: Options, path: Path, recording: Recording) -> int:
    from myosu.runs.demo import SUFFIX, write_demo

    if path.suffix != SUFFIX:
        raise UserError(f"--demo {path}: the file must end in {SUFFIX}.")
    environment = recording.environment
    if environment.spec.num_players != 1:
        raise UserError(f"--demo {path}: a {SUFFIX} file holds the actions of one player; {environment.name} has two.")
    moves = (record.moves(environment) for record in _chosen(options, recording))
    count = write_demo(path, environment.name, environment.spec, moves)
    print(f"{count} episodes: {path}")
    return 0


def _write_minari(options: Options, name: str, recording: Recording) -> int:
    from myosu.runs.minari_datasets import write_minari

    count = write_minari(name, recording.environment, recording.records(), options.minari_format)
    print(f"{count} episodes as the dataset {name}. To learn from it: --recordings minari:{name}")
    return 0


def _write_sgf(options: Options, folder: Path, recording: Recording) -> int:
    from myosu.runs.files import writing_to
    from myosu.runs.reading import tell
    from myosu.runs.sgf import has_sgf, to_sgf

    rules, written = recording.environment.rules, 0
    if not has_sgf(rules):
        raise UserError(f"--sgf {folder}: only games of Go and Othello can be written as SGF, not those "
                        f"of {rules.name}.")
    for record in _chosen(options, recording):
        try:
            text = to_sgf(record, rules)
        except UserError as error:
            tell(f"The game {record.index} of {options.run} is left out: {error}")
            continue
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{record.index:06d}.sgf").write_text(text, encoding="utf-8")
        written += 1
    if not written:
        raise UserError(f"There are no games to write to {folder}.")
    print(f"{written} games: {folder}")
    return 0


def _chosen(options: Options, recording: Recording) -> list[GameRecord]:
    """The replayable games, or with --best the best of them, the very best last."""
    records = list(recording.records())
    return records if options.best is None else sorted(records, key=merit)[-options.best:]


def _print_json(episode: GameRecord, video: Path | None) -> None:
    print(json_module.dumps({**episode.to_line(), "video": None if video is None else str(video)}))


def _table(episodes: list[GameRecord], videos: dict[int, Path]) -> Table:
    wrapped = any(episode.returns != episode.raw_returns for episode in episodes)
    columns: dict[str, Any] = {
        "index": lambda episode: str(episode.index),
        "step": lambda episode: str(episode.env_steps),
        "length": lambda episode: str(episode.length),
        "return": lambda episode: _numbers(episode.returns),
        "raw return": lambda episode: _numbers(episode.raw_returns),
        "seed": lambda episode: str(episode.seed),
        "truncated": lambda episode: "yes" if episode.truncated else "",
        "weights": lambda episode: str(episode.weights_version),
        "recorded": lambda episode: ("video" if episode.index in videos else
                                     "actions" if episode.actions is not None else ""),
    }
    if not wrapped:
        del columns["raw return"]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in ("truncated", "recorded") else "right", overflow="fold")
    for episode in episodes:
        table.add_row(*(text(episode) for text in columns.values()))
    return table


def _numbers(returns: list[float]) -> str:
    """The returns as text, in order of the seats."""
    return " / ".join(f"{value + 0.0:g}" for value in returns)  # + 0.0 turns −0 into 0
