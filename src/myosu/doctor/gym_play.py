"""Random legal play in one Gymnasium environment: records its answers and collects statistics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from myosu.doctor.check_env import sample_actions
from myosu.envs.gym_env import SingleEnv, row_at, row_type
from myosu.envs.making import EnvMaker

#: Maximum number of steps and seconds of play, whatever the number of episodes.
MAX_STEPS, MAX_SECONDS = 100_000, 8.0
#: Maximum number of samples, and maximum bytes, kept of each part of the observations, evenly spread over all play.
_SAMPLES, _SAMPLE_BYTES = 4_000, 32 << 20


@dataclass
class Answer:
    """The return value of reset() or step(), as it came, with copies made immediately.

    episode, step: its place; step 0 is reset(). mask: the action mask of ``info``, or of the method ``action_masks``.
    """

    episode: int
    step: int
    observation: Any
    observation_then: Any
    terminated: bool = False
    truncated: bool = False
    mask: Any = None
    mask_then: Any = None


class Budget:
    """A limit of processor time, and a longer one of wall-clock time for environments that sleep.

    So an environment on a busy machine gets more time than one that waits.
    """

    def __init__(self, seconds: float, patience: float = 6.0) -> None:
        """patience: wall-clock limit as a multiple of ``seconds``."""
        self._processor, self._clock = time.process_time() + seconds, time.monotonic() + patience * seconds

    @property
    def left(self) -> bool:
        return time.process_time() < self._processor and time.monotonic() < self._clock


class Watch(gymnasium.Wrapper):
    """Wrapper that changes nothing and records answers. ``answers`` keeps them until somebody removes them."""

    #: Number of calls that have returned, of any environment in this process.
    calls = 0

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.answers: list[Answer] = []
        self.steps, self.seconds = 0, 0.0  # of the environment alone, resets included
        self.episode = self._step = -1
        if env.has_wrapper_attr("action_masks"):
            self.action_masks = self._masks

    def reset(self, **kwargs: Any) -> Any:
        self.episode, self._step = self.episode + 1, 0
        answer = self._timed(lambda: self.env.reset(**kwargs))
        if isinstance(answer, tuple) and len(answer) == 2:
            self._keep(*answer)
        return answer

    def step(self, action: Any) -> Any:
        self._step += 1
        self.steps += 1
        answer = self._timed(lambda: self.env.step(action))
        if isinstance(answer, tuple) and len(answer) == 5:
            observation, _, terminated, truncated, info = answer
            self._keep(observation, info, bool(terminated), bool(truncated))
        return answer

    def _masks(self) -> Any:
        mask = self.env.get_wrapper_attr("action_masks")()
        if self.answers:
            self.answers[-1].mask, self.answers[-1].mask_then = mask, deepcopy(mask)
        return mask

    def _timed(self, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return call()
        except SystemExit as error:
            raise RuntimeError(f"it tried to end the program: sys.exit({error.code})") from error
        finally:
            self.seconds += time.perf_counter() - start
            Watch.calls += 1

    def _keep(self, observation: Any, info: Any, terminated: bool = False, truncated: bool = False) -> None:
        mask = info.get("action_mask") if isinstance(info, dict) else None
        self.answers.append(Answer(self.episode, self._step, observation, deepcopy(observation), terminated, truncated,
                                   mask, deepcopy(mask)))


def parts(space: spaces.Space, value: Any, name: str = "") -> list[tuple[str, spaces.Space, Any]]:
    """Name, space and value of every part of an observation; an observation without parts is its own single part."""
    if isinstance(space, spaces.Dict):
        return [part for key, inner in space.items() for part in parts(inner, value[key], f"{name}[{key!r}]")]
    if isinstance(space, spaces.Tuple):
        return [part for index, inner in enumerate(space) for part in parts(inner, value[index], f"{name}[{index}]")]
    return [(name, space, value)]


class Samples:
    """Evenly spaced samples of the arrays added: every k-th, where k doubles when there are too many."""

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = []
        self._stride, self._seen = 1, 0

    def add(self, array: np.ndarray) -> None:
        if self._seen % self._stride == 0:
            self._kept.append(array)
            if len(self._kept) > min(_SAMPLES, max(2, _SAMPLE_BYTES // max(1, array.nbytes))):
                del self._kept[1::2]
                self._stride *= 2
        self._seen += 1

    def array(self) -> np.ndarray:
        return np.stack(self._kept)


@dataclass
class Played:
    """Statistics of n random episodes.

    lengths, returns, terminated: [n]; an episode that was not terminated was truncated.
    rewards, final: [steps]; final: the step terminated its episode.
    legal: [steps], the fraction of actions that were legal. useless: number of steps that changed nothing.
    samples: sampled numbers (``Box``) of the observations, for each part.
    open_steps: length of the last episode if it was still running when steps or time ran out; otherwise 0.
    """

    lengths: np.ndarray
    returns: np.ndarray
    terminated: np.ndarray
    rewards: np.ndarray
    final: np.ndarray
    legal: np.ndarray
    useless: int
    samples: dict[str, np.ndarray]
    open_steps: int


class RandomPlayer:
    """Plays the episodes of one environment at random. Episodes are numbered from 0, each with a seed of its own.

    Raises UserError if the environment fails or breaks a rule (see ``SingleEnv``).
    """

    def __init__(self, maker: EnvMaker, seed: int) -> None:
        self.watch = Watch(maker())
        watched = EnvMaker(lambda: self.watch)
        watched.name = maker.name  # for error messages
        self._env, self._seed = SingleEnv(watched, 0, seed), seed
        self.spec, self.left_out, self.close = self._env.spec, self._env.left_out, self._env.close
        self.row = row_at(np.zeros(1, row_type(self.spec)), 0)
        self.history: list[str] = []  # actions of the current episode

    @property
    def masked(self) -> bool:
        """Whether the environment provides an action mask."""
        return self._env.masked

    @property
    def speed(self) -> float:
        """Steps per second of the environment alone, resets included; 0 before the first step."""
        return self.watch.steps / max(self.watch.seconds, 1e-9)

    def start(self, episode: int) -> None:
        self.history = []
        self._env.start(self.row, episode)

    def act(self, number: int) -> bool:
        """Take the random action determined by ``number``. Returns whether the episode ended."""
        return self.do(sample_actions(self.spec, self.row["legal_actions"], self._seed * 1_000_003 + number)[0])

    def may(self, action: np.ndarray) -> bool:
        """Whether the current mask allows the action."""
        choices = np.ravel(action)[self.spec.components:].astype(np.int64)
        return all(mask[choice] for mask, choice in zip(
            self.spec.branch_masks(self.row["legal_actions"][0]), choices, strict=True))

    def do(self, action: np.ndarray) -> bool:
        """Take the action. Returns whether the episode ended."""
        self.history.append(str(action))
        self.row["action"][0] = action
        self.step()
        ended = bool(self.row["terminated"][0] or self.row["truncated"][0])
        if ended:
            self.history = []
        return ended

    def step(self) -> None:
        """Take the action in ``row["action"]``."""
        self._env.step(self.row)

    def trajectory(self, episode: int, limit: int = 200, seconds: float = math.inf) -> list[bytes]:
        """All that can be observed of an episode, step by step. Equal episodes have equal actions."""
        until, ended = time.monotonic() + seconds, False
        self.start(episode)
        seen = [self.row["observation"].tobytes()]
        while not ended and len(seen) < limit and time.monotonic() < until:
            ended = self.act(len(seen))
            shown = self.row["final_observation" if ended else "observation"]
            seen.append(b"".join(part.tobytes() for part in (shown, self.row["reward"], self.row["terminated"],
                                                             self.row["truncated"])))
        self.watch.answers.clear()
        return seen

    def play(self, episodes: int, look: Callable[[Answer], None]) -> Played:
        """Play the first ``episodes`` episodes, or fewer if time runs out, and pass each answer to ``look``."""
        lengths: list[int] = []
        returns: list[float] = []
        terminated: list[bool] = []
        rewards: list[float] = []
        paid = False
        final: list[bool] = []
        legal: list[float] = []
        samples: dict[str, Samples] = {}
        useless = length = 0
        budget = Budget(MAX_SECONDS, 2.5)
        self.watch.episode, self.watch.steps, self.watch.seconds = -1, 0, 0.0
        self.start(0)
        # Play continues until a reward has been seen, because it may be far away.
        while (len(lengths) < episodes or not paid) and len(rewards) < MAX_STEPS and budget.left:
            before = self.row["observation"].copy()
            legal.append(float(self.row["legal_actions"].mean()) if self.spec.num_actions else 1.0)
            ended, length = self.act(len(rewards)), length + 1
            rewards.append(float(self.row["reward"][0]))
            paid = paid or rewards[-1] != 0
            final.append(bool(self.row["terminated"][0]))
            useless += not ended and np.array_equal(before, self.row["observation"])
            for answer in self.watch.answers:
                for name, space, value in parts(self.watch.observation_space, answer.observation_then):
                    if isinstance(space, spaces.Box):
                        samples.setdefault(name, Samples()).add(np.asarray(value, space.dtype))
                look(answer)
            self.watch.answers.clear()
            if ended:
                lengths.append(length)
                returns.append(sum(rewards[-length:]))
                terminated.append(final[-1])
                length = 0
        self.history = []
        return Played(np.array(lengths, np.int64), np.array(returns), np.array(terminated, np.bool_),
                      np.array(rewards), np.array(final), np.array(legal), useless,
                      {name: kept.array() for name, kept in samples.items()}, length)
