"""Compiled tree operations. A tree is a row of ``Node`` records and a row of priors of the actions not yet tried.

Two facts make selection cheap. Both rules give an untried action a score that grows with its prior alone, so of all
untried actions only the best (``Node.best``) can win; and the probabilities of the improved policy are prior times an
exponential in which all untried actions share one exponent. So selection looks at a node's children, not at all
actions. All kernels are in this one file because Numba's cache follows changes of a kernel's own file only.
"""

from __future__ import annotations

import math

import numba
import numpy as np

#: One node; node 0 is the root. A node is written in full when it is created, so nothing is cleared between searches.
Node = np.dtype(
    [
        ("open_mass", np.float64),  # prior probability of the untried actions together
        ("parent", np.int32),
        ("action", np.int32),  # that leads here from the parent
        ("first_child", np.int32),  # the newest child; -1: none
        ("next_sibling", np.int32),
        ("num_children", np.int32),
        ("visits", np.int32),  # simulations that came here, its creation included
        ("best", np.int32),  # the untried action with the highest prior (score, at Gumbel's root); -1: none left
        ("prior", np.float32),
        ("reward", np.float32),  # of the action that leads here, for the parent's player
        ("discount", np.float32),  # of the value here in the parent's player's eyes: signed, 0 where the game has ended
        ("raw_value", np.float32),  # as the network saw it, for the player to move here
        ("value", np.float32),  # mean over the visits, for the player to move here
        ("q", np.float32),  # reward + discount * value: for the parent's player
    ],
    align=True,
)

#: Marks, among the scores of untried actions, one that is tried or illegal.
TAKEN = np.float32(-3e38)
#: The least denominator when Q values are rescaled to [0, 1].
EPSILON = 1e-8
TINY = float(np.finfo(np.float32).tiny)

# The search refuses NaN from the model, so the compiler need not think of it; infinities stay what they are.
compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz", "reassoc", "contract"})


@compiled
def best_open(scores):
    """The first index of the maximum; -1 if all are taken."""
    best, top = -1, TAKEN
    for a in range(len(scores)):
        if scores[a] > top:
            best, top = a, scores[a]
    return best


@compiled
def make_roots(nodes, open_scores, root_scores, values):
    """``root_scores`` [B, A] ranks the untried actions of the root (TAKEN if illegal)."""
    for b in range(len(values)):
        root = nodes[b, 0]
        root.open_mass = 1.0
        root.parent = root.action = root.first_child = root.next_sibling = -1
        root.num_children = 0
        root.visits = 1
        root.prior = 1.0
        root.reward = root.discount = root.q = 0.0
        root.raw_value = root.value = values[b]
        for a in range(root_scores.shape[1]):  # to assign a whole row would compile for two seconds longer
            open_scores[b, 0, a] = root_scores[b, a]
        root.best = best_open(root_scores[b])


@compiled
def fill_priors(weights, total, priors):
    """Write the probabilities of all actions; their sum."""
    scale = np.float32(1.0) / total
    mass = 0.0
    for a in range(len(weights)):
        priors[a] = weights[a] * scale
        mass += priors[a]
    return mass


@compiled
def fill_legal_priors(weights, legal, priors):
    """Write the probabilities of the legal actions, TAKEN elsewhere; their sum, 0 where none is legal."""
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
    """Carry the value of node ``leaf`` up to the root: value(parent) ← mean of reward + discount · value(child)."""
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
    """Add node ``slot`` to every tree under (parent, action) and back its value up to the root.

    ``weights`` [B, A] are the new node's prior probabilities up to a factor for each row; legal: bool [B, A], or [0, 0]
    where all actions are. A node without legal actions is terminal. Where selection ended in one (action −1), no node
    is added and the terminal node's value is backed up again. Returns the sum of the model's outputs, which is finite
    only if they all are.
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
    """(child or -1 if untried, action) with the highest normalised Q + exploration * prior / (1 + visits)."""
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
    """Descend every tree to an untried action. exploration [n]: the exploration weight after n visits."""
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
    """(mixed value, least and greatest completed Q, most visits of a child): an untried action has the mixed value."""
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
    """(child or -1, action): of those with ``considered_visits`` visits, the highest Gumbel + logit + scaled Q."""
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
    """(child or -1 if untried, action) whose share of visits is most below its improved policy."""
    node = tree[index]
    if node.num_children == 0:
        return -1, node.best
    value, low, high, most_visits = completed_q(tree, index, len(priors))
    scale = c_scale * (c_visit + most_visits) / max(high - low, least_range)

    # Exponents are at most 0 and one of them is 0, and no prior is below TINY: neither overflow nor a total of 0.
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
    """Descend every tree to an untried action. considered_visits [B]; weights [nodes] is scratch."""
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
    """Write the visits of the root's tried actions, and their Q."""
    for b in range(len(visits)):
        c = nodes[b, 0].first_child
        while c >= 0:
            child = nodes[b, c]
            visits[b, child.action] = child.visits
            q[b, child.action] = child.q
            c = child.next_sibling


@compiled
def gumbel_root_q(nodes, q, scaled_q, c_visit, c_scale, least_range):
    """Write the root's completed Q [B, A], and the same as an addition to logits."""
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
    """Write to ``lines`` [B, L] the root's ``actions`` and after them the most visited ones; −1 behind the end."""
    for b in range(len(lines)):
        tree, node = nodes[b], 0
        lines[b, :] = -1
        for depth in range(lines.shape[1]):
            child, best = tree[node].first_child, -1
            while child >= 0:
                if depth == 0:
                    best = child if tree[child].action == actions[b] else best
                elif best < 0 or tree[child].visits >= tree[best].visits:  # of equals the elder
                    best = child
                child = tree[child].next_sibling
            if best < 0:
                break
            lines[b, depth] = tree[best].action
            node = best
