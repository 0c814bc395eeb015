"""Gymnasium environments in the current process, stepped in lockstep (``myosu.envs.vector.VectorEnv``).

Environments are not trusted: everything they return is checked and copied into preallocated rows. If an environment
breaks a rule, the error message names the environment, the episode, the step and the remedy.
"""

from __future__ import annotations

import copyreg
import dis
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import gymnasium
import numpy as np

from myosu.envs.engines.engine_env import EngineEnv
from myosu.envs.making import EnvMaker, close_env
from myosu.envs.spaces import GREATEST, BadValue, Layout, native_action
from myosu.envs.vector import EnvSpec, Step
from myosu.errors import UserError, describe

#: Episodes are truncated after this many steps if the environment sets no limit.
DEFAULT_MAX_STEPS = 10_000

#: A name, a function that makes an environment, or either with its arguments.
EnvSource = str | Callable[..., gymnasium.Env] | EnvMaker


def as_maker(env: EnvSource, kwargs: Mapping[str, Any] | None) -> EnvMaker:
    return env if isinstance(env, EnvMaker) else EnvMaker(env, kwargs)


def row_type(spec: EnvSpec) -> np.dtype:
    """Record dtype of one environment: its action, and the results of the step."""
    return np.dtype([
        ("observation", spec.observation_dtype, spec.observation_shape),
        ("final_observation", spec.observation_dtype, spec.observation_shape),
        ("action", spec.action_dtype, spec.action_shape),
        ("legal_actions", np.bool_, (spec.num_actions,)),
        ("reward", np.float32), ("terminated", np.bool_), ("truncated", np.bool_),
        ("raw_reward", np.float32), ("seed", np.uint64),
    ], align=True)


def row_at(rows: np.ndarray, index: int) -> dict[str, np.ndarray]:
    """Views [1, ...] of the fields of ``rows[index]``, by name."""
    assert rows.dtype.names is not None
    return {name: rows[name][index : index + 1] for name in rows.dtype.names}


def step_of(rows: np.ndarray, env_ids: np.ndarray) -> Step:
    """A ``Step`` with a copy of ``rows[env_ids]``."""
    terminated, truncated = rows["terminated"][env_ids], rows["truncated"][env_ids]
    final = rows["final_observation"][env_ids]
    final[~(terminated | truncated)] = np.zeros((), final.dtype)
    return Step(env_ids, rows["observation"][env_ids], rows["legal_actions"][env_ids],
                np.zeros(len(env_ids), np.int8), rows["reward"][env_ids], terminated, truncated, final,
                rows["raw_reward"][env_ids], rows["seed"][env_ids])


