"""Evaluation of an agent over whole episodes, in single-player environments and in PettingZoo's for two."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from myosu.algorithms.interface import Agent, positions_in
from myosu.envs.pettingzoo_single import Seating
from myosu.envs.registry import Environment
from myosu.envs.vector import Step, VectorEnv
from myosu.errors import UserError
from myosu.evaluation.match import Score, require_both_seats, score_json
from myosu.evaluation.statistics import Interval, mean_interval, wilson_interval
from myosu.players.against_agents import AgainstAgents
from myosu.players.opponents import load_opponent
from myosu.randomness import derive_seed

#: Maximum number of parallel environments.
MAX_ENVS = 64


@dataclass(frozen=True)
class EpisodesResult:
    """Results of evaluation episodes.

    reward_range: the least and greatest possible return. returns, raw_returns, lengths, truncated: arrays [games] with
    the return, the return of the environment's own rewards before any wrapper, the number of actions, and whether the
    episode was truncated. max_steps: maximum length of an episode. success_return: in games that can be won, an episode
    with a greater return is a win; else None."""

    game: str
    reward_range: Interval
    returns: np.ndarray
    raw_returns: np.ndarray
    lengths: np.ndarray
    truncated: np.ndarray
    seconds: float
    max_steps: int
    success_return: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields of ``myosu evaluate --json`` that are computed from the episodes."""
        report = {
            "game": self.game, "games": len(self.returns),
            "mean_reward": float(self.returns.mean()),
            "mean_reward_ci95": list(mean_interval(self.returns, self.reward_range)),
            "std_reward": float(self.returns.std()), "median_reward": float(np.median(self.returns)),
            "min_reward": float(self.returns.min()), "max_reward": float(self.returns.max()),
            "mean_raw_reward": float(self.raw_returns.mean()),
            "mean_length": float(self.lengths.mean()), "truncated_rate": float(self.truncated.mean()),
            "seconds": round(self.seconds, 3),
        }
        if self.success_return is None:
            return report
        won = self.returns > self.success_return
        to_win = steps_to_win(self.lengths, won, self.max_steps)
        return report | {
            "mean_steps_to_win": float(to_win.mean()),
            "mean_steps_to_win_ci95": list(mean_interval(to_win, (1.0, float(self.max_steps)))),
            "success_rate": float(won.mean()), "success_rate_ci95": list(wilson_interval(float(won.mean()), len(won))),
            "mean_success_length": float(self.lengths[won].mean()) if won.any() else None,
        }


def steps_to_win(lengths: np.ndarray, won: np.ndarray, max_steps: int) -> np.ndarray:
    """Steps to win, float64 [games]; ``max_steps`` for games that were not won, so that losing fast does not count."""
    return np.where(won, lengths, max_steps).astype(np.float64)


class Playing:
    """``agent`` acting in ``env``, in any subset of the environments at a time; keeps a recurrent state for each."""

    def __init__(self, agent: Agent, env: VectorEnv) -> None:
        self._agent, self._env = agent, env
        self._state: np.ndarray | None = None  # [num_envs, ...]

    def send(self, step: Step) -> np.ndarray:
        """Send the agent's actions for ``step``, which may contain no environment. Returns them, [n, *action_shape]."""
        ids, spec = step.env_ids, self._env.spec
        if not len(ids):
            return np.zeros((0, *spec.action_shape), spec.action_dtype)
        state = None if self._state is None else self._state[ids]
        starts = np.ones(len(ids), np.bool_) if state is None else step.terminated | step.truncated
        action, after = self._agent.act(step.observation, step.legal_actions, state, starts,
                                        **positions_in(self._agent, self._env, ids))
        if after is not None:
            if self._state is None:
                self._state = np.zeros((self._env.num_envs, *after.shape[1:]), after.dtype)
            self._state[ids] = after
        self._env.send(action, ids)
        return action


def play_episodes(environment: Environment, agent: Agent, games: int, seed: int = 0,
                  most_steps: float = math.inf, make: Callable[[int, int], VectorEnv] | None = None) -> EpisodesResult:
    """Play ``games`` ≥ 2 whole episodes, each truncated after ``spec.max_steps``.

    Every environment plays a fixed number of episodes and then stops, because counting the first ``games`` episodes to
    end would be biased towards short ones.

    most_steps: maximum number of steps over all episodes; then running episodes are truncated and no others begin.
    make: replaces ``environment.make``.
    """
    if games < 2:
        raise UserError(f"--games {games}: at least two are needed to estimate the spread.")
    begin = time.perf_counter()
    count = min(games, environment.most_at_once or MAX_ENVS)
    env = (make or environment.make)(count, seed)
    shares = games // count + (np.arange(count) < games % count)
    done: list[tuple[float, float, int, bool]] = []
    totals = np.zeros((count, 3))  # reward, raw reward, actions
    env.reset()
    step, taken = env.recv(), 0
    player = Playing(agent, env)
    try:
        while shares.any():
            player.send(step)
            step = env.recv()  # other libraries' vector environments may return only some of the environments
            ids = step.env_ids
            totals[ids] += np.stack([step.reward, step.raw_reward, np.ones(len(ids))], axis=1)
            taken += len(ids)
            over = step.terminated | step.truncated | (taken >= most_steps)
            for i, terminated in zip(ids[over].tolist(), step.terminated[over], strict=True):
                shares[i] = shares[i] - 1 if taken < most_steps else 0
                done.append((*totals[i], not terminated))
                totals[i] = 0
            goes_on = shares[ids] > 0
            if not goes_on.all():
                step = Step(**{name: values[goes_on] for name, values in vars(step).items()})
    finally:
        env.close()
    returns, raw, lengths, truncated = (np.array(column) for column in zip(*done, strict=True))
    reward_range = environment.game.reward_range if environment.game else (-math.inf, math.inf)
    return EpisodesResult(environment.name, reward_range, returns, raw, lengths, truncated, time.perf_counter() - begin,
                          environment.spec.max_steps, environment.game.success_return if environment.game else None)


def play_both_seats(environment: Environment, agent: Agent, opponent: str, games: int, seed: int = 0,
                    most_steps: float = math.inf) -> dict[str, Any]:
    """Play ``games`` episodes of a two-player environment of PettingZoo, half from each seat, against ``opponent``
    (``load_opponent``). A win is a return above 0. Returns the fields of ``EpisodesResult.to_json`` and of
    ``MatchResult.to_json``, without opening plies. most_steps: as in ``play_episodes``."""
    require_both_seats(games)
    other, seats, finished = load_opponent(opponent, environment, seed), list[EpisodesResult](), list[Seating]()

    def make(seat: int, count: int, seed: int) -> VectorEnv:
        assert environment.maker is not None
        env = AgainstAgents(environment.maker, count, seed, other, seat)
        env.finished = finished
        return env

    for seat in (0, 1):
        seats.append(play_episodes(environment, agent, games // 2, derive_seed(seed, seat), most_steps / 2,
                                   partial(make, seat)))
    whole: dict[str, Any] = {name: np.concatenate([getattr(played, name) for played in seats])
                             for name in ("returns", "raw_returns", "lengths", "truncated")}
    both = replace(seats[0], seconds=seats[0].seconds + seats[1].seconds, **whole)
    total, first, second = (score_json(Score.of(played.returns[:, None])) for played in (both, *seats))
    return {**both.to_json(), "opponent": opponent, **total, "first_seat": first, "second_seat": second,
            "distinct_games": len(set(map(str, finished)))}
