"""Any Gymnasium environment through the stepping contract, in process and in lockstep.

Nothing of an environment is trusted: what it answers is checked and copied into rows of our own, and where it breaks a
rule the message names the environment, the episode, the step and the remedy.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import math
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import spaces

from myosu.envs.vector import EnvSpec, Step
from myosu.errors import UserError

#: Episodes of an environment that sets no limit itself are cut after so many steps.
DEFAULT_MAX_STEPS = 10_000


class EnvMaker:
    """How to make one environment: a registered id (``CartPole-v1``, ``module:Id-v0``) or a function, and arguments.

    It can be pickled by ``cloudpickle``, with what is registered under the id: a worker process needs no registration.
    """

    def __init__(self, env: str | Callable[..., gymnasium.Env], kwargs: Mapping[str, Any] | None = None) -> None:
        """Raises UserError if nothing is registered under the id ``env``."""
        self.name = env if isinstance(env, str) else getattr(env, "__qualname__", repr(env))
        self.kwargs = dict(kwargs or {})
        self._source = _registered(env) if isinstance(env, str) else env

    def with_arguments(self, **kwargs: Any) -> EnvMaker:
        """The same with these arguments as well."""
        maker = copy.copy(self)
        maker.kwargs = {**self.kwargs, **kwargs}
        return maker

    def __call__(self) -> gymnasium.Env:
        """Raises UserError if the environment cannot be made."""
        try:
            if isinstance(self._source, gymnasium.envs.registration.EnvSpec):
                return gymnasium.make(self._source, disable_env_checker=True, **self.kwargs)
            env = self._source(**self.kwargs)
        except Exception as error:
            raise UserError(f"{self.name} cannot be made: {describe(error)}. Correct the environment or its "
                            f"arguments ({self.kwargs or 'none'}).") from error
        if not isinstance(env, gymnasium.Env):
            raise UserError(f"{self.name} made a {type(env).__name__}. It must make a gymnasium.Env.")
        return env


#: An environment's id, a function that makes one, or either with its arguments.
EnvSource = str | Callable[..., gymnasium.Env] | EnvMaker


def as_maker(env: EnvSource, kwargs: Mapping[str, Any] | None) -> EnvMaker:
    return env if isinstance(env, EnvMaker) else EnvMaker(env, kwargs)


def _registered(env_id: str) -> gymnasium.envs.registration.EnvSpec:
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise UserError(f"The module {module!r} of the environment {env_id!r} cannot be imported: "
                            f"{describe(error)}.") from error
    if name not in gymnasium.registry:
        near = difflib.get_close_matches(name, gymnasium.registry, n=1)
        raise UserError(f"There is no environment {name!r}. {f'Did you mean {near[0]!r}? ' if near else ''}"
                        f"An environment of your own: module:{name}, with the module that registers it.")
    return gymnasium.registry[name]


def describe(error: Exception) -> str:
    """The error in one line, with the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def row_type(spec: EnvSpec) -> np.dtype:
    """The record of one environment: the action that goes in and everything that comes out."""
    return np.dtype([
        ("observation", spec.observation_dtype, spec.observation_shape),
        ("final_observation", spec.observation_dtype, spec.observation_shape),
        ("action", spec.action_dtype, spec.action_shape),
        ("legal_actions", np.bool_, (spec.num_actions,)),
        ("reward", np.float32), ("terminated", np.bool_), ("truncated", np.bool_),
        ("raw_reward", np.float32), ("seed", np.uint64),
    ], align=True)


def row_at(rows: np.ndarray, index: int) -> dict[str, np.ndarray]:
    """Views [1, ...] of the fields of ``rows[index]``."""
    assert rows.dtype.names is not None
    return {name: rows[name][index : index + 1] for name in rows.dtype.names}


