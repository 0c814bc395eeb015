"""The interface of an algorithm: all that the training loop, the evaluation and the web page use of it."""

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

#: Recurrent state of n episodes, [n, ...], opaque to callers. Rows may be moved between batches.
AgentState = np.ndarray


class Config(Protocol):
    """An algorithm's settings: a frozen dataclass with a docstring for each field. The training loop reads these
    fields; an algorithm adds its own."""

    num_envs: int  # environments per actor
    replay_capacity: int  # positions
    replay_ratio: float  # samples drawn per position collected
    learning_starts: int  # collected before the first update
    batch_size: int


@dataclass
class Experience:
    """New data from an actor.

    steps: environment steps taken. sequences: rows to learn from; the rows of one sequence are stored next to each
    other, in this order. episodes: the finished ones. weights_version: of the acting weights.
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
        """Step the ready environments once; returns new experience. Rows may come after each step, rollout or episode;
        records of episodes come as soon as they end."""

    def load_weights(self, weights: Weights, version: int) -> None: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class Learner(Protocol):
    def update(self, replay: Replay, progress: float) -> dict[str, float]:
        """One gradient step on ``batch_size`` samples. progress: in [0, 1], the share of the run that is done, for
        schedules. Returns losses by name; may be ``{}`` on most updates, if computing them is slow."""

    def weights(self) -> Weights:
        """The network's parameters that actors and agents need, on the CPU."""

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class Agent(Protocol):
    """A trained policy, without exploration.

    It is stateless. A recurrent agent's state is returned by ``act`` and ``think``, and the caller passes it to the
    next call, as in Stable-Baselines3. In a two-player game the agent observes each of its own turns, in order, and
    none of its opponent's.

    has_memory: whether it is recurrent. If not, it returns the state None and ignores ``state`` and ``starts``.

    An agent that searches by the rules has an attribute ``needs_positions = True``, and ``act`` and ``think`` take one
    more argument, ``positions`` [n]: the true states of the games, of the game's ``state_dtype``. Whoever calls an
    agent adds it by ``known_positions`` or ``positions_in``.
    """

    has_memory: bool

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, AgentState | None]:
        """Actions [n, *action_shape] for observations [n, *shape] and masks bool [n, A]; and the next state.

        state: [n, ...], returned by the previous call for the same episodes; None if all begin.
        starts: bool [n], whether an episode begins here, so that its row of ``state`` is ignored; None: none does.
        """

    def think(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
              starts: np.ndarray | None = None, simulations: int | None = None) -> Thoughts:
        """``act`` with the policy, value and search behind it; only for agents with one discrete action.

        simulations: per move, instead of the agent's own number; ignored by agents without a search.
        """


def known_positions(agent: Agent, positions: np.ndarray | None) -> dict[str, Any]:
    """The argument ``positions`` [n] of ``agent.act`` and ``agent.think``, for an agent that needs it."""
    return {"positions": positions} if positions is not None and getattr(agent, "needs_positions", False) else {}


def positions_in(agent: Agent, env: VectorEnv, env_ids: np.ndarray) -> dict[str, Any]:
    """As ``known_positions``, of the environments ``env_ids``; only native games show their states."""
    states = getattr(env, "states", None)
    return known_positions(agent, None if states is None else states[env_ids])


@dataclass(frozen=True)
class Thoughts:
    """An agent's evaluation of n positions, each in the view of the player to move.

    action: int64 [n], as ``act`` chooses.
    policy: f32 [n, A], probabilities; 0 where illegal.
    value: f32 [n], in units of reward.
    visits: int32 [n, A], visits of the root's children; None without a search.
    lines: n principal variations, beginning with ``action``. Later actions may be illegal, because a learnt model need
    not know the rules.
    state: as ``act`` returns it.
    parts: by name, what each of several parts of an agent (AlphaGo's) says of every action, f32 [n, A], NaN where it
    says nothing. ``prior`` is a probability; the others are values in units of reward, as ``value``.
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
        """As ``Agent.act``. simulations: per move, for this call, instead of the agent's own number."""


class Algorithm(Protocol):
    """What a module of ``myosu.algorithms`` provides."""

    Config: ClassVar[type]
    #: Where experience comes from by default (the user may set the number of actors). "processes": actors in processes
    #: on the other cores. "in turn": one actor, alternating with the learner in its process. "only in turn": likewise,
    #: and not to be changed, for on-policy algorithms. "recorded": recorded games and no actor (``make_rows`` replaces
    #: ``make_actor``).
    SOURCE: Literal["processes", "in turn", "only in turn", "recorded"]
    #: Optional: False if what is learnt chooses no actions (a value), so that the run plays no evaluations.
    PLAYS: bool

    @staticmethod
    def resolve(config: Any, spec: EnvSpec, deterministic: bool) -> Any:
        """The configuration with machine-dependent choices fixed, once for a run and all its processes."""

    @staticmethod
    def make_replay(config: Any, spec: EnvSpec) -> Replay: ...

    @staticmethod
    def make_actor(config: Any, env: VectorEnv, seed: int) -> Actor: ...

    @staticmethod
    def make_rows(config: Any, spec: EnvSpec, moves: list[Move]) -> list[Rows]:
        """The replay's rows of a recorded game. Only for algorithms with ``SOURCE = "recorded"``, whose ``Config`` has
        ``recordings``: folders of games (``runs.recordings.open_recording``)."""

    @staticmethod
    def kept_plies(config: Any, moves: list[Move]) -> np.ndarray:
        """Optional: the plies of a recorded game that ``make_rows`` keeps, if not those of all chosen moves."""

    @staticmethod
    def make_learner(config: Any, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner: ...

    @staticmethod
    def make_agent(config: Any, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
                   seed: int = 0) -> Agent: ...
