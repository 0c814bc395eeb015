"""Compiled tree operations. A tree is an array of ``Node`` records and, per node, the priors of its untried actions.

Two facts make selection cheap. (1) Under both selection rules the score of an untried action increases with its prior
alone, so only the untried action with the highest prior (``Node.best``) can be selected. (2) The improved policy is
prior · exp(scaled Q), and all untried actions have the same Q. So selection loops over a node's children, not over all
actions.
All kernels are in this file because Numba's cache detects changes only in a kernel's own file.
"""

from __future__ import annotations

import math

import numba
import numpy as np

#: One node; node 0 is the root. Creation writes all fields of a node, so nothing is cleared between searches.
Node = np.dtype(
    [
        ("open_mass", np.float64),  # total prior probability of the untried actions
        ("parent", np.int32),
        ("action", np.int32),  # the action that leads here from the parent
        ("first_child", np.int32),  # the newest child; -1: none
        ("next_sibling", np.int32),
        ("num_children", np.int32),
        ("visits", np.int32),  # simulations through this node, including its creation
        ("best", np.int32),  # untried action with the highest prior (at a Gumbel root: score); -1: none
        ("prior", np.float32),
        ("reward", np.float32),  # of the action that leads here, in the view of the parent's player
        ("discount", np.float32),  # signed factor from this node's value to the parent's view; 0: the game has ended
        ("raw_value", np.float32),  # the network's value, in the view of the player to move here
        ("value", np.float32),  # mean over the visits, in the view of the player to move here
        ("q", np.float32),  # reward + discount * value, in the view of the parent's player
    ],
    align=True,
)

#: Marks tried and illegal actions among the scores of untried actions.
TAKEN = np.float32(-3e38)
#: Lower bound of the denominator when Q values are rescaled to [0, 1].
EPSILON = 1e-8
TINY = float(np.finfo(np.float32).tiny)

# "nnan" is safe because the search raises an error if the model returns NaN. Infinities are handled exactly.
compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz", "reassoc", "contract"})


@compiled
def best_open(scores):
    """Index of the (first) maximum; −1 if all are ``TAKEN``."""
    best, top = -1, TAKEN
    for a in range(len(scores)):
        if scores[a] > top:
            best, top = a, scores[a]
    return best


@compiled
def make_roots(nodes, open_scores, root_scores, values):
    """Initialise the roots. root_scores: [B, A], ranks the untried actions (``TAKEN`` if illegal). values: [B]."""
    for b in range(len(values)):
        root = nodes[b, 0]
        root.open_mass = 1.0
        root.parent = root.action = root.first_child = root.next_sibling = -1
        root.num_children = 0
        root.visits = 1
        root.prior = 1.0
        root.reward = root.discount = root.q = 0.0
        root.raw_value = root.value = values[b]
        for a in range(root_scores.shape[1]):  # a row assignment would take two seconds longer to compile
            open_scores[b, 0, a] = root_scores[b, a]
        root.best = best_open(root_scores[b])


@compiled
def fill_priors(weights, total, priors):
    """priors = weights / total. Returns the sum of the priors."""
    scale = np.float32(1.0) / total
    mass = 0.0
    for a in range(len(weights)):
        priors[a] = weights[a] * scale
        mass += priors[a]
    return mass


@compiled
def fill_legal_priors(weights, legal, priors):
    """priors = weights normalised over the legal actions, ``TAKEN`` elsewhere. Returns the sum; 0 if none is legal."""
    total = 0.0
    for a in range(len(weights)):
        total += weights[a] * legal[a]
    mass = 0.0
    for a in range(len(weights)):
        priors[a] = TAKEN
        if legal[a]:
            priors[a] = weights[a] / total
            mass += priors[a]
    return mass


@compiled
def back_up(tree, leaf):
    """Back up the value of node ``leaf`` to the root: value(parent) ← running mean of reward + discount ·
    value(child)."""
    index = leaf
    value = float(tree[leaf].value)
    while index > 0:
        node = tree[index]
        index = node.parent
        above = tree[index]
        value = node.reward + node.discount * value
        above.value = (above.value * above.visits + value) / (above.visits + 1)
        above.visits += 1
        above.q = above.reward + above.discount * above.value


