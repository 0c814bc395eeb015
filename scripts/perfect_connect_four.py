"""How far from perfect play an agent is in Connect Four: perfect_connect_four.py RUN [--simulations S] [--games N]

The agent plays itself after random plies. What it knows of a position (its network's value and prior, its search) is
compared with the exact outcome, which a solver knows: an oracle that says what fails, the value, the policy, the
model or the search.
"""

import argparse

import numba
import numpy as np
import torch

from myosu.evaluation.players import legal_mask
from myosu.games.connect_four import COLUMNS, ROWS
from myosu.games.playout import random_actions
from myosu.training.checkpoint import load_agent

U = np.uint64
ONE = U(1)
BOTTOM = U(sum(1 << 7 * column for column in range(COLUMNS)))
BOARD = U(sum(0x3F << 7 * column for column in range(COLUMNS)))
COLUMN = np.array([0x3F << 7 * column for column in range(COLUMNS)], np.uint64)
ORDER = np.array([3, 2, 4, 1, 5, 0, 6])
TABLE_BITS = 23


@numba.njit
def wins(discs, occupied):
    """Empty cells that complete a four of ``discs``."""
    found = (discs << U(1)) & (discs << U(2)) & (discs << U(3))
    for shift in (U(7), U(6), U(8)):
        two, three = U(2) * shift, U(3) * shift
        pair = (discs << shift) & (discs << two)
        found |= pair & (discs << three)
        found |= pair & (discs >> shift)
        pair = (discs >> shift) & (discs >> two)
        found |= pair & (discs << shift)
        found |= pair & (discs >> three)
    return found & (BOARD ^ occupied)


@numba.njit
def count(x):
    n = 0
    while x:
        x &= x - ONE
        n += 1
    return n


@numba.njit
def negamax(own, occupied, alpha, beta, keys, values, nodes):
    """−1, 0 or 1 for the player to move, who cannot win at once, within the window."""
    nodes[0] += 1
    if nodes[0] > nodes[1]:
        return 0
    other = own ^ occupied
    playable = (occupied + BOTTOM) & BOARD
    threats = wins(other, occupied)
    forced = playable & threats
    if forced:
        if forced & (forced - ONE):
            return -1
        playable = forced
    playable &= ~(threats >> ONE)  # never below a cell where the opponent wins
    if playable == U(0):
        return -1 if forced or occupied != BOARD and count(occupied) < 42 else 0
    if count(occupied) >= 40:
        return 0
    key = own + occupied + BOTTOM
    slot = (key * U(0x9E3779B97F4A7C15)) >> U(64 - TABLE_BITS)
    if keys[slot] == key:
        low, high = values[slot] // 3 - 1, values[slot] % 3 - 1
        if low >= beta:
            return low
        if high <= alpha:
            return high
        alpha, beta = max(alpha, low), min(beta, high)
        if alpha >= beta:
            return alpha
    # The moves that make most threats first, those in the middle before others.
    moves = np.empty(7, np.uint64)
    scores = np.empty(7, np.int64)
    n = 0
    for column in ORDER:
        move = playable & COLUMN[column]
        if move:
            score = count(wins(own | move, occupied | move))
            k = n
            while k > 0 and scores[k - 1] < score:
                scores[k], moves[k] = scores[k - 1], moves[k - 1]
                k -= 1
            scores[k], moves[k] = score, move
            n += 1
    best, bottom = -1, alpha
    for k in range(n):
        value = -negamax(other, occupied | moves[k], -beta, -bottom, keys, values, nodes)
        if value > best:
            best = value
        if best > bottom:
            bottom = best
        if bottom >= beta:
            break
    if nodes[0] <= nodes[1]:
        low, high = (best if best > alpha else -1), (best if best < beta else 1)
        keys[slot], values[slot] = key, 3 * (low + 1) + high + 1
    return best


@numba.njit
def solve(own, opponent, keys, values, most):
    """What every column is worth to the player to move, int64 [7]: −1, 0, 1; −9 where it is full; all 9 where it would take
    more than ``most`` positions."""
    found = np.full(7, -9)
    occupied = own | opponent
    nodes = np.array([0, most])
    for column in range(7):
        move = (occupied + BOTTOM) & COLUMN[column]
        if not move:
            continue
        mine = own | move
        if wins(own, occupied) & move:
            found[column] = 1
        elif (occupied | move) == BOARD:
            found[column] = 0
        elif wins(opponent, occupied | move) & ((occupied | move) + BOTTOM):
            found[column] = -1
        else:
            found[column] = -negamax(opponent, occupied | move, -1, 1, keys, values, nodes)
    if nodes[0] > nodes[1]:
        found[:] = 9
    return found


class Solver:
    def __init__(self):
        self.keys = np.zeros(1 << TABLE_BITS, np.uint64)
        self.values = np.zeros(1 << TABLE_BITS, np.int8)

    def __call__(self, state, most=3_000_000):
        return solve(state["own"], state["opponent"], self.keys, self.values, most)


def moved(game, states, action):
    """The positions after ``action``, the movers' rewards and whether the games are over."""
    states = states.copy()
    reward, over = np.zeros(len(states), np.float32), np.zeros(len(states), np.bool_)
    game.batch.step(states, action.astype(np.int64), reward, over)
    return states, reward, over


