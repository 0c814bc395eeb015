"""The interface of a player, and the random player."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from myosu.games.game import Game

#: The actions of both seats in a game so far.
History = list[int]


class Player(Protocol):
    """Chooses actions in a batch of games.

    A player is stateless: its choices depend only on the states and histories it is given (it may cache). Games may
    therefore be undone, branched or set up.

    name: shown in results.
    repeats_itself: whether it is deterministic, so that a match must vary the openings.
    """

    name: str
    repeats_itself: bool

    def choose(self, states: np.ndarray, histories: list[History]) -> np.ndarray:
        """Legal actions, int64 [n], in ``states`` [n] of the game's ``state_dtype``, all with this player to move;
        ``RESIGNS`` where it resigns. ``histories[i]`` are the actions that led to ``states[i]``."""

    def close(self) -> None: ...


#: Returned by ``Player.choose`` for a game in which the player resigns.
RESIGNS = -1


class RandomPlayer:
    """Chooses uniformly among the legal actions."""

    name = "random"
    repeats_itself = False

    def __init__(self, game: Game, seed: int = 0) -> None:
        self._game, self.rng = game, np.random.default_rng(seed)

    def choose(self, states: np.ndarray, histories: list[History]) -> np.ndarray:
        legal = legal_mask(self._game, states)
        return np.argmax(self.rng.random(legal.shape) * legal, axis=1)

    def close(self) -> None:
        pass


def legal_mask(game: Game, states: np.ndarray) -> np.ndarray:
    """Legal actions, bool [n, A], of ``states`` [n]."""
    mask = np.empty((len(states), game.num_actions), np.bool_)
    game.batch.legal_actions(states, mask)
    return mask
