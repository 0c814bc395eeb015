"""A recorded episode played again, to be learnt from: what was seen and earned at each step."""

from __future__ import annotations

from typing import Any

import numpy as np

from myosu.envs.course import Course
from myosu.envs.gym_env import SingleEnv, row_at, row_type
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.games import Game
from myosu.replay.episode import PlayedEpisode


class EpisodePlayer:
    """Plays episodes of ``environment`` again, one after another."""

    def __init__(self, environment: Environment) -> None:
        self._game, self._dtype = environment.game, environment.spec.action_dtype
        self._env = SingleEnv(environment.maker, 0, 0) if environment.maker else None

    def play(self, seed: int, actions: list[Any]) -> PlayedEpisode:
        """The episode of this seed and these actions [T, *action_shape]. Raises UserError where it goes differently:
        where an action is not allowed, or the episode ends early."""
        played = np.array(actions, self._dtype)
        if self._game is not None:
            return _play_game(self._game, seed, played)
        assert self._env is not None
        return _play_env(self._env, seed, played)

    def close(self) -> None:
        if self._env is not None:
            self._env.close()


def _play_game(game: Game, seed: int, actions: np.ndarray) -> PlayedEpisode:
    course = Course(game, seed)
    observation, legal, seats, rewards = [course.observation(course.now)], [], [], []
    for action in actions.tolist():
        before = course.now
        legal.append(course.legal_actions())
        after = course.play(action)
        seats.append(before.to_play)
        rewards.append(after.returns[before.to_play] - before.returns[before.to_play])
        observation.append(course.observation(after))
    return PlayedEpisode(np.stack(observation), np.stack(legal), actions, np.array(seats, np.int8),
                         np.array(rewards, np.float32), course.now.terminated)


def _play_env(env: SingleEnv, seed: int, actions: np.ndarray) -> PlayedEpisode:
    row = row_at(np.zeros(1, row_type(env.spec)), 0)
    env.start(row, 0, seed)
    observation, legal, rewards = [row["observation"][0].copy()], [], []
    for t, action in enumerate(actions):
        legal.append(row["legal_actions"][0].copy())
        row["action"][0] = action
        env.step(row)
        rewards.append(row["reward"][0])
        ended = bool(row["terminated"][0] or row["truncated"][0])
        observation.append(row["final_observation" if ended else "observation"][0].copy())
        if ended and t + 1 < len(actions):
            raise UserError(f"the episode ends after {t + 1} of its {len(actions)} steps")
    return PlayedEpisode(np.stack(observation), np.stack(legal), actions, np.zeros(len(actions), np.int8),
                         np.array(rewards, np.float32), bool(row["terminated"][0]))
