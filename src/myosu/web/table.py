"""One game on the server with its players and watchers. It shares nothing with other games."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import numpy as np

from myosu.algorithms.interface import AgentState
from myosu.envs.game_history import GameHistory, Position
from myosu.errors import UserError
from myosu.games import Game
from myosu.players.agent import Turn, earlier_turns, turn_at
from myosu.web.analyzer import Analyzer, PositionAnalysis, analysis_to_json, choose
from myosu.web.messages import PACE, Seat
from myosu.web.views import view


class Guest(Protocol):
    """A connection that watches the game."""

    def send(self, message: dict[str, Any]) -> None: ...


class Table:
    """A game of ``game``. Agents play on by themselves while a guest is watching.

    seats: who plays. history: the moves so far. on_change: called with the table after every move and every undo.
    """

    def __init__(self, game: Game, seats: list[Seat], analyzer: Analyzer, on_change: Callable[[Table], None],
                 history: GameHistory) -> None:
        self.id = secrets.token_urlsafe(9)
        self.game, self.seats, self._analyzer, self._on_change = game, seats, analyzer, on_change
        self.history = history
        #: By ply, an agent's estimate of the first seat's final return.
        self.outlook: dict[int, float] = {}
        #: By checkpoint and seat, the actions before the agent's latest turn, and its recurrent state after it.
        self._states: dict[tuple[str, int], tuple[list[int], AgentState | None]] = {}
        self.taken_back = 0
        self.started = self.ended = time.time()
        self.guests: set[Guest] = set()
        self.last_used = time.monotonic()
        self.paused = False
        self.pace = self._usual_pace()
        self._rng = np.random.default_rng()
        self._turns: asyncio.Task[None] | None = None

    @property
    def recorded(self) -> bool:
        return self.seats[0].kind == "recorded"

    @property
    def has_person(self) -> bool:
        return any(seat.kind == "person" for seat in self.seats)

    def enter(self, guest: Guest) -> None:
        self.guests.add(guest)
        guest.send(self.summary())
        self.go_on()

    def leave(self, guest: Guest) -> None:
        self.guests.discard(guest)
        self.last_used = time.monotonic()

    def summary(self) -> dict[str, Any]:
        """Everything that a page needs at the start."""
        return {"type": "game", "id": self.id, "seats": [seat.to_json() for seat in self.seats],
                "outlook": sorted(self.outlook.items()), "actions": self.history.actions, "paused": self.paused,
                "pace": self.pace, "position": view(self.history, self.history.now)}

    def play(self, ply: int, action: int) -> None:
        """Play a person's move. Raises UserError if it is not the person's turn, or the move is illegal."""
        self._expect(ply)
        if not self.history.now.over and self.seats[self.history.now.to_play].kind != "person":
            raise UserError("It is not your turn.")
        self._advance(action)
        self.go_on()

    def undo(self, ply: int) -> None:
        """Go back to the last position in which a person had a choice."""
        self._expect(ply)
        for earlier in range(self.history.now.ply - 1, -1, -1):
            position = self.history.position(earlier)
            forced = self.game.pass_action is not None and self.history.legal_actions(position)[self.game.pass_action]
            if self.seats[position.to_play].kind == "person" and not forced:
                break
        else:
            raise UserError("There is nothing to take back.")
        self._stop()
        self.history.take_back(earlier)
        self.outlook = {at: value for at, value in self.outlook.items() if at <= earlier}
        self.taken_back += 1
        self._on_change(self)
        self.tell(self.summary())

    def look(self, ply: int) -> dict[str, Any]:
        return {"type": "look", "position": view(self.history, self._position(ply))}

    def analyze(self, ply: int, checkpoint: str, simulations: int) -> Coroutine[Any, Any, dict[str, Any]]:
        """The evaluation of the position at ``ply`` by the agent of ``checkpoint``, even if moves are taken back in the
        meantime.

        Raises UserError immediately, not when awaited.
        """
        position = self._position(ply)
        if position.over:
            raise UserError("The game is over here; there is nothing to think about.")
        return self._analyze(position, self.history.actions[:ply], checkpoint, simulations)

    async def _analyze(self, position: Position, actions: list[int], checkpoint: str, simulations: int
                       ) -> dict[str, Any]:
        analysis = await self._ask(position, actions, checkpoint, simulations)
        message = self._analysis_message(position, analysis, checkpoint)
        if self.history.actions[:position.ply] == actions:  # otherwise moves were taken back in the meantime
            self.outlook[position.ply] = message["outlook"]
        return message

    def set_pause(self, paused: bool) -> None:
        self._stop()
        self.paused = paused
        self.tell({"type": "pace", "paused": self.paused, "seconds": self.pace})
        self.go_on()

    def set_pace(self, seconds: float) -> None:
        if not PACE[0] <= seconds <= PACE[1]:
            raise UserError(f"seconds = {seconds}: it must be from {PACE[0]} to {PACE[1]}.")
        self.pace = float(seconds)
        self.tell({"type": "pace", "paused": self.paused, "seconds": self.pace})

    def tell(self, message: dict[str, Any]) -> None:
        """Send ``message`` to all guests."""
        for guest in list(self.guests):
            guest.send(message)

    def go_on(self) -> None:
        """Let the agents play while it is their turn."""
        if self._agent_to_move() and (self._turns is None or self._turns.done()):
            self._turns = asyncio.create_task(self._take_turns())

    def close(self) -> None:
        self._stop()

    async def _take_turns(self) -> None:
        while (seat := self._agent_to_move()) is not None:
            began, position = time.monotonic(), self.history.now
            try:
                analysis = await self._ask(position, self.history.actions[:], seat.checkpoint, seat.simulations)
            except Exception as error:
                self.paused = True
                self.tell({"type": "pace", "paused": True, "seconds": self.pace})
                self.tell({"type": "error", "message": f"The agent cannot move: {error}"})
                return
            message = self._analysis_message(position, analysis, seat.checkpoint)
            self.outlook[position.ply] = message["outlook"]
            self.tell(message)
            if not self.has_person:
                await asyncio.sleep(self.pace - (time.monotonic() - began))
            self._advance(choose(analysis, seat.temperature, self._rng))

    async def _ask(self, position: Position, actions: list[int], checkpoint: str, simulations: int) -> PositionAnalysis:
        """The agent's evaluation of ``position``, after ``actions``.

        An agent with recurrent state must have observed all earlier turns of its seat, whoever moved there. If the
        state is missing (after an undo, or in a game from an earlier server), those turns are observed again.
        """
        turn = turn_at(self.history, position)
        if not await self._analyzer.has_memory(checkpoint):
            return await self._analyzer.analyze(checkpoint, simulations, [turn])
        before, state = self._states.get((checkpoint, position.to_play), ([], None))
        if len(before) >= len(actions) or before != actions[:len(before)]:
            state = None
        earlier: list[Turn] = []
        if state is None or len(actions) - len(before) > self.game.num_players:
            known = 0 if state is None else len(before) + 1
            earlier = await asyncio.to_thread(earlier_turns, self.game, self.history.seed, actions, known)
        analysis = await self._analyzer.analyze(checkpoint, simulations, [*earlier, turn], state)
        self._states[checkpoint, position.to_play] = actions, analysis.state
        return analysis

    def _agent_to_move(self) -> Seat | None:
        now = self.history.now
        seat = self.seats[now.to_play]
        return seat if seat.kind == "agent" and not (now.over or self.paused) and self.guests else None

    def _advance(self, action: int) -> None:
        now = self.history.play(action)
        self.last_used, self.ended = time.monotonic(), time.time()
        if now.over:
            self.outlook[now.ply] = now.returns[0]
        self._on_change(self)
        self.tell({"type": "position", "position": view(self.history, now)})

    def _analysis_message(self, position: Position, analysis: Any, checkpoint: str) -> dict[str, Any]:
        outlook = position.returns[0] + (analysis.value if position.to_play == 0 else -analysis.value)
        return {"type": "analysis", "ply": position.ply, "to_play": position.to_play, "checkpoint": checkpoint,
                "outlook": round(outlook, 4), **analysis_to_json(analysis, self._legal_part(position, analysis.line))}

    def _legal_part(self, position: Position, line: list[int]) -> list[int]:
        """The actions of ``line`` before the first illegal one, because an agent's model may not know the rules."""
        played = []
        for action in line:
            if position.over or not self.history.legal_actions(position)[action]:
                break
            position = self.history.after(position, action)
            played.append(action)
        # In a game with chance events, the line's actions alone do not determine the positions.
        return played if self.game.num_players == 2 else played[:1]

    def _position(self, ply: int) -> Position:
        if not 0 <= ply <= self.history.now.ply:
            raise UserError(f"This game has positions 0 to {self.history.now.ply}; there is no position {ply}.")
        return self.history.position(ply)

    def _expect(self, ply: int) -> None:
        if self.recorded:
            raise UserError("This game is a recorded one; nobody plays here.")
        if ply != self.history.now.ply:
            raise UserError(f"The game is at ply {self.history.now.ply}, not {ply}.")

    def _stop(self) -> None:
        if self._turns is not None:
            self._turns.cancel()
            self._turns = None

    def _usual_pace(self) -> float:
        return max(0.1, 1 / self.game.fps) if self.game.num_players == 1 else 0.7
