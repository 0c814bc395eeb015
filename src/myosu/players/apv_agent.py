"""AlphaGo's search as an agent that also reports the estimates of each part, for the web page."""

from __future__ import annotations

import numpy as np

from myosu.algorithms.interface import AgentState, Analysis
from myosu.errors import UserError
from myosu.players.apv import APVPlayer, GameTree

#: Maximum length of a principal variation.
LINE = 12


class APVAgent:
    """``player`` as an ``Agent``. Each call searches from new trees, so earlier simulations are not counted."""

    has_memory, needs_positions = False, True

    def __init__(self, player: APVPlayer) -> None:
        self.player = player

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None, simulations: int | None = None,
            positions: np.ndarray | None = None) -> tuple[np.ndarray, None]:
        return self.analyze(observation, legal_actions, simulations=simulations, positions=positions).action, None

    def analyze(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
                starts: np.ndarray | None = None, simulations: int | None = None,
                positions: np.ndarray | None = None) -> Analysis:
        """As ``Agent.analyze``. ``parts`` holds "prior" and, for the parts that the player has, "value" and "rollouts":
        their mean evaluation of each tried action, NaN for the others."""
        if positions is None:
            raise UserError(f"{self.player.name} searches by the rules and needs the true states: pass positions.")
        self.player.forget()
        trees = self.player.analyze(positions, [[] for _ in positions], simulations)
        visits = np.zeros(legal_actions.shape, np.int32)
        for row, tree in zip(visits, trees, strict=True):
            children = tree.children()
            row[tree.nodes["action"][children]] = tree.nodes["visits"][children]
        best = [tree.best_child() for tree in trees]
        parts = [self._parts(tree) for tree in trees]
        return Analysis(
            np.array([int(tree.nodes["action"][k]) for tree, k in zip(trees, best, strict=True)], np.int64),
            (visits / np.maximum(1, visits.sum(axis=1, keepdims=True))).astype(np.float32),
            np.array([tree.nodes["value"][0] for tree in trees], np.float32), visits,
            [tree.line(k, LINE) for tree, k in zip(trees, best, strict=True)],
            parts={name: np.stack([part[name] for part in parts]) for name in parts[0]})

    def _parts(self, tree: GameTree) -> dict[str, np.ndarray]:
        nodes, edges = tree.nodes, tree.edges
        tried = tree.children()
        tried = tried[nodes["visits"][tried] > 0]
        actions = nodes["action"][tried]
        prior = np.where(tree.priors[0] >= 0, tree.priors[0], np.nan)  # priors of the actions without a node
        prior[nodes["action"][tree.children()]] = nodes["prior"][tree.children()]
        parts = {"prior": prior}
        means = {"value": "mean_value"} if self.player.value is not None else {}
        means |= {"rollouts": "mean_rollout"} if self.player.config.rollout_weight > 0 else {}
        for name, mean in means.items():
            parts[name] = np.full(len(prior), np.nan, np.float32)
            parts[name][actions] = nodes["reward"][tried] + nodes["discount"][tried] * edges[mean][tried]
        return parts
