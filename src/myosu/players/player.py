"""What a player is, and the simplest one."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from myosu.games.game import Game

#: The actions of a game so far, of both seats in turn.
History = list[int]


class Player(Protocol):
    """Chooses actions in many games at once.

    A player keeps nothing that a result may depend on: whatever it needs to know of a game follows from the history. So
    a game may be taken back, branched or set up anywhere.

    name: as the results call it.
    repeats_itself: plays the same game again from the same opening, so that a match must vary the openings.
    """

    name: str
    repeats_itself: bool

    def choose(self, states: np.ndarray, histories: list[History]) -> np.ndarray:
        """Legal actions, int64 [n], in ``states`` [n] of the game's ``state_dtype``, all with this player to move;
        ``RESIGNS`` where it gives the game up. ``histories[i]`` are the actions that led to ``states[i]``."""

    def close(self) -> None: ...


#: What ``Player.choose`` returns for a game that the player gives up.
RESIGNS = -1


class RandomPlayer:
    """Each legal action equally often."""

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
    """bool [n, A] for ``states`` [n]."""
    mask = np.empty((len(states), game.num_actions), np.bool_)
    game.batch.legal_actions(states, mask)
    return mask
