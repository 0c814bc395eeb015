"""The stepping contract: many environments, actions sent and results received apart."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from myosu.games.game import Game


@dataclass(frozen=True)
class EnvSpec:
    """What an algorithm may know of an environment.

    observation_shape, observation_dtype: of one observation. Where it has several parts (a Gymnasium ``Dict``, or a
        ``Tuple``, whose parts are called "0", "1" …) the shape is () and the dtype a record, so that
        ``observation["camera"]`` is an array [n, *shape of the part] and everything that copies or stores observations
        needs to know nothing of it.
    num_actions: width of the mask: the choices of all branches together; 0 where actions are continuous.
    reward_range: range of one reward; infinite where it is unknown.
    num_players: 1, or 2 for a zero-sum game that alternates strictly.
    max_steps: an episode is truncated after so many, if not before.
    action_branches: choices of each branch, where an action makes several choices at once; else empty.
    action_low, action_high: bounds of each component of a continuous action, perhaps infinite; else empty. A mixed
        action, continuous components followed by choices, has these bounds for all its numbers, and ``action_branches``
        for the choices, which are the last ones and whole numbers from 0.
    observation_bounds: the least and the greatest number in each part of the observation (``parts()``, in their
        order), perhaps infinite; empty where nothing is known.
    frame_stack: observations are so many frames at once, [frame_stack, *frame], of which the next one shows all but one
        again; 0 where they are not.
    planes_first: all observations of rank 3 are [C, H, W], as our games' are. Elsewhere only their shape can tell.
    rules: of one of our games, for algorithms that search by the true rules (docs/decisions/57-positions.md); its
        environments then show the true states of their games as ``states`` [num_envs], those of the observations
        received last. None elsewhere, also where an opponent moves inside the environment.
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
        """``observation_parts`` of a batch of no observations: the names, shapes [0, *shape] and dtypes."""
        return observation_parts(np.empty((0, *self.observation_shape), self.observation_dtype))

    def channels_last(self, shape: tuple[int, ...]) -> bool:
        """Whether a picture of this shape is [H, W, C], not [C, H, W]. Of a square one the channels are the axis that
        is unlike the other two, of any other the shorter outer one."""
        if self.planes_first:
            return False
        first, middle, last = shape
        return last < first if (first == middle) == (middle == last) else first == middle

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Of one action: () for a choice, (branches,) for several, (components,) for a continuous action,
        (components + branches,) for a mixed one."""
        return (len(self.action_low or self.action_branches),) if self.action_low or self.action_branches else ()

    @property
    def action_dtype(self) -> Any:
        """float32 of continuous and mixed actions, else int64."""
        return np.float32 if self.action_low else np.int64

    @property
    def components(self) -> int:
        """Continuous components of an action."""
        return len(self.action_low) - len(self.action_branches) if self.action_low else 0

    def against_opponent(self) -> EnvSpec:
        """What an environment for two is to whoever plays in it against an opponent inside it: one for one, whose
        actions are every second ply."""
        return replace(self, num_players=1, max_steps=(self.max_steps + 1) // 2, rules=None)

    def signed_discount(self, discount: float) -> float:
        """The value of what follows a move, in the mover's eyes, is this times the next player's value."""
        return -discount if self.num_players == 2 else discount

    def by_seat(self, first: float) -> list[float]:
        """The return of every seat, from that of the first: one player's gain is the other's loss."""
        return [float(first), -float(first)] if self.num_players == 2 else [float(first)]

    def branch_masks(self, legal_actions: np.ndarray) -> list[np.ndarray]:
        """The mask [..., choices] of each branch of the masks [..., A]; of a single choice, the mask itself."""
        if self.action_branches:
            return np.split(legal_actions, np.cumsum(self.action_branches)[:-1], axis=-1)
        return [legal_actions] if self.num_actions else []


def observation_parts(observation: np.ndarray, name: str = "") -> dict[str, np.ndarray]:
    """The arrays [n, *shape] that observations consist of: of records "/camera" or, where records hold records,
    "/inner/flag"; of anything else one that is called ""."""
    if observation.dtype.names is None:
        return {name: observation}
    found: dict[str, np.ndarray] = {}
    for key in observation.dtype.names:
        found |= observation_parts(observation[key], f"{name}/{key}")
    return found


@dataclass
class Step:
    """What came back from the environments ``env_ids``, n of them. Fresh arrays; the caller may keep them.

    observation: [n, *shape], to act on next. Where an episode ended it is the first of the next one (the
        environments start again by themselves), and the true last observation is in ``final_observation``.
    legal_actions: bool [n, A], for ``observation``; the masks of all branches, one after another.
    to_play: int8 [n], the seat to act on ``observation``.
    reward: float32 [n], earned by the action just sent; belongs to the player who made it. 0 after ``reset``.
    terminated: bool [n], the episode ended by its rules; the value after it is 0.
    truncated: bool [n], the episode was cut by a limit; the value after it is that of ``final_observation``.
    final_observation: [n, *shape]; rows of episodes that have not ended are zero.
    raw_reward: float32 [n], the environment's own reward, below every wrapper that changes it.
    seed: uint64 [n], what the episode that ``observation`` belongs to began with.
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
    """Many environments of one kind. In lockstep: ``send(actions, env_ids)`` for all, then ``recv()``."""

    spec: EnvSpec
    num_envs: int

    def reset(self) -> None:
        """Start every environment; the first ``recv`` gives the first observations."""

    def send(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        """Act in the environments ``env_ids`` (int64 [n]) with ``actions`` [n, *action_shape] of ``action_dtype``.

        None of them may still owe an answer.
        """

    def recv(self, min_ready: int | None = None) -> Step:
        """Wait until ``min_ready`` environments (all that were sent, by default) have answered, and give all that
        have, in the order in which they were sent."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the environments' future depends on. Call it when no answer is owed."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there: the next ``send`` acts on the observations that were current then."""

    def close(self) -> None:
        """End what the environments hold: processes, windows. The environments cannot be used any more."""
