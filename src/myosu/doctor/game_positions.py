"""Positions of random games, and the effect of every legal move in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from myosu.games.game import Game
from myosu.games.playout import random_actions


@dataclass
class Positions:
    """n positions of random games before their end, in random order.

    states: [n] records. observations: [n, *shape], seen by the player to move. masks: bool [n, A]. seats: int8 [n].
    outcomes: float64 [n], the rewards of the player to move from there to the end, minus the opponent's.
    progress: float64 [n] in [0, 1], the fraction of the game's plies that were played.
    """

    states: np.ndarray
    observations: np.ndarray
    masks: np.ndarray
    seats: np.ndarray
    outcomes: np.ndarray
    progress: np.ndarray


def random_positions(game: Game, games: int, most: int, seed: int) -> Positions:
    """Play ``games`` random games and draw at most ``most`` of their positions."""
    batch, states = game.batch, game.new_states(games, seed)
    playing = np.ones(games, np.bool_)
    kept: list[tuple[np.ndarray, ...]] = []  # for each ply: game indices, states, seats, rewards
    for ply in range(game.max_plies):
        masks, seats = np.empty((games, game.num_actions), np.bool_), np.empty(games, np.int8)
        batch.legal_actions(states, masks)
        batch.to_play(states, seats)
        playing &= masks.any(axis=1)
        if not playing.any():
            break
        masks[~playing] = True
        before, rewards, ended = states.copy(), np.zeros(games, np.float32), np.zeros(games, np.bool_)
        actions = random_actions(masks, seed * 1_000_003 + ply)
        batch.step(states, actions, rewards, ended)
        who = np.flatnonzero(playing)
        kept.append((who, before[who], seats[who], rewards[who]))
        playing &= ~ended
    return _gather(game, games, kept, most, seed)


def _gather(game: Game, games: int, kept: list[tuple[np.ndarray, ...]], most: int, seed: int) -> Positions:
    returns = np.zeros((games, 2))  # of each seat, from a ply to the end
    lengths = np.zeros(games)
    for who, *_ in kept:
        lengths[who] += 1
    outcomes = []
    for who, _, seats, rewards in reversed(kept):
        returns[who, seats] += rewards
        returns[who, 1 - seats] -= rewards
        outcomes.append(returns[who, seats].copy())
    outcome = np.concatenate(outcomes[::-1])
    states = np.concatenate([part[1] for part in kept])
    progress = np.concatenate([ply / lengths[part[0]] for ply, part in enumerate(kept)])
    seats = np.concatenate([part[2] for part in kept])
    drawn = np.random.default_rng(seed).permutation(len(states))[:most]
    states = states[drawn]
    observations, masks = look(game, states)
    return Positions(states, observations, masks, seats[drawn], outcome[drawn], progress[drawn])


def look(game: Game, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Observations [n, *shape] and masks bool [n, A] of ``states``."""
    observations: np.ndarray = np.zeros((len(states), *game.observation_shape), game.observation_dtype)
    masks = np.zeros((len(states), game.num_actions), np.bool_)
    game.batch.observe(states, observations)
    game.batch.legal_actions(states, masks)
    return observations, masks


def all_moves(game: Game, state: np.ndarray, legal: np.ndarray) -> tuple[np.ndarray, ...]:
    """The states, observations, masks, rewards and ends after each of the actions int64 ``legal`` in one state."""
    after, rewards = np.repeat(state, len(legal)), np.zeros(len(legal), np.float32)
    ended = np.zeros(len(legal), np.bool_)
    game.batch.step(after, legal, rewards, ended)
    return after, *look(game, after), rewards, ended
