"""Adapts Gymnasium vector environments (``gymnasium.vector.VectorEnv``) to ``myosu.envs.vector.VectorEnv``.

They differ in when the next episode begins (``metadata["autoreset_mode"]``):

- DISABLED: on ``reset(options={"reset_mask": …})``, which is called immediately after an episode ends.
- SAME_STEP: in the step that ends an episode, whose true last observation is in ``info["final_obs"]``.
- NEXT_STEP: in the step after that, whatever the action. The ended environment's result is held back until then; the
  other environments' results are returned meanwhile, as if it were slower.

``SyncVectorEnv`` and ``AsyncVectorEnv`` seed each environment separately and can reset each alone, in any mode: their
episodes are the same as those of ``GymVectorEnv``, and a resumed run continues exactly. Other vector environments share
random numbers between environments, so episodes cannot be replayed: when a run is resumed, their running episodes are
truncated and new ones begin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import iterate

from myosu.envs.gym_env import (
    EnvSource,
    EpisodeLog,
    SingleEnv,
    as_maker,
    row_at,
    row_type,
    step_of,
    truncate_on_resume,
)
from myosu.envs.making import EnvMaker, close_env
from myosu.envs.spaces import BadValue, Layout
from myosu.envs.vector import Step
from myosu.envs.vector_forms import OneOfVector, batch_of, info_of, last_of, mode_of
from myosu.errors import UserError, describe


class BatchVectorEnv:
    """``num_envs`` environments in a Gymnasium vector environment (``myosu.envs.vector.VectorEnv``).

    env: an ``EnvMaker`` of a vector environment, or a name or function from which one is made with ``kwargs``.

    A vector environment always steps all its environments. Those that were sent no action take some legal action, and
    their results are dropped. An episode that reaches a limit of Myosu's rather than the environment's is truncated; if
    environments cannot be reset alone, the next episode continues from there.

    ``__init__``, ``send`` and ``recv`` raise UserError when the environment raises or breaks a rule.
    """

    def __init__(self, env: EnvSource, num_envs: int, seed: int = 0, kwargs: Mapping[str, Any] | None = None) -> None:
        make = as_maker(env, kwargs)
        self._name, self.num_envs = make.name, num_envs
        self._vector = make.make_vector(num_envs)
        self._mode = mode_of(self._vector, make.name)
        #: Environments are seeded separately, so that their episodes can be replayed.
        self.exact = type(self._vector) in (SyncVectorEnv, AsyncVectorEnv)
        self._resets = self.exact or self._mode == AutoresetMode.DISABLED
        self._masks: Any = None
        self._envs = [SingleEnv(self._view(make, index), index, seed) for index in range(num_envs)]
        self.spec = self._envs[0].spec
        #: Observations are plain arrays, and there are no masks from a method.
        self._plain = isinstance(self._vector.single_observation_space, (spaces.Box, spaces.MultiBinary)) and not any(
            hasattr(env.gym_env, "action_masks") for env in self._envs)
        self._layout = Layout(self._vector.single_observation_space, self._vector.single_action_space, make.name)
        self._rows = np.zeros(num_envs, row_type(self.spec))
        self._row = [row_at(self._rows, index) for index in range(num_envs)]
        self._log = EpisodeLog(num_envs)
        #: Environments whose results are pending, in the order sent; whether these results are in the rows already;
        #: environments whose episode has ended and whose next one begins with the next step (NEXT_STEP).
        self._sent: list[int] = []
        self._answered = False
        self._late = np.zeros(num_envs, np.bool_)
        self._notices: list[str] = []
        self._closed = False

    def _view(self, make: EnvMaker, index: int) -> EnvMaker:
        view = OneOfVector(self._vector, make.name, make.limit, index)
        if hasattr(view, "action_masks"):
            view.action_masks = lambda: self._masks_by_method()[index]
        return make.of(lambda: view)

    def _masks_by_method(self) -> Any:
        if self._masks is None:
            self._masks = self._call("action_masks", self._vector.call, "action_masks")  # type: ignore[attr-defined]
        return self._masks

    def reset(self) -> None:
        self.start(np.zeros(self.num_envs, np.int64))

    def start(self, episodes: np.ndarray) -> None:
        """Like ``reset``, but begin with the episodes of these numbers, int64 [num_envs]."""
        self._log.start(episodes)
        seeds = [env.seed_of(episode) for env, episode in zip(self._envs, episodes.tolist(), strict=True)]
        self._begin(range(self.num_envs), episodes, self._reset(seed=seeds if self.exact else seeds[0]))
        for name in ("reward", "terminated", "truncated", "raw_reward"):
            self._rows[name] = 0
        self._late[:] = False
        self._sent, self._answered = list(range(self.num_envs)), True

    def send(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        self._rows["action"][env_ids] = actions
        if self.exact:
            self._log.act(self._rows["action"][env_ids], env_ids)
        self._sent += env_ids.tolist()

    def recv(self, min_ready: int | None = None) -> Step:
        """Also raises UserError if fewer than ``min_ready`` results are available because some environments begin
        their next episode only in the next step (NEXT_STEP)."""
        assert self._sent, "recv() without send()"
        if not self._answered:
            self._step()
        while self._late[self._sent].all():
            self._step()
        self._answered = False
        ids = np.array([index for index in self._sent if not self._late[index]])
        if len(ids) < min(min_ready or 1, len(self._sent)):
            raise UserError(f"{self._name} begins an episode one step after the previous one ended (NEXT_STEP), but "
                            "this algorithm steps all environments together. Make it with autoreset_mode SAME_STEP "
                            "or DISABLED, or use ppo, dqn, sac or muesli.")
        self._sent = [index for index in self._sent if self._late[index]]
        step = step_of(self._rows, ids)
        self._log.end(ids[step.terminated | step.truncated])
        return step

    def _step(self) -> None:
        """Step all environments and write the results to ``self._rows``."""
        idle = np.ones(self.num_envs, np.bool_)
        idle[self._sent] = False
        for index in np.flatnonzero(idle | self._late).tolist():
            self._row[index]["action"][0] = self._some_action(index)
        answer = self._call("step", self._vector.step, self._native_actions())
        if not isinstance(answer, tuple) or len(answer) != 5:
            raise self._error("step() must return (observations, rewards, terminations, truncations, infos).")
        batch, rewards, terminated, truncated, infos = answer
        left = self._write_at_once(*answer)
        observations = self._each(batch) if len(left) else []
        over: list[int] = []
        for index in left.tolist():
            env, row, observation = self._envs[index], self._row[index], observations[index]
            info = info_of(infos, index)
            if self._late[index]:
                env.begin(row, env.episode + 1, (observation, info))
                self._late[index] = False
                continue
            ended = bool(terminated[index] or truncated[index])
            if ended and self._mode == AutoresetMode.SAME_STEP:
                last = self._call("step", last_of, self._vector, infos, index)
            else:
                last = observation
            if not env.take(row, (last, rewards[index], terminated[index], truncated[index], info)):
                continue
            if self._resets:
                over.append(index)
            elif ended and self._mode == AutoresetMode.NEXT_STEP:
                self._late[index] = True
            else:
                env.begin(row, env.episode + 1, (observation, info))
        if over:
            self._begin_again(over, [self._envs[index].episode + 1 for index in over])

    def _write_at_once(self, batch: Any, rewards: Any, terminated: Any, truncated: Any, infos: Any) -> np.ndarray:
        """Write the results of all environments whose episodes continue, in one call.

        Returns the environments, int64 [n], that remain to be written one by one: all of them if an error needs a
        precise message, or if observations are not plain arrays or there are masks.
        """
        everyone = np.arange(self.num_envs)
        if not self._plain or (isinstance(infos, Mapping) and "action_mask" in infos):
            return everyone
        try:
            left = self._late | np.asarray(terminated, np.bool_) | np.asarray(truncated, np.bool_)
            earned = np.asarray(rewards, np.float32)
            self._layout.write(self._rows["observation"][None], batch)
        except (BadValue, ValueError, TypeError):
            return everyone
        if left.shape != everyone.shape or earned.shape != everyone.shape or not np.isfinite(earned).all():
            return everyone
        left |= np.array([env.steps for env in self._envs]) + 1 >= self.spec.max_steps
        goes_on = np.flatnonzero(~left)  # rows of the others may hold the end of an episode that was not received yet
        for index in goes_on.tolist():
            self._envs[index].steps += 1
        for name, values in {"reward": earned[goes_on], "raw_reward": earned[goes_on], "terminated": False,
                             "truncated": False}.items():
            self._rows[name][goes_on] = values
        return np.flatnonzero(left)

    def _begin_again(self, ids: list[int], episodes: list[int]) -> None:
        """Reset only these environments, and begin the episodes of these numbers."""
        mask = np.zeros(self.num_envs, np.bool_)
        mask[ids] = True
        seeds: list[int | None] = [None] * self.num_envs
        for index, episode in zip(ids, episodes, strict=True):
            seeds[index] = self._envs[index].seed_of(episode)
        self._begin(ids, episodes, self._reset(seed=seeds if self.exact else None, options={"reset_mask": mask}))

    def _begin(self, ids: Any, episodes: Any, answer: tuple[list[Any], Any]) -> None:
        observations, infos = answer
        for index, episode in zip(ids, episodes, strict=True):
            self._envs[index].begin(self._row[index], int(episode), (observations[index], info_of(infos, index)))

    def _reset(self, **arguments: Any) -> tuple[list[Any], Any]:
        """Reset the vector environment. Returns the observations of all environments, and the infos."""
        answer = self._call("reset", lambda: self._vector.reset(**arguments))
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise self._error("reset() must return (observations, infos).")
        return self._each(answer[0]), answer[1]

    def _each(self, batch: Any) -> list[Any]:
        """Split a batch of observations into a list."""
        observations = self._call("reset() or step", lambda: list(iterate(self._vector.observation_space, batch)))
        if len(observations) != self.num_envs:
            raise self._error(f"there are {len(observations)} observations for {self.num_envs} environments.")
        return observations

    def _some_action(self, index: int) -> np.ndarray:
        if self.spec.action_low:
            return np.clip(0.0, self.spec.action_low, self.spec.action_high)
        mask = self._row[index]["legal_actions"][0]
        return np.array([branch.argmax() for branch in self.spec.branch_masks(mask)]).reshape(self.spec.action_shape)

    def _native_actions(self) -> Any:
        space, actions = self._vector.single_action_space, self._rows["action"]
        if isinstance(space, spaces.Discrete):
            return (actions + space.start).astype(space.dtype)
        return batch_of(self._vector, [env.decode(action) for env, action in zip(self._envs, actions, strict=True)])

    def notices(self) -> list[str]:
        """Messages for the user since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def state_dict(self) -> dict[str, Any]:
        if self.exact:
            return self._log.state_dict()
        return {"episodes": self._log.episodes.copy(), "sent": np.array(self._sent, np.int64),
                "late": self._late.copy(), "rows": self._rows.view(np.uint8).reshape(self.num_envs, -1).copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.exact:
            self._play_again(state["episodes"], state["actions"])
            return
        self.start(state["episodes"] + 1)
        self._log.start(state["episodes"])
        self._notices.append(truncate_on_resume(self._rows, state, self._name))
        self._sent = state["sent"].tolist()

    def _play_again(self, episodes: np.ndarray, actions: list[np.ndarray]) -> None:
        """Replay the same episodes with the same actions. Shorter ones begin later, so that all reach the present
        together."""
        lengths = np.array([len(played) for played in actions])
        begins = lengths.max() - lengths
        self.start(episodes)
        self.recv()
        for t in range(lengths.max() + 1):
            if t and len(ids := np.flatnonzero(begins == t)):
                self._begin_again(ids.tolist(), episodes[ids].tolist())
            if t == lengths.max():
                break
            ids = np.flatnonzero(begins <= t)
            self.send(np.array([actions[index][t - begins[index]] for index in ids]), ids)
            self.recv()

    def close(self) -> None:
        """Close the vector environment, once. Errors become warnings, because the work is done by then."""
        if not self._closed:
            self._closed = True
            close_env(self._vector, self._name)

    def _call(self, name: str, function: Callable, *arguments: Any) -> Any:
        self._masks = None
        try:
            return function(*arguments)
        except (Exception, SystemExit) as error:
            raise self._error(f"{name}() raised {describe(error)}.") from error

    def _error(self, what: str) -> UserError:
        return UserError(f"{self._name} (a vector environment of {self.num_envs}): {what} Correct the environment.")