class EpisodeLog:
    """The current episode's number and actions for each of ``num_envs`` environments, to replay it."""

    def __init__(self, num_envs: int) -> None:
        self.episodes = np.zeros(num_envs, np.int64)
        self.actions: list[list[np.ndarray]] = [[] for _ in range(num_envs)]

    def start(self, episodes: np.ndarray) -> None:
        """Every environment begins the episode of its number in ``episodes``."""
        self.episodes[:] = episodes
        for actions in self.actions:
            actions.clear()

    def act(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        for index, action in zip(env_ids.tolist(), np.array(actions), strict=True):
            self.actions[index].append(action)

    def end(self, env_ids: np.ndarray) -> None:
        """These environments begin their next episodes."""
        self.episodes[env_ids] += 1
        for index in env_ids.tolist():
            self.actions[index].clear()

    def state_dict(self) -> dict[str, Any]:
        return {"episodes": self.episodes.copy(), "actions": [np.array(actions) for actions in self.actions]}


def play_again(env: Any, state: dict[str, Any]) -> None:
    """Restore the state of ``env`` (of a class with an ``EpisodeLog``) by replaying the logged actions.

    Exact if the environments are deterministic given their seed, as Gymnasium requires.
    """
    env.start(state["episodes"])
    env.recv(env.num_envs)
    lengths = np.array([len(actions) for actions in state["actions"]])
    for t in range(lengths.max()):
        ids = np.flatnonzero(lengths > t)
        env.send(np.array([state["actions"][index][t] for index in ids]), ids)
        env.recv(len(ids))


def truncate_on_resume(rows: np.ndarray, state: dict[str, Any], name: str) -> str:
    """For environments whose episodes cannot be replayed, and which have begun their next episodes: the next results
    are the ends of episodes that were pending in ``state``, and truncate all other episodes. Returns a notice.

    state: "rows", the saved rows as bytes; "late", bool [num_envs], the ends that are still to be received.
    """
    before = np.ascontiguousarray(state["rows"]).view(rows.dtype).reshape(-1)
    for column in ("reward", "raw_reward", "terminated", "truncated", "final_observation"):
        rows[column] = before[column]
    cut = ~state["late"]
    rows["reward"][cut] = rows["raw_reward"][cut] = 0
    rows["terminated"][cut], rows["truncated"][cut] = False, True
    rows["final_observation"][cut] = before["observation"][cut]
    return (f"{name} cannot be restored: the {np.count_nonzero(cut)} unfinished episodes were truncated, and new ones "
            "have begun.")


class SingleEnv:
    """One Gymnasium environment that resets automatically and writes its results into a row.

    A row is what ``row_at`` returns. The seed of every episode follows from ``seed``, ``index`` and the episode's
    number. Methods raise UserError when the environment fails, exits or breaks a rule.

    beside_others: whether other environments of the same kind are in this process and may share global state with it.
    left_out: parts of its observations that no network reads, see ``spaces.Layout``.
    steps: number of steps of the current episode.
    """

    def __init__(self, make: EnvMaker, index: int, seed: int, beside_others: bool = False) -> None:
        self._remedy = "Correct the environment." if not beside_others else (
            "Correct the environment; if several in one process interfere with each other, --env-workers synchronous "
            "gives each its own process.")
        self._name, self._seed = f"{make.name} (environment {index})", (seed, index)
        self._env = make()
        self._layout = Layout(self._env.observation_space, self._env.action_space, make.name)
        self.left_out = self._layout.left_out
        limit = self._env.get_wrapper_attr("_max_episode_steps") if self._env.has_wrapper_attr(
            "_max_episode_steps") else None
        # Some environments use 0 or −1 for no limit.
        spec = self._layout.spec(limit if limit and limit > 0 else DEFAULT_MAX_STEPS)
        self.spec = replace(spec, frame_stack=_stacked_frames(self._env, spec.observation_shape),
                            planes_first=bool(getattr(self._env.unwrapped, "planes_first", False)))
        self._mask_place = ""  # see ``_place_of_masks``; known from the first reset
        self.steps = self._episode = self._episode_seed = 0
        self._watched = _watch_rewards(self._env.unwrapped)
        self._closed = False

    @property
    def masked(self) -> bool:
        """Whether the environment provides action masks; known once an episode has begun."""
        return self._mask_place in ("info", "method")

    def start(self, row: dict[str, np.ndarray], episode: int) -> None:
        """Begin the episode number ``episode``; the row gets reward 0 and no end."""
        row["reward"][0], row["terminated"][0], row["truncated"][0], row["raw_reward"][0] = 0, False, False, 0
        self._begin(row, episode)

    def start_with(self, row: dict[str, np.ndarray], seed: int) -> None:
        """Begin an episode with the given seed, to replay it."""
        row["reward"][0], row["terminated"][0], row["truncated"][0], row["raw_reward"][0] = 0, False, False, 0
        self._episode = 0
        self._reset(row, seed)

    def step(self, row: dict[str, np.ndarray]) -> None:
        """Take ``row["action"]``; if that ends the episode, begin the next one."""
        self.steps += 1
        if self._watched is not None:
            self._watched.raw_reward = 0.0
        answer = self._call("step", self._env.step, self.decode(row["action"][0]))
        if self._take(row, answer, None if self._watched is None else self._watched.raw_reward):
            self._begin(row, self._episode + 1)

    def take(self, row: dict[str, np.ndarray], answer: Any) -> bool:
        """Write the result of a vector environment's ``step`` for this environment. Returns whether the episode ended;
        the caller must then ``begin`` the next one."""
        self.steps += 1
        return self._take(row, answer, None)

    def begin(self, row: dict[str, np.ndarray], episode: int, answer: Any) -> None:
        """Begin the episode number ``episode`` with ``answer``, (observation, info) of this environment in a vector
        environment."""
        self._episode, self.steps, self._episode_seed = episode, 0, self.seed_of(episode)
        self._take_first(row, answer)

    def _take(self, row: dict[str, np.ndarray], answer: Any, raw_reward: float | None) -> bool:
        """Write the result of a step. raw_reward: the reward before all wrappers; None if unknown, then it is the
        reward. Returns whether the episode ended."""
        if not isinstance(answer, tuple) or len(answer) != 5:
            self._fail("step() must return (observation, reward, terminated, truncated, info).", "Gymnasium's "
                       "documentation describes how to migrate an environment from gym.")
        observation, reward, terminated, truncated, info = answer
        try:
            earned = float(reward)
        except (TypeError, ValueError):
            self._fail(f"the reward is {reward!r}.", "It must be one number.")
        if not abs(earned) <= GREATEST:
            self._fail(f"the reward is {reward}.", "It must be finite in float32: look for divisions by zero in "
                       "step(), or scale it.")
        row["reward"][0] = earned
        row["raw_reward"][0] = earned if raw_reward is None else raw_reward
        row["terminated"][0] = ended = bool(terminated)
        row["truncated"][0] = cut = not ended and (bool(truncated) or self.steps >= self.spec.max_steps)
        if ended or cut:
            self._write(row["final_observation"], observation)
            return True
        self._write(row["observation"], observation)
        self._write_mask(row["legal_actions"], observation, info)
        return False

    def encode(self, observation: Any) -> np.ndarray:
        """Convert an observation of the environment to a batch of one: [1, *spec.observation_shape]."""
        target = np.zeros((1, *self.spec.observation_shape), self.spec.observation_dtype)
        self._write(target, observation)
        return target

    def seen(self, observation: Any, info: Any) -> tuple[np.ndarray, np.ndarray]:
        """``encode(observation)``, and the mask of legal actions, bool [1, num_actions]."""
        legal = np.zeros((1, self.spec.num_actions), np.bool_)
        self._write_mask(legal, observation, info)
        return self.encode(observation), legal

    def decode(self, action: np.ndarray) -> Any:
        """Convert an action [*spec.action_shape] to the environment's action space."""
        return native_action(self._layout.action_space, action)

    def notices(self) -> list[str]:
        """Why the environment's game engine was restarted: one line for each restart since the last call."""
        env = self._env.unwrapped
        return [f"{self._name}: {notice}" for notice in env.notices()] if isinstance(env, EngineEnv) else []

    @property
    def episode(self) -> int:
        """The number of the current episode."""
        return self._episode

    @property
    def gym_env(self) -> gymnasium.Env:
        return self._env

    def render(self) -> Any:
        """Call the environment's ``render``."""
        return self._call("render", self._env.render)

    def close(self) -> None:
        """Close the environment, once. Errors become warnings."""
        if not self._closed:
            self._closed = True
            close_env(self._env, self._name)

    def seed_of(self, episode: int) -> int:
        """The seed of an episode, below 2**31, because some libraries accept no others."""
        return int(np.random.SeedSequence((*self._seed, episode)).generate_state(1)[0] >> 1)

    def _begin(self, row: dict[str, np.ndarray], episode: int) -> None:
        self._episode = episode
        self._reset(row, self.seed_of(episode))

    def _reset(self, row: dict[str, np.ndarray], seed: int) -> None:
        self.steps, self._episode_seed = 0, seed
        try:
            answer = self._call("reset", lambda: self._env.reset(seed=self._episode_seed))
        except UserError as error:
            if isinstance(error.__cause__, TypeError) and "'seed'" in str(error.__cause__):
                self._fail("reset() takes no seed.", "Gymnasium's is: def reset(self, *, seed=None, options=None), "
                           "which begins with super().reset(seed=seed) and returns (observation, info).")
            raise
        self._take_first(row, answer)

    def _take_first(self, row: dict[str, np.ndarray], answer: Any) -> None:
        row["seed"][0] = self._episode_seed
        if not isinstance(answer, tuple) or len(answer) != 2:
            self._fail("reset() must return (observation, info).", "Gymnasium's documentation describes how to "
                       "migrate an environment from gym.")
        observation, info = answer
        self._write(row["observation"], observation)
        self._write_mask(row["legal_actions"], observation, info)

    def _write(self, target: np.ndarray, observation: Any) -> None:
        """Copy an observation into ``target[0]``."""
        try:
            self._layout.write(target, observation)
        except BadValue as error:
            self._fail(*error.args)

    def _place_of_masks(self, info: Mapping[str, Any]) -> str:
        return ("observation" if self._layout.mask_key is not None else "info" if "action_mask" in info else
                "method" if self._env.has_wrapper_attr("action_masks") else "nowhere")

    def _write_mask(self, target: np.ndarray, observation: Any, info: Any) -> None:
        if type(info) is not dict and not isinstance(info, Mapping):  # the second is slow
            self._fail(f"info is {info!r}.", "It must be a dictionary, which may be empty: {}.")
        if not self.spec.num_actions:
            return
        self._mask_place = place = self._mask_place or self._place_of_masks(info)
        if (place == "info") != ("action_mask" in info) and place in ("info", "nowhere"):
            self._fail("info has an \"action_mask\" at some steps only.", "Return it from reset() and every step().")
        if place == "nowhere":
            target[:] = True
            return
        mask = (observation[self._layout.mask_key] if place == "observation" else info["action_mask"]
                if place == "info" else self._call("action_masks", self._env.get_wrapper_attr("action_masks")))
        branches = self.spec.action_branches
        try:
            if isinstance(mask, (tuple, list)) and branches and len(mask) == len(branches):
                mask = np.concatenate([np.ravel(part) for part in mask])
            mask = np.ravel(mask).astype(np.bool_)
        except (ValueError, TypeError):
            self._fail(f"the action mask is {mask!r}.", f"It must be one array of {self.spec.num_actions} numbers 0 "
                       "or 1.")
        if len(mask) != self.spec.num_actions:
            self._fail(f"the action mask has {len(mask)} entries for {self.spec.num_actions} actions.",
                       "It must have one for each" + (", branch after branch." if branches else "."))
        for branch in self.spec.branch_masks(mask):
            if not branch.any():
                self._fail("the action mask allows no action.", "If no action is legal, end the episode with "
                           "terminated=True, or allow an action that does nothing.")
        target[0] = mask

    def _call(self, name: str, function: Callable, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (Exception, SystemExit) as error:
            raise self._error(f"{name}() raised {describe(error)}.", self._remedy) from error
        except KeyboardInterrupt as error:
            if not _raised_by_code(error):
                raise  # somebody pressed Ctrl-C
            raise self._error(f"{name}() raised {describe(error)}.", self._remedy) from error

    def _fail(self, what: str, remedy: str) -> NoReturn:
        raise self._error(what, remedy)

    def _error(self, what: str, remedy: str) -> UserError:
        return UserError(f"{self._name}, episode {self._episode} (seed {self._episode_seed}), step {self.steps}: "
                         f"{what} {remedy}")


def _stacked_frames(env: gymnasium.Env, shape: tuple[int, ...]) -> int:
    """Number of frames that the outermost wrapper stacks into an observation; 0 without frame stacking."""
    stacked = isinstance(env, gymnasium.wrappers.FrameStackObservation) and len(shape) >= 3
    return env.stack_size if stacked else 0  # type: ignore[attr-defined]


def _raised_by_code(error: BaseException) -> bool:
    """Whether the exception comes from a ``raise`` statement rather than a signal."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and place.tb_frame.f_code.co_code[place.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _new(kind: Any, *arguments: Any) -> Any:
    return kind.__new__(kind, *arguments)


def _watch_rewards(env: gymnasium.Env) -> Any:
    """Make ``env.raw_reward`` sum the environment's own rewards, before any wrapper changes them and however often a
    wrapper steps it. Returns ``env``, or None if its rewards cannot be watched.

    Only the environment's class is replaced, by a subclass. A copy or pickle has the original class.
    """
    kind = type(env)
    if "step" in vars(env) or "raw_reward" in vars(env):
        return None

    class Watched(kind):  # type: ignore[misc, valid-type]
        raw_reward = 0.0

        def step(self, action: Any) -> Any:
            answer = super().step(action)
            try:  # noqa: SIM105 (suppress() takes as long as the rest of this method)
                self.raw_reward += float(answer[1])
            except (TypeError, ValueError, IndexError):
                pass  # SingleEnv.step() reports the error
            return answer

        def __reduce_ex__(self, protocol: Any) -> Any:
            function, arguments, *rest = super().__reduce_ex__(protocol)
            function = _new if function is copyreg.__newobj__ else function  # type: ignore[attr-defined]
            return (function, tuple(kind if value is Watched else value for value in arguments), *rest)

    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(Watched, name, getattr(kind, name))
    try:
        env.__class__ = Watched
    except TypeError:
        return None
    return env


class GymVectorEnv:
    """``num_envs`` Gymnasium environments in this process, in lockstep (``myosu.envs.vector.VectorEnv``).

    env: an ``EnvMaker``, or a name or function from which one is made with ``kwargs``. Episodes are the same as those
    of ``WorkerVectorEnv`` with the same ``seed``.
    """

    def __init__(self, env: EnvSource, num_envs: int, seed: int = 0, kwargs: Mapping[str, Any] | None = None) -> None:
        make = as_maker(env, kwargs)
        self.num_envs = num_envs
        self._envs: list[SingleEnv] = []
        for index in range(num_envs):
            self._envs.append(self._another(make, index, seed, num_envs > 1))
        self.spec = self._envs[0].spec
        self._rows = np.zeros(num_envs, row_type(self.spec))
        self._row = [row_at(self._rows, index) for index in range(num_envs)]
        self._sent: np.ndarray | None = None
        self._log = EpisodeLog(num_envs)

    def _another(self, make: EnvMaker, index: int, seed: int, beside_others: bool) -> SingleEnv:
        try:
            return SingleEnv(make, index, seed, beside_others)
        except UserError as error:
            if not index:
                raise
            self.num_envs = index
            self.close()
            raise UserError(f"{error} This was number {index + 1}; if this many cannot exist together (a fixed port, a "
                            f"device), lower num_envs to {index}.") from error

    def reset(self) -> None:
        self.start(np.zeros(self.num_envs, np.int64))

    def start(self, episodes: np.ndarray) -> None:
        """Like ``reset``, but begin with the episodes of these numbers, int64 [num_envs]."""
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

    def notices(self) -> list[str]:
        """Messages for the user since the last call: which engines were restarted, and why."""
        return [notice for env in self._envs for notice in env.notices()]

    def state_dict(self) -> dict[str, Any]:
        return self._log.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        play_again(self, state)

    def close(self) -> None:
        for env in self._envs:
            env.close()
