"""Monte Carlo tree search (UCT) with random rollouts for native two-player games, without a network."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from myosu.errors import UserError
from myosu.games.game import Game, compiled
from myosu.games.loops import compiled_loop
from myosu.games.playout import choose_legal, mix64
from myosu.players.player import History

#: UCT's exploration constant, for outcomes in {−1, 0, +1}.
EXPLORATION = 1.0


class MctsPlayer:
    """UCT with ``simulations`` random rollouts per move."""

    repeats_itself = False

    def __init__(self, game: Game, simulations: int, seed: int = 0) -> None:
        if not 1 <= simulations <= 1_000_000:
            raise UserError(f"mcts:{simulations}: the number of simulations per move must be 1 to 1000000.")
        self.name = f"mcts:{simulations}"
        self._simulations, self._search = simulations, compile_mcts(game)
        self.rng = np.random.default_rng(seed)

    def choose(self, states: np.ndarray, histories: list[History]) -> np.ndarray:
        return self._search(states, self._simulations, np.uint64(self.rng.integers(2**63)))

    def close(self) -> None:
        pass


@compiled
def _list_untried(legal, children, out):
    """Write the legal actions without a child to ``out``. Returns their number."""
    count = 0
    for action in range(len(legal)):
        if legal[action] and children[action] == 0:
            out[count] = action
            count += 1
    return count


@compiled
def _uct_action(legal, children, visits, outcomes, parent_visits):
    """The legal action with the greatest UCT score, argmax_a Q(a) + c √(ln N / N(a)); each has a child."""
    best, top, width = -1, -np.inf, EXPLORATION**2 * np.log(parent_visits)
    for action in range(len(legal)):
        if legal[action]:
            child = children[action]
            score = outcomes[child] / visits[child] + np.sqrt(width / visits[child])
            if score > top:
                best, top = action, score
    return best


@compiled
def _most_visited(children, visits, outcomes):
    """The action with the most visits; of equal ones, that with the best mean outcome."""
    chosen, most, best = -1, -1, -np.inf
    for action in range(len(children)):
        child = children[action]
        if child > 0:
            mean = outcomes[child] / visits[child]
            if visits[child] > most or (visits[child] == most and mean > best):
                chosen, most, best = action, visits[child], mean
    return chosen


@lru_cache(maxsize=8)
def compile_mcts(game: Game) -> Callable[[np.ndarray, int, np.uint64], np.ndarray]:
    """Compile ``choose(states [n], simulations, seed) -> int64 [n]``: the most visited root actions.

    A simulation descends by UCT to an untried action, adds it to the tree, and plays randomly to the end. Only the sign
    of the return counts. A node stores outcomes in the view of the player who moved into it, so selection maximises
    over the children, and the sign alternates along the path.
    """
    legal_actions, step = game.legal_actions, game.step
    num_actions, max_plies = game.num_actions, game.max_plies

    @compiled_loop
    def choose(roots, simulations, seed):
        chosen = np.empty(len(roots), np.int64)
        states = np.empty(1, roots.dtype)
        state = states[0]
        legal, scratch = np.empty(num_actions, np.bool_), np.empty(num_actions, np.int32)
        # Node 0 is the root. In children, 0 means none, because the root is nobody's child.
        children = np.empty((simulations + 1, num_actions), np.int32)
        visits, outcomes = np.empty(simulations + 1, np.int64), np.empty(simulations + 1)
        path = np.empty(max_plies + 1, np.int64)
        for game_index in range(len(roots)):
            stream = mix64(seed + np.uint64(game_index))
            children[0, :], visits[0], outcomes[0] = 0, 0, 0.0
            draws = np.uint64(0)
            for simulation in range(simulations):
                states[0] = roots[game_index]
                node, depth, ended, in_tree = 0, 0, False, True
                earned, sign = 0.0, 1.0  # return of the root's player; +1 while that player moves
                path[0] = 0
                plies = 0
                while not ended and plies < max_plies:
                    legal_actions(state, legal)
                    if in_tree:
                        untried = _list_untried(legal, children[node], scratch)
                        if untried > 0:
                            bits = mix64(stream + draws) >> np.uint64(32)
                            action = scratch[(bits * np.uint64(untried)) >> np.uint64(32)]
                            new = simulation + 1
                            children[node, action] = new
                            children[new, :], visits[new], outcomes[new] = 0, 0, 0.0
                            in_tree = False
                        else:
                            action = _uct_action(legal, children[node], visits, outcomes, visits[node])
                        node = children[node, action]
                        depth += 1
                        path[depth] = node
                    else:
                        action = choose_legal(legal, mix64(stream + draws), scratch)
                    draws += np.uint64(1)
                    reward, ended = step(state, action)
                    earned += sign * reward
                    sign = -sign
                    plies += 1
                outcome = np.sign(earned)
                for d in range(depth + 1):
                    visits[path[d]] += 1
                    outcomes[path[d]] += outcome if d % 2 == 1 else -outcome
            chosen[game_index] = _most_visited(children[0], visits, outcomes)
        return chosen

    return choose
