"""The interface of vector environments: actions are sent and results received by separate calls."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from myosu.games.game import Game


@dataclass(frozen=True)
class EnvSpec:
    """Description of an environment that algorithms work from: observations, actions, players and limits.

    observation_shape, observation_dtype: of one observation. If it has several parts (a Gymnasium ``Dict``, or a
        ``Tuple``, whose parts are named "0", "1" …), the shape is () and the dtype a record:
        ``observation["camera"]`` is an array [n, *shape of the part], and code that copies or stores observations
        needs no special case.
    num_actions: width of the action mask: the choices of all branches together; 0 for continuous actions.
    reward_range: range of one reward; infinite if unknown.
    num_players: 1, or 2 for a zero-sum game that alternates strictly.
    max_steps: episodes are truncated after this many steps.
    action_branches: number of choices of each branch if an action makes several choices; otherwise empty.
    action_low, action_high: bounds of each component of a continuous action, possibly infinite; otherwise empty. A
        mixed action consists of continuous components followed by choices, which are integers from 0. It has these
        bounds for all its numbers, and ``action_branches`` for the choices.
    observation_bounds: (minimum, maximum) of each part of the observation, in the order of ``parts()``, possibly
        infinite; empty if unknown.
    frame_stack: number of frames stacked in an observation [frame_stack, *frame], where the next observation repeats
        all but one of them; 0 without frame stacking.
    planes_first: all observations of rank 3 are [C, H, W], as in the native games. If False, ``channels_last`` infers
        the layout from the shape.
    rules: the native game, for algorithms that search with its true rules (docs/decisions/57-positions.md). Its
        environments then have an attribute ``states`` [num_envs], the true states of the observations received last.
        None for other environments, and where an opponent moves inside the environment.
    """

    observation_shape: tuple[int, ...]
    observation_dtype: Any
    num_actions: int
    num_players: int
    reward_range: tuple[float, float]
    max_steps: int
    pass_action: int | None = None
    action_branches: tuple[int, ...] = ()
    action_low: tuple[float, ...] = ()
    action_high: tuple[float, ...] = ()
    planes_first: bool = False
    frame_stack: int = 0
    observation_bounds: tuple[tuple[float, float], ...] = ()
    rules: Game | None = field(default=None, compare=False, repr=False)

    def parts(self) -> dict[str, np.ndarray]:
        """``observation_parts`` of an empty batch: names, shapes [0, *shape] and dtypes."""
        return observation_parts(np.empty((0, *self.observation_shape), self.observation_dtype))

    def channels_last(self, shape: tuple[int, ...]) -> bool:
        """Whether an image of this shape is [H, W, C] rather than [C, H, W].

        In a square image the channels are the axis whose length differs from the other two; in any other image they
        are the shorter of the outer axes.
        """
        if self.planes_first:
            return False
        first, middle, last = shape
        return last < first if (first == middle) == (middle == last) else first == middle

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of one action: () for a single choice, (branches,) for several, (components,) for a continuous action,
        (components + branches,) for a mixed one."""
        return (len(self.action_low or self.action_branches),) if self.action_low or self.action_branches else ()

    @property
    def action_dtype(self) -> Any:
        """float32 for continuous and mixed actions, otherwise int64."""
        return np.float32 if self.action_low else np.int64

    @property
    def components(self) -> int:
        """Number of continuous components of an action."""
        return len(self.action_low) - len(self.action_branches) if self.action_low else 0

    def against_opponent(self) -> EnvSpec:
        """Spec of a two-player environment for one player, with the opponent inside the environment: a single-player
        environment in which an episode has half as many steps."""
        return replace(self, num_players=1, max_steps=(self.max_steps + 1) // 2, rules=None)

    def signed_discount(self, discount: float) -> float:
        """Factor that turns the next player's value into the discounted value for the player who moved."""
        return -discount if self.num_players == 2 else discount

    def by_seat(self, first: float) -> list[float]:
        """The return of every seat, given the first seat's: two-player games are zero-sum."""
        return [float(first), -float(first)] if self.num_players == 2 else [float(first)]

    def branch_masks(self, legal_actions: np.ndarray) -> list[np.ndarray]:
        """Split masks [..., A] into the mask [..., choices] of each branch; a single choice has one branch."""
        if self.action_branches:
            return np.split(legal_actions, np.cumsum(self.action_branches)[:-1], axis=-1)
        return [legal_actions] if self.num_actions else []


def observation_parts(observation: np.ndarray, name: str = "") -> dict[str, np.ndarray]:
    """The arrays [n, *shape] of a batch of observations, by name.

    Fields of a record are named "/camera" or, in nested records, "/inner/flag". An observation without fields is one
    array with the name "".
    """
    if observation.dtype.names is None:
        return {name: observation}
    found: dict[str, np.ndarray] = {}
    for key in observation.dtype.names:
        found |= observation_parts(observation[key], f"{name}/{key}")
    return found


@dataclass
class Step:
    """Results of the n environments ``env_ids``. The arrays are fresh: the caller may keep them.

    observation: [n, *shape], to act on next. Environments reset automatically: where an episode ended, this is the
        first observation of the next one, and ``final_observation`` is the true last observation.
    legal_actions: bool [n, A], for ``observation``; the masks of all branches are concatenated.
    to_play: int8 [n], the seat to act on ``observation``.
    reward: float32 [n], of the action just sent, for the player who took it. 0 after ``reset``.
    terminated: bool [n], the episode ended by its rules; do not bootstrap, the value after it is 0.
    truncated: bool [n], the episode was cut by a limit; bootstrap from ``final_observation``.
    final_observation: [n, *shape]; zero in rows whose episode has not ended.
    raw_reward: float32 [n], the environment's own reward, before any wrapper changes it.
    seed: uint64 [n], the seed of the episode that ``observation`` belongs to.
    """

    env_ids: np.ndarray
    observation: np.ndarray
    legal_actions: np.ndarray
    to_play: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_observation: np.ndarray
    raw_reward: np.ndarray
    seed: np.ndarray


class VectorEnv(Protocol):
    """Several environments of one kind. To step them in lockstep, ``send`` actions to all, then call ``recv()``."""

    spec: EnvSpec
    num_envs: int

    def reset(self) -> None:
        """Reset every environment; the next ``recv`` returns the first observations."""

    def send(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        """Send ``actions`` [n, *action_shape] of ``action_dtype`` to the environments ``env_ids`` (int64 [n]).

        The results of their previous actions must have been received.
        """

    def recv(self, min_ready: int | None = None) -> Step:
        """Wait for the results of ``min_ready`` environments (by default all that were sent actions), and return all
        results that are ready, in the order in which the actions were sent."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the environments' future depends on. Call it when no results are pending."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state: the next ``send`` acts on the observations that were current when it was saved."""

    def close(self) -> None:
        """Release the environments' processes and windows. The environments cannot be used afterwards."""
