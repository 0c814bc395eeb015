"""Batched rollouts that release the GIL: by the linear policy in Go, at random in other games."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numba
import numpy as np

from myosu.games.game import Game
from myosu.games.go.board import BLACK, WHITE, owners, point_of, width_of
from myosu.games.go.rollout import RolloutPolicy, rollout, rollout_dtype, start_rollout
from myosu.games.loops import compiled_loop
from myosu.games.playout import choose_legal, mix64

#: Number of rollouts for an estimate of each point's owner.
OWNER_ROLLOUTS = 200
#: rollouts(states [n], seed) -> f32 [n], the outcomes in the view of the player to move. Games must not have ended.
Rollouts = Callable[[np.ndarray, int], np.ndarray]


def is_go(game: Game) -> bool:
    """Whether the state is that of ``games.go``."""
    return game.state_dtype.names is not None and {"komi", "around"} <= set(game.state_dtype.names)


def linear_rollouts(game: Game, policy: RolloutPolicy) -> Rollouts:
    """Rollouts of Go by ``policy``; an outcome is +1 for a win, −1 for a loss, 0 for a draw."""
    weights, scratch = policy.weights(), np.zeros(1, rollout_dtype(game.observation_shape[-1]))

    def run(states: np.ndarray, seed: int) -> np.ndarray:
        outcomes = np.empty(len(states), np.float32)
        _play_go(states, np.uint64(seed), scratch, weights, outcomes)
        return outcomes

    return run


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _play_go(states, seed, scratch, weights, outcomes):
    board = scratch[0]
    for i in range(len(states)):
        state = states[i]
        start_rollout(state, np.int64(state.last), board, weights)
        board.chance = mix64(mix64(seed) + np.uint64(i))
        lead, _ = rollout(board, state.player + BLACK, weights)
        outcome = np.sign(lead - state.komi)
        outcomes[i] = outcome if state.player == 0 else -outcome


def expected_owners(game: Game, state: np.ndarray, policy: RolloutPolicy, count: int, seed: int) -> np.ndarray:
    """Mean owner of each point of a Go board at the end of ``count`` rollouts from ``state`` [1]: float64 [points],
    from −1 (always White) to 1 (always Black), rows from the top."""
    scratch, sums = np.zeros(1, rollout_dtype(game.observation_shape[-1])), np.zeros(game.num_actions - 1)
    _sum_owners(state, np.uint64(seed), count, scratch, policy.weights(), sums)
    return sums / count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sum_owners(states, seed, count, scratch, weights, sums):
    board, state = scratch[0], states[0]
    for i in range(count):
        start_rollout(state, np.int64(state.last), board, weights)
        board.chance = mix64(mix64(seed) + np.uint64(i))
        rollout(board, state.player + BLACK, weights)
        found, width = owners(board), width_of(board)
        for cell in range(len(sums)):
            owner = found[point_of(cell, width)]
            sums[cell] += np.int64(owner == BLACK) - np.int64(owner == WHITE)


def random_rollouts(game: Game) -> Rollouts:
    """Random play to the end; an outcome is the sum of the player's rewards minus the opponent's."""
    play, scratch = _compile_random(game), np.zeros(1, game.state_dtype)

    def run(states: np.ndarray, seed: int) -> np.ndarray:
        outcomes = np.empty(len(states), np.float32)
        play(states, np.uint64(seed), scratch, outcomes)
        return outcomes

    return run


@lru_cache(maxsize=8)
def _compile_random(game: Game):
    legal_actions, step, num_actions, max_plies = game.legal_actions, game.step, game.num_actions, game.max_plies
    only_sign = game.rewards == "outcome"

    @compiled_loop
    def play(states, seed, scratch, outcomes):
        state, legal, list_of_legal = scratch[0], np.empty(num_actions, np.bool_), np.empty(num_actions, np.int32)
        for i in range(len(states)):
            scratch[0] = states[i]
            stream = mix64(mix64(seed) + np.uint64(i))
            total, sign, ended, ply = 0.0, 1.0, False, 0
            while not ended and ply < max_plies:
                legal_actions(state, legal)
                reward, ended = step(state, choose_legal(legal, mix64(stream + np.uint64(ply)), list_of_legal))
                total += sign * (np.sign(reward) if only_sign else reward)
                sign = -sign
                ply += 1
            outcomes[i] = total

    return play
