"""An agent alone in an environment: whole episodes, and what can honestly be said of them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from myosu.algorithms.interface import Agent
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.evaluation.statistics import Interval, mean_interval, wilson_interval

#: Environments that play at once.
MAX_ENVS = 64


@dataclass(frozen=True)
class EpisodesResult:
    """reward_range: the least and the greatest sum of rewards that there can be. Arrays [games]: the sum of rewards,
    that of the environment's own below all wrappers, actions taken, and whether a limit cut the episode.
    success_return: where an episode can be won, it was if the sum of rewards is above this."""

    game: str
    reward_range: Interval
    returns: np.ndarray
    raw_returns: np.ndarray
    lengths: np.ndarray
    truncated: np.ndarray
    seconds: float
    success_return: float | None = None

    def to_json(self) -> dict[str, Any]:
        """What ``myosu evaluate --json`` prints, without what only the caller knows."""
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
        return report | {
            "success_rate": float(won.mean()), "success_rate_ci95": list(wilson_interval(float(won.mean()), len(won))),
            "mean_success_length": float(self.lengths[won].mean()) if won.any() else None,
        }


def play_episodes(environment: Environment, agent: Agent, games: int, seed: int = 0) -> EpisodesResult:
    """``games`` whole episodes, two at least, each cut after ``spec.max_steps`` if it has not ended by then.

    Every environment plays its share, settled beforehand: were the first to end the ones that count, short episodes
    would count too often.
    """
    if games < 2:
        raise UserError(f"--games {games}: two at least, or nothing can be said of the spread.")
    begin = time.perf_counter()
    count = min(games, MAX_ENVS)
    env = environment.make(count, seed)
    shares = games // count + (np.arange(count) < games % count)
    done: list[tuple[float, float, int, bool]] = []
    totals = np.zeros((count, 3))  # reward, raw reward, actions
    env.reset()
    step = env.recv()
    state, starts = None, np.ones(count, np.bool_)
    try:
        while shares.any():
            action, state = agent.act(step.observation, step.legal_actions, state, starts)
            env.send(action, np.arange(count))
            step = env.recv()
            totals += np.stack([step.reward, step.raw_reward, np.ones(count)], axis=1)
            starts = step.terminated | step.truncated
            for i in np.flatnonzero(starts):
                if shares[i]:
                    shares[i] -= 1
                    done.append((*totals[i], step.truncated[i]))
            totals[starts] = 0
    finally:
        env.close()
    returns, raw, lengths, truncated = (np.array(column) for column in zip(*done, strict=True))
    reward_range = environment.game.reward_range if environment.game else (-math.inf, math.inf)
    return EpisodesResult(environment.name, reward_range, returns, raw, lengths, truncated, time.perf_counter() - begin,
                          environment.game.success_return if environment.game else None)
