"""What the page calls: the rules of a game, the search and the layers of networks, on plain memory.

Every function takes addresses; ``carray`` makes of each the array that it stands for. All is of one position or tree.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import carray, types

from myosu.games import Game
from myosu.publish import layers
from myosu.publish.wasm import Export
from myosu.search import kernels

Pointer = types.CPointer
F32, I32, BOOL = (Pointer(kind) for kind in (types.float32, types.int32, types.boolean))


def rules(game: Game) -> list[Export]:
    """init(state, seed), legal_actions(state, mask), step(state, action, reward) → whether the game ended,
    observe(state, out), to_play(state)."""
    init, legal_actions, step, observe, to_play = (
        game.init, game.legal_actions, game.step, game.observe, game.to_play)
    state = Pointer(numba.from_dtype(game.state_dtype))
    observation = Pointer(numba.from_dtype(np.dtype(game.observation_dtype)))
    actions, shape, outcome = game.num_actions, game.observation_shape, game.rewards == "outcome"

    def call_init(at, seed):
        init(carray(at, 1)[0], seed)

    def call_legal_actions(at, mask):
        legal_actions(carray(at, 1)[0], carray(mask, actions))

    def call_step(at, action, earned):
        reward, ended = step(carray(at, 1)[0], np.int64(action))
        carray(earned, 1)[0] = np.sign(reward) if outcome else reward
        return ended

    def call_observe(at, out):
        observe(carray(at, 1)[0], carray(out, shape))

    def call_to_play(at):
        return to_play(carray(at, 1)[0])

    return [
        Export("init", types.void(state, types.uint64), call_init, game.name),
        Export("legal_actions", types.void(state, BOOL), call_legal_actions, game.name),
        Export("step", types.boolean(state, types.int32, F32), call_step, game.name),
        Export("observe", types.void(state, observation), call_observe, game.name),
        Export("to_play", types.int32(state), call_to_play, game.name),
    ]


def search(num_actions: int) -> list[Export]:
    """The kernels of ``search.kernels``, for one tree of ``size`` nodes, over ``num_actions``."""
    A = num_actions
    node = Pointer(numba.from_dtype(kernels.Node))
    real, number = types.float64, types.int32

    def make_root(nodes, open_scores, scores, value, size):
        kernels_make_roots(carray(nodes, (1, size)), carray(open_scores, (1, size, A)), carray(scores, (1, A)),
                           carray(value, 1))

    def select_gumbel(nodes, open_scores, scores, visits, weights, c_visit, c_scale, least_range, chosen, size):
        parent, action = carray(chosen, (2, 1))
        kernels_select_gumbel(carray(nodes, (1, size)), carray(open_scores, (1, size, A)), carray(scores, (1, A)),
                              carray(visits, 1), carray(weights, size), c_visit, c_scale, least_range, parent, action)

    def select_puct(nodes, open_scores, exploration, chosen, size):
        parent, action = carray(chosen, (2, 1))
        kernels_select_puct(carray(nodes, (1, size)), carray(open_scores, (1, size, A)),
                            carray(exploration, size + 1), parent, action)

    def expand(nodes, open_scores, priors, chosen, slot, weights, reward, value, discount, size):
        parent, action = carray(chosen, (2, 1))
        return kernels_expand(carray(nodes, (1, size)), carray(open_scores, (1, size, A)), carray(priors, (1, A)),
                              parent, action, slot, carray(weights, (1, A)), carray(reward, 1), carray(value, 1),
                              discount)

    def root_children(nodes, visits, q, size):
        kernels_root_children(carray(nodes, (1, size)), carray(visits, (1, A)), carray(q, (1, A)))

    def gumbel_root_q(nodes, q, scaled_q, c_visit, c_scale, least_range, size):
        kernels_gumbel_root_q(carray(nodes, (1, size)), carray(q, (1, A)), carray(scaled_q, (1, A)), c_visit, c_scale,
                              least_range)

    def follow_line(nodes, action, line, length, size):
        kernels_follow_lines(carray(nodes, (1, size)), carray(action, 1), carray(line, (1, length)))

    def root_value(nodes):
        return carray(nodes, 1)[0].value