def look(game, states):
    out = np.zeros((len(states), *game.observation_shape), np.uint8)
    game.batch.observe(states, out)
    return out


def true_plan(planner, game, states, simulations):
    """The same search with the rules for a model: only values and priors come from the network."""
    model, n = planner.model, len(states)
    nodes, ended = np.zeros((simulations + 1, n), states.dtype), np.zeros((simulations + 1, n), bool)
    nodes[0] = states
    _, value, logits = model.initial(torch.from_numpy(look(game, states)))

    def expand(parents, actions, slot):
        rows = np.arange(n)
        before, was_over = nodes[parents, rows], ended[parents, rows]
        legal = legal_mask(game, before)[rows, actions] & ~was_over
        after, reward, over = moved(game, np.where(legal, before, before), np.where(legal, actions, legal_mask(game, before).argmax(1)))
        nodes[slot], ended[slot] = after, over | was_over
        _, value, logits = model.initial(torch.from_numpy(look(game, after)))
        value, logits = planner._scalar(value), planner._numpy(logits)
        logits = np.where(legal_mask(game, after), logits, -1e9).astype(np.float32)
        # Illegal in the tree: a loss for who tries.
        reward = np.where(was_over, 0.0, np.where(legal, reward, -1.0)).astype(np.float32)
        value = np.where(ended[slot] | ~legal, 0.0, value).astype(np.float32)
        ended[slot] |= ~legal
        return reward, value, logits

    with torch.inference_mode():
        return planner.search.run(planner._numpy(logits), planner._scalar(value), legal_mask(game, states), expand, simulations)


def positions_of(game, choose, games, openings, seed):
    states = game.new_states(games)
    found, ply = [], 0
    while len(states):
        legal = legal_mask(game, states)
        action = random_actions(legal, seed * 1000 + ply) if ply < openings else choose(states)
        if ply >= 12:
            found.append(states.copy())
        states, _, over = moved(game, states, action)
        states = states[~over]
        ply += 1
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--simulations", type=int, default=64)
    parser.add_argument("--games", type=int, default=60)
    parser.add_argument("--openings", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    agent, environment, _ = load_agent(options.run, simulations=options.simulations, game="connect_four")
    game, planner = environment.rules, agent.planner
    states = positions_of(game, lambda s: agent.act(look(game, s), legal_mask(game, s)), options.games, options.openings, 1)
    states = states[np.random.default_rng(0).permutation(len(states))[:400]]
    solver = Solver()
    exact = np.stack([solver(s) for s in states])
    states, exact = states[exact[:, 0] != 9], exact[exact[:, 0] != 9]
    plies = np.array([bin(int(s["own"] | s["opponent"])).count("1") for s in states])
    truth = exact.max(1)
    choice = (np.where(exact == -9, 9, exact).min(1) < truth)
    print(f"{len(states)} positions, {choice.sum()} with a choice; worth: win {np.mean(truth == 1):.0%} draw {np.mean(truth == 0):.0%}")
    obs, legal = look(game, states), legal_mask(game, states)

    def report(name, action):
        best = exact[np.arange(len(states)), action] == truth
        rows = [best[choice & (plies >= a) & (plies < b)].mean() for a, b in ((12, 18), (18, 24), (24, 42))]
        print(f"{name:30} best moves {best[choice].mean():.1%}  plies 12-17, 18-23, 24-: " + ", ".join(f"{r:.1%}" for r in rows))

    size = 128
    def parts(f):
        return np.concatenate([f(slice(k, k + size)) for k in range(0, len(states), size)])
    with torch.inference_mode():
        value = parts(lambda p: planner._scalar(planner.model.initial(torch.from_numpy(obs[p]))[1]))
        prior = parts(lambda p: planner._numpy(planner.model.initial(torch.from_numpy(obs[p]))[2]))
    for a, b in ((12, 18), (18, 24), (24, 42)):
        at = (plies >= a) & (plies < b)
        print(f"plies {a}-{b}: n {at.sum()}, value error rms {np.sqrt(np.mean((value[at] - truth[at]) ** 2)):.2f}, sign right of decided "
              f"{np.mean(np.sign(value[at & (truth != 0)]) == truth[at & (truth != 0)]):.1%}, correlation {np.corrcoef(value[at], truth[at])[0,1]:.2f}")
    report("prior", np.where(legal, prior, -1e9).argmax(1))
    # one true step ahead with the value
    ahead = np.full((len(states), 7), -np.inf)
    for a in range(7):
        ok = legal[:, a]
        after, reward, over = moved(game, states[ok], np.full(ok.sum(), a))
        with torch.inference_mode():
            v = planner._scalar(planner.model.initial(torch.from_numpy(look(game, after)))[1])
        ahead[ok, a] = np.where(over, reward, -v)
    report("one true step, value", ahead.argmax(1))
    for sims in (options.simulations,):
        report(f"learnt model, {sims}", parts(lambda p: planner.plan(obs[p], legal[p], sims)[0].action))


if __name__ == "__main__":
    main()
