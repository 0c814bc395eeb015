"""AlphaGo's search (Silver et al. 2016), "asynchronous policy and value MCTS": one tree a game, leaves in batches.

Nodes are those of ``kernels.py``. ``Edge`` adds the statistics that AlphaGo keeps on an edge: the mean evaluations of
the value network and of the rollouts, and the number of simulations in progress. Values are in the view of the player
to move in a node. The tree is independent of the game and the network, which ``players.apv`` provides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from myosu.errors import UserError
from myosu.search import kernels
from myosu.search.kernels import best_open, compiled, fill_legal_priors

#: Statistics of a node in addition to ``kernels.Node``.
Edge = np.dtype(
    [
        ("pending", np.int32),  # simulations selected through this node whose evaluation is not backed up yet
        ("expanded", np.bool_),  # whether its actions have priors, so that selection descends below it
        ("ended", np.bool_),  # whether the game has ended here
        ("own_value", np.float32),  # the value network's evaluation; 0 where the game has ended
        ("mean_value", np.float32),  # W_v / N_v: mean of the network's values over the visits
        ("mean_rollout", np.float32),  # W_r / N_r: mean of the rollouts' outcomes over the visits
    ],
    align=True,
)


@dataclass(frozen=True)
class APVConfig:
    """Settings of AlphaGo's search."""

    simulations: int = 800
    """Simulations per move, not counting those of a reused tree."""
    seconds: float | None = None
    """Seconds per move; the search ends with whichever limit comes first."""
    rollout_weight: float = 0.5
    """Mixing weight λ: a leaf's value is (1 − λ) v + λ z, with the value network's v and the rollout's outcome z."""
    c_puct: float = 5.0
    """Exploration constant of PUCT for values from −1 to 1; it is scaled with the game's range of values."""
    temperature: float = 1.0
    """Temperature of the prior policy: P ∝ p^(1 / temperature). AlphaGo's exponent of 0.67 is a temperature of 1.5."""
    batch_size: int = 8
    """Leaves evaluated in one batch, over all games; at least one per game."""
    virtual_loss: float = 3.0
    """Each simulation in progress counts as this many losses, so that a batch selects different leaves."""
    expansion_threshold: int = 1
    """Number of visits at which a leaf is expanded; earlier visits only add rollouts from it. AlphaGo: 40."""
    resign: float | None = None
    """Resign if the chosen action's value is below this, from −1 (a certain loss) to 1; AlphaGo: −0.8."""

    def __post_init__(self) -> None:
        ranges = {"simulations": (1, 10_000_000), "rollout_weight": (0, 1), "c_puct": (0, 1000),
                  "temperature": (0.01, 100), "batch_size": (1, 4096), "virtual_loss": (0, 1000),
                  "expansion_threshold": (1, 1_000_000), "resign": (-1, 1), "seconds": (0.001, 1e6)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UserError(f"{name} = {value} is impossible: it must be from {low} to {high}.")


class APVTree:
    """The search tree of one game. Its arrays grow as needed; ``advance`` keeps the subtree below a played move.

    value_range: the lowest value, which is that of a virtual loss, and the highest.
    """

    def __init__(self, config: APVConfig, num_actions: int, value_range: tuple[float, float],
                 capacity: int = 64) -> None:
        self.config, self.value_range, self.used = config, value_range, 1
        self.nodes = np.zeros(capacity, kernels.Node)
        self.edges = np.zeros(capacity, Edge)
        self.priors = np.empty((capacity, num_actions), np.float32)
        make_root(self.nodes, self.edges)

    @property
    def visits(self) -> int:
        """Simulations through the root, including those of a reused tree."""
        return int(self.nodes[0]["visits"])

    def select(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Select ``count`` leaves, which may repeat. Returns (leaves int64 [count], new nodes int64 [m]). The caller
        sets the new nodes' rewards (``describe``) and the leaves' values (``back_up``)."""
        if self.used + count > len(self.nodes):
            self._grow(self.used + count)
        leaves, before, (low, high) = np.empty(count, np.int64), self.used, self.value_range
        self.used = select_leaves(self.nodes, self.priors, self.edges, self.used, self.config.c_puct * (high - low) / 2,
                                  self.config.virtual_loss, low, leaves)
        return leaves, np.arange(before, self.used)

    def describe(self, new: np.ndarray, reward: np.ndarray, discount: np.ndarray, ended: np.ndarray) -> None:
        """Set the outcomes of the actions that lead to the nodes ``new`` [m], as in ``Expansion``."""
        self.nodes["reward"][new], self.nodes["discount"][new] = reward, np.where(ended, 0.0, discount)
        self.edges["ended"][new] = ended

    def to_expand(self, leaves: np.ndarray) -> np.ndarray:
        """The leaves to expand now, without duplicates: those with ``expansion_threshold`` visits (simulations in
        progress included), and the root at its first visit."""
        leaves = np.unique(leaves)
        edges, visits = self.edges[leaves], self.nodes["visits"][leaves]
        due = (visits + edges["pending"] >= self.config.expansion_threshold) | (leaves == 0)
        return leaves[due & ~edges["ended"] & ~edges["expanded"]]

    def expand(self, leaves: np.ndarray, prior_logits: np.ndarray, legal: np.ndarray) -> None:
        """Set the priors of the leaves [m] to softmax(prior_logits / temperature) over the legal actions; f32 and bool
        [m, A]."""
        logits = np.where(legal, prior_logits / self.config.temperature, -np.inf)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float32)
        expand_leaves(self.nodes, self.priors, self.edges, leaves, weights, legal)

    def back_up(self, leaves: np.ndarray, values: np.ndarray, rollouts: np.ndarray) -> None:
        """Back up the network's values and the rollouts' outcomes from the selected ``leaves``, which ends their
        simulations; f32 [count] each, in the view of the player to move in the leaf."""
        back_up_leaves(self.nodes, self.edges, leaves, values, rollouts, self.config.rollout_weight)

    def children(self) -> np.ndarray:
        """The child nodes of the root, int64 [m]."""
        return np.flatnonzero(self.nodes["parent"][1:self.used] == 0) + 1

    def best_child(self) -> int:
        """The child node with the most visits; ties are broken by the higher Q."""
        children = self.children()
        return int(children[np.lexsort((self.nodes["q"][children], self.nodes["visits"][children]))[-1]])

    def line(self, index: int, length: int) -> list[int]:
        """Principal variation of at most ``length`` actions: the node's own action, then the most visited ones."""
        line: list[int] = []
        while len(line) < length:
            line.append(int(self.nodes["action"][index]))
            children = np.flatnonzero(self.nodes["parent"][:self.used] == index)
            children = children[self.nodes["visits"][children] > 0]
            if not len(children):
                break
            index = int(children[self.nodes["visits"][children].argmax()])
        return line

    def scaled_value(self, index: int) -> float:
        """The Q of a node, rescaled from ``value_range`` to [−1, 1]."""
        low, high = self.value_range
        return 2 * (float(self.nodes[index]["q"]) - low) / (high - low) - 1

    def advance(self, action: int) -> np.ndarray | None:
        """Make the node after ``action`` the root and drop the rest of the tree. Returns the old indices of the kept
        nodes, int64 [m], in their new order. Returns None and changes nothing if the action is untried or ends the
        game."""
        children = self.children()
        chosen = children[self.nodes["action"][children] == action]
        if not len(chosen) or self.edges["ended"][chosen[0]]:
            return None
        kept = np.empty(self.used, np.int64)
        self.used = move_root(self.nodes, self.priors, self.edges, self.used, chosen[0], kept)
        return kept[:self.used]

    def _grow(self, needed: int) -> None:
        capacity = max(needed, 2 * len(self.nodes))
        for name in ("nodes", "edges", "priors"):
            old = getattr(self, name)
            new = np.empty((capacity, *old.shape[1:]), old.dtype)
            new[:self.used] = old[:self.used]
            setattr(self, name, new)


@compiled
def _clear_node(node, edge):
    node.parent = node.action = node.first_child = node.next_sibling = node.best = -1
    node.num_children = node.visits = 0
    node.open_mass = 0.0
    node.prior = 1.0
    node.reward = node.discount = node.raw_value = node.value = node.q = 0.0
    edge.pending = 0
    edge.expanded = edge.ended = False
    edge.own_value = edge.mean_value = edge.mean_rollout = 0.0


@compiled
def make_root(nodes, edges):
    _clear_node(nodes[0], edges[0])


@compiled
def apv_child(nodes, priors, edges, index, c_puct, virtual_loss, lowest):
    """argmax of Q + c_puct · P · √N / (1 + N(a)), as (child, action); child −1: the action is untried, its Q is 0.
    Simulations in progress count as ``virtual_loss`` visits worth ``lowest`` each."""
    node = nodes[index]
    bonus = c_puct * math.sqrt(node.visits + virtual_loss * edges[index].pending)
    chosen, action, top = -1, node.best, -math.inf
    if action >= 0:
        top = bonus * priors[index, action]
    c = node.first_child
    while c >= 0:
        child = nodes[c]
        lost = virtual_loss * edges[c].pending
        count = child.visits + lost
        q = (child.visits * child.q + lost * lowest) / count if count > 0 else 0.0
        score = q + bonus * child.prior / (1 + count)
        if score > top or (score == top and child.action < action):
            chosen, action, top = c, child.action, score
        c = child.next_sibling
    return chosen, action


@compiled
def select_leaves(nodes, priors, edges, used, c_puct, virtual_loss, lowest, leaves):
    """Descend len(leaves) times to a leaf: a new node or an unexpanded one. Returns the number of nodes in use."""
    for k in range(len(leaves)):
        index = 0
        while edges[index].expanded:
            child, action = apv_child(nodes, priors, edges, index, c_puct, virtual_loss, lowest)
            if child < 0:
                child, parent = used, nodes[index]
                used += 1
                _clear_node(nodes[child], edges[child])
                nodes[child].parent = index
                nodes[child].action = action
                nodes[child].prior = priors[index, action]
                nodes[child].next_sibling = parent.first_child
                parent.first_child = child
                parent.num_children += 1
                priors[index, action] = kernels.TAKEN
                parent.best = best_open(priors[index])
            index = child
        leaves[k] = index
        while index >= 0:
            edges[index].pending += 1
            index = nodes[index].parent
    return used


@compiled
def expand_leaves(nodes, priors, edges, leaves, weights, legal):
    for k in range(len(leaves)):
        index = leaves[k]
        nodes[index].open_mass = fill_legal_priors(weights[k], legal[k], priors[index])
        nodes[index].best = best_open(priors[index])
        edges[index].expanded = True


@compiled
def back_up_leaves(nodes, edges, leaves, values, rollouts, rollout_weight):
    for k in range(len(leaves)):
        index, v, z = leaves[k], float(values[k]), float(rollouts[k])
        while index >= 0:
            node, edge = nodes[index], edges[index]
            node.visits += 1
            edge.pending -= 1
            edge.mean_value += (v - edge.mean_value) / node.visits
            edge.mean_rollout += (z - edge.mean_rollout) / node.visits
            node.value = (1 - rollout_weight) * edge.mean_value + rollout_weight * edge.mean_rollout
            node.q = node.reward + node.discount * node.value
            v, z = node.reward + node.discount * v, node.reward + node.discount * z
            index = node.parent


@compiled
def move_root(nodes, priors, edges, used, root, kept):
    """Keep only the subtree of ``root``, in place. Writes the old indices of the kept nodes to ``kept`` and returns
    their number. A parent always has a smaller index than its children, so every node is copied to an equal or smaller
    index."""
    after = np.full(used, -1)
    count = 0
    for index in range(root, used):
        if index == root or (nodes[index].parent >= 0 and after[nodes[index].parent] >= 0):
            after[index] = count
            kept[count] = index
            count += 1
    for k in range(count):
        index = kept[k]
        nodes[k] = nodes[index]
        edges[k] = edges[index]
        priors[k, :] = priors[index]
        node = nodes[k]
        node.parent = after[node.parent] if k > 0 else -1
        node.first_child = after[node.first_child] if node.first_child >= 0 else -1
        node.next_sibling = after[node.next_sibling] if k > 0 and node.next_sibling >= 0 else -1
    nodes[0].reward = nodes[0].discount = nodes[0].q = 0.0
    return count