def step_of(rows: np.ndarray, env_ids: np.ndarray) -> Step:
    """What lies in ``rows[env_ids]``, copied."""
    terminated, truncated = rows["terminated"][env_ids], rows["truncated"][env_ids]
    final = rows["final_observation"][env_ids]
    final[~(terminated | truncated)] = np.zeros((), final.dtype)
    return Step(env_ids, rows["observation"][env_ids], rows["legal_actions"][env_ids],
                np.zeros(len(env_ids), np.int8), rows["reward"][env_ids], terminated, truncated, final,
                rows["raw_reward"][env_ids], rows["seed"][env_ids])


class EpisodeLog:
    """The episode that each of ``num_envs`` environments plays, and its actions so far: enough to play it again."""

    def __init__(self, num_envs: int) -> None:
        self.episodes = np.zeros(num_envs, np.int64)
        self._actions: list[list[np.ndarray]] = [[] for _ in range(num_envs)]

    def start(self, episodes: np.ndarray) -> None:
        """Every environment begins the episode of this number."""
        self.episodes[:] = episodes
        for actions in self._actions:
            actions.clear()

    def act(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        for index, action in zip(env_ids.tolist(), np.array(actions), strict=True):
            self._actions[index].append(action)

    def end(self, env_ids: np.ndarray) -> None:
        """The episodes of these environments are over, the next ones begin."""
        self.episodes[env_ids] += 1
        for index in env_ids.tolist():
            self._actions[index].clear()

    def state_dict(self) -> dict[str, Any]:
        return {"episodes": self.episodes.copy(), "actions": [np.array(actions) for actions in self._actions]}


def play_again(env: Any, state: dict[str, Any]) -> None:
    """Bring ``env`` (one of the classes with an ``EpisodeLog``) to where the log was by the same actions.

    Exact where the environments do the same after the same seed, as Gymnasium asks of them.
    """
    env.start(state["episodes"])
    env.recv(env.num_envs)
    lengths = np.array([len(actions) for actions in state["actions"]])
    for t in range(lengths.max()):
        ids = np.flatnonzero(lengths > t)
        env.send(np.array([state["actions"][index][t] for index in ids]), ids)
        env.recv(len(ids))


class SingleEnv:
    """One Gymnasium environment, which starts again by itself and writes what it answers into a row.

    A row is what ``row_at`` gives. The seed of every episode follows from ``seed``, ``index`` and the episode's number.
    Methods raise UserError when the environment fails or breaks a rule.
    """

    def __init__(self, make: EnvMaker, index: int, seed: int) -> None:
        self._name, self._seed = f"{make.name} (environment {index})", (seed, index)
        self._env = make()
        self._spaces = self._env.observation_space, self._env.action_space
        self.spec = _spec(self._env, make.name)
        self._mask_place = ""  # where masks are found: "info", "method" or "nowhere"; known from the first reset
        self._episode = self._steps = self._episode_seed = 0
        self._raw_reward = 0.0
        self._watch_raw_reward()

    @property
    def masked(self) -> bool:
        """Whether it says which actions are legal; known once an episode has begun."""
        return self._mask_place in ("info", "method")

    def start(self, row: dict[str, np.ndarray], episode: int) -> None:
        """Begin the episode number ``episode``; no reward, no end."""
        row["reward"][0], row["terminated"][0], row["truncated"][0], row["raw_reward"][0] = 0, False, False, 0
        self._begin(row, episode)

    def start_with(self, row: dict[str, np.ndarray], seed: int) -> None:
        """Begin an episode with the seed of one that was played before."""
        row["reward"][0], row["terminated"][0], row["truncated"][0], row["raw_reward"][0] = 0, False, False, 0
        self._episode = 0
        self._reset(row, seed)

    def step(self, row: dict[str, np.ndarray]) -> None:
        """Do ``row["action"]``; where that ends the episode, begin the next one."""
        self._steps += 1
        self._raw_reward = 0.0
        answer = self._call("step", self._env.step, native_action(self._spaces[1], row["action"][0]))
        if not isinstance(answer, tuple) or len(answer) != 5:
            self._fail("step() must return (observation, reward, terminated, truncated, info).", "Gymnasium's "
                       "documentation says how to move an environment over from gym.")
        observation, reward, terminated, truncated, info = answer
        try:
            row["reward"][0] = earned = float(reward)
        except (TypeError, ValueError):
            self._fail(f"the reward is {reward!r}.", "It must be one number.")
        if not math.isfinite(earned):
            self._fail(f"the reward is {reward}.", "It must be finite: look for divisions by zero in step().")
        row["raw_reward"][0] = self._raw_reward
        row["terminated"][0] = ended = bool(terminated)
        row["truncated"][0] = cut = not ended and (bool(truncated) or self._steps >= self.spec.max_steps)
        if ended or cut:
            self._write(row["final_observation"], self._spaces[0], observation, "the observation")
            self._begin(row, self._episode + 1)
        else:
            self._write(row["observation"], self._spaces[0], observation, "the observation")
            self._write_mask(row["legal_actions"], info)

    def encode(self, observation: Any) -> np.ndarray:
        """An observation as the environment gives it, as a batch of one: [1, *spec.observation_shape]."""
        target = np.zeros((1, *self.spec.observation_shape), self.spec.observation_dtype)
        self._write(target, self._spaces[0], observation, "the observation")
        return target

    def decode(self, action: np.ndarray) -> Any:
        """One of our actions [*spec.action_shape] as the environment takes it."""
        return native_action(self._spaces[1], action)

    def close(self) -> None:
        self._env.close()

    def _watch_raw_reward(self) -> None:
        """Add up what the environment itself pays, below every wrapper and however often one of them steps it."""
        base = self._env.unwrapped
        step = base.step

        def watched(action: Any) -> Any:
            answer = step(action)
            try:  # noqa: SIM105 (suppress() takes as long as all else here)
                self._raw_reward += float(answer[1])
            except (TypeError, ValueError, IndexError):
                pass  # step() says what is wrong with it
            return answer

        base.step = watched  # type: ignore[method-assign]

    def _begin(self, row: dict[str, np.ndarray], episode: int) -> None:
        self._episode = episode
        self._reset(row, int(np.random.SeedSequence((*self._seed, episode)).generate_state(1)[0]))

    def _reset(self, row: dict[str, np.ndarray], seed: int) -> None:
        self._steps, self._episode_seed = 0, seed
        row["seed"][0] = self._episode_seed
        answer = self._call("reset", lambda: self._env.reset(seed=self._episode_seed))
        if not isinstance(answer, tuple) or len(answer) != 2:
            self._fail("reset() must return (observation, info).", "Gymnasium's documentation says how to move an "
                       "environment over from gym.")
        observation, info = answer
        self._write(row["observation"], self._spaces[0], observation, "the observation")
        if not self._mask_place and self.spec.num_actions:
            self._mask_place = ("info" if "action_mask" in info else
                                "method" if self._env.has_wrapper_attr("action_masks") else "nowhere")
        self._write_mask(row["legal_actions"], info)

    def _write(self, target: np.ndarray, space: spaces.Space, value: Any, what: str) -> None:
        """Copy the observation ``value`` into ``target[0]``."""
        if isinstance(space, (spaces.Box, spaces.MultiBinary)):
            self._write_array(target, value, what)
        elif isinstance(space, spaces.Dict):
            for key, part in space.items():
                if not isinstance(value, Mapping) or key not in value:
                    self._fail(f"{what} has no {key!r}.", "It must be a dictionary with all keys of its space.")
                self._write(target[key], part, value[key], f"{what}[{key!r}]")
        elif isinstance(space, spaces.Tuple):
            if not isinstance(value, (tuple, list)) or len(value) != len(space):
                self._fail(f"{what} is {value!r}.", f"It must be a tuple of {len(space)}, as its space is.")
            for index, part in enumerate(space):
                self._write(target[str(index)], part, value[index], f"{what}[{index}]")
        else:
            assert isinstance(space, (spaces.Discrete, spaces.MultiDiscrete))
            if not space.contains(np.asarray(value)[()]):
                self._fail(f"{what} is {value!r}, outside its space {space}.", "Correct the one or the other.")
            _one_hot(target[0], space, value)

    def _write_array(self, target: np.ndarray, value: Any, what: str) -> None:
        try:
            array = np.asarray(value)
        except ValueError:
            self._fail(f"{what} is no array.", f"It must be {target.dtype} {list(target.shape[1:])}.")
        if array.shape != target.shape[1:] or array.dtype.kind not in "biuf":
            self._fail(f"{what} is {array.dtype} {list(array.shape)}.", f"By its space it must be {target.dtype} "
                       f"{list(target.shape[1:])}: correct the one or the other.")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            self._fail(f"{what} holds NaN or infinity.", "Look for divisions by zero and for values that grow "
                       "without bound.")
        target[0] = array
        if target.dtype.kind != "f" and array.dtype != target.dtype and not (target[0] == array).all():
            self._fail(f"{what} ({array.dtype}) loses its values in the {target.dtype} of its space.",
                       "Give the Box the dtype of the values.")

    def _write_mask(self, target: np.ndarray, info: dict[str, Any]) -> None:
        if not self.spec.num_actions:
            return
        if (self._mask_place == "info") != ("action_mask" in info) and self._mask_place != "method":
            self._fail("info has an \"action_mask\" at some steps only.", "Give it at reset() and at every step.")
        if self._mask_place == "nowhere":
            target[:] = True
            return
        mask = (info["action_mask"] if self._mask_place == "info" else
                self._call("action_masks", self._env.get_wrapper_attr("action_masks")))
        branches = self.spec.action_branches
        if isinstance(mask, (tuple, list)) and branches and len(mask) == len(branches):
            mask = np.concatenate([np.ravel(part) for part in mask])
        mask = np.ravel(mask).astype(np.bool_)
        if len(mask) != self.spec.num_actions:
            self._fail(f"the action mask has {len(mask)} entries for {self.spec.num_actions} actions.",
                       "It must have one for each" + (", branch after branch." if branches else "."))
        for branch in self.spec.branch_masks(mask):
            if not branch.any():
                self._fail("the action mask allows nothing.", "Where nothing can be done the episode is over: return "
                           "terminated=True, or allow an action that does nothing.")
        target[0] = mask

    def _call(self, name: str, function: Callable, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raise self._error(f"{name}() raised {describe(error)}.", "Correct the environment.") from error

    def _fail(self, what: str, remedy: str) -> NoReturn:
        raise self._error(what, remedy)

    def _error(self, what: str, remedy: str) -> UserError:
        return UserError(f"{self._name}, episode {self._episode} (seed {self._episode_seed}), step {self._steps}: "
                         f"{what} {remedy}")


class GymVectorEnv:
    """``num_envs`` Gymnasium environments in this process, in lockstep (``myosu.envs.vector.VectorEnv``).

    env: an ``EnvMaker``, or what it is made from together with ``kwargs``. Episodes are the same
    as those of ``WorkerVectorEnv`` with the same ``seed``.
    """

    def __init__(self, env: EnvSource, num_envs: int, seed: int = 0, kwargs: Mapping[str, Any] | None = None) -> None:
        make = as_maker(env, kwargs)
        self.num_envs = num_envs
        self._envs = [SingleEnv(make, index, seed) for index in range(num_envs)]
        self.spec = self._envs[0].spec
        self._rows = np.zeros(num_envs, row_type(self.spec))
        self._row = [row_at(self._rows, index) for index in range(num_envs)]
        self._sent: np.ndarray | None = None
        self._log = EpisodeLog(num_envs)

    def reset(self) -> None:
        self.start(np.zeros(self.num_envs, np.int64))

    def start(self, episodes: np.ndarray) -> None:
        """As ``reset``, but begin with the episodes of these numbers, int64 [num_envs]."""
        self._log.start(episodes)
        for env, row, episode in zip(self._envs, self._row, episodes.tolist(), strict=True):
            env.start(row, episode)
        self._sent = np.arange(self.num_envs)

    def send(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        self._rows["action"][env_ids] = actions
        self._log.act(self._rows["action"][env_ids], env_ids)
        for index in env_ids:
            self._envs[index].step(self._row[index])
        self._sent = env_ids.copy()

    def recv(self, min_ready: int | None = None) -> Step:
        sent, self._sent = self._sent, None
        assert sent is not None, "recv() without send()"
        step = step_of(self._rows, sent)
        self._log.end(sent[step.terminated | step.truncated])
        return step

    def state_dict(self) -> dict[str, Any]:
        return self._log.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        play_again(self, state)

    def close(self) -> None:
        for env in self._envs:
            env.close()


# --- spaces


def native_action(space: spaces.Space, action: np.ndarray) -> Any:
    """The action, one of our rows', as the environment's own space has it."""
    if isinstance(space, spaces.Discrete):
        return int(action) + int(space.start)
    if isinstance(space, spaces.Box):
        return np.clip(action.reshape(space.shape), space.low, space.high).astype(space.dtype)
    assert isinstance(space, spaces.MultiDiscrete)
    return (action.reshape(space.shape) + space.start).astype(space.dtype)


def _spec(env: gymnasium.Env, name: str) -> EnvSpec:
    shape, dtype = _observation_layout(env.observation_space, name)
    space = env.action_space
    branches: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    if isinstance(space, spaces.Discrete):
        num_actions = int(space.n)
    elif isinstance(space, spaces.MultiDiscrete):
        branches = tuple(np.ravel(space.nvec).tolist())
        num_actions = sum(branches)
    elif isinstance(space, spaces.Box) and space.dtype.kind == "f" and space.shape != (0,):
        low, high = tuple(np.ravel(space.low).tolist()), tuple(np.ravel(space.high).tolist())
        num_actions = 0
    else:
        raise UserError(f"{name}: the action space {space} is not supported. Discrete, MultiDiscrete and Box of floats "
                        "are; a wrapper (gymnasium.ActionWrapper) can turn another one into those.")
    limit = env.get_wrapper_attr("_max_episode_steps") if env.has_wrapper_attr("_max_episode_steps") else None
    return EnvSpec(shape, dtype, num_actions, 1, (-math.inf, math.inf), limit or DEFAULT_MAX_STEPS,
                   action_branches=branches, action_low=low, action_high=high)


def _observation_layout(space: spaces.Space, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of one observation. Categories are one-hot: as numbers they would have an order."""
    if isinstance(space, (spaces.Box, spaces.MultiBinary)):
        assert space.shape is not None and space.dtype is not None
        return space.shape, space.dtype
    if isinstance(space, spaces.Discrete):
        return (int(space.n),), np.dtype(np.uint8)
    if isinstance(space, spaces.MultiDiscrete):
        return (int(space.nvec.sum()),), np.dtype(np.uint8)
    if isinstance(space, (spaces.Dict, spaces.Tuple)) and space.spaces:
        items = space.items() if isinstance(space, spaces.Dict) else enumerate(space)
        parts = [(str(key), *_observation_layout(part, name)) for key, part in items]
        return (), np.dtype([(key, dtype, shape) for key, shape, dtype in parts], align=True)
    raise UserError(f"{name}: the observation space {space} is not supported. Box, Discrete, MultiDiscrete, "
                    "MultiBinary and Dict or Tuple of these are; gymnasium.wrappers.FlattenObservation makes one of "
                    "others.")


def _one_hot(target: np.ndarray, space: spaces.Discrete | spaces.MultiDiscrete, value: Any) -> None:
    counts = np.ravel(space.n if isinstance(space, spaces.Discrete) else space.nvec)
    target[:] = 0
    target[np.ravel(np.asarray(value, np.int64) - space.start) + np.cumsum(counts) - counts] = 1
