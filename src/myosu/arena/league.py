"""The folder of a league.

    league.json    the game, the settings of its openings, and the players
    games.jsonl    one line for each opening that two players have played from both sides
    ratings.json   the ratings when the league last stopped
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np

from myosu import trust
from myosu.arena.entrants import Entrant
from myosu.errors import UserError
from myosu.evaluation.match import random_openings
from myosu.evaluation.ratings import Results
from myosu.games import load_game
from myosu.games.game import Game
from myosu.runs.files import clear_parts, hold_own_folder, write_json, writing_to
from myosu.runs.reading import Count, Finite, Range, read_json, read_lines, tell, truncate_lines

#: Number of openings of a league; each pairing plays them in order.
OPENINGS = 1000


@dataclass(frozen=True)
class Pair:
    """One opening played from both sides: ``first`` in the first seat, then in the second.

    first, second: names of players. opening: number of the opening. rewards: rewards of ``first`` in the two games.
    actions: actions of the two games, including the opening. seconds: time per opening; several openings are played in
    parallel.
    """

    first: str
    second: str
    opening: Count
    rewards: tuple[Finite, Finite]
    actions: tuple[list[Count], list[Count]]
    seconds: Annotated[float, Range(0)]


class LeagueFile(TypedDict):
    game: str
    opening_plies: Count
    seed: Count
    players: list[Entrant]


class League:
    """The league in ``folder``, which stays locked until ``close``."""

    def __init__(self, folder: Path, game: str, opening_plies: int | None = None, seed: int = 0) -> None:
        """Create or open the league. Raises UserError if an existing league has other settings."""
        new = not folder.exists()
        self.folder = folder
        self._lock = hold_own_folder(folder, "league.json", "played in", f"{folder} exists and is not a league. Name "
                                     "another folder with --league.")
        try:
            self._open(game, opening_plies, seed)
        except BaseException:
            os.close(self._lock)
            if new:
                shutil.rmtree(folder)
            raise

    def _open(self, game: str, opening_plies: int | None, seed: int) -> None:
        folder = self.folder
        clear_parts(folder, ".*.part")
        file = folder / "league.json"
        known: Any = _read_league(folder) if file.exists() else {}
        game = str(Path(game).resolve()) if game.endswith(".py") else game
        if known:
            texts = [trust.source_of(player.text) for player in known["players"] if player.text.startswith("gtp:")]
            trust.require([trust.source_of(known["game"]), *texts], file)
        self.game: Game = load_game(known.get("game", game))
        if opening_plies is None:
            opening_plies = known.get("opening_plies", max(2, self.game.max_plies // 10))
        self.settings: dict[str, Any] = {"game": game, "opening_plies": opening_plies, "seed": seed}
        for name, value in known.items():
            if name != "players" and value != self.settings[name]:
                raise UserError(f"{folder} is a league with {name} = {value!r}, not {self.settings[name]!r}. Leave it "
                                "out, or name another folder with --league.")
        if not 0 <= opening_plies < self.game.max_plies:
            raise UserError(f"--opening-plies {opening_plies} must be 0 to {self.game.max_plies - 1} in "
                            f"{self.game.name}.")
        self.seed = seed
        self.openings = list(dict.fromkeys(random_openings(self.game, OPENINGS, opening_plies, seed)))
        self.entrants: list[Entrant] = []
        self._index: dict[str, int] = {}
        self.enter(known.get("players", []))
        with writing_to(folder):
            truncate_lines(folder / "games.jsonl", lambda line: True, Pair)
        self._played: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        self.pairs: list[Pair] = []
        for pair in read_lines(folder / "games.jsonl", Pair):
            if {pair.first, pair.second} <= self._index.keys() and pair.first != pair.second:
                self.pairs.append(pair)
                self._played[self._pairing(pair)].add(pair.opening)
            else:
                tell(f"{folder / 'games.jsonl'} has games between {pair.first} and {pair.second}, not both in "
                     "league.json: they do not count.")
        self._games = open(folder / "games.jsonl", "a", encoding="utf-8")  # noqa: SIM115

    @classmethod
    def open(cls, folder: Path) -> League:
        """Open an existing league."""
        if not (folder / "league.json").is_file():
            raise UserError(f"There is no league in {folder}: {folder / 'league.json'} is missing.")
        known = _read_league(folder)
        trust.require([trust.source_of(known["game"])], folder / "league.json")
        return cls(folder, known["game"], known["opening_plies"], known["seed"])

    @property
    def names(self) -> list[str]:
        return [entrant.name for entrant in self.entrants]

    def enter(self, entrants: list[Entrant]) -> None:
        """Add players that are not in the league yet."""
        texts = {entrant.text for entrant in self.entrants}
        for entrant in entrants:
            if entrant.text in texts:
                continue
            if entrant.name in self._index:
                entrant = dataclasses.replace(entrant, name=entrant.text)
            self._index[entrant.name] = len(self.entrants)
            self.entrants.append(entrant)
        with writing_to(self.folder):
            write_json(self.folder / "league.json", {
                **self.settings, "players": [dataclasses.asdict(entrant) for entrant in self.entrants]})

    def add(self, pair: Pair) -> None:
        """Append the result to ``games.jsonl``, so that it is not lost if this process ends."""
        self._games.write(json.dumps(dataclasses.asdict(pair), separators=(",", ":")) + "\n")
        self._games.flush()
        self.pairs.append(pair)
        self._played[self._pairing(pair)].add(pair.opening)

    def results(self) -> Results:
        results = Results.none(len(self.entrants))
        for pair in self.pairs:
            for reward in pair.rewards:
                results.add(self._index[pair.first], self._index[pair.second], reward)
        return results

    def costs(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of games between each two players, and their total seconds: float64 [n, n] each, symmetric."""
        games, seconds = np.zeros((2, len(self.entrants), len(self.entrants)))
        for pair in self.pairs:
            i, j = self._pairing(pair)
            games[i, j] += len(pair.rewards)
            seconds[i, j] += pair.seconds
        return games + games.T, seconds + seconds.T

    def next_openings(self, i: int, j: int, count: int, taken: set[int]) -> list[int]:
        """Numbers of up to ``count`` next openings for the players i < j, without those they have played and those
        ``taken``. Two deterministic players play an opening only once, because they would repeat the same games. Other
        pairs play the openings again after the last one, with continued numbers."""
        used = self._played[i, j] | taken
        repeat = self.entrants[i].repeats and self.entrants[j].repeats
        most = len(self.openings) if repeat else len(used) + count
        return [number for number in range(most) if number not in used][:count]

    def close(self) -> None:
        self._games.close()
        os.close(self._lock)

    def _pairing(self, pair: Pair) -> tuple[int, int]:
        i, j = self._index[pair.first], self._index[pair.second]
        return min(i, j), max(i, j)


def default_folder(game: str) -> Path:
    return Path("leagues") / f"{Path(game).stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def _read_league(folder: Path) -> LeagueFile:
    file = folder / "league.json"
    league: LeagueFile = read_json(file, LeagueFile)
    names = [player.name for player in league["players"]]
    if "random" not in names or len(set(names)) < len(names):
        raise UserError(f"{file} is damaged: its players must have different names, and one of them must be random.")
    return {name: league[name] for name in LeagueFile.__annotations__}  # type: ignore[literal-required, return-value]
