"""Two-player PettingZoo environments by name (``pettingzoo:connect_four_v3``), as single-player environments with a
built-in opponent. Needs pettingzoo: ``pip install "myosu[pettingzoo]"``."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from myosu.envs.spaces import MASK, native_action, own_action
from myosu.errors import UserError

#: Returns an action as Myosu's arrays have it, given the observation and the info of the player to move.
Opponent = Callable[[Any, dict[str, Any]], Any]


@dataclass
class Seating:
    """Of one episode: the learner's seat, the number of its opponent if there are several (−1: none has moved yet), the
    opponent's actions so far, as Myosu's arrays have them, and at the end the learner's."""

    seat: int
    opponent: int = -1
    replies: list[Any] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)


def defines_environment(module: Any) -> bool:
    """Whether ``module`` is a module in PettingZoo's form, with a function ``env`` that makes an AEC environment or
    ``parallel_env`` that makes a parallel one."""
    return isinstance(module, ModuleType) and (
        callable(getattr(module, "env", None)) or callable(getattr(module, "parallel_env", None)))


def find_pettingzoo(name: str) -> Callable[..., gymnasium.Env]:
    """The function that makes the single-player environment of ``pettingzoo:NAME_vN``. Raises UserError."""
    game = name.partition(":")[2]
    if importlib.util.find_spec("pettingzoo") is None:
        raise UserError(f"{name} needs PettingZoo: pip install \"myosu[pettingzoo]\".")
    import pettingzoo

    families = [family.name for family in pkgutil.iter_modules(pettingzoo.__path__) if family.ispkg]
    for family in families:
        module = f"pettingzoo.{family}.{game}"
        if game.isidentifier() and importlib.util.find_spec(f"pettingzoo.{family}") is not None and _exists(module):
            return partial(TwoPlayerEnv, module, name)
    raise UserError(f"PettingZoo has no environment {game!r}. Write a name such as pettingzoo:connect_four_v3, or for "
                    "other packages module:name, such as mpe2:simple_push_v3.")


def _exists(module: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


class TwoPlayerEnv(gymnasium.Env):
    """A two-player AEC environment as a single-player environment: a step is the player's action and the opponent's
    reply, and its reward is the player's sum of rewards until its next turn.

    The player's seat is drawn for each episode, unless ``seat`` is set. The opponent samples legal actions uniformly,
    unless ``opponent`` is set. Both draw from the seed of ``reset``. Masks are where PettingZoo has them: "action_mask"
    in the observation, or in the info.

    module: the module with ``env`` or ``parallel_env``. name: used in messages. kwargs: arguments of ``env``. Raises
    UserError unless there are two players with the same spaces.
    """

    opponent: Opponent | None = None
    seat: int | None = None

    def __init__(self, module: str, name: str, render_mode: str | None = None, **kwargs: Any) -> None:
        self._env = _make(module, name, {**kwargs, **({} if render_mode is None else {"render_mode": render_mode})})
        self.metadata, self.render_mode = self._env.metadata, render_mode
        self.players = list(self._env.possible_agents)
        if len(self.players) != 2:
            raise UserError(f"{name} has {len(self.players)} players ({', '.join(self.players[:8])}). Only "
                            "two-player environments of PettingZoo can be trained in, with a built-in opponent; for "
                            "more players, write a gymnasium.Env that contains the opponents.")
        for kind in ("observation", "action"):
            first, second = (getattr(self._env, f"{kind}_space")(player) for player in self.players)
            if first != second:
                raise UserError(f"The players of {name} have different {kind} spaces ({first} and {second}): one agent "
                                "cannot learn to play both seats.")
        self.observation_space = self._env.observation_space(self.players[0])
        self.action_space = self._env.action_space(self.players[0])
        self.player, self.seating = self.players[0], Seating(0)
        #: The opponent's next actions, where an episode is replayed.
        self.known: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(2))
        self.seating = Seating(drawn if self.seat is None else self.seat)
        self.player = self.players[self.seating.seat]
        self._env.reset(seed=int(self.np_random.integers(2**31)), options=options)
        self._let_others_move()
        return self._seen()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = self._act(action) + self._let_others_move()
        observation, info = self._seen()
        return observation, reward, self._ended("terminations"), self._ended("truncations"), info

    def render(self) -> Any:
        return self._env.render()

    def close(self) -> None:
        self._env.close()

    def _act(self, action: Any) -> float:
        """Step the environment, and return this player's reward."""
        self._env.step(action)
        return float(self._env.rewards.get(self.player, 0.0))

    def _let_others_move(self) -> float:
        earned = 0.0
        while self._env.agents and not self._over() and self._env.agent_selection != self.player:
            mover = self._env.agent_selection
            over = self._env.terminations[mover] or self._env.truncations[mover]
            earned += self._act(None if over else self._opponents_action(mover))
        return earned

    def _opponents_action(self, mover: str) -> Any:
        if self.known:
            action = self.known.pop(0)
        else:
            observation, info = self._env.observe(mover), self._env.infos[mover]
            if self.opponent is not None:
                action = self.opponent(observation, info)
            else:
                has_mask = isinstance(observation, dict) and MASK in observation
                action = random_action(self.action_space, (observation if has_mask else info).get(MASK), self.np_random)
        self.seating.replies.append(np.asarray(action).tolist())
        return native_action(self.action_space, np.asarray(action))

    def _seen(self) -> tuple[Any, dict[str, Any]]:
        return self._env.observe(self.player), dict(self._env.infos.get(self.player, {}))

    def _over(self) -> bool:
        return self._ended("terminations") or self._ended("truncations")

    def _ended(self, how: str) -> bool:
        return bool(getattr(self._env, how).get(self.player, False))


def random_action(space: spaces.Space, mask: np.ndarray | None, rng: np.random.Generator) -> Any:
    """A random action as Myosu's arrays have it; if it is a single choice, one that ``mask`` (None: all) allows."""
    if isinstance(space, spaces.Discrete):
        return rng.choice(int(space.n) if mask is None else np.flatnonzero(mask))
    space.seed(int(rng.integers(2**31)))
    return own_action(space, space.sample())


def play_known(env: gymnasium.Env, replies: Sequence[Any]) -> None:
    """The opponent plays ``replies`` in the next episode, if there are any."""
    if replies:
        env.unwrapped.known = list(replies)  # type: ignore[attr-defined]


def _make(module: str, name: str, kwargs: dict[str, Any]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of the import
            found = importlib.import_module(module)
            if callable(make := getattr(found, "env", None)):
                return make(**kwargs)
            from pettingzoo.utils import parallel_to_aec

            return parallel_to_aec(found.parallel_env(**kwargs))
    except ImportError as error:
        raise UserError(f"{name} needs a package that is not installed: {error}") from error
