"""A game in an engine as a Gymnasium environment that restarts a failed engine."""

from __future__ import annotations

import atexit
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


class Link(Protocol):
    """A running engine and the connection to it. ``__init__``, ``reset`` and ``step`` may raise EngineLost."""

    observation_space: spaces.Space
    action_space: spaces.Space

    def reset(self, seed: int | None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode. Returns observation and info."""
        ...

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]: ...

    def close(self) -> None:
        """Close the connection and end the engine. Called once, also after EngineLost."""
        ...


@atexit.register
def _close_kept() -> None:
    while _kept:
        _kept.popitem()[1].close()


class EngineEnv(gymnasium.Env):
    """The game that ``connect`` starts and connects to.

    If the engine ends, hangs or sends invalid messages during an episode, the episode is truncated with reward 0 and
    the last observation, the engine is started again, and ``notices`` returns the reason.

    keep: when the environment is closed, the link is kept for the next environment with the same name and arguments,
        because a game in an editor is started by hand, and only once.

    ``__init__`` raises UserError if the first connection fails, and ``reset`` if the engine fails repeatedly.
    """

    def __init__(self, name: str, connect: partial[Any], keep: bool = False) -> None:
        self.name, self._connect = name, connect
        self._key = f"{name} {connect.args}" if keep else None
        self._notices: list[str] = []
        self._last: tuple[Any, dict[str, Any]] = (None, {})
        try:
            self._link: Link | None = _kept.pop(self._key, None) if self._key else None
            self._link = self._link or connect()
        except EngineLost as lost:
            raise UserError(f"{name}: {lost}.") from lost
        self.observation_space, self.action_space = self._link.observation_space, self._link.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        for _ in range(MAX_FAILURES):
            try:
                self._last = self._open().reset(seed)
                return self._last
            except EngineLost as lost:
                self._lose(lost)
                reason = lost
        raise UserError(f"{self.name}: {reason}, {MAX_FAILURES} times in a row.")

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self._link is not None, "step() before reset()"
        try:
            answer = self._link.step(action)
        except EngineLost as lost:
            self._lose(lost)
            return self._last[0], 0.0, False, True, self._last[1]
        self._last = answer[0], answer[4]
        return answer

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

    def _lose(self, lost: EngineLost) -> None:
        self._notices.append(f"{lost}; it was restarted.")
        link, self._link = self._link, None
        if link is not None:
            link.close()


def joint_space(continuous: int, branches: list[int]) -> spaces.Space:
    """Action space of ``continuous`` actions in [−1, 1], of discrete actions with ``branches`` choices each, or a Tuple
    of both."""
    box = spaces.Box(-1.0, 1.0, (continuous,), np.float32)
    choices = spaces.Discrete(branches[0]) if len(branches) == 1 else spaces.MultiDiscrete(branches or [1])
    return choices if not continuous else box if not branches else spaces.Tuple((box, choices))
