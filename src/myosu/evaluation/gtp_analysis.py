"""The GTP commands ``lz-analyze`` and ``kata-analyze``, which Sabaki, Lizzie and q5go use: the search's evaluation of
each move, reported repeatedly until any input arrives."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from myosu.evaluation.gtp_engine import ChooseMove, Refused, Stream, parse_number
from myosu.evaluation.gtp_go import GoEngine
from myosu.games.game import Game
from myosu.games.go.rollout import RolloutPolicy
from myosu.players.apv import APVPlayer, GameTree
from myosu.players.gtp import COLOURS
from myosu.players.rollouts import OWNER_ROLLOUTS, expected_owners

#: Nodes and bytes of a tree after which an analysis searches no further and repeats its last results.
MOST_NODES, MOST_BYTES = 100_000, 2**29
#: Default interval between lines, in centiseconds; maximum length of a variation.
INTERVAL, LINE = 50, 12
#: Seconds between checks for input after the search has ended.
PATIENCE = 0.02


class AnalysisEngine(GoEngine):
    """A Go engine with the two analysis commands. analyst: the player that searches the engine's positions."""

    def __init__(self, game: Game, choose_move: ChooseMove, simulations: int, analyst: APVPlayer) -> None:
        super().__init__(game, choose_move, simulations)
        self._analyst = analyst
        self._streaming = {"lz-analyze": lambda words: self._begin(words, kata=False),
                           "kata-analyze": lambda words: self._begin(words, kata=True)}

    def _begin(self, words: list[str], kata: bool) -> Stream:
        """Parse ``[COLOUR] [INTERVAL] {NAME VALUE}`` and return the analysis. Raises Refused if it cannot run."""
        words = [word.lower() for word in words]
        if words and words[0] in (*COLOURS, *(colour[0] for colour in COLOURS)):
            colour = words.pop(0)
            if COLOURS[self._turn()][0] != colour[0]:
                raise Refused(f"{COLOURS[self._turn()]} is to move")
        if self._ended:
            raise Refused("the game is over")
        interval = parse_number(words.pop(0)) if words and words[0][0].isdigit() else INTERVAL
        if len(words) % 2:
            raise Refused("syntax error")
        options = dict(zip(words[::2], words[1::2], strict=True))
        interval = parse_number(options["interval"]) if "interval" in options else interval
        if interval < 0:
            raise Refused("syntax error")
        with_owners = kata and options.get("ownership") == "true"
        most = min(MOST_NODES, MOST_BYTES // (self._state.itemsize + 4 * self.game.num_actions))

        def run(write: Callable[[str], None], waiting: Callable[[], bool]) -> None:
            told = 0.0  # time of the last line; 0: never

            def tell(trees: list[GameTree]) -> bool:
                nonlocal told
                now = time.monotonic()
                if not told or now - told >= interval / 100:
                    write(self._infos(trees[0], kata) + (self._owners() if with_owners else "") + "\n")
                    told = now
                return not waiting() and trees[0].used < most

            trees = self._analyst.analyze(self._state, [[action for action, _ in self._moves]], MOST_NODES, tell)
            while not waiting():
                time.sleep(PATIENCE)
                tell(trees)

        return run

    def _infos(self, tree: GameTree, kata: bool) -> str:
        """An ``info`` for each visited move, the most visited first. Winning rates are those of the player to move."""
        children = tree.children()
        order = children[np.lexsort((-tree.nodes["q"][children], -tree.nodes["visits"][children]))]
        found = []
        for place, index in enumerate(order[tree.nodes["visits"][order] > 0]):
            node, rate = tree.nodes[index], (tree.scaled_value(index) + 1) / 2
            prior = float(node["prior"])
            numbers = (f"winrate {rate:.4f} prior {prior:.4f} lcb {rate:.4f}" if kata else
                       f"winrate {round(10000 * rate)} prior {round(10000 * prior)} lcb {round(10000 * rate)}")
            line = [self._vertex(action) for action in tree.line(int(index), LINE)]
            found.append(f"info move {line[0]} visits {node['visits']} {numbers} order {place} pv {' '.join(line)}")
        return " ".join(found)

    def _owners(self) -> str:
        """Expected owner of each point, rows from the top, +1 for the player to move (KataGo's default)."""
        found = expected_owners(self.game, self._state, RolloutPolicy.zeros(), OWNER_ROLLOUTS,
                                int(self._analyst.rng.integers(2**62)))
        return " ownership " + " ".join(f"{owner:.3f}" for owner in (found if self._turn() == 0 else -found))
