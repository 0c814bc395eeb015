"""Monte Carlo tree search (UCT) with random rollouts for native two-player games, without a network."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from myosu.errors import UserError
from myosu.games.game import Game
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
                    action = -1
                    if in_tree:
                        open_actions = 0
                        for a in range(num_actions):
                            if legal[a] and children[node, a] == 0:
                                scratch[open_actions] = a
                                open_actions += 1
                        if open_actions > 0:
                            bits = mix64(stream + draws) >> np.uint64(32)
                            action = scratch[(bits * np.uint64(open_actions)) >> np.uint64(32)]
                            new = simulation + 1
                            children[node, action] = new
                            children[new, :], visits[new], outcomes[new] = 0, 0, 0.0
                            in_tree = False
                        else:
                            top, width = -np.inf, EXPLORATION**2 * np.log(visits[node])
                            for a in range(num_actions):
                                if legal[a]:
                                    child = children[node, a]
                                    score = outcomes[child] / visits[child] + np.sqrt(width / visits[child])
                                    if score > top:
                                        action, top = a, score
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
            most, best = -1, -np.inf
            for a in range(num_actions):
                child = children[0, a]
                if child > 0:
                    mean = outcomes[child] / visits[child]
                    if visits[child] > most or (visits[child] == most and mean > best):
                        most, best = visits[child], mean
                        chosen[game_index] = a
        return chosen

    return choose
