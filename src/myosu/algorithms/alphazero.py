"""AlphaZero (Silver et al. 2018): MuZero's search, replay and losses, with the true rules in place of a learnt model.

Every simulation plays its action by the game's compiled rules, so rewards, ends of games and legal moves are exact
below the root, and the network only evaluates positions (policy and value). It is trained on the search's policies and
the outcomes of its own games, as MuZero with an unroll of 0 steps. The search is Gumbel search (Danihelka et al. 2022)
or PUCT. ``docs/decisions/57-positions.md`` explains how an agent gets the true state of its game.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from myosu.algorithms import muzero
from myosu.algorithms.interface import AgentState, Analysis
from myosu.algorithms.muzero import AGENT_CAPACITY, make_learner, make_replay
from myosu.envs.vector import EnvSpec, VectorEnv
from myosu.errors import UserError
from myosu.games.game import Game
from myosu.runs.state import Weights
from myosu.search import Expansion, SearchResult

__all__ = ["SOURCE", "Config", "make_actor", "make_agent", "make_learner", "make_replay", "resolve"]

SOURCE = "processes"
READS_ONE_ARRAY = True


@dataclass(frozen=True)
class Config(muzero.Config):
    """AlphaZero's settings: MuZero's without those of a learnt model. Presets: ``myosu/presets/alphazero``."""

    blocks: int = 3
    """Residual blocks of the tower."""

    # Constants, because there is no model: nothing is unrolled, and the rules give the rewards.
    unroll_steps: ClassVar[int] = 0  # type: ignore[misc]
    predict_rewards: ClassVar[bool] = True  # type: ignore[misc]
    reward_loss_weight: ClassVar[float] = 0.0  # type: ignore[misc]
    ssl_loss_weight: ClassVar[float] = 0.0  # type: ignore[misc]
    reconstruction_loss_weight: ClassVar[float] = 0.0  # type: ignore[misc]
    # Reanalysis would need the states of all stored positions.
    reanalyze_fraction: ClassVar[float] = 0.0  # type: ignore[misc]


def resolve(config: Config, spec: EnvSpec, deterministic: bool) -> Config:
    """As ``muzero.resolve``. Raises UserError if the environment has no rules to search by."""
    rules_of(spec)
    return muzero.resolve(config, spec, deterministic)  # type: ignore[return-value]


def rules_of(spec: EnvSpec) -> Game:
    """The game's rules. Raises UserError if they are unknown or random."""
    if spec.rules is None:
        raise UserError("AlphaZero searches by the rules of a game of Myosu's own, without an opponent inside the "
                        "environment; elsewhere use --algorithm muzero, which learns them.")
    if "chance" in (spec.rules.state_dtype.names or ()):
        raise UserError(f"AlphaZero cannot play {spec.rules.name}: its state holds the random numbers still to be "
                        "drawn, so a search by the rules would foresee them. Use --algorithm muzero.")
    return spec.rules


class Planner(muzero.Planner):
    """Search by the rules of the game, from states to actions. Stores the states of the trees' nodes."""

    def __init__(self, config: Config, spec: EnvSpec, capacity: int, simulations: int, explore: bool,
                 seed: int) -> None:
        self.game = rules_of(spec)
        super().__init__(config, spec, capacity, simulations, explore, seed, trees_on_gpu=False)

    def _store_nodes(self, nodes: int) -> None:
        self.states: np.ndarray = np.empty((nodes, self.capacity), self.game.state_dtype)

    @torch.inference_mode()
    def plan(self, positions: np.ndarray, legal_actions: np.ndarray,
             simulations: int | None = None) -> tuple[SearchResult, np.ndarray]:
        """Search from the states ``positions`` [n], n ≤ capacity; the result and the root's prior logits f32 [n, A]."""
        n, rules, actions = len(positions), self.game.batch, self.game.num_actions
        if (simulations or 0) >= len(self.states):
            assert simulations is not None
            self._store_nodes(simulations + 1)
        rows, states = np.arange(n), self.states
        states[0, :n] = positions
        observation = self._observe(positions)
        self._notice(observation)
        root_value, root_logits = self.evaluate(observation)

        def expand(parents: np.ndarray, chosen: np.ndarray, slot: int) -> Expansion:
            """Play the actions and evaluate the positions in which the game goes on; the others have value 0."""
            reward, discount, value = np.zeros(n, np.float32), np.zeros(n, np.float32), np.zeros(n, np.float32)
            logits, legal = np.zeros((n, actions), np.float32), np.zeros((n, actions), np.bool_)
            played = np.flatnonzero(chosen >= 0)
            after = states[parents[played], rows[played]]
            earned, ended = np.empty(len(played), np.float32), np.empty(len(played), np.bool_)
            rules.step(after, chosen[played], earned, ended)
            states[slot, played], reward[played] = after, earned
            running, after = played[~ended], after[~ended]
            if len(running):
                open_actions = np.empty((len(running), actions), np.bool_)
                rules.legal_actions(after, open_actions)
                legal[running], discount[running] = open_actions, self.discounts[running]
                value[running], logits[running] = self.evaluate(self._observe(after))
            return Expansion(reward, discount, value, logits, legal)

        return self.search.run(root_logits, root_value, legal_actions, expand, simulations), root_logits

    def _observe(self, positions: np.ndarray) -> np.ndarray:
        out: np.ndarray = np.empty((len(positions), *self.game.observation_shape), self.game.observation_dtype)
        self.game.batch.observe(positions, out)
        return out


class Actor(muzero.Actor):
    """``muzero.Actor`` that searches from the true states of its games."""

    def _make_planner(self, seed: int) -> Planner:
        assert isinstance(self.config, Config)
        return Planner(self.config, self.spec, self.env.num_envs, self.config.simulations, explore=True, seed=seed)

    def _roots(self) -> np.ndarray:
        return self.env.states  # type: ignore[attr-defined]


class Agent(muzero.Agent):
    """Plays the search's best action, without exploration noise. ``positions``: the games' true states [n]."""

    needs_positions = True

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None, simulations: int | None = None,
            positions: np.ndarray | None = None) -> tuple[np.ndarray, None]:
        return super().act(_known(positions), legal_actions, simulations=simulations)

    def analyze(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
                starts: np.ndarray | None = None, simulations: int | None = None,
                positions: np.ndarray | None = None) -> Analysis:
        return super().analyze(_known(positions), legal_actions, simulations=simulations)


def _known(positions: np.ndarray | None) -> np.ndarray:
    if positions is None:
        raise UserError("An agent of AlphaZero searches by the rules and needs the true states of its games: pass "
                        "positions, an array [n] of the game's state_dtype (env.states of myosu.make's environments).")
    return positions


def make_actor(config: Config, env: VectorEnv, seed: int) -> Actor:
    return Actor(config, env, seed)


def make_agent(config: Config, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
               seed: int = 0) -> Agent:
    return Agent(Planner(config, spec, AGENT_CAPACITY, simulations or config.simulations, explore=False, seed=seed),
                 weights)