@compiled
def expand_and_back_up(nodes, open_scores, root_priors, parents, actions, slot, weights, legal, rewards, discounts,
                       values):
    """Add node ``slot`` to every tree as the child of ``parents`` [B] by ``actions`` [B], and back up its value.

    weights: [B, A], the new node's prior up to a factor per row. legal: bool [B, A], or [0, 0] if all actions are
    legal. A node without legal actions is terminal. Where selection ended in a terminal node (action −1), no node is
    added and the terminal node's value is backed up again. Returns the sum of the model's outputs, which is finite only
    if all of them are.
    """
    output_sum = 0.0
    for b in range(len(parents)):
        tree = nodes[b]
        action = actions[b]
        if action < 0:
            tree[parents[b]].visits += 1
            back_up(tree, parents[b])
            continue
        parent = tree[parents[b]]
        siblings = open_scores[b, parents[b]]
        leaf = tree[slot]
        leaf.parent = parents[b]
        leaf.action = action
        leaf.prior = root_priors[b, action] if parents[b] == 0 else siblings[action]
        leaf.first_child = -1
        leaf.next_sibling = parent.first_child
        leaf.num_children = 0
        leaf.visits = 1
        leaf.reward = rewards[b]
        leaf.raw_value = leaf.value = values[b]
        leaf.discount = discounts[b]
        leaf.q = leaf.reward + leaf.discount * leaf.value

        siblings[action] = TAKEN
        parent.first_child = slot
        parent.num_children += 1
        parent.open_mass -= leaf.prior
        parent.best = best_open(siblings)

        total = np.float32(0.0)
        for a in range(weights.shape[1]):
            total += weights[b, a]
        output_sum += total + rewards[b] + discounts[b] + values[b]
        priors = open_scores[b, slot]
        leaf.open_mass = fill_priors(weights[b], total, priors) if len(legal) == 0 else fill_legal_priors(
            weights[b], legal[b], priors)
        leaf.best = best_open(priors)
        back_up(tree, slot)
    return output_sum


@compiled
def puct_child(tree, index, priors, exploration):
    """argmax of normalised Q + exploration · prior / (1 + visits), as (child, action); child −1: the action is
    untried."""
    node = tree[index]
    low = high = node.value
    c = node.first_child
    while c >= 0:
        low = min(low, tree[c].q)
        high = max(high, tree[c].q)
        c = tree[c].next_sibling
    scale = 1.0 / max(float(high) - low, EPSILON)
    bonus = exploration[node.visits]

    chosen, action, top = -1, node.best, -math.inf
    if action >= 0:
        top = bonus * priors[action]
    c = node.first_child
    while c >= 0:
        child = tree[c]
        score = (child.q - low) * scale + bonus * child.prior / (1 + child.visits)
        if score > top or (score == top and child.action < action):
            chosen, action, top = c, child.action, score
        c = child.next_sibling
    return chosen, action


@compiled
def select_puct(nodes, open_scores, exploration, parents, actions):
    """Descend every tree to an untried action; write the leaf's ``parents`` and ``actions`` [B]. exploration: [n], the
    exploration weight after n visits."""
    for b in range(len(parents)):
        tree = nodes[b]
        index, child = 0, 0
        action = -1
        while child >= 0:
            index = child
            child, action = puct_child(tree, index, open_scores[b, index], exploration)
        parents[b] = index
        actions[b] = action


@compiled
def completed_q(tree, index, num_actions):
    """(mixed value, min and max of the completed Q, max visits of a child). The completed Q of an untried action is the
    mixed value (Danihelka et al. 2022, appendix D)."""
    node = tree[index]
    sum_prior = sum_q = 0.0
    low, high = math.inf, -math.inf
    most_visits = 0
    c = node.first_child
    while c >= 0:
        child = tree[c]
        prior = max(float(child.prior), TINY)
        sum_prior += prior
        sum_q += prior * child.q
        low = min(low, child.q)
        high = max(high, child.q)
        most_visits = max(most_visits, child.visits)
        c = child.next_sibling
    value = float(node.raw_value)
    if node.num_children > 0:
        value = (value + (node.visits - 1) * sum_q / sum_prior) / node.visits
    if node.num_children < num_actions:
        low = min(low, value)
        high = max(high, value)
    return value, low, high, most_visits


