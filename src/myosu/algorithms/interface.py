"""What an algorithm's file must offer. The training loop, the evaluator and the page know no more of it than this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from myosu.envs.playback import Move
from myosu.envs.vector import EnvSpec, VectorEnv
from myosu.games.game import Symmetries
from myosu.replay.episode import Experience, Rows
from myosu.replay.replay import Replay
from myosu.runs.state import State, Weights

#: What an agent remembers of n episodes, [n, ...]: a row may be taken to another batch, and means nothing to others.
AgentState = np.ndarray


class Config(Protocol):
    """A frozen dataclass, one docstring a field. The loop reads these fields, whatever else is there."""

    num_envs: int  # environments per actor
    replay_capacity: int  # positions
    replay_ratio: float  # samples drawn per position collected
    learning_starts: int  # collected before the first update
    batch_size: int


class Actor(Protocol):
    """Plays in ``env`` with its own copy of the network."""

    env: VectorEnv

    def step(self) -> Experience:
        """Act once in every environment that waits for an action; what there is to hand over after it. Rows may come
        when they like (each step, each rollout, each episode), episodes as soon as they have ended."""

    def load_weights(self, weights: Weights, version: int) -> None: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class Learner(Protocol):
    def update(self, replay: Replay, progress: float) -> dict[str, float]:
        """One gradient step on ``batch_size`` samples. ``progress`` in [0, 1] is the share of the run that is done
        (schedules follow it). Returns the losses by name, ``{}`` on most updates if reading them costs time."""

    def weights(self) -> Weights:
        """What actors and agents need, on the CPU."""

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class Agent(Protocol):
    """Chooses actions as strongly as it can; what a checkpoint is loaded as.

    It keeps nothing of an episode itself. What it remembers, if it has a memory, is a state that ``act`` and ``think``
    return and the caller passes to the next call, as in Stable-Baselines3. In a game for two an agent observes each of
    its own turns, in order, and none of its opponent's.

    has_memory: whether it needs its state. If not, the state that it returns is None, and what it is given is not read.
    """

    has_memory: bool

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, AgentState | None]:
        """Actions [n, *action_shape] for observations [n, *shape] and masks bool [n, A], and the state after them.

        state: [n, ...], what this method returned for the previous observation of each episode; None where all begin.
        starts: bool [n], which episodes begin here, so that their rows of ``state`` are not read; None for none.
        """

    def think(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
              starts: np.ndarray | None = None, simulations: int | None = None) -> Thoughts:
        """``act`` and why, for somebody who watches; only of agents that make a single choice.

        simulations: a move, instead of the agent's own; of no meaning to agents without a search.
        """


@dataclass(frozen=True)
class Thoughts:
    """What an agent thinks of n positions, each in the eyes of the player to move.

    action: int64 [n], what ``act`` chooses.
    policy: f32 [n, A], how likely it holds each action; 0 where illegal, 1 in sum.
    value: f32 [n], in units of the rewards.
    visits: int32 [n, A] of the search at its root; None without a search.
    lines: n lists of the actions that it expects, its own first. Later ones may break the rules, for a model of the
        game need not know them.
    state: what ``act`` returns beside the action.
    """

    action: np.ndarray
    policy: np.ndarray
    value: np.ndarray
    visits: np.ndarray | None
    lines: list[list[int]]
    state: AgentState | None = None


class SearchingAgent(Agent, Protocol):
    """An agent whose settings have ``simulations``."""

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None, simulations: int | None = None
            ) -> tuple[np.ndarray, AgentState | None]:
        """simulations: a move, this time, instead of those that it was made with."""


class Algorithm(Protocol):
    """A module of ``myosu.algorithms`` is one of these."""

    Config: ClassVar[type]
    #: Where experience comes from unless the user says how many actors there are: actors in "processes" on the other
    #: cores; an actor "in turn" with the learner, in its process; "only in turn" where the data must come from the
    #: learner's own policy; "recorded" games, without any actor (then ``make_rows`` stands in for ``make_actor``).
    SOURCE: Literal["processes", "in turn", "only in turn", "recorded"]

    @staticmethod
    def resolve(config: Any, spec: EnvSpec, deterministic: bool) -> Any:
        """The configuration with what depends on this machine decided, once for a run and all its processes."""

    @staticmethod
    def make_replay(config: Any, spec: EnvSpec) -> Replay: ...

    @staticmethod
    def make_actor(config: Any, env: VectorEnv, seed: int) -> Actor: ...

    @staticmethod
    def make_rows(config: Any, spec: EnvSpec, moves: list[Move]) -> list[Rows]:
        """What the replay keeps of a recorded game; only of algorithms that learn from ``SOURCE = "recorded"``,
        whose ``Config`` has ``recordings``: the folders of runs."""

    @staticmethod
    def make_learner(config: Any, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner: ...

    @staticmethod
    def make_agent(config: Any, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
                   seed: int = 0) -> Agent: ...
