"""The history of one native game: its moves and positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from myosu.envs.single_game import SingleGame
from myosu.errors import UserError
from myosu.games import Game

#: Number of plies between stored states; positions between them are replayed.
KEPT_EVERY = 32


@dataclass(frozen=True)
class Position:
    """A position of a game.

    state: a record of the game's ``state_dtype``; do not write to it. ply: number of actions before it.
    to_play: the seat to move. returns: the return of each seat so far. terminated, truncated: whether the game ended
    here, and how.
    """

    state: Any
    ply: int
    to_play: int
    returns: tuple[float, ...]
    terminated: bool = False
    truncated: bool = False

    @property
    def over(self) -> bool:
        return self.terminated or self.truncated


class GameHistory:
    """A game of ``game`` begun with ``seed`` (below 2**64). ``actions`` are the actions so far, ``now`` is the current
    position."""

    def __init__(self, game: Game, seed: int) -> None:
        self.game, self.seed = game, seed
        self.actions: list[int] = []
        self._play = SingleGame(game, game.num_players, None)
        self._play.start(seed)
        self._kept = [self._position((0.0,) * game.num_players)]
        self.now = self._kept[0]

    def legal_actions(self, position: Position | None = None) -> np.ndarray:
        """Legal actions, bool [num_actions], in ``position``, by default the current one."""
        mask = np.empty(self.game.num_actions, np.bool_)
        self.game.legal_actions((position or self.now).state, mask)
        return mask

    def observation(self, position: Position) -> np.ndarray:
        out: np.ndarray = np.empty(self.game.observation_shape, self.game.observation_dtype)
        self.game.observe(position.state, out)
        return out

    def play(self, action: int) -> Position:
        """Take ``action`` and return the new position. Raises UserError if it is illegal or the game is over."""
        if self.now.over:
            raise UserError("The game is over.")
        if not 0 <= action < self.game.num_actions or not self.legal_actions()[action]:
            name = self.game.action_name(action) if 0 <= action < self.game.num_actions else str(action)
            raise UserError(f"{name} is not legal here.")
        self.now = self._step(self.now, action)
        self.actions.append(action)
        if self.now.ply % KEPT_EVERY == 0:
            self._kept.append(self.now)
        return self.now

    def take_back(self, ply: int) -> None:
        """Take back all moves from ``ply`` on."""
        self.now = self.position(ply)
        del self.actions[ply:], self._kept[ply // KEPT_EVERY + 1:]

    def position(self, ply: int) -> Position:
        """The position after the first ``ply`` actions."""
        if ply == self.now.ply:
            return self.now
        position = self._kept[ply // KEPT_EVERY]
        for action in self.actions[position.ply:ply]:
            position = self._step(position, action)
        return position

    def after(self, position: Position, action: int) -> Position:
        """The position after a legal ``action`` in ``position``; the history does not change."""
        return self._step(position, action)

    def _step(self, before: Position, action: int) -> Position:
        self._play.state, self._play.plies = before.state.copy(), before.ply
        reward, terminated, truncated = self._play.step(action)
        returns = [earned - reward for earned in before.returns]
        returns[before.to_play] = before.returns[before.to_play] + reward
        return self._position(tuple(returns), terminated, truncated)

    def _position(self, returns: tuple[float, ...], terminated: bool = False, truncated: bool = False) -> Position:
        state = self._play.state
        return Position(state, self._play.plies, int(self.game.to_play(state)), returns, terminated, truncated)


def replay(game: Game, seed: int, actions: list[int]) -> GameHistory:
    """Replay a game from its seed and actions. Raises UserError if an action is illegal."""
    history = GameHistory(game, seed)
    for ply, action in enumerate(actions):
        try:
            history.play(action)
        except UserError as error:
            raise UserError(f"Move {ply + 1} does not fit the rules of {game.name}: {error}") from None
    return history
