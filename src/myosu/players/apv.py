"""AlphaGo as a player: the search of ``search.apv`` over the true rules.

Each of its parts is optional: a prior network (default: uniform priors), a value network (without it λ must be 1) and
rollouts (without them λ must be 0).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from myosu.algorithms.interface import Agent
from myosu.errors import UserError
from myosu.games.game import Game
from myosu.players.player import RESIGNS, History, legal_mask
from myosu.players.rollouts import Rollouts
from myosu.search.apv import APVConfig, APVTree

#: network(states [n], legal bool [n, A]) -> value f32 [n] in the view of the player to move, policy logits f32 [n, A].
Network = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def network_of(agent: Agent, game: Game, value: Agent | None = None) -> Network:
    """The network of an agent that was trained on the observations of ``game``, without the agent's own search.

    Agents that search, and those of cloning and value, have a method ``evaluate``. For other agents, ``analyze`` returns
    the network's outputs. value: another agent with the same observations, whose network gives the values instead.
    """

    def evaluate(states: np.ndarray, legal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        observation: np.ndarray = np.empty((len(states), *game.observation_shape), game.observation_dtype)
        game.batch.observe(states, observation)
        values, logits = _outputs(agent, observation, legal)
        return values if value is None else _outputs(value, observation, legal)[0], logits

    return evaluate


def _outputs(agent: Agent, observation: np.ndarray, legal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if hasattr(agent, "evaluate"):
        return agent.evaluate(observation, legal)
    analysis = agent.analyze(observation, legal)
    return analysis.value, np.log(np.maximum(analysis.policy, 1e-12)).astype(np.float32)


def analyst_of(agent: Agent, game: Game) -> APVPlayer:
    """A search with an agent's network and without rollouts, for the analysis commands of GTP."""
    network = network_of(agent, game)
    return APVPlayer(game, network, network, None, APVConfig(rollout_weight=0.0, c_puct=1.5, batch_size=16))


class GameTree(APVTree):
    """A search tree that stores the state of the game in each node."""

    def __init__(self, config: APVConfig, game: Game, root: np.ndarray) -> None:
        """root: states [1]."""
        super().__init__(config, game.num_actions, game.reward_range)
        self.states: np.ndarray = np.empty(len(self.nodes), game.state_dtype)
        self.states[0] = root[0]

    def advance(self, action: int) -> np.ndarray | None:
        kept = super().advance(action)
        if kept is not None:
            self.states[:len(kept)] = self.states[kept]
        return kept

    def _grow(self, needed: int) -> None:
        super()._grow(needed)
        states = np.empty(len(self.nodes), self.states.dtype)
        states[:self.used] = self.states[:self.used]
        self.states = states


