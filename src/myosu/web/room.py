"""All games of one server, and the run whose agents play in them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from myosu.algorithms.interface import Agent
from myosu.envs.game_history import GameHistory, replay
from myosu.errors import UserError
from myosu.games.go.rollout import RolloutPolicy
from myosu.players.agent import load_agent, turn_at
from myosu.players.apv_agent import APVAgent
from myosu.players.apv_name import make_apv, rollout_policy_of, run_of
from myosu.players.rollouts import OWNER_ROLLOUTS, expected_owners, is_go
from myosu.runs.checkpoint import Checkpoints, find_checkpoint
from myosu.runs.games import GameRecord, read_game, write_game
from myosu.runs.sgf import has_sgf, to_sgf
from myosu.web.analyzer import Analyzer
from myosu.web.messages import MAX_SIMULATIONS, Seat, check_fields, parse_seats
from myosu.web.open_games import OpenGames
from myosu.web.recordings import LISTED, Missing, Recordings
from myosu.web.table import Table

#: Maximum number of games in memory; the least recently used games without guests are dropped first.
TABLES = 1000
#: Seconds for which the list of episodes is cached: there may be hundreds of thousands.
LIST_SECONDS = 3.0


class Busy(UserError):
    """No more games can be opened now."""


class Room:
    """The games of a server, and the agents of ``run``.

    run: a run's folder or a checkpoint, in any form that ``find_checkpoint`` accepts; or AlphaGo's search in the form
    that ``make_apv`` accepts. The latter's games are kept in the folder of the first run among its parts.
    seat, simulations: defaults for new games, instead of the first seat and the run's own number.
    """

    def __init__(self, run: Path | str, seat: int = 0, simulations: int | None = None) -> None:
        apv = str(run) if str(run).startswith("apv:") else None
        checkpoint = find_checkpoint(run_of(apv) if apv else run)
        checkpoint.weights()  # read now, so that a damaged file is reported when the server starts, not during a game
        self.folder = checkpoint.path.parent.parent
        self.default = apv or checkpoint.path.name
        self.config = checkpoint.config
        environment = self.config.environment
        self.game = environment.rules
        self.alphago = make_apv(apv, self.game) if apv else None
        own = (self.config.algorithm_config.get("simulations") if self.alphago is None else
               min(MAX_SIMULATIONS, self.alphago.config.simulations))
        self.searches, self.seat, self.simulations = own is not None, seat, simulations or own or 0
        self.analyzer = Analyzer(self._load, self._owners if is_go(self.game) else None)
        self._territory = rollout_policy_of(apv) if apv else RolloutPolicy.zeros()
        self.recordings = Recordings(self.folder, self.game)
        self.open_games = OpenGames(self.folder / "played" / "open")
        self.tables: dict[str, Table] = {}
        self._opening = asyncio.Lock()
        self._of_training: dict[str, Any] = {}
        self._listed_until = 0.0
        self._unkept: set[str] = set()
        self._warming: asyncio.Task[None] | None = None

    @property
    def checkpoints(self) -> list[str]:
        """Names, oldest first; for AlphaGo's search only its own."""
        if self.alphago is not None:
            return [self.default]
        return [path.name for path in Checkpoints(self.folder / "checkpoints").paths()] or [self.default]

    def warm_up(self) -> None:
        """Start to load and compile everything for an agent's first move, which takes seconds without a cache."""
        if self._warming is None:
            self._warming = asyncio.create_task(self._analyze_once())

    async def _analyze_once(self) -> None:
        history = GameHistory(self.game, 0)
        with contextlib.suppress(Exception):  # the player's own request will report the error
            await self.analyzer.analyze(self.default, self.simulations,
                                      [turn_at(history, history.now)])

    def describe(self) -> dict[str, Any]:
        """The description of the run for the page."""
        best = Checkpoints(self.folder / "checkpoints").best()
        game = self.game
        name = "AlphaGo" if self.alphago else self.folder.resolve().name
        return {"run": name, "game": game.name, "players": game.num_players,
                "names": [game.action_name(action) for action in range(game.num_actions)], "pass": game.pass_action,
                "reward_range": [max(-1e6, game.reward_range[0]), min(1e6, game.reward_range[1])],
                "checkpoints": self.checkpoints, "default": self.default, "best": best.name if best else None,
                "algorithm": "apv" if self.alphago else Path(self.config.algorithm).stem,
                "sgf": has_sgf(game), "searches": self.searches, "simulations": self.simulations, "seat": self.seat}

    async def table(self, name: str) -> Table:
        """The game with this name, which may be from an earlier server. Raises UserError."""
        if name not in self.tables:
            async with self._opening:
                if name not in self.tables:
                    self._add(await asyncio.to_thread(self._left, name))
        return self.tables[name]

    async def open(self, order: dict[str, Any]) -> Table:
        """Create the game that the page requests.

        ``order`` has ``seats`` and optionally ``from`` (a ``game`` of this server and a ``ply``), or the number of an
        ``episode`` of the run, or the name of a ``played`` game. Raises UserError. Games are created one at a time and
        in a thread, because a recorded game, or the list of them, may be long.
        """
        self.warm_up()  # while the player looks at the board
        async with self._opening:
            seats, history = await asyncio.to_thread(self._history, order)
        table = self._add(Table(self.game, seats, self.analyzer, self._changed, history))
        if history.actions:
            self._keep(table)
        return table

    def _history(self, order: dict[str, Any]) -> tuple[list[Seat], GameHistory]:
        """The seats, and the moves with which the game starts."""
        nobody = [Seat("recorded")] * self.game.num_players
        if set(order) == {"episode"}:
            check_fields(order, {"episode": int}, "A request")
            return nobody, self.recordings.history(order["episode"])
        if set(order) == {"played"}:
            check_fields(order, {"played": str}, "A request")
            return nobody, self._played(order["played"])
        if set(order) not in ({"seats"}, {"seats", "from"}):
            raise UserError("A request has the fields seats and optionally from, or only episode, or only played.")
        seats = parse_seats(order["seats"], self.game.num_players, self.checkpoints, self.searches)
        if "from" not in order:
            return seats, GameHistory(self.game, secrets.randbelow(2**53))
        if not isinstance(order["from"], dict):
            raise UserError("from must have a game and a ply.")
        check_fields(order["from"], {"game": str, "ply": int}, "from")
        name, ply = order["from"]["game"], order["from"]["ply"]
        old = (self.tables.get(name) or self._left(name)).history
        if not 0 <= ply <= len(old.actions):
            raise UserError(f"That game has {len(old.actions)} moves; there is no position {ply}.")
        return seats, replay(self.game, old.seed, old.actions[:ply])

    def _left(self, name: str) -> Table:
        """Load the game with this name from its file."""
        kept = self.open_games.find(name)
        if kept is None:
            raise Missing("There is no such game on this server (any more).")
        table = Table(self.game, self._seats_of(kept), self.analyzer, self._changed, self._history_of(kept))
        table.id, table.taken_back, table.started, table.ended = name, kept.taken_back, kept.started, kept.ended
        return table

    async def stored(self) -> dict[str, Any]:
        """Games to replay: the newest and the best of training, and those played by people, newest first."""
        async with self._opening:
            if time.monotonic() > self._listed_until:
                self._of_training = await asyncio.to_thread(self.recordings.list)
                self._listed_until = time.monotonic() + LIST_SECONDS
            played = [self._listed_game(path) for path in sorted(self._played_files(), reverse=True)[:LISTED]]
            unfinished = await asyncio.to_thread(lambda: [{"id": name, "started": game.started, **_listed(game)} for
                                                          name, game in islice(self.open_games.unfinished(), LISTED)])
        return {**self._of_training, "played": [game for game in played if game], "open": unfinished}

    def record(self, table: Table) -> GameRecord:
        now = table.history.now
        run = {"run": self.folder.resolve().name}
        players: list[Any] = [{**seat.to_json(), **(run if seat.kind == "agent" else {})} for seat in table.seats]
        return GameRecord(table.history.seed, list(table.history.actions), list(now.returns), now.terminated,
                          now.truncated, game=self.config.game, rewards=self.config.rewards, players=players,
                          taken_back=table.taken_back, started=table.started, ended=table.ended)

    def export(self, table: Table, form: str) -> str:
        if form == "sgf" and has_sgf(self.game):
            return to_sgf(self.record(table), self.game)
        raise Missing(f"There is no {form} of a game of {self.game.name}.")

    def close(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
        for table in self.tables.values():
            table.close()
        self.analyzer.close()
        if self.alphago is not None:
            self.alphago.close()

    def _add(self, table: Table) -> Table:
        if len(self.tables) >= TABLES:
            idle = [old for old in self.tables.values() if not old.guests]
            if not idle:
                raise Busy(f"This server holds {TABLES} games, and all are being watched. Try again later.")
            old = min(idle, key=lambda table: table.last_used)  # it can be loaded again from its file
            old.close()
            del self.tables[old.id]
        self.tables[table.id] = table
        return table

    def _load(self, checkpoint: str) -> Agent:
        if self.alphago is not None and checkpoint == self.default:
            return APVAgent(self.alphago)
        return load_agent(self.folder / "checkpoints" / checkpoint)[0]

    def _owners(self, position: np.ndarray) -> np.ndarray:
        return expected_owners(self.game, position, self._territory, OWNER_ROLLOUTS, secrets.randbits(62))

    def _changed(self, table: Table) -> None:
        """Save the game. If it is over and people played in it, also save it as a played game.

        If moves are taken back and the game ends again, the same file is replaced.
        """
        self._keep(table)
        if table.history.now.over and table.has_person:
            stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(table.started))
            name = f"{stamp}-{table.id.replace('_', '').replace('-', '')[:6]}"
            try:
                self._write_played(self.folder / "played" / f"{name}.json", self.record(table))
            except OSError as error:
                table.tell({"type": "error", "message": f"The game could not be saved: {error}"})

    def _write_played(self, path: Path, record: GameRecord) -> None:
        write_game(path, record)
        if has_sgf(self.game):
            path.with_suffix(".sgf").write_text(to_sgf(record, self.game), encoding="utf-8")

    def _keep(self, table: Table) -> None:
        if table.recorded:
            return
        try:
            self.open_games.keep(table.id, self.record(table))
        except OSError as error:
            if table.id not in self._unkept:
                self._unkept.add(table.id)
                table.tell({"type": "error", "message": f"This game will end with the server, because it cannot be "
                                                        f"saved: {error}"})

    def _played_files(self) -> list[Path]:
        return list((self.folder / "played").glob("*.json"))

    def _listed_game(self, path: Path) -> dict[str, Any] | None:
        try:
            game = read_game(path)
        except UserError:
            return None  # Readers for training report the damage.
        return {"played": path.stem, **_listed(game)}

    def _seats_of(self, record: GameRecord) -> list[Seat]:
        if len(record.players) != self.game.num_players or {player["kind"] for player in record.players} - {
                "person", "agent", "recorded"}:
            raise UserError("The file of that game is damaged: its players do not fit the game.")
        return [Seat(player["kind"], player.get("checkpoint", ""), player.get("simulations", 0),  # type: ignore[arg-type]
                     player.get("temperature", 0.0)) for player in record.players]

    def _history_of(self, record: GameRecord) -> GameHistory:
        """Replay a record by the rules of this room's game, whatever code the record names."""
        if record.game != self.config.game:
            raise UserError(f"That is a game of {record.game}, not of {self.config.game}.")
        return record.history(self.game)

    def _played(self, name: str) -> GameHistory:
        path = {path.stem: path for path in self._played_files()}.get(name)  # never open a path from a request
        if path is None:
            raise Missing("There is no such played game.")
        return self._history_of(read_game(path))


def _listed(game: GameRecord) -> dict[str, Any]:
    return {"length": game.length, "returns": game.returns,
            "players": [player["kind"] for player in game.players]}
