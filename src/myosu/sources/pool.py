"""Self-play against a pool: the opponents in a two-player game are earlier versions of the learner."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from myosu.algorithms.interface import Agent, AgentState
from myosu.evaluation.ratings import Results, fit
from myosu.games.game import Game
from myosu.players.against import AgainstEnv
from myosu.players.against_agents import Opponents
from myosu.players.player import RandomPlayer, legal_mask
from myosu.runs.state import Weights

#: Probability that a member plays a random move, so that members with deterministic policies do not repeat a game.
EXPLORATION = 0.1
#: How often the newest member is updated to the learner's weights before it is frozen.
RENEWALS = 20


@dataclass(frozen=True)
class PoolSettings:
    """every: steps of the learner between two frozen members. window: number of frozen members that are kept. latest:
    probability that the opponent of a game is the newest member, which has recent weights of the learner.
    opening_plies: each game begins with 0 to this many random plies, drawn uniformly."""

    every: int
    window: int
    latest: float
    opening_plies: int = 0


class Pool(Opponents):
    """Earlier versions of the learner, by number: 0 plays at random, the others are numbered in order of time.

    The newest member is updated to the learner's weights from time to time. After ``every`` steps it is frozen and a
    new member joins. make_agent: makes the agent that plays with given weights.
    """

    def __init__(self, settings: PoolSettings, make_agent: Callable[[Weights], Agent], seed: int) -> None:
        self.settings, self.make_agent = settings, make_agent
        self.exploration, self.rng = EXPLORATION, np.random.default_rng([seed, 4])
        self.newest = 1
        self.weights: dict[int, Weights] = {}  # of the members in the window and of the newest
        self.agents: dict[int, Agent] = {}
        self.learner: Weights = {}
        self.steps = self.renewed = 0  # learner steps since the newest member joined; their number at its latest update
        #: Results of the learner, as the member it became, against each earlier member.
        self.results = Results.none(2)
        self.elo = 0.0

    def load_weights(self, weights: Weights) -> None:
        """Set the learner's current weights."""
        self.learner = weights
        if self.newest not in self.weights:
            self._renew()

    def count(self, steps: int) -> None:
        """Count ``steps`` more steps of the learner; update or freeze the newest member when it is due."""
        self.steps += steps
        every = self.settings.every
        if self.steps >= every:
            self._renew()
            self.newest, self.steps = self.newest + 1, 0
            self.elo = float(fit(self.results).elo()[self.newest - 1])
            wins, draws = (np.pad(games, (0, 1)) for games in (self.results.wins, self.results.draws))
            self.results = Results(wins, draws)
            self._renew()
        elif self.steps >= self.renewed + max(1, every // RENEWALS):
            self._renew()

    def _renew(self) -> None:
        self.weights[self.newest], self.renewed = copy.deepcopy(self.learner), self.steps
        self.agents.pop(self.newest, None)

    def draw(self, count: int, in_use: np.ndarray) -> np.ndarray:
        """Draw the opponents of ``count`` new games: member numbers, int64 [count]. in_use: numbers of the members that
        are playing, whose weights are kept."""
        first = max(0, self.newest - self.settings.window)
        for number in self.weights.keys() - {*range(first, self.newest + 1), *in_use.tolist()}:
            del self.weights[number]
            self.agents.pop(number, None)
        if not self.weights:
            return np.zeros(count, np.int64)
        earlier = self.rng.integers(first, self.newest, count)
        return np.where(self.rng.random(count) < self.settings.latest, self.newest, earlier)

    def agent(self, number: int) -> Agent:
        if number not in self.agents:
            self.agents[number] = self.make_agent(self.weights[number])
        return self.agents[number]

    def record(self, number: int, learner_return: float) -> None:
        """Record the result of a game of the learner against member ``number``; −1: it had no opponent."""
        if number not in (self.newest, -1):
            self.results.add(self.newest, number, learner_return)

    def state_dict(self) -> dict[str, Any]:
        return copy.deepcopy({
            "rng": self.rng.bit_generator.state, "newest": self.newest, "steps": self.steps, "renewed": self.renewed,
            "weights": {str(number): weights for number, weights in self.weights.items()}, "learner": self.learner,
            "wins": self.results.wins, "draws": self.results.draws, "elo": self.elo})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        state = copy.deepcopy(state)
        self.rng.bit_generator.state = state["rng"]
        for name in ("newest", "steps", "renewed", "learner", "elo"):
            setattr(self, name, state[name])
        self.weights = {int(number): weights for number, weights in state["weights"].items()}
        self.results, self.agents = Results(state["wins"], state["draws"]), {}


class AgainstPool(AgainstEnv):
    """An ``AgainstEnv`` that draws the opponent of each game from ``pool``. Members sample their actions from their
    policy. ``facing``: the opponents' numbers, int64 [num_envs]."""

    def __init__(self, game: Game, pool: Pool, num_envs: int, seed: int = 0) -> None:
        self.pool = pool
        self.memory: dict[int, AgentState] = {}  # recurrent states of the opponents, by environment
        super().__init__(game, RandomPlayer(game, seed), num_envs, seed)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "pool": self.pool.state_dict(), "facing": self.facing.copy(),
                "memory": {str(i): memory for i, memory in self.memory.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.pool.load_state_dict(state["pool"])
        self.facing = state["facing"].copy()
        self.memory = {int(i): memory for i, memory in state["memory"].items()}

    def _start(self, env_ids: np.ndarray, open_randomly: bool = True) -> None:
        for i in env_ids.tolist():
            self.memory.pop(i, None)
        self.facing[env_ids] = 0
        self.facing[env_ids] = self.pool.draw(len(env_ids), self.facing)
        super()._start(env_ids, open_randomly)

    def _play_openings(self, env_ids: np.ndarray) -> np.ndarray:
        opening = self.pool.rng.integers(0, self.pool.settings.opening_plies + 1, len(env_ids))
        over = np.zeros(len(env_ids), np.bool_)
        for ply in range(opening.max(initial=0)):
            going = np.flatnonzero((opening > ply) & ~over)
            ids = env_ids[going]
            reward, raw_reward, over[going] = self._play(ids, super()._opponents_actions(ids))
            sign = np.where(self._seats(ids) == ply % 2, 1.0, -1.0)
            self.returns[ids] += (sign * np.stack([reward, raw_reward])).T
            self.opened[ids] += 1
        return over

    def _opponents_actions(self, env_ids: np.ndarray) -> np.ndarray:
        actions = super()._opponents_actions(env_ids)  # at random
        facing, wild = self.facing[env_ids], self.pool.rng.random(len(env_ids)) < self.pool.exploration
        for number in np.unique(facing[facing > 0]).tolist():
            rows = np.flatnonzero(facing == number)
            states, observation = self.states[env_ids[rows]], self._no_observations(rows)
            self._rules.observe(states, observation)
            drawn = self.pool.actions(number, self.memory, env_ids[rows].tolist(), observation,
                                      legal_mask(self.game, states), states)
            actions[rows] = np.where(wild[rows], actions[rows], drawn)
        return actions