class APVPlayer:
    """Plays the most visited action of a search. The tree of each game is reused from move to move.

    prior, value: may be the same network, which then evaluates each position once. A thread plays the rollouts while
    the networks evaluate the same leaves.
    """

    def __init__(self, game: Game, prior: Network | None, value: Network | None, rollouts: Rollouts | None,
                 config: APVConfig, name: str = "apv", seed: int = 0) -> None:
        if game.num_players != 2:
            raise UserError(f"{game.name} is a single-player game; AlphaGo's search needs a two-player game.")
        if "chance" in (game.state_dtype.names or ()):
            raise UserError(f"A search by the rules of {game.name} would foresee its random events.")
        needs = {"a value network": value is None and config.rollout_weight < 1,
                 "rollouts": rollouts is None and config.rollout_weight > 0}
        for part, missing in needs.items():
            if missing:
                raise UserError(f"{name}: rollout_weight = {config.rollout_weight:g} needs {part}.")
        self.game, self.config, self.name = game, config, name
        self.prior, self.value, self.rollouts = prior, value, rollouts
        self.repeats_itself = config.rollout_weight == 0
        self.rng = np.random.default_rng(seed)
        self._trees: dict[tuple[int, ...], GameTree] = {}
        self._thread = ThreadPoolExecutor(1, "rollouts")

    def choose(self, states: np.ndarray, histories: list[History], simulations: int | None = None) -> np.ndarray:
        """As ``Player.choose``. simulations: per move in this call."""
        trees = self.analyze(states, histories, simulations)
        return np.array([self._move(tree) for tree in trees], np.int64)

    def analyze(self, states: np.ndarray, histories: Sequence[History], simulations: int | None = None,
                goes_on: Callable[[list[GameTree]], bool] = lambda trees: True) -> list[GameTree]:
        """Search and return the trees of the games. goes_on: called after every batch; False ends the search."""
        trees = [self._tree_of(states[i:i + 1], history) for i, history in enumerate(histories)]
        self._trees = {tuple(history): tree for history, tree in zip(histories, trees, strict=True)}
        self._search(trees, simulations or self.config.simulations, goes_on)
        return trees

    def forget(self) -> None:
        """Drop the kept trees."""
        self._trees.clear()

    def close(self) -> None:
        self._thread.shutdown()

    def _move(self, tree: GameTree) -> int:
        best, resign = tree.best_child(), self.config.resign
        return RESIGNS if resign is not None and tree.scaled_value(best) < resign else int(tree.nodes["action"][best])

    def _tree_of(self, state: np.ndarray, history: History) -> GameTree:
        """The kept tree of this game, advanced to the position after ``history``, or a new tree."""
        for plies in range(3):
            tree = self._trees.pop(tuple(history[:len(history) - plies]), None) if plies <= len(history) else None
            if tree is None:
                continue
            steps = [tree.advance(action) for action in history[len(history) - plies:]]
            # Positions that were set up may have the same history but another state.
            if all(kept is not None for kept in steps) and tree.states[:1].tobytes() == state.tobytes():
                return tree
        return GameTree(self.config, self.game, state)

    def _search(self, trees: list[GameTree], simulations: int,
                goes_on: Callable[[list[GameTree]], bool]) -> None:
        deadline = None if self.config.seconds is None else time.perf_counter() + self.config.seconds * len(trees)
        at_once = max(1, self.config.batch_size // len(trees))
        self._simulate([tree for tree in trees if not tree.edges["expanded"][0]], 1)
        done = 0
        while done < simulations:
            count = min(at_once, simulations - done)
            self._simulate(trees, count)
            done += count
            if (deadline is not None and time.perf_counter() > deadline) or not goes_on(trees):
                break

    def _simulate(self, trees: list[GameTree], count: int) -> None:
        """Run ``count`` simulations in every tree, evaluated in one batch."""
        if not trees:
            return
        picked = [tree.select(count) for tree in trees]
        self._play([(tree, new) for tree, (_, new) in zip(trees, picked, strict=True)])
        running = [~tree.edges["ended"][leaves] for tree, (leaves, _) in zip(trees, picked, strict=True)]
        rolled = None
        if self.config.rollout_weight > 0:
            assert self.rollouts is not None
            starts = np.concatenate([tree.states[leaves[alive]] for tree, (leaves, _), alive in
                                     zip(trees, picked, running, strict=True)])
            rolled = self._thread.submit(self.rollouts, starts, int(self.rng.integers(2**62)))
        self._evaluate([(tree, tree.to_expand(leaves), _first_visits(tree, leaves))
                        for tree, (leaves, _) in zip(trees, picked, strict=True)])
        outcomes, at = None if rolled is None else rolled.result(), 0
        for tree, (leaves, _), alive in zip(trees, picked, running, strict=True):
            z = np.zeros(count, np.float32)
            if outcomes is not None:
                z[alive] = outcomes[at:at + int(alive.sum())]
                at += int(alive.sum())
            tree.back_up(leaves, tree.edges["own_value"][leaves], z)

    def _play(self, new: list[tuple[GameTree, np.ndarray]]) -> None:
        """Play the actions that lead to the new nodes."""
        after = np.concatenate([tree.states[tree.nodes["parent"][nodes]] for tree, nodes in new])
        actions = np.concatenate([tree.nodes["action"][nodes] for tree, nodes in new]).astype(np.int64)
        reward, ended = np.empty(len(after), np.float32), np.empty(len(after), np.bool_)
        self.game.batch.step(after, actions, reward, ended)
        for (tree, nodes), part in zip(new, _parts([nodes for _, nodes in new]), strict=True):
            tree.states[nodes] = after[part]
            tree.describe(nodes, reward[part], np.full(len(nodes), -1.0, np.float32), ended[part])

    def _evaluate(self, wanted: list[tuple[GameTree, np.ndarray, np.ndarray]]) -> None:
        """Expand and evaluate nodes. wanted: (tree, nodes to expand, nodes to evaluate) of each tree."""
        by_prior, by_value = [w[1] for w in wanted], [w[2] for w in wanted]
        both = self.prior is self.value
        if both:  # one evaluation returns prior and value
            by_prior = by_value = [np.union1d(expand, value) for _, expand, value in wanted]
        positions = np.concatenate([tree.states[nodes] for (tree, _, _), nodes in zip(wanted, by_prior, strict=True)])
        legal = legal_mask(self.game, positions)
        logits, value = np.zeros(legal.shape, np.float32), np.zeros(len(legal), np.float32)
        if self.prior is not None and len(positions):
            value, logits = self.prior(positions, legal)
        for (tree, expand, _), nodes, part in zip(wanted, by_prior, _parts(by_prior), strict=True):
            due = np.isin(nodes, expand)
            if due.any():
                tree.expand(nodes[due], logits[part][due], legal[part][due])
        if self.value is None:
            return
        if not both:
            positions = np.concatenate([tree.states[n] for (tree, _, _), n in zip(wanted, by_value, strict=True)])
            if len(positions):
                value, _ = self.value(positions, legal_mask(self.game, positions))
        for (tree, _, _), nodes, part in zip(wanted, by_value, _parts(by_value), strict=True):
            tree.edges["own_value"][nodes] = value[part]


def _first_visits(tree: GameTree, leaves: np.ndarray) -> np.ndarray:
    """The leaves that the value network has not evaluated yet, without duplicates."""
    leaves = np.unique(leaves)
    return leaves[(tree.nodes["visits"][leaves] == 0) & ~tree.edges["ended"][leaves]]


def _parts(arrays: Sequence[np.ndarray]) -> list[slice]:
    """The slice of each array in their concatenation."""
    ends = np.cumsum([len(array) for array in arrays])
    return [slice(int(end) - len(array), int(end)) for end, array in zip(ends, arrays, strict=True)]
