"""``lz-analyze`` and ``kata-analyze``, as Sabaki, Lizzie and q5go ask for them: what the search thinks of each move,
again and again, until any input comes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from myosu.evaluation.gtp_engine import GtpEngine, Refused, Stream, parse_number
from myosu.games.go.rollout import RolloutPolicy
from myosu.players.apv import APVPlayer, GameTree
from myosu.players.gtp import COLOURS
from myosu.players.rollouts import expected_owners

#: Nodes and bytes of a tree after which an analysis only repeats what it found.
MOST_NODES, MOST_BYTES = 100_000, 2**29
#: Rollouts for the owners of points, each time.
OWNER_ROLLOUTS = 200
#: Centiseconds between lines, if the controller does not say; length of a variation.
INTERVAL, LINE = 50, 12
#: Seconds between looks for input once nothing more is searched.
PATIENCE = 0.02


def add_analysis(engine: GtpEngine, analyst: APVPlayer) -> None:
    """Give an engine for Go the two commands. analyst: searches the engine's positions."""
    engine._streaming |= {"lz-analyze": lambda words: _begin(engine, analyst, words, kata=False),
                          "kata-analyze": lambda words: _begin(engine, analyst, words, kata=True)}


def _begin(engine: GtpEngine, analyst: APVPlayer, words: list[str], kata: bool) -> Stream:
    """Raises Refused where the words are not ``[COLOUR] [INTERVAL] {NAME VALUE}``."""
    words = [word.lower() for word in words]
    if words and words[0] in (*COLOURS, *(colour[0] for colour in COLOURS)):
        colour = words.pop(0)
        if COLOURS[engine._turn()][0] != colour[0]:
            raise Refused(f"{COLOURS[engine._turn()]} is to move")
    if engine._ended:
        raise Refused("the game is over")
    interval = parse_number(words.pop(0)) if words and words[0][0].isdigit() else INTERVAL
    if len(words) % 2:
        raise Refused("syntax error")
    options = dict(zip(words[::2], words[1::2], strict=True))
    interval = parse_number(options["interval"]) if "interval" in options else interval
    if interval < 0:
        raise Refused("syntax error")
    with_owners = kata and options.get("ownership") == "true"
    state, history = engine._state.copy(), [action for action, _ in engine._moves]

    def run(write: Callable[[str], None], waiting: Callable[[], bool]) -> None:
        told = 0.0  # when, or never
        most = min(MOST_NODES, MOST_BYTES // (state.itemsize + 4 * engine.game.num_actions))

        def tell(trees: list[GameTree]) -> bool:
            nonlocal told
            now = time.monotonic()
            if not told or now - told >= interval / 100 or waiting():
                line = _infos(engine, trees[0], kata)
                write(line + (_owners(engine, state, analyst) if with_owners else "") + "\n")
                told = now
            return not waiting() and trees[0].used < most

        trees = analyst.think(state, [history], MOST_NODES, tell)
        while not waiting():
            time.sleep(PATIENCE)
            if time.monotonic() - told >= interval / 100:
                tell(trees)

    return run


def _infos(engine: GtpEngine, tree: GameTree, kata: bool) -> str:
    """An ``info`` for each tried move, the most visited first. Winning rates are those of the player to move."""
    children = tree.children()
    order = children[np.lexsort((-tree.nodes["q"][children], -tree.nodes["visits"][children]))]
    low, high = engine.game.reward_range
    found = []
    for place, index in enumerate(order[tree.nodes["visits"][order] > 0]):
        node = tree.nodes[index]
        rate, prior = (float(node["q"]) - low) / (high - low), float(node["prior"])
        numbers = (f"winrate {rate:.4f} prior {prior:.4f} lcb {rate:.4f}" if kata else
                   f"winrate {round(10000 * rate)} prior {round(10000 * prior)} lcb {round(10000 * rate)}")
        line = " ".join(engine._vertex(action) for action in _line(tree, int(index)))
        move = engine._vertex(int(node["action"]))
        found.append(f"info move {move} visits {node['visits']} {numbers} order {place} pv {line}")
    return " ".join(found)


def _line(tree: GameTree, index: int) -> list[int]:
    """The actions from a node's own on, then always the most visited one."""
    line: list[int] = []
    while len(line) < LINE:
        line.append(int(tree.nodes["action"][index]))
        children = np.flatnonzero(tree.nodes["parent"][:tree.used] == index)
        children = children[tree.nodes["visits"][children] > 0]
        if not len(children):
            break
        index = int(children[tree.nodes["visits"][children].argmax()])
    return line


def _owners(engine: GtpEngine, state: np.ndarray, analyst: APVPlayer) -> str:
    """Who will own each point, rows from the top, +1 for the player to move (KataGo's default)."""
    found = expected_owners(engine.game, state, RolloutPolicy.zeros(), OWNER_ROLLOUTS, int(analyst.rng.integers(2**62)))
    return " ownership " + " ".join(f"{owner:.3f}" for owner in (found if engine._turn() == 0 else -found))
