"""Records episodes step by step, for actors that do not store whole episodes themselves."""

from __future__ import annotations

import numpy as np

from myosu.envs.vector import EnvSpec, Step
from myosu.runs.games import GameRecord
from myosu.runs.state import State

_ARRAYS = ("actions", "lengths", "unchosen", "to_play", "seeds", "returns", "raw_returns")


class EpisodeRecorder:
    """Records actions, returns, seed and statistics of the running episode in each of ``num_envs`` environments.

    Call ``start`` with the step after ``reset``, then ``record`` with every answer; any subset of the environments may
    answer.
    """

    def __init__(self, spec: EnvSpec, num_envs: int) -> None:
        self.spec = spec
        self.actions = np.zeros((num_envs, 64, *spec.action_shape), spec.action_dtype)  # grows with the episodes
        self.lengths = np.zeros(num_envs, np.int64)
        self.unchosen = np.zeros(num_envs, np.int64)  # random plies at the beginning of the episode
        self.to_play = np.zeros(num_envs, np.int8)
        self.seeds = np.zeros(num_envs, np.uint64)
        self.returns, self.raw_returns = np.zeros(num_envs), np.zeros(num_envs)  # of the first seat
        self.sums: dict[str, np.ndarray] = {}

    def start(self, step: Step) -> None:
        self.lengths[step.env_ids], self.seeds[step.env_ids] = 0, step.seed
        self.to_play[step.env_ids] = step.to_play

    def record(self, step: Step, actions: np.ndarray, weights_version: int,
               stats: dict[str, np.ndarray] | None = None, chosen: bool = True) -> list[GameRecord]:
        """Add ``step``, the answer to ``actions`` [n, *action_shape]. Returns the episodes that ended with it.

        stats: arrays [n] by name, with the same names at every call; an episode's record has their means.
        chosen: False for random actions at the beginning of an episode, which have no ``stats``.
        """
        ids, t = step.env_ids, self.lengths[step.env_ids]
        if t.max() >= self.actions.shape[1]:
            self.actions = np.concatenate([self.actions, np.zeros_like(self.actions)], axis=1)
        self.actions[ids, t] = actions
        self.lengths[ids] = t + 1
        self.unchosen[ids] += not chosen
        reward, raw_reward = step.reward, step.raw_reward
        if self.spec.num_players == 2:
            mover = self.to_play[ids]  # a copy
            self.to_play[ids] = step.to_play
            # Zero-sum: one player's gain is the other's loss.
            reward, raw_reward = (np.where(mover == 0, x, -x) for x in (reward, raw_reward))
        self.returns[ids] += reward
        self.raw_returns[ids] += raw_reward
        for name, values in (stats or {}).items():
            self.sums.setdefault(name, np.zeros(len(self.lengths)))[ids] += values
        ended = np.flatnonzero(step.terminated | step.truncated)
        if not len(ended):
            return []
        episodes = [self._episode(int(ids[k]), bool(step.truncated[k]), weights_version) for k in ended]
        over = ids[ended]
        for total in (self.lengths, self.unchosen, self.returns, self.raw_returns, *self.sums.values()):
            total[over] = 0
        self.seeds[over] = step.seed[ended]
        return episodes

    def _episode(self, i: int, truncated: bool, weights_version: int) -> GameRecord:
        length, unchosen = int(self.lengths[i]), int(self.unchosen[i])
        chosen = max(1, length - unchosen)
        return GameRecord(int(self.seeds[i]), self.actions[i, :length].tolist(), self.spec.by_seat(self.returns[i]),
                          not truncated, truncated, raw_returns=self.spec.by_seat(self.raw_returns[i]),
                          weights_version=weights_version, unchosen=list(range(unchosen)),
                          stats={name: float(total[i] / chosen) for name, total in self.sums.items()})

    def state_dict(self) -> State:
        return {**{name: getattr(self, name).copy() for name in _ARRAYS},
                "sums": {name: total.copy() for name, total in self.sums.items()}}

    def load_state_dict(self, state: State) -> None:
        for name in _ARRAYS:
            if name in state:  # runs of earlier versions have no ``unchosen``
                setattr(self, name, state[name].copy())
        self.sums = {name: total.copy() for name, total in state["sums"].items()}
