"""Engines that are restarted when they fail, and one agent of an engine as a Gymnasium environment."""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from myosu.envs.engines.process import EngineLost
from myosu.errors import UserError

#: Number of attempts to begin an episode.
MAX_FAILURES = 3
#: Links to editors, kept by closed environments for the next environment with the same name and arguments.
_kept: dict[str, Link] = {}

#: An agent's number, and either its next episode's beginning (observation, info) or the answer to its action
#: (observation, reward, terminated, truncated, info).
Event = tuple[int, tuple]


class Link(Protocol):
    """A running engine and the connection to it. All methods but ``close`` may raise EngineLost, and so may
    ``__init__``.

    agents: number of agents that can be played at the same time; they are numbered from 0.
    """

    agents: int
    observation_space: spaces.Space
    action_space: spaces.Space

    def reset(self, seeds: Sequence[int | None]) -> list[Event]:
        """Play the first ``len(seeds)`` agents, and begin an episode for each. Returns their beginnings."""

    def act(self, actions: Mapping[int, Any]) -> None:
        """Send the actions of the agents that wait for one. Agents without an action do something harmless."""

    def answers(self) -> list[Event]:
        """Wait for what happens to the played agents: answers to their actions, and beginnings of episodes after an
        end, unless ``restart`` has returned them. Events of other agents may come at later calls."""

    def restart(self, seeds: Mapping[int, int]) -> list[Event]:
        """Begin other episodes of these agents only, and return their beginnings; [] if the game cannot do that."""

    def close(self) -> None:
        """Close the connection and end the engine. Called once, also after EngineLost."""


@atexit.register
def _close_kept() -> None:
    while _kept:
        _kept.popitem()[1].close()


class Engine:
    """The game that ``connect`` starts and connects to; a lost engine is replaced by the next ``reset``.

    keep: when it is closed, the link is kept for the next engine with the same name and arguments, because a game in an
        editor is started by hand, and only once.

    ``__init__`` raises UserError if the first connection fails, and ``reset`` if the engine fails repeatedly.
    """

    def __init__(self, name: str, connect: partial[Any], keep: bool = False) -> None:
        self.name, self._connect = name, connect
        self._key = f"{name} {connect.args}" if keep else None
        self._notices: list[str] = []
        try:
            self._link: Link | None = _kept.pop(self._key, None) if self._key else None
            self._link = self._link or connect()
        except EngineLost as lost:
            raise UserError(f"{name}: {lost}.") from lost
        self.agents = self._link.agents
        self.observation_space, self.action_space = self._link.observation_space, self._link.action_space

    @property
    def link(self) -> Link:
        assert self._link is not None, "the engine is lost: reset() first"
        return self._link

    def reset(self, seeds: Sequence[int | None]) -> list[Event]:
        """``Link.reset``, with another engine if this one is lost."""
        for _ in range(MAX_FAILURES):
            try:
                return self._open().reset(seeds)
            except EngineLost as lost:
                self.lose(lost)
                reason = lost
        raise UserError(f"{self.name}: {reason}, {MAX_FAILURES} times in a row.")

    def lose(self, lost: EngineLost) -> None:
        """Close the link after EngineLost."""
        self._notices.append(f"{lost}; it was restarted.")
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def notices(self) -> list[str]:
        """Why the engine was restarted: one line for each restart since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None and self._key is not None and self._key not in _kept:
            _kept[self._key] = link
        elif link is not None:
            link.close()

    def _open(self) -> Link:
        if self._link is None:
            self._link = self._connect()
            if (self._link.observation_space, self._link.action_space) != (self.observation_space, self.action_space):
                raise UserError(f"{self.name}: after a restart the game has other spaces: {self.observation_space}, "
                                f"{self.action_space} before, and now {self._link.observation_space}, "
                                f"{self._link.action_space}.")
        return self._link


class EngineEnv(gymnasium.Env):
    """The first agent of an engine. If the engine is lost during an episode, the episode is truncated with reward 0 and
    the last observation."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.observation_space, self.action_space = engine.observation_space, engine.action_space
        self._last: tuple[Any, dict[str, Any]] = (None, {})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        ((_, self._last),) = self.engine.reset([seed])
        return self._last

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        try:
            self.engine.link.act({0: action})
            answer = self.engine.link.answers()[0][1]
        except EngineLost as lost:
            self.engine.lose(lost)
            return self._last[0], 0.0, False, True, self._last[1]
        self._last = answer[0], answer[4]
        return answer  # type: ignore[return-value]

    def notices(self) -> list[str]:
        return self.engine.notices()

    def close(self) -> None:
        self.engine.close()


def joint_space(continuous: int, branches: list[int]) -> spaces.Space:
    """Action space of ``continuous`` actions in [−1, 1], of discrete actions with ``branches`` choices each, or a Tuple
    of both."""
    box = spaces.Box(-1.0, 1.0, (continuous,), np.float32)
    choices = spaces.Discrete(branches[0]) if len(branches) == 1 else spaces.MultiDiscrete(branches or [1])
    return choices if not continuous else box if not branches else spaces.Tuple((box, choices))
