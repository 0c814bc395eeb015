"""The interface of an algorithm, as used by the training loop, the evaluation and the web page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from myosu.envs.playback import Move
from myosu.envs.vector import EnvSpec, VectorEnv
from myosu.games.game import Symmetries
from myosu.replay.replay import Replay, Rows
from myosu.runs.games import GameRecord
from myosu.runs.state import State, Weights

#: Recurrent state of n episodes, [n, ...], opaque to callers. Rows are independent: they may move between batches.
AgentState = np.ndarray


class Config(Protocol):
    """An algorithm's settings: a frozen dataclass with a docstring for each field. The training loop reads these
    fields; an algorithm adds its own."""

    num_envs: int  # environments per actor
    replay_capacity: int  # positions
    replay_ratio: float  # samples drawn per position collected
    learning_starts: int  # positions collected before the first update
    batch_size: int


@dataclass
class Experience:
    """New data from an actor.

    steps: environment steps taken. sequences: rows for the replay buffer; the rows of one sequence are stored next to
    each other, in this order. episodes: finished episodes. weights_version: version of the acting weights.
    """

    weights_version: int
    steps: int = 0
    sequences: list[Rows] = field(default_factory=list)
    episodes: list[GameRecord] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(len(next(iter(sequence.values()))) for sequence in self.sequences)

    def extend(self, later: Experience) -> None:
        """Append a later experience."""
        self.weights_version = later.weights_version
        self.steps += later.steps
        self.sequences += later.sequences
        self.episodes += later.episodes


class Actor(Protocol):
    """Plays in ``env`` with its own copy of the network."""

    env: VectorEnv

    def step(self) -> Experience:
        """Step the ready environments once and return new experience. Rows may come after each step, rollout or
        episode; records of episodes come as soon as they end."""

    def load_weights(self, weights: Weights, version: int) -> None: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class Learner(Protocol):
    def update(self, replay: Replay, progress: float) -> dict[str, float]:
        """One gradient step on ``batch_size`` samples. progress: the completed fraction of the run, in [0, 1], for
        schedules. Returns losses by name; may be ``{}`` on most updates if computing them is slow."""

    def weights(self) -> Weights:
        """The network's parameters that actors and agents need, on the CPU."""

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class Agent(Protocol):
    """A trained policy, without exploration.

    Agents are stateless. A recurrent agent's ``act`` and ``analyze`` return its recurrent state, and the caller passes
    it to the next call, as in Stable-Baselines3. In a two-player game the agent observes each of its own turns, in
    order, and none of its opponent's.

    has_memory: whether it is recurrent. If not, it returns the state None and ignores ``state`` and ``starts``.

    An agent that searches by the rules has an attribute ``needs_positions = True``, and its ``act`` and ``analyze``
    take one more argument, ``positions`` [n]: the true states of the games, of the game's ``state_dtype``. Callers add
    it by ``known_positions`` or ``positions_in``.
    """

    has_memory: bool

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, AgentState | None]:
        """Actions [n, *action_shape] for observations [n, *shape] and action masks bool [n, A], and the next state.

        state: [n, ...], returned by the previous call for the same episodes; None at the start of all episodes.
        starts: bool [n], true where an episode begins, whose row of ``state`` is ignored; None: no episode begins.
        """

    def analyze(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
                starts: np.ndarray | None = None, simulations: int | None = None) -> Analysis:
        """``act`` that also returns the policy, value and search results; only for agents with one discrete action.

        simulations: simulations per move, instead of the agent's own number; ignored by agents without a search.
        """


def state_before(count: int, size: int, state: AgentState | None, starts: np.ndarray | None) -> np.ndarray:
    """The recurrent state float32 [count, size] at the beginning of ``act``: 0 where episodes begin."""
    if state is None or not size:
        return np.zeros((count, size), np.float32)
    return state if starts is None else np.where(starts[:, None], np.float32(0.0), state)


def known_positions(agent: Agent, positions: np.ndarray | None) -> dict[str, Any]:
    """The argument ``positions`` [n] of ``agent.act`` and ``agent.analyze``, for an agent that needs it."""
    return {"positions": positions} if positions is not None and getattr(agent, "needs_positions", False) else {}


def positions_in(agent: Agent, env: VectorEnv, env_ids: np.ndarray) -> dict[str, Any]:
    """``known_positions`` of the environments ``env_ids``; only native games expose their states."""
    states = getattr(env, "states", None)
    return known_positions(agent, None if states is None else states[env_ids])


@dataclass(frozen=True)
class Analysis:
    """An agent's evaluation of n positions, each from the perspective of the player to move.

    action: int64 [n], the actions that ``act`` chooses.
    policy: f32 [n, A], probabilities; 0 where illegal.
    value: f32 [n], in units of reward.
    visits: int32 [n, A], visits of the root's children; None without a search.
    lines: n principal variations, beginning with ``action``. Later actions may be illegal, because a learnt model may
    not know the rules.
    state: the next recurrent state, as returned by ``act``.
    parts: evaluations of every action by the parts of an agent (AlphaGo's), f32 [n, A] by name, NaN where there is
    none. ``prior`` is a probability; the others are values in units of reward, as ``value``.
    """

    action: np.ndarray
    policy: np.ndarray
    value: np.ndarray
    visits: np.ndarray | None
    lines: list[list[int]]
    state: AgentState | None = None
    parts: dict[str, np.ndarray] | None = None


class SearchingAgent(Agent, Protocol):
    """An agent with a tree search."""

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None, simulations: int | None = None
            ) -> tuple[np.ndarray, AgentState | None]:
        """As ``Agent.act``. simulations: simulations per move for this call, instead of the agent's own number."""


class Algorithm(Protocol):
    """The contents of a module of ``myosu.algorithms``."""

    Config: ClassVar[type]
    #: Where experience comes from by default (the user may set the number of actors). "processes": actors in worker
    #: processes on the other cores. "in turn": one actor, which alternates with the learner in its process. "only in
    #: turn": the same, but the user may not change it, for on-policy algorithms. "recorded": recorded games and no
    #: actor (``make_rows`` replaces ``make_actor``).
    SOURCE: Literal["processes", "in turn", "only in turn", "recorded"]
    #: Optional: False if the trained network chooses no actions (a value network), so that the run has no evaluations.
    #: Its learner has a method ``held_out_loss(replay) -> float | None`` instead, which decides the best checkpoint.
    PLAYS: bool

    @staticmethod
    def resolve(config: Any, spec: EnvSpec, deterministic: bool) -> Any:
        """The configuration with machine-dependent settings resolved, once for a run and all its processes."""

    @staticmethod
    def make_replay(config: Any, spec: EnvSpec) -> Replay: ...

    @staticmethod
    def make_actor(config: Any, env: VectorEnv, seed: int) -> Actor: ...

    @staticmethod
    def make_rows(config: Any, spec: EnvSpec, moves: list[Move]) -> list[Rows]:
        """The replay rows of a recorded game. Only for algorithms with ``SOURCE = "recorded"``, whose ``Config`` has
        ``recordings``: folders of games (``runs.recordings.open_recording``)."""

    @staticmethod
    def kept_plies(config: Any, moves: list[Move]) -> np.ndarray:
        """Optional: the plies of a recorded game that ``make_rows`` keeps, if not all with a ``chosen`` move."""

    @staticmethod
    def make_learner(config: Any, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner: ...

    @staticmethod
    def make_agent(config: Any, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
                   seed: int = 0) -> Agent: ...