@compiled
def gumbel_root_child(tree, num_actions, scores, considered_visits, c_visit, c_scale, least_range):
    """argmax of Gumbel + logit + scaled Q over the actions with ``considered_visits`` visits, as (child or −1,
    action)."""
    root = tree[0]
    if considered_visits == 0:
        return -1, root.best
    _, low, high, most_visits = completed_q(tree, 0, num_actions)
    scale = c_scale * (c_visit + most_visits) / max(high - low, least_range)
    chosen, action, top = -1, -1, -math.inf
    c = root.first_child
    while c >= 0:
        child = tree[c]
        if child.visits == considered_visits:
            score = scores[child.action] + (child.q - low) * scale
            if score > top or (score == top and child.action < action):
                chosen, action, top = c, child.action, score
        c = child.next_sibling
    return chosen, action


@compiled
def gumbel_child(tree, index, priors, weights, c_visit, c_scale, least_range):
    """argmax of improved policy − N(a) / N, with N the node's visits, as (child, action); child −1: untried."""
    node = tree[index]
    if node.num_children == 0:
        return -1, node.best
    value, low, high, most_visits = completed_q(tree, index, len(priors))
    scale = c_scale * (c_visit + most_visits) / max(high - low, least_range)

    # The maximum exponent is 0 and no prior is below TINY, so nothing overflows and the total is not 0.
    open_weight = math.exp((value - high) * scale) if node.best >= 0 else 0.0
    total = open_weight * max(node.open_mass, TINY)
    c = node.first_child
    while c >= 0:
        child = tree[c]
        weights[c] = max(float(child.prior), TINY) * math.exp((child.q - high) * scale)
        total += weights[c]
        c = child.next_sibling

    normaliser = 1.0 / total
    chosen, action, top = -1, node.best, -math.inf
    if action >= 0:
        top = open_weight * priors[action] * normaliser
    c = node.first_child
    while c >= 0:
        child = tree[c]
        score = weights[c] * normaliser - child.visits / node.visits
        if score > top or (score == top and child.action < action):
            chosen, action, top = c, child.action, score
        c = child.next_sibling
    return chosen, action


@compiled
def select_gumbel(nodes, open_scores, root_scores, considered_visits, weights, c_visit, c_scale, least_range, parents,
                  actions):
    """Descend every tree to an untried action; write the leaf's ``parents`` and ``actions`` [B]. considered_visits:
    [B]. weights: [nodes], scratch."""
    for b in range(len(parents)):
        tree = nodes[b]
        index = 0
        child, action = gumbel_root_child(
            tree, root_scores.shape[1], root_scores[b], considered_visits[b], c_visit, c_scale, least_range
        )
        while child >= 0:
            index = child
            child, action = gumbel_child(tree, index, open_scores[b, index], weights, c_visit, c_scale, least_range)
        parents[b] = index
        actions[b] = action


@compiled
def root_children(nodes, visits, q):
    """Write the visits and Q of the root's tried actions."""
    for b in range(len(visits)):
        c = nodes[b, 0].first_child
        while c >= 0:
            child = nodes[b, c]
            visits[b, child.action] = child.visits
            q[b, child.action] = child.q
            c = child.next_sibling


@compiled
def gumbel_root_q(nodes, q, scaled_q, c_visit, c_scale, least_range):
    """Write the root's completed Q [B, A] and its transform σ(Q), which is added to the logits."""
    for b in range(len(q)):
        tree = nodes[b]
        value, low, high, most_visits = completed_q(tree, 0, q.shape[1])
        q[b, :] = value
        c = tree[0].first_child
        while c >= 0:
            q[b, tree[c].action] = tree[c].q
            c = tree[c].next_sibling
        scale = c_scale * (c_visit + most_visits) / max(high - low, least_range)
        for a in range(q.shape[1]):
            scaled_q[b, a] = (q[b, a] - low) * scale


@compiled
def follow_lines(nodes, actions, lines):
    """Write principal variations to ``lines`` [B, L]: the root's ``actions``, then the most visited ones, then −1."""
    for b in range(len(lines)):
        tree, node = nodes[b], 0
        lines[b, :] = -1
        for depth in range(lines.shape[1]):
            child, best = tree[node].first_child, -1
            while child >= 0:
                if depth == 0:
                    best = child if tree[child].action == actions[b] else best
                elif best < 0 or tree[child].visits >= tree[best].visits:  # ties: the older child
                    best = child
                child = tree[child].next_sibling
            if best < 0:
                break
            lines[b, depth] = tree[best].action
            node = best
