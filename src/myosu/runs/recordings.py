"""Folders of recorded games: runs, what ``myosu record`` wrote, and folders of SGF files (Go)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from myosu import trust
from myosu.envs.native import game_spec
from myosu.envs.registry import Environment, load_environment
from myosu.errors import UserError
from myosu.games import Game
from myosu.runs.demo import SUFFIX, read_demo
from myosu.runs.episodes import EpisodeIndex
from myosu.runs.games import EpisodeLine, GameRecord, Seat
from myosu.runs.minari_datasets import PREFIX, MinariEpisode, read_minari
from myosu.runs.reading import read_json, read_lines, tell
from myosu.runs.run import open_run

if TYPE_CHECKING:
    from myosu.games.go.sgf import GoRecord

#: Two games with the same first actions are held out together.
OPENING = 8


class RecordingFile(TypedDict):
    """The JSON of ``recording.json``, what the games of a folder are of."""

    game: str
    kwargs: dict[str, Any]
    rewards: Literal["score", "outcome"]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Recording:
    """Games in ``folder``, of ``game`` with ``kwargs`` and ``rewards`` (see ``load_environment``). records: reads them
    one after another, in the same order every time. rules: of SGF files, whose game need not be registered."""

    folder: Path
    game: str
    kwargs: dict[str, Any]
    rewards: str
    records: Callable[[], Iterator[GameRecord]]
    rules: Game | None = None

    @property
    def environment(self) -> Environment:
        """Raises UserError if its code may not run, see ``trust``."""
        if self.rules is not None:
            return Environment(self.game, game_spec(self.rules), game=self.rules)
        trust.require([trust.source_of(self.game, self.kwargs)], f"The recording {self.folder}")
        return load_environment(self.game, self.kwargs, self.rewards)

    def require(self, environment: Environment, name: str, kwargs: dict[str, Any]) -> None:
        """Raises UserError unless the games can be played in ``environment``, which ``name`` and ``kwargs`` made: it is
        the same, or has the same rules with another observation (go9 and go9-features)."""
        if (self.game, self.kwargs) == (name, kwargs):
            return
        own, other = self.environment.game, environment.game
        if own is None or other is None or own.step is not other.step or own.num_actions != other.num_actions:
            raise UserError(f"The games in {self.folder} are of {self.game}, not of {name}"
                            f"{' with the same arguments' if self.game == name else ''}.")


def open_recording(folder: str | Path) -> Recording:
    """The games in ``folder``. Raises UserError if there are none, or the folder is neither a run nor a recording nor
    one of SGF files."""
    folder = Path(folder)
    if (folder / "config.json").is_file():
        config = open_run(folder).config
        config.require_trust()
        return Recording(folder, config.game, config.env_kwargs, config.rewards, EpisodeIndex(folder).with_actions)
    if (folder / "recording.json").is_file():
        known = read_json(folder / "recording.json", RecordingFile)
        return Recording(folder, known["game"], known["kwargs"], known["rewards"], lambda: recorded_lines(folder))
    if folder.is_dir() and next(folder.rglob("*.sgf"), None) is not None:
        return _open_sgf(folder)
    raise UserError(f"There are no recorded games in {folder}: it is neither a run, nor a folder that myosu record "
                    "made, nor one of .sgf files.")


def reader_of(source: str, environment: Environment, game: str, kwargs: dict[str, Any]
              ) -> Callable[[], Iterator[GameRecord | MinariEpisode]]:
    """A function that reads the games in ``source``, a folder (``open_recording``), ``minari:DATASET`` or a ``.demo``
    file, one after another. Raises UserError unless they can be played in ``environment``, which ``game`` and
    ``kwargs`` made."""
    if source.startswith(PREFIX):
        next(read_minari(source, environment.spec), None)  # or says what is wrong
        return lambda: read_minari(source, environment.spec)
    if source.endswith(SUFFIX):
        episodes = read_demo(source, environment.spec)
        return lambda: iter(episodes)
    recording = open_recording(source)
    recording.require(environment, game, kwargs)
    return recording.records


def recorded_lines(folder: Path) -> Iterator[GameRecord]:
    """The games in a folder that ``myosu record`` made."""
    for line in read_lines(folder / "games.jsonl", EpisodeLine):
        if (record := GameRecord.of_line(line)).replayable:
            yield record


def _open_sgf(folder: Path) -> Recording:
    from myosu.games.go import make_game
    from myosu.games.go.sgf import read_folder

    games, damaged = read_folder(folder)
    size = Counter(game.size for game in games).most_common(1)[0][0]
    fitting = [game for game in games if game.size == size and game.winner is not None]
    for line in damaged[:3]:
        tell(f"{line} It is left out.")
    if (other := len(games) - len(fitting)) or len(damaged) > 3:
        tell(f"Of the games in {folder}, {len(damaged)} are damaged, and {other} of another size than {size}×{size} or "
             "without a winner; they are left out.")
    if not fitting:
        raise UserError(f"No game in {folder} says who won.")
    return Recording(folder, f"go{size}", {}, "score", lambda: map(_of_sgf, count(), fitting), make_game(size))


def _of_sgf(index: int, game: GoRecord) -> GameRecord:
    chosen = game.chosen()
    if game.actions[-2:] == 2 * [game.size**2]:
        chosen[-2:] = True  # when to end a game is to be learnt
    assert game.winner is not None
    seats: list[Seat] = [{"kind": "player", "name": name} for name in (game.black, game.white)]
    return GameRecord(seed=0, actions=game.actions, returns=[float(game.winner), -float(game.winner)],
                      terminated=True, truncated=False, index=index, players=seats,
                      unchosen=np.flatnonzero(~chosen).tolist(), adjudicated=True)


def is_go(game: Game | None) -> bool:
    return game is not None and re.match(r"go\d", game.name) is not None


def go_sgf(record: GameRecord, game: Game) -> str:
    """The text of an SGF file of a game of Go, whose comments say which moves nobody chose."""
    from myosu.games.go.sgf import CLEANUP, RANDOM, GoRecord, format_sgf

    course = record.course(game)
    comments, cleaning = [""] * record.length, True
    for ply in reversed(range(record.length)):
        cleaning &= ply in record.unchosen or course.actions[ply] == game.pass_action
        comments[ply] = CLEANUP if cleaning else RANDOM if ply in record.unchosen else ""
    assert game.score is not None
    score, colour = game.score(course.now.state), "B" if record.returns[0] > 0 else "W"
    result = f"{colour}+R" if record.adjudicated else "0" if score == 0 else f"{colour}+{abs(score):.1f}"
    black, white = (player.get("name", player["kind"]) for player in record.players)
    return format_sgf(GoRecord(game.observation_shape[-1], course.actions, float(course.now.state["komi"]), result,
                               black, white, comments))


def is_held_out(actions: np.ndarray | Sequence[Any], num_players: int, share: float) -> bool:
    """Whether the game with these actions is kept from learning, so that what was learnt can be tested on it.

    About ``share`` of all games are. In games for two those with the same opening are held out together; elsewhere
    every episode is by itself.
    """
    decides = np.asarray(actions if num_players == 1 else actions[:OPENING])
    number = int.from_bytes(hashlib.blake2b(decides.astype(np.float32).tobytes(), digest_size=8).digest(), "big")
    return number < share * 2**64
