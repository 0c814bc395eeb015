"""Negamax with alpha-beta pruning for native two-player games; one-ply search for single-player games."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from myosu.errors import UserError
from myosu.games.game import Game, compiled
from myosu.games.loops import compiled_loop
from myosu.players.player import History


class AlphaBetaPlayer:
    """Searches ``depth`` plies ahead (``greedy`` is depth 1) and plays the first of the best actions.

    Single-player games are searched only one ply ahead: a deeper search would see the results of future random events,
    because they follow from the state.
    """

    repeats_itself = True

    def __init__(self, game: Game, depth: int) -> None:
        if not 1 <= depth <= 20:
            raise UserError(f"alphabeta:{depth} looks {depth} plies ahead; it must be 1 to 20.")
        if game.num_players == 1 and depth > 1:
            raise UserError(f"alphabeta:{depth}: {game.name} is single-player, which only greedy can play.")
        self.name = "greedy" if depth == 1 else f"alphabeta:{depth}"
        self._depth, self._search = depth, compile_alphabeta(game)

    def choose(self, states: np.ndarray, histories: list[History]) -> np.ndarray:
        return self._search(states, self._depth)

    def close(self) -> None:
        pass


@compiled
def _nothing(state):
    return 0.0


@lru_cache(maxsize=8)
def compile_alphabeta(game: Game) -> Callable[[np.ndarray, int], np.ndarray]:
    """Compile ``choose(states [n], depth) -> int64 [n]``: the first of the best actions, searching ``depth`` plies
    ahead.

    The value of a line is the sum of its rewards, plus the game's ``heuristic`` (0 if it has none) at the horizon.
    """
    legal_actions, step, num_actions = game.legal_actions, game.step, game.num_actions
    heuristic = game.heuristic or _nothing
    sign = 1.0 if game.num_players == 1 else -1.0  # the heuristic is in the view of the player to move next

    @compiled_loop
    def choose(roots, depth):
        chosen = np.zeros(len(roots), np.int64)
        # An explicit stack, one frame per ply: position, legal actions, next action to try, window, best value.
        states = np.empty(depth + 1, roots.dtype)
        legal = np.empty((depth + 1, num_actions), np.bool_)
        action = np.zeros(depth + 1, np.int64)
        earned, alpha, beta, best = np.zeros((4, depth + 1))
        for game_index in range(len(roots)):
            ply = 0
            states[0] = roots[game_index]
            legal_actions(states[0], legal[0])
            action[0], alpha[0], beta[0], best[0] = -1, -np.inf, np.inf, -np.inf
            while True:
                action[ply] += 1
                while action[ply] < num_actions and not legal[ply, action[ply]]:
                    action[ply] += 1
                if action[ply] == num_actions or alpha[ply] >= beta[ply]:
                    if ply == 0:
                        break
                    # This position is finished: return its value to the parent, in the view of the player who moved
                    # into it.
                    ply -= 1
                    value = earned[ply] - best[ply + 1]
                else:
                    states[ply + 1] = states[ply]
                    reward, ended = step(states[ply + 1], action[ply])
                    if ended:
                        value = reward
                    elif ply + 1 == depth:
                        value = reward + sign * heuristic(states[ply + 1])
                    else:
                        earned[ply] = reward
                        ply += 1
                        legal_actions(states[ply], legal[ply])
                        action[ply], best[ply] = -1, -np.inf
                        alpha[ply], beta[ply] = reward - beta[ply - 1], reward - alpha[ply - 1]
                        continue
                if value > best[ply]:
                    best[ply] = value
                    alpha[ply] = max(alpha[ply], value)
                    if ply == 0:
                        chosen[game_index] = action[0]
        return chosen

    return choose
