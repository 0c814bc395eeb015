"""Exact values of late positions in two-player games, by exhaustive search."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from myosu.games.game import Game
from myosu.games.loops import compiled_loop


def solve_positions(game: Game, states: np.ndarray, most: int, nodes: int,
                    until: float) -> tuple[np.ndarray, np.ndarray]:
    """Solve the positions ``states`` [n] in which the move matters, at most ``most``.

    Returns the solved states and the value of every action in them, float64 [m, A]: the return of the player to move
    under perfect play of both, NaN for illegal actions.

    nodes: maximum number of positions visited per state. until: deadline in ``time.monotonic`` seconds.
    """
    solve = compile_solver(game)
    kept: list[np.ndarray] = []
    worths: list[np.ndarray] = []
    seen: set[bytes] = set()
    for number, state in enumerate(states):
        if len(kept) == most or (number and time.monotonic() > until):
            break
        if state.tobytes() in seen:
            continue
        seen.add(state.tobytes())
        worth = np.full(game.num_actions, np.nan)
        if solve(state.reshape(1), worth, nodes) and np.ptp(worth[~np.isnan(worth)]) > 1e-9:
            kept.append(state)
            worths.append(worth)
    return np.array(kept, states.dtype), np.array(worths).reshape(len(kept), game.num_actions)


@lru_cache(maxsize=8)
def compile_solver(game: Game) -> Callable[[np.ndarray, np.ndarray, int], bool]:
    """Compile ``solve(state [1], worth [A], nodes)``: alpha-beta search without a depth limit.

    It writes the value of every legal action into ``worth``. It returns False if that needs more than ``nodes``
    positions.
    """
    legal_actions, step, num_actions, plies = game.legal_actions, game.step, game.num_actions, game.max_plies
    outcome = game.rewards == "outcome"

    @compiled_loop
    def solve(root, worth, nodes):
        # An explicit stack with one frame per ply: position, legal actions, last action tried, window, best value, and
        # the reward of the move into the position.
        states = np.empty(plies + 1, root.dtype)
        legal = np.empty((plies + 1, num_actions), np.bool_)
        action = np.zeros(plies + 1, np.int64)
        earned, alpha, beta, best = np.zeros((4, plies + 1))
        ply, visited = 0, 0
        states[0] = root[0]
        legal_actions(states[0], legal[0])
        action[0], alpha[0], beta[0] = -1, -np.inf, np.inf
        while True:
            action[ply] += 1
            while action[ply] < num_actions and not legal[ply, action[ply]]:
                action[ply] += 1
            if action[ply] == num_actions or alpha[ply] >= beta[ply]:
                if ply == 0:
                    return True
                ply -= 1
                value = earned[ply] - best[ply + 1]
            else:
                visited += 1
                if visited > nodes:
                    return False
                states[ply + 1] = states[ply]
                reward, ended = step(states[ply + 1], action[ply])
                if outcome:
                    reward = np.sign(reward)
                if not ended and ply + 1 < plies:
                    earned[ply] = reward
                    # The root's window stays open, because the exact value of every action is wanted.
                    low, high = (-np.inf, np.inf) if ply == 0 else (alpha[ply], beta[ply])
                    ply += 1
                    legal_actions(states[ply], legal[ply])
                    action[ply], best[ply] = -1, -np.inf
                    alpha[ply], beta[ply] = reward - high, reward - low
                    continue
                value = reward
            if ply == 0:
                worth[action[0]] = value
            else:
                best[ply] = max(best[ply], value)
                alpha[ply] = max(alpha[ply], value)

    return solve
