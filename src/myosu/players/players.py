"""Whoever plays in a match: chance, search, an agent."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from myosu.errors import UserError
from myosu.games.game import Game
from myosu.players.alphabeta import compile_alphabeta
from myosu.players.mcts import compile_mcts

History = list[int]


class Player(Protocol):
    """Chooses actions in many games at once.

    name: as the results call it.
    repeats_itself: plays the same game again from the same opening, so that a match must vary the openings.
    """

    name: str
    repeats_itself: bool

    def choose(self, states: np.ndarray, histories: list[History]) -> np.ndarray:
        """Legal actions, int64 [n], in ``states`` [n] of the game's ``state_dtype``, all with this player to move.
        ``histories[i]`` are the actions that led to ``states[i]``."""

    def close(self) -> None: ...


class RandomPlayer:
    """Each legal action equally often."""

    name = "random"
    repeats_itself = False

    def __init__(self, game: Game, seed: int = 0) -> None:
        self._game, self._rng = game, np.random.default_rng(seed)

    def choose(self, states: np.ndarray, histories: list[History]) -> np.ndarray:
        legal = legal_mask(self._game, states)
        return np.argmax(self._rng.random(legal.shape) * legal, axis=1)

    def close(self) -> None:
        pass


class AlphaBetaPlayer:
    """Looks ``depth`` plies ahead (``greedy`` is depth 1) and takes the first of the best actions."""

    repeats_itself = True

    def __init__(self, game: Game, depth: int) -> None:
        if not 1 <= depth <= 20:
            raise UserError(f"alphabeta:{depth} looks {depth} plies ahead; it must be 1 to 20.")
        self.name = "greedy" if depth == 1 else f"alphabeta:{depth}"
        self._depth, self._search = depth, compile_alphabeta(game)

    def choose(self, states: np.ndarray, histories: list[History]) -> np.ndarray:
        return self._search(states, self._depth)

    def close(self) -> None:
        pass


class MctsPlayer:
    """Plain Monte Carlo tree search, ``simulations`` random games a move."""

    repeats_itself = False

    def __init__(self, game: Game, simulations: int, seed: int = 0) -> None:
        if not 1 <= simulations <= 1_000_000:
            raise UserError(f"mcts:{simulations} plays {simulations} games a move; it must be 1 to 1000000.")
        self.name = f"mcts:{simulations}"
        self._simulations, self._search = simulations, compile_mcts(game)
        self._rng = np.random.default_rng(seed)

    def choose(self, states: np.ndarray, histories: list[History]) -> np.ndarray:
        return self._search(states, self._simulations, np.uint64(self._rng.integers(2**63)))

    def close(self) -> None:
        pass


class AgentPlayer:
    """A trained agent (``algorithms.interface.Agent``), all its games in one batch."""

    repeats_itself = True

    def __init__(self, game: Game, agent: Any, name: str) -> None:
        self._game, self._agent, self.name = game, agent, name

    def choose(self, states: np.ndarray, histories: list[History]) -> np.ndarray:
        shape = (len(states), *self._game.observation_shape)
        observation: np.ndarray = np.empty(shape, self._game.observation_dtype)
        self._game.batch.observe(states, observation)
        return np.asarray(self._agent.act(observation, legal_mask(self._game, states)), np.int64)

    def close(self) -> None:
        pass


def legal_mask(game: Game, states: np.ndarray) -> np.ndarray:
    """bool [n, A] for ``states`` [n]."""
    mask = np.empty((len(states), game.num_actions), np.bool_)
    game.batch.legal_actions(states, mask)
    return mask
