"""Learns the rollout policy from games, by maximum likelihood with stochastic gradient ascent.

The gradient of log π(a) is φ(a) − Σ_b π(b) φ(b), with the binary features φ of each move. Step sizes are Adagrad's
(Duchi et al. 2011): each feature's gradient is divided by the root of the sum of its squared gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from myosu.errors import UserError
from myosu.games.game import compiled
from myosu.games.go.board import breathes, is_eye, point_of, width_of
from myosu.games.go.legal import is_legal
from myosu.games.go.rollout import (
    NEARS,
    PATTERNS,
    PLACES,
    SELF_ATARI,
    RolloutPolicy,
    canonical_codes,
    nearness,
    place_of,
    tactics_of,
)
from myosu.games.go.rules import make_game, start, step
from myosu.games.go.sgf import GoRecord

#: Offsets of the parts in the vector of all weights; its last element is a constant 0.
RESPONSE, PLACE, NEAR, TACTICS = np.cumsum([PATTERNS, PATTERNS, PLACES, NEARS]).tolist()
NOTHING = TACTICS + 4
MOST_FEATURES = 8


@dataclass(frozen=True)
class Fit:
    """Fit over ``positions``. top1, top5: fraction of positions whose played move is the most likely one, or among the
    five most likely. log_likelihood: mean log-likelihood. uniform: top1 of the uniform policy."""

    positions: int
    top1: float
    top5: float
    log_likelihood: float
    uniform: float


@compiled
def move_features(state, point, codes, out):
    """Write the indices of a move's features, int64 [MOST_FEATURES], padded with NOTHING."""
    width, colour, last = width_of(state), state.player + 1, np.int64(state.last)
    code = codes[state.player, state.around[point]]
    near, count = nearness(point, last, width), 3
    out[:] = NOTHING
    out[0], out[1], out[2] = code, PLACE + place_of(point, width), NEAR + near
    if 1 <= near <= 2:
        out[count] = RESPONSE + code
        count += 1
    tactics = tactics_of(state, point, colour)
    for kind in range(4):
        if tactics[kind]:
            out[count] = TACTICS + kind
            count += 1


@compiled
def list_moves(state, codes, points, features):
    """Write the points and features of the policy's candidate moves (legal and not filling an eye). Returns their
    number."""
    width, count, colour = width_of(state), 0, state.player + 1
    for cell in range((width - 2) ** 2):
        point = point_of(cell, width)
        if is_legal(state, point) and breathes(state, point, colour) and not is_eye(state, point, colour):
            points[count] = point
            move_features(state, point, codes, features[count])
            count += 1
    return count


@compiled
def _pass_through(state, actions, lengths, chosen, order, codes, weights, squares, rate, totals):
    """One pass over the games, which updates the weights if ``rate`` > 0. Adds to totals [5]: positions, top-1 hits,
    top-5 hits, log-likelihood, 1 / number of moves."""
    cells = (width_of(state) - 2) ** 2
    points, features = np.empty(cells, np.int64), np.empty((cells, MOST_FEATURES), np.int64)
    chances = np.empty(cells)
    for game in order:
        start(state, 0.5, False)
        for ply in range(lengths[game]):
            action = actions[game, ply]
            if chosen[game, ply]:
                count, played = list_moves(state, codes, points, features), -1
                target = point_of(action, width_of(state))
                for k in range(count):
                    chances[k] = 0.0
                    for feature in features[k]:
                        chances[k] += weights[feature]
                    if points[k] == target:
                        played = k
                if played >= 0:
                    top, better = np.max(chances[:count]), 0
                    for k in range(count):
                        better += chances[k] > chances[played]
                    chances[:count] = np.exp(chances[:count] - top)
                    chances[:count] /= np.sum(chances[:count])
                    totals[0] += 1
                    totals[1] += better == 0
                    totals[2] += better < 5
                    totals[3] += np.log(chances[played])
                    totals[4] += 1.0 / count
                    if rate > 0.0:
                        for k in range(count):
                            gradient = (1.0 if k == played else 0.0) - chances[k]
                            for feature in features[k]:
                                squares[feature] += gradient * gradient
                                weights[feature] += rate * gradient / np.sqrt(squares[feature] + 0.01)
                        weights[NOTHING] = 0.0
                        weights[TACTICS + SELF_ATARI] = min(weights[TACTICS + SELF_ATARI], 0.0)
            step(state, action)


def learn_rollout_policy(records: list[GoRecord], epochs: int = 8, rate: float = 0.1, seed: int = 0) -> RolloutPolicy:
    """The maximum-likelihood policy for the chosen moves in ``records``, which must have one board size."""
    random = np.random.default_rng(seed)
    weights, squares = np.zeros(NOTHING + 1), np.zeros(NOTHING + 1)
    for epoch in range(epochs):
        _run(records, random.permutation(len(records)), weights, squares, rate * (1 - epoch / epochs))
    parts = np.split(weights.astype(np.float32), [RESPONSE, PLACE, NEAR, TACTICS, NOTHING])
    return RolloutPolicy(*parts[:5])


def fit_of(policy: RolloutPolicy, records: list[GoRecord]) -> Fit:
    """How well the policy predicts the chosen moves in ``records``."""
    parts = [policy.pattern, policy.response, policy.place, policy.near, policy.tactics, np.zeros(1)]
    weights = np.concatenate(parts).astype(np.float64)
    totals = _run(records, np.arange(len(records)), weights, np.zeros(NOTHING + 1), 0.0)
    return Fit(int(totals[0]), *(totals[1:] / totals[0]).tolist())


def fit_with_intervals(policy: RolloutPolicy, records: list[GoRecord]) -> dict[str, Any]:
    """``fit_of`` with 95 % intervals ``NAME_ci95`` that resample whole games, because the moves of one game are not
    independent; and the number of games. Raises UserError if ``records`` contain no chosen moves."""
    parts = [fit_of(policy, [record]) for record in records if record.chosen().any()]
    parts = [part for part in parts if part.positions]
    if not parts:
        raise UserError("There is no game to test the rollout policy on: none was held out, or nobody chose a move.")
    counts = np.array([part.positions for part in parts])
    drawn = np.random.default_rng(0).integers(len(parts), size=(1000, len(parts)))
    figures: dict[str, Any] = {"games": len(parts), "positions": int(counts.sum())}
    for name in ("top1", "top5", "log_likelihood", "uniform"):
        sums = np.array([getattr(part, name) for part in parts]) * counts
        figures[name] = float(sums.sum() / counts.sum())
        figures[f"{name}_ci95"] = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975)).tolist()
    return figures


def _run(records: list[GoRecord], order: np.ndarray, weights: np.ndarray, squares: np.ndarray,
         rate: float) -> np.ndarray:
    lengths = np.array([len(record.actions) for record in records])
    actions = np.zeros((len(records), lengths.max()), np.int16)
    chosen = np.zeros(actions.shape, np.bool_)
    for k, record in enumerate(records):
        actions[k, :lengths[k]] = record.actions
        chosen[k, :lengths[k]] = record.chosen()
    totals = np.zeros(5)
    state = make_game(records[0].size, max_plies=max(2000, 3 * records[0].size**2)).new_states(1)[0]
    _pass_through(state, actions, lengths, chosen, order, canonical_codes(), weights, squares, rate, totals)
    return totals
