"""The functions that the page calls: the rules of a game, the search and the layers of networks, on plain memory.

Every function takes addresses, which ``carray`` converts to arrays, and processes a single position or tree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import carray, types

from myosu.games import Game, bubble
from myosu.games.go.board import owners
from myosu.players.gtp import title
from myosu.publish import layers
from myosu.publish.wasm import Export
from myosu.search.kernels import (
    Node,
    expand_and_back_up,
    follow_lines,
    gumbel_root_q,
    make_roots,
    root_children,
    select_gumbel,
    select_puct,
)

Pointer = types.CPointer
F32, I32, BOOL = (Pointer(kind) for kind in (types.float32, types.int32, types.boolean))
INT, REAL, VOID = types.int32, types.float64, types.void


def rules(game: Game) -> list[Export]:
    """The rules: init(state, seed), legal_actions(state, mask), step(state, action, reward) → whether the game ended,
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
        Export("init", VOID(state, types.uint64), call_init),
        Export("legal_actions", VOID(state, BOOL), call_legal_actions),
        Export("step", types.boolean(state, INT, Pointer(REAL)), call_step),
        Export("observe", VOID(state, observation), call_observe),
        Export("to_play", INT(state), call_to_play),
    ]


def drawing(game: Game) -> list[Export]:
    """Further functions of the rules that drawing the board needs.

    Bubble: fly(state, angle, path) → the cell where a shot stops, and ways(state, out), which writes for each cell the
    angle that leads there. Go: owners(state, out), which writes the owner of each point."""
    state = Pointer(numba.from_dtype(game.state_dtype))
    points, width = bubble.PATH_POINTS, bubble.WIDTH

    def call_fly(at, angle, path):
        row, column = bubble.fly(carray(at, 1)[0].board, np.int64(angle), carray(path, (points, 2)))
        return row * width + column

    def call_ways(at, out):
        bubble.find_ways(carray(at, 1)[0].board, carray(out, bubble.ROWS * width))

    def call_owners(at, out):
        found = owners(carray(at, 1)[0])
        carray(out, len(found))[:] = found

    if game.name == "bubble":
        return [Export("fly", INT(state, INT, Pointer(REAL)), call_fly),
                Export("ways", VOID(state, Pointer(types.int8)), call_ways)]
    return [Export("owners", VOID(state, Pointer(types.int8)), call_owners)] if title(game) == "Go" else []


def search(num_actions: int) -> list[Export]:
    """The kernels of ``search.kernels`` for one tree of ``size`` nodes with ``num_actions`` actions.

    chosen: [2], the parent and the action to try next. leaf: [3], the reward, discount and value of the new node.
    masks: 1 if ``legal`` is the mask of the new node's legal actions, 0 if all actions are legal."""
    A = num_actions
    node = Pointer(numba.from_dtype(Node))
    long = Pointer(types.int64)

    def call_make_roots(nodes, open_scores, scores, value, size):
        make_roots(carray(nodes, (1, size)), carray(open_scores, (1, size, A)), carray(scores, (1, A)),
                   carray(value, 1))

    def call_select_gumbel(nodes, open_scores, scores, visits, scratch, c_visit, c_scale, least_range, chosen, size):
        parent_and_action = carray(chosen, (2, 1))
        select_gumbel(carray(nodes, (1, size)), carray(open_scores, (1, size, A)), carray(scores, (1, A)),
                      carray(visits, 1), carray(scratch, size), c_visit, c_scale, least_range,
                      parent_and_action[0], parent_and_action[1])

    def call_select_puct(nodes, open_scores, exploration, chosen, size):
        parent_and_action = carray(chosen, (2, 1))
        select_puct(carray(nodes, (1, size)), carray(open_scores, (1, size, A)), carray(exploration, size + 1),
                    parent_and_action[0], parent_and_action[1])

    def call_expand(nodes, open_scores, priors, chosen, slot, weights, legal, masks, leaf, size):
        parent_and_action, numbers = carray(chosen, (2, 1)), carray(leaf, (3, 1))
        expand_and_back_up(
            carray(nodes, (1, size)), carray(open_scores, (1, size, A)), carray(priors, (1, A)),
            parent_and_action[0], parent_and_action[1], slot, carray(weights, (1, A)), carray(legal, (masks, A)),
            numbers[0], numbers[1], numbers[2])

    def call_root_children(nodes, visits, q, size):
        root_children(carray(nodes, (1, size)), carray(visits, (1, A)), carray(q, (1, A)))

    def call_gumbel_root_q(nodes, q, scaled_q, c_visit, c_scale, least_range, size):
        gumbel_root_q(carray(nodes, (1, size)), carray(q, (1, A)), carray(scaled_q, (1, A)), c_visit, c_scale,
                      least_range)

    def call_follow_lines(nodes, action, line, length, size):
        follow_lines(carray(nodes, (1, size)), carray(action, 1), carray(line, (1, length)))

    def root_value(nodes):
        return carray(nodes, 1)[0].value

    return [
        Export("make_roots", VOID(node, F32, F32, F32, INT), call_make_roots),
        Export("select_gumbel", VOID(node, F32, F32, I32, Pointer(REAL), REAL, REAL, REAL, long, INT),
               call_select_gumbel),
        Export("select_puct", VOID(node, F32, Pointer(REAL), long, INT), call_select_puct),
        Export("expand", VOID(node, F32, F32, long, INT, F32, BOOL, INT, F32, INT), call_expand),
        Export("root_children", VOID(node, I32, F32, INT), call_root_children),
        Export("gumbel_root_q", VOID(node, F32, F32, REAL, REAL, REAL, INT), call_gumbel_root_q),
        Export("follow_lines", VOID(node, long, I32, INT, INT), call_follow_lines),
        Export("root_value", types.float32(node), root_value),
    ]


#: Arguments of each layer: x for the address of float32 numbers, n for an integer.
LAYERS: dict[Callable, str] = {
    layers.convolve: "xxxxxnnnnnnn", layers.flatten: "xxnnnnn", layers.pool: "xxnn", layers.scale_board: "xnnnn",
    layers.scale_vector: "xn", layers.add_action: "xxxxnnnnnnn", layers.join_action: "xxnnn",
    layers.linear: "xxxxnnn", layers.normalize: "xxxnn", layers.standardize: "xxxn", layers.add: "xxn",
    layers.duel: "xxxn",
}
#: Layers that read an observation, in the game's own dtype (o).
OBSERVED: dict[Callable, str] = {layers.picture: "oxnnnn", layers.plain: "oxn"}
#: Length of the arrays that addresses are converted to; bounds are not checked.
ANY = 1 << 28


def network(game: Game) -> list[Export]:
    """The layers of networks, under their names."""
    observation = Pointer(numba.from_dtype(np.dtype(game.observation_dtype)))
    kinds = {"x": F32, "n": INT, "o": observation}
    return [Export(layer.__name__, VOID(*(kinds[kind] for kind in arguments)), _called(layer, arguments))
            for layer, arguments in (LAYERS | OBSERVED).items()]


def _called(layer: Callable, arguments: str) -> Callable:
    """A function that calls ``layer`` with addresses in place of arrays."""
    names = [f"a{k}" for k in range(len(arguments))]
    given = [name if kind == "n" else f"carray({name}, {ANY})"
             for name, kind in zip(names, arguments, strict=True)]
    scope: dict[str, Any] = {"carray": carray, "layer": layer}
    exec(f"def {layer.__name__}({', '.join(names)}):\n    layer({', '.join(given)})", scope)
    return scope[layer.__name__]
