"""Compiled random play: uniformly random legal actions and whole games."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from myosu.games.game import Game, compiled
from myosu.games.loops import compiled_loop


@compiled
def mix64(x):
    """Hash of a uint64 (the finaliser of SplitMix64); applied to a counter, it gives a stream of random numbers."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled
def choose_legal(mask, bits, scratch):
    """A legal action chosen by the random uint64 ``bits``. mask: bool [A]. scratch: int32 [A], overwritten."""
    count = 0
    for action in range(len(mask)):
        scratch[count] = action  # branch-free: an illegal action is overwritten by the next one
        count += mask[action]
    return np.int64(scratch[((bits >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)])


@compiled
def random_actions(legal, seed):
    """A uniformly random legal action per row, int64 [n], determined by the uint64 ``seed``. legal: bool [n, A]."""
    actions = np.empty(len(legal), np.int64)
    scratch = np.empty(legal.shape[1], np.int32)
    stream = mix64(np.uint64(seed))
    for i in range(len(legal)):
        actions[i] = choose_legal(legal[i], mix64(stream + np.uint64(i)), scratch)
    return actions


@dataclass(frozen=True)
class RandomGames:
    """Games between random players.

    lengths: int64 [n], in plies. returns: float64 [n, 2], the return of each seat; in two-player games the opponent's
    rewards are subtracted (zero-sum). truncated: bool [n], whether the game reached ``max_plies``.
    """

    lengths: np.ndarray
    returns: np.ndarray
    truncated: np.ndarray


def random_games(game: Game, games: int, seed: int = 0) -> RandomGames:
    """Play ``games`` random games. The loop is compiled once per game and process."""
    found = RandomGames(np.zeros(games, np.int64), np.zeros((games, 2)), np.zeros(games, np.bool_))
    _compile(game)(
        np.zeros(1, game.state_dtype), np.zeros(game.observation_shape, game.observation_dtype),
        np.zeros(game.num_actions, np.bool_), np.uint64(seed), found.lengths, found.returns, found.truncated)
    return found


@cache
def _compile(game: Game):
    init, legal_actions, step, observe, to_play = (
        game.init, game.legal_actions, game.step, game.observe, game.to_play)
    max_plies, outcome, two_players = game.max_plies, game.rewards == "outcome", game.num_players == 2

    @compiled_loop
    def play(states, observation, legal, seed, lengths, returns, truncated):
        state, scratch = states[0], np.empty(len(legal), np.int32)
        for g in range(len(lengths)):
            stream = mix64(mix64(seed) + np.uint64(g))
            init(state, stream)
            ended, ply = False, 0
            while not ended and ply < max_plies:
                observe(state, observation)
                legal_actions(state, legal)
                seat = to_play(state)
                action = choose_legal(legal, mix64(stream + np.uint64(ply)), scratch)
                earned, ended = step(state, action)
                reward = float(np.sign(earned)) if outcome else float(earned)
                returns[g, seat] += reward
                if two_players:
                    returns[g, 1 - seat] -= reward
                ply += 1
            lengths[g] = ply
            truncated[g] = not ended

    return play
