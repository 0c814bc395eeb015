"""All agents of the scenes in game engines as environments (``myosu.envs.vector.VectorEnv``)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from myosu.envs.engines.engine_env import Engine, Event
from myosu.envs.engines.process import EngineLost
from myosu.envs.gym_env import EnvSource, SingleEnv, as_maker, row_at, row_type, step_of, truncate_on_resume
from myosu.envs.making import WRAPPERS, EnvMaker
from myosu.envs.vector import Step
from myosu.errors import UserError


@dataclass(frozen=True)
class _Scene:
    """An engine, and the environments that are its agents, in their order."""

    engine: Engine
    ids: range


class SceneVectorEnv:
    """``num_envs`` agents of one behaviour as environments, in as many engines as they need.

    env: an ``EnvMaker`` of an ``EngineEnv``, or a name from which one is made with ``kwargs``.

    An engine goes on as soon as its agents were sent their actions, and all engines at the same time. ``recv`` returns
    the agents that have answered. An agent that decides less often than others, or whose next episode begins only after
    the others have acted, answers later. Agents that were sent no action, and those of the last engine beyond
    ``num_envs``, do what the engine's link chooses for them.

    If an engine is lost, the episodes of all its agents are truncated, with reward 0 and the last observation. Agents
    of one scene may influence each other, so episodes cannot be replayed: a resumed run truncates them.

    ``__init__``, ``send`` and ``recv`` raise UserError when the game breaks a rule, or fails repeatedly.
    """

    def __init__(self, env: EnvSource, num_envs: int, seed: int = 0, kwargs: Mapping[str, Any] | None = None) -> None:
        make = as_maker(env, kwargs)
        if make.kwargs.get(WRAPPERS):
            raise UserError(f"{make.name} has several agents, and wrappers can be put around one: add --env-workers "
                            "synchronous, which trains the first agent of each engine.")
        self._name, self.num_envs = make.name, num_envs
        self._scenes: list[_Scene] = []
        self._notices: list[str] = []
        try:
            while (first := sum(len(scene.ids) for scene in self._scenes)) < num_envs:
                engine: Engine = make().unwrapped.engine  # type: ignore[attr-defined]
                self._scenes.append(_Scene(engine, range(first, min(num_envs, first + engine.agents))))
        except BaseException:
            self.close()
            raise
        last = self._scenes[-1]
        if len(last.ids) < last.engine.agents:
            warnings.warn(f"{make.name} has {last.engine.agents} agents: only {len(last.ids)} of the last engine's are "
                          f"played, because there are {num_envs} environments.", stacklevel=2)
        engines = [scene.engine for scene in self._scenes for _ in scene.ids]
        self._envs = [SingleEnv(make.of(_view(engine, make)), index, seed) for index, engine in enumerate(engines)]
        self.spec = self._envs[0].spec
        self._rows = np.zeros(num_envs, row_type(self.spec))
        self._row = [row_at(self._rows, index) for index in range(num_envs)]
        #: Environments whose results are pending, in the order sent; those of which the actions are not with their
        #: engines yet; those whose results are in the rows.
        self._sent: list[int] = []
        self._unsent: set[int] = set()
        self._ready: set[int] = set()
        #: Environments whose episode has ended and whose next one has not begun.
        self._over: set[int] = set()

    def reset(self) -> None:
        self._start(np.zeros(self.num_envs, np.int64))

    def _start(self, episodes: np.ndarray) -> None:
        """Begin the episodes of these numbers, int64 [num_envs]."""
        for name in ("reward", "terminated", "truncated", "raw_reward"):
            self._rows[name] = 0
        for scene in self._scenes:
            self._begin_all(scene, episodes)
        self._sent, self._unsent = list(range(self.num_envs)), set()

    def send(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        self._rows["action"][env_ids] = actions
        self._sent += env_ids.tolist()
        self._unsent |= set(env_ids.tolist()) - self._ready

    def recv(self, min_ready: int | None = None) -> Step:
        """Also raises UserError if fewer than ``min_ready`` agents have answered."""
        assert self._sent, "recv() without send()"
        while not self._ready.intersection(self._sent):
            self._run()
        ids = np.array([index for index in self._sent if index in self._ready])
        if len(ids) < min(min_ready or 1, len(self._sent)):
            raise UserError(f"{self._name}: its agents do not act at the same time, but this algorithm steps all "
                            "environments together. Train the first agent of each engine (--env-workers synchronous), "
                            "or use ppo, dqn, sac or muesli.")
        self._sent = [index for index in self._sent if index not in self._ready]
        self._ready -= set(ids.tolist())
        return step_of(self._rows, ids)

    def _run(self) -> None:
        """Send the actions to all engines of pending environments, then wait for the answers of each."""
        running = []
        for scene in self._scenes:
            if not any(index in self._sent for index in scene.ids):
                continue
            actions = {index - scene.ids.start: self._envs[index].decode(self._rows["action"][index])
                       for index in scene.ids if index in self._unsent and index not in self._over}
            self._unsent -= set(scene.ids)
            try:
                scene.engine.link.act(actions)
                running.append(scene)
            except EngineLost as lost:
                self._lose(scene, lost)
        for scene in running:
            try:
                self._take(scene, scene.engine.link.answers())
            except EngineLost as lost:
                self._lose(scene, lost)

    def _take(self, scene: _Scene, events: list[Event]) -> None:
        """Write what happened to the agents of a scene to their rows, and begin their next episodes."""
        cut: list[Event] = []
        for agent, event in events:
            index = scene.ids[agent]
            if len(event) == 2:
                self._begin(scene, [(agent, event)])
            elif self._envs[index].take(self._row[index], event):
                self._over.add(index)
                if not (event[2] or event[3]):
                    cut.append((agent, (event[0], event[4])))
            else:
                self._note_ready(index)
        if ended := {index - scene.ids.start: self._envs[index].seed_of(self._envs[index].episode + 1)
                     for index in scene.ids if index in self._over}:
            self._begin(scene, scene.engine.link.restart(ended) or cut)

    def _begin(self, scene: _Scene, events: Iterable[Event]) -> None:
        for agent, event in events:
            index = scene.ids[agent]
            self._envs[index].begin(self._row[index], self._envs[index].episode + 1, event)
            self._over.discard(index)
            self._note_ready(index)

    def _begin_all(self, scene: _Scene, episodes: np.ndarray) -> None:
        """Begin the episodes of these numbers in a scene, int64 [num_envs]."""
        seeds = [self._envs[index].seed_of(int(episodes[index])) for index in scene.ids]
        for agent, event in scene.engine.reset(seeds):
            index = scene.ids[agent]
            self._envs[index].begin(self._row[index], int(episodes[index]), event)
            self._ready.add(index)
        self._over -= set(scene.ids)

    def _lose(self, scene: _Scene, lost: EngineLost) -> None:
        scene.engine.lose(lost)
        for index in set(scene.ids) - self._over:
            row = self._row[index]
            row["reward"][0], row["raw_reward"][0], row["terminated"][0], row["truncated"][0] = 0, 0, False, True
            row["final_observation"][0] = row["observation"][0]
        self._begin_all(scene, np.array([env.episode + 1 for env in self._envs]))

    def _note_ready(self, index: int) -> None:
        if index in self._sent:
            self._ready.add(index)

    def notices(self) -> list[str]:
        """Messages for the user since the last call: which engines were restarted, and why."""
        notices, self._notices = self._notices, []
        return notices + [f"{self._name} (engine {number}): {notice}" for number, scene in enumerate(self._scenes)
                          for notice in scene.engine.notices()]

    def state_dict(self) -> dict[str, Any]:
        late = np.zeros(self.num_envs, np.bool_)
        late[list(self._over)] = True
        return {"episodes": np.array([env.episode for env in self._envs]), "sent": np.array(self._sent, np.int64),
                "late": late, "rows": self._rows.view(np.uint8).reshape(self.num_envs, -1).copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._start(state["episodes"] + 1)
        self._notices.append(truncate_on_resume(self._rows, state, self._name))
        self._sent = state["sent"].tolist()

    def close(self) -> None:
        for scene in self._scenes:
            scene.engine.close()


class _View(gymnasium.Env):
    """The spaces and the step limit of one agent; it is stepped with all others."""

    def __init__(self, engine: Engine, limit: int | None) -> None:
        self.observation_space, self.action_space = engine.observation_space, engine.action_space
        self._max_episode_steps = limit


def _view(engine: Engine, make: EnvMaker) -> Any:
    return lambda: _View(engine, make.limit)
