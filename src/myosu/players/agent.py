"""A trained agent: loaded from a run, what it remembers of a game, and as a player."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from myosu import trust as trusted
from myosu.algorithms import algorithm_of, load_settings
from myosu.algorithms.interface import Agent, AgentState
from myosu.envs.course import Course
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.games.game import Game
from myosu.players.player import History, legal_mask
from myosu.runs.checkpoint import find_checkpoint
from myosu.runs.config import RunConfig


def load_agent(path: str | Path, simulations: int | None = None, seed: int = 0,
               game: str | None = None, trust: bool = False) -> tuple[Agent, Environment, RunConfig]:
    """The agent in the run or checkpoint ``path`` (see ``find_checkpoint``), its environment, and how it was trained.

    simulations: a move, instead of what it was trained with. game: raise UserError unless it is an agent for this one.
    trust: code of its own that the run names may run.
    """
    checkpoint = find_checkpoint(path)
    config = checkpoint.config
    if trust:
        trusted.agree(*config.sources)
    environment = config.environment
    own = environment.game.name if environment.game else environment.name
    if game is not None and game not in (config.game, own):
        raise UserError(f"{checkpoint.path} plays {own}, not {game}.")
    algorithm = algorithm_of(config)
    with checkpoint.being_loaded():
        agent = algorithm.make_agent(load_settings(config), config.learner_spec, checkpoint.weights(),
                                     simulations=simulations, seed=seed)
    return agent, environment, config


class AgentPlayer:
    """A trained agent, all its games in one batch.

    An agent with a memory observes each of its own turns in the order of the game, as in training: also those whose
    move it did not choose (an opening, a forced move, a game that was set up), never those of the opponent. Its state
    is kept from one turn to its next one, and made anew from the history where a game does not go on from there.
    """

    repeats_itself = True

    def __init__(self, game: Game, agent: Any, name: str) -> None:
        self._game, self._agent, self.name = game, agent, name
        #: After the turns that it took last, by their histories.
        self._states: dict[tuple[int, ...], AgentState] = {}

    def choose(self, states: np.ndarray, histories: list[History], simulations: int | None = None) -> np.ndarray:
        """simulations: a move, this time, of an agent that searches."""
        observation: np.ndarray = np.empty((len(states), *self._game.observation_shape), self._game.observation_dtype)
        self._game.batch.observe(states, observation)
        remembered = ([self._state_before(history) for history in histories] if self._agent.has_memory
                      else [None] * len(states))
        fewer = {"simulations": simulations} if simulations else {}
        actions, after = self._agent.act(observation, legal_mask(self._game, states), *stack_states(remembered),
                                         **fewer)
        if after is not None:
            self._states = dict(zip(map(tuple, histories), after, strict=True))
        return np.asarray(actions, np.int64)

    def close(self) -> None:
        pass

    def _state_before(self, history: History) -> AgentState | None:
        """What is remembered before the turn after ``history``; None before the seat's first turn."""
        last = tuple(history[:-2])
        if len(history) >= 2 and last in self._states:
            return self._states[last]
        return recall(self._agent, earlier_turns(self._game, 0, history))


class Turn(NamedTuple):
    """observation [*shape] and legal actions bool [A] of the player to move."""

    observation: np.ndarray
    legal_actions: np.ndarray


def earlier_turns(game: Game, seed: int, actions: Sequence[int], known: int = 0) -> list[Turn]:
    """The turns of whoever is to move after ``actions`` in the game of ``seed``, without the one that comes now.

    known: leave out those with fewer actions before them.
    """
    course = Course(game, seed)
    positions = [course.now, *(course.play(action) for action in actions)]
    seat = positions.pop().to_play
    return [Turn(course.observation(position), course.legal_actions(position)) for position in positions[known:]
            if position.to_play == seat]


def recall(agent: Agent, turns: Sequence[Turn], state: AgentState | None = None) -> AgentState | None:
    """What ``agent`` remembers after ``turns`` of one game, one after the other; ``state``: before them, None where the
    game begins with them. States here have no axis of games."""
    for turn in turns:
        _, after = agent.act(turn.observation[None], turn.legal_actions[None], *stack_states([state]))
        state = None if after is None else after[0]
    return state


def stack_states(states: Sequence[AgentState | None]) -> tuple[AgentState | None, np.ndarray]:
    """The states of n games, None where one begins, as ``Agent.act`` takes them: [n, ...], and starts bool [n]."""
    starts = np.array([state is None for state in states], np.bool_)
    known = next((state for state in states if state is not None), None)
    if known is None:
        return None, starts
    return np.stack([np.zeros_like(known) if state is None else state for state in states]), starts
