"""Measures an agent against perfect play in Connect Four: perfect_connect_four.py RUN [--simulations S] [--games N]

The positions are the same for every agent: from the thirteenth disc on, from games of alpha-beta with occasional random
moves. A solver gives the exact outcome of every move. The network's value and prior, the value after one true step, and
the search are compared with it, to find out which of them fails. With --rules the search also runs with the true rules
instead of the learnt model, to find out whether the model fails.
"""

import argparse

import numba
import numpy as np
import torch

from myosu.algorithms.muzero import Planner
from myosu.games.bitboard import count_bits
from myosu.games.connect_four import CELLS, COLUMNS, ROWS
from myosu.games.game import Game
from myosu.games.playout import random_actions
from myosu.players.agent import load_agent
from myosu.players.alphabeta import compile_alphabeta
from myosu.players.player import legal_mask
from myosu.search import Expansion, SearchResult

OPENING_PLIES, FIRST_PLY = 6, 12
PHASES = ((FIRST_PLY, 18), (18, 24), (24, 42))
ONE = np.uint64(1)
BOTTOM = np.uint64(sum(1 << 7 * column for column in range(COLUMNS)))
COLUMN = np.array([0x3F << 7 * column for column in range(COLUMNS)], np.uint64)
MIDDLE_FIRST = np.array([3, 2, 4, 1, 5, 0, 6])
TABLE_BITS = 24
FULL, UNKNOWN = -9, 9


@numba.njit
def winning_cells(discs, occupied):
    """Empty cells that would complete four in a row for ``discs``."""
    found = (discs << ONE) & (discs << np.uint64(2)) & (discs << np.uint64(3))
    for shift in (np.uint64(7), np.uint64(6), np.uint64(8)):
        two, three = shift + shift, shift + shift + shift
        pair = (discs << shift) & (discs << two)
        found |= pair & ((discs << three) | (discs >> shift))
        pair = (discs >> shift) & (discs >> two)
        found |= pair & ((discs << shift) | (discs >> three))
    return found & (CELLS ^ occupied)


@numba.njit
def negamax(own, occupied, alpha, beta, keys, bounds, nodes):
    """The outcome −1, 0 or 1 for the player to move, who has no immediate win; exact within the window.

    nodes: (visited, limit); if the limit is exceeded the result is meaningless.
    """
    nodes[0] += 1
    if nodes[0] > nodes[1]:
        return 0
    other = own ^ occupied
    playable = (occupied + BOTTOM) & CELLS
    threats = winning_cells(other, occupied)
    if playable & threats:
        playable &= threats  # the opponent's threats must be blocked
        if playable & (playable - ONE):
            return -1
    playable &= ~(threats >> ONE)  # not below a winning cell of the opponent
    if not playable:
        return -1
    if count_bits(occupied) >= ROWS * COLUMNS - 2:
        return 0
    key = own + occupied + BOTTOM
    slot = (key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - TABLE_BITS)
    if keys[slot] == key:
        alpha, beta = max(alpha, bounds[slot, 0]), min(beta, bounds[slot, 1])
        if alpha >= beta:
            return alpha
    # Move ordering: most threats first, then central columns.
    moves, threatens, n = np.empty(COLUMNS, np.uint64), np.empty(COLUMNS, np.int64), 0
    for column in MIDDLE_FIRST:
        move = playable & COLUMN[column]
        if move:
            k, threat = n, count_bits(winning_cells(own | move, occupied | move))
            while k > 0 and threatens[k - 1] < threat:
                threatens[k], moves[k] = threatens[k - 1], moves[k - 1]
                k -= 1
            threatens[k], moves[k] = threat, move
            n += 1
    best, low = -1, alpha
    for k in range(n):
        best = max(best, -negamax(other, occupied | moves[k], -beta, -low, keys, bounds, nodes))
        low = max(low, best)
        if low >= beta:
            break
    if nodes[0] <= nodes[1]:
        keys[slot] = key
        bounds[slot, 0], bounds[slot, 1] = (best if best > alpha else -1), (best if best < beta else 1)
    return best


@numba.njit
def solve(own, opponent, keys, bounds, most):
    """The outcome of every column for the player to move, int64 [7]: −1, 0, 1 or ``FULL``; all ``UNKNOWN`` if the
    search exceeds ``most`` positions."""
    worth, occupied, nodes = np.full(COLUMNS, FULL), own | opponent, np.array([0, most])
    for column in range(COLUMNS):
        move = (occupied + BOTTOM) & COLUMN[column]
        if not move:
            continue
        after = occupied | move
        if winning_cells(own, occupied) & move:
            worth[column] = 1
        elif after == CELLS:
            worth[column] = 0
        elif winning_cells(opponent, after) & (after + BOTTOM):
            worth[column] = -1
        else:
            worth[column] = -negamax(opponent, after, -1, 1, keys, bounds, nodes)
    if nodes[0] > nodes[1]:
        worth[:] = UNKNOWN
    return worth


def worth_of_moves(states: np.ndarray, most: int = 3_000_000) -> np.ndarray:
    """Outcomes int64 [n, 7], see ``solve``."""
    keys, bounds = np.zeros(1 << TABLE_BITS, np.uint64), np.zeros((1 << TABLE_BITS, 2), np.int8)
    return np.stack([solve(state["own"], state["opponent"], keys, bounds, most) for state in states])


