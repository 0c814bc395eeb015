"""Load trained agents from a run, track their recurrent state within a game, and use them as players."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from myosu import trust as trusted
from myosu.algorithms import algorithm_of, load_settings
from myosu.algorithms.interface import Agent, AgentState, known_positions
from myosu.envs.game_history import GameHistory, Position
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.games.game import Game
from myosu.players.player import History, Player, legal_mask
from myosu.randomness import draw
from myosu.runs.checkpoint import find_checkpoint
from myosu.runs.config import RunConfig


def load_agent(path: str | Path, simulations: int | None = None, seed: int = 0,
               game: str | None = None, trust: bool = False) -> tuple[Agent, Environment, RunConfig]:
    """Load the agent of the run or checkpoint ``path`` (see ``find_checkpoint``), its environment and configuration.

    simulations: per move; by default the number used in training. game: raise UserError if the agent plays another
    game. trust: allow running the code files that the run's folder names.
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
    """A trained agent as a player; all games are evaluated in one batch.

    A recurrent agent observes each of its own turns in order, as in training. This includes turns whose move it did not
    choose (openings, forced moves, positions that were set up), but never the opponent's turns. Its state is cached
    from turn to turn, and recomputed from the history if a game does not continue the cached one.
    """

    def __init__(self, game: Game, agent: Any, name: str) -> None:
        self._game, self._agent, self.name = game, agent, name
        self.temperature, self.rng, self.repeats_itself = 0.0, np.random.default_rng(0), True
        #: Recurrent state after the turn that followed each history, for the latest turns.
        self._states: dict[tuple[int, ...], AgentState] = {}

    def draw_moves(self, temperature: float) -> None:
        """From now on, sample moves from policy ** (1 / temperature) with ``rng``; 0: play the agent's own choice."""
        self.temperature, self.repeats_itself = temperature, temperature == 0.0

    def choose(self, states: np.ndarray, histories: list[History], simulations: int | None = None) -> np.ndarray:
        """As ``Player.choose``. simulations: per move in this call, for an agent that searches."""
        observation: np.ndarray = np.empty((len(states), *self._game.observation_shape), self._game.observation_dtype)
        self._game.batch.observe(states, observation)
        remembered = ([self._state_before(history) for history in histories] if self._agent.has_memory
                      else [None] * len(states))
        more: dict[str, Any] = {"simulations": simulations} if simulations else {}
        more |= known_positions(self._agent, states)
        if self.temperature:
            analysis = self._agent.analyze(observation, legal_mask(self._game, states), *stack_states(remembered),
                                           **more)
            actions, after = draw(analysis.policy, self.temperature, self.rng), analysis.state
        else:
            actions, after = self._agent.act(observation, legal_mask(self._game, states), *stack_states(remembered),
                                             **more)
        if after is not None:
            self._states = dict(zip(map(tuple, histories), after, strict=True))
        return np.asarray(actions, np.int64)

    def close(self) -> None:
        pass

    def _state_before(self, history: History) -> AgentState | None:
        """Recurrent state before the turn that follows ``history``; None before the seat's first turn."""
        last = tuple(history[:-2])
        if len(history) >= 2 and last in self._states:
            return self._states[last]
        return recall(self._agent, earlier_turns(self._game, 0, history))


class PlayerAgent:
    """``player`` as an agent of a single-player game. It receives the true states."""

    has_memory = False
    needs_positions = True

    def __init__(self, player: Player) -> None:
        self.player = player

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None, *, positions: np.ndarray) -> tuple[np.ndarray, None]:
        return self.player.choose(positions, [[] for _ in positions]), None


class Turn(NamedTuple):
    """Observation [*shape] and legal actions bool [A] of the player to move, and the state of the game, a record."""

    observation: np.ndarray
    legal_actions: np.ndarray
    position: Any


def earlier_turns(game: Game, seed: int, actions: Sequence[int], known: int = 0) -> list[Turn]:
    """The earlier turns of the player to move after ``actions`` in the game with ``seed``.

    known: skip the turns before this ply.
    """
    history = GameHistory(game, seed)
    positions = [history.now, *(history.play(action) for action in actions)]
    seat = positions.pop().to_play
    return [turn_at(history, position) for position in positions[known:] if position.to_play == seat]


def turn_at(history: GameHistory, position: Position) -> Turn:
    return Turn(history.observation(position), history.legal_actions(position), position.state)


def recall(agent: Agent, turns: Sequence[Turn], state: AgentState | None = None) -> AgentState | None:
    """The agent's recurrent state after ``turns`` of one game. state: the state before them; None if the game begins
    with them. Neither state has a batch axis."""
    for turn in turns:
        _, after = agent.act(turn.observation[None], turn.legal_actions[None], *stack_states([state]),
                             **known_positions(agent, np.array([turn.position])))
        state = None if after is None else after[0]
    return state


def stack_states(states: Sequence[AgentState | None]) -> tuple[AgentState | None, np.ndarray]:
    """``state`` [n, ...] and ``starts`` bool [n] for ``Agent.act``, from the states of n games (None where a game
    begins)."""
    starts = np.array([state is None for state in states], np.bool_)
    known = next((state for state in states if state is not None), None)
    if known is None:
        return None, starts
    return np.stack([np.zeros_like(known) if state is None else state for state in states]), starts