def observed(game: Game, states: np.ndarray) -> np.ndarray:
    observation = np.zeros((len(states), *game.observation_shape), np.uint8)
    game.batch.observe(states, observation)
    return observation


def moved(game: Game, states: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The positions after ``action``, the movers' rewards and whether the games are over."""
    states, reward, over = states.copy(), np.zeros(len(states), np.float32), np.zeros(len(states), np.bool_)
    game.batch.step(states, action.astype(np.int64), reward, over)
    return states, reward, over


def positions_of_games(game: Game, games: int) -> np.ndarray:
    """Positions from games between alpha-beta of depth 4 and itself, with one move in five at random."""
    choose, rng = compile_alphabeta(game), np.random.default_rng(0)
    states, found, ply = game.new_states(games), [], 0
    while len(states):
        errs = rng.random(len(states)) < (1.0 if ply < OPENING_PLIES else 0.2)
        action = np.where(errs, random_actions(legal_mask(game, states), ply), choose(states, 4))
        if ply >= FIRST_PLY:
            found.append(states)
        states, _, over = moved(game, states, action)
        states = states[~over]
        ply += 1
    return np.concatenate(found)


@torch.inference_mode()
def looked_at(planner: Planner, game: Game, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The network's values f32 [n] and logits f32 [n, 7] of positions."""
    _, value, logits = planner.model.initial(torch.from_numpy(observed(game, states)))
    return planner._scalar(value), planner._numpy(logits)


def value_one_step_on(planner: Planner, game: Game, states: np.ndarray) -> np.ndarray:
    """One-step look-ahead with the true rules and the network's value, f32 [n, 7]; −∞ where illegal."""
    worth, legal = np.full((len(states), COLUMNS), -np.inf, np.float32), legal_mask(game, states)
    for column in range(COLUMNS):
        fits = legal[:, column]
        after, reward, over = moved(game, states[fits], np.full(fits.sum(), column))
        if len(after):
            worth[fits, column] = np.where(over, reward, -looked_at(planner, game, after)[0])
    return worth


def search_by_rules(planner: Planner, game: Game, states: np.ndarray, simulations: int) -> SearchResult:
    """The agent's search with the true rules as the model; values and priors are the network's."""
    rows = np.arange(len(states))
    nodes = np.zeros((simulations + 1, len(states)), states.dtype)
    nodes[0] = states

    def expand(parents: np.ndarray, actions: np.ndarray, slot: int) -> Expansion:
        before = nodes[parents, rows]
        # At a terminal parent the action is −1 and the result is ignored: any legal action will do.
        actions = np.where(actions < 0, legal_mask(game, before).argmax(axis=1), actions)
        nodes[slot], reward, ended = moved(game, before, actions)
        value, logits = looked_at(planner, game, nodes[slot])
        return Expansion(reward, np.where(ended, 0.0, -1.0), value, logits,
                         legal_mask(game, nodes[slot]) & ~ended[:, None])

    value, logits = looked_at(planner, game, states)
    return planner.search.run(logits, value, legal_mask(game, states), expand, simulations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--simulations", type=int, default=64)
    parser.add_argument("--games", type=int, default=60)
    parser.add_argument("--rules", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    agent, environment, _ = load_agent(options.run, simulations=options.simulations, game="connect_four")
    game, planner = environment.rules, agent.planner
    states = positions_of_games(game, options.games)
    worth = worth_of_moves(states)
    states, worth = states[worth[:, 0] != UNKNOWN], worth[worth[:, 0] != UNKNOWN]
    plies, best = np.bitwise_count(states["own"] | states["opponent"]), worth.max(axis=1)
    choice = np.where(worth == FULL, best[:, None], worth).min(axis=1) < best
    print(f"{len(states)} positions, won {np.mean(best == 1):.0%}, drawn {np.mean(best == 0):.0%}; "
          f"in {choice.sum()} the moves differ in outcome")

    def in_parts(find):
        size = planner.capacity
        return np.concatenate([find(states[k:k + size]) for k in range(0, len(states), size)])

    value = in_parts(lambda part: looked_at(planner, game, part)[0])
    for first, last in PHASES:
        at = (plies >= first) & (plies < last)
        decided = at & (best != 0)
        right = np.mean(value[decided] * best[decided] > 0)
        print(f"discs {first}–{last - 1}: correlation of the network's value with the outcome "
              f"{np.corrcoef(value[at], best[at])[0, 1]:.2f}, sign correct in {right:.0%}")

    def report(name: str, action: np.ndarray) -> None:
        right = worth[np.arange(len(states)), action] == best
        phases = (right[choice & (plies >= first) & (plies < last)].mean() for first, last in PHASES)
        print(f"{name:28} best moves {right[choice].mean():.1%}   by discs " + "  ".join(f"{p:.1%}" for p in phases))

    def search(part: np.ndarray) -> np.ndarray:
        return planner.plan(observed(game, part), legal_mask(game, part))[0].action

    report("prior", in_parts(
        lambda part: np.where(legal_mask(game, part), looked_at(planner, game, part)[1], -np.inf).argmax(axis=1)))
    report("value after one real move", in_parts(lambda part: value_one_step_on(planner, game, part).argmax(axis=1)))
    report(f"search, {options.simulations} simulations", in_parts(search))
    if options.rules:
        report("search with the rules", in_parts(
            lambda part: search_by_rules(planner, game, part, options.simulations).action))


if __name__ == "__main__":
    main()
