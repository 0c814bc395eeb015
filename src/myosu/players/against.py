"""A two-player game as a single-player environment: a fixed opponent takes the other seat."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from myosu.envs.native import game_spec
from myosu.envs.vector import Step
from myosu.errors import UserError
from myosu.games.game import Game
from myosu.games.playout import mix64
from myosu.players.player import RESIGNS, History, Player
from myosu.runs.games import GameRecord


class FinishedGame(NamedTuple):
    """record: the whole game, with the moves of both seats. seat: the learner's seat. opponent: the opponent's index,
    if there are several."""

    record: GameRecord
    seat: int
    opponent: int


class AgainstEnv:
    """A ``VectorEnv`` of ``num_envs`` games of ``game`` against ``opponent``. ``close`` also closes the opponent.

    One step is the learner's action and the opponent's reply. The reward is the learner's own minus the opponent's. If
    the opponent resigns, its reward is minus the maximum reward. The learner's seat alternates between episodes; half
    of the environments start in each seat.

    A game is truncated when the learner is to move after ``max_plies`` or more plies, so that ``final_observation`` is
    always in the learner's view. Such a game may be one ply longer than in other environments.

    finished: the finished games, in the order of ``Step``; the caller removes them after reading.
    """

    def __init__(self, game: Game, opponent: Player, num_envs: int, seed: int = 0) -> None:
        if game.num_players != 2:
            raise UserError(f"{game.name} is single-player: there is no opponent in it.")
        self.game, self.opponent, self.num_envs = game, opponent, num_envs
        self.spec, self._by_seat = game_spec(game).against_opponent(), game_spec(game).by_seat
        self.finished: list[FinishedGame] = []
        self.seed = np.uint64(seed)
        self.states = np.zeros(num_envs, game.state_dtype)
        self.episodes = np.zeros(num_envs, np.uint64)
        # Both [num_envs, (reward, raw reward)] of the learner: the return so far, and the reward of the opponent's
        # opening move, which is added to the learner's first step.
        self.returns, self.owed = np.zeros((num_envs, 2)), np.zeros((num_envs, 2), np.float32)
        self.histories: list[History] = [[] for _ in range(num_envs)]
        self._resigned = np.zeros(num_envs, np.bool_)  # whether the opponent resigned in its latest move
        #: Index of each environment's opponent, if there are several (``sources.pool``).
        self.facing = np.zeros(num_envs, np.int64)
        #: Number of random opening plies of each game (``sources.pool``).
        self.opened = np.zeros(num_envs, np.int64)
        self._rules = replace(game, rewards="score").batch
        self._pending: Step | None = None

    def reset(self) -> None:
        self.episodes[:] = 0
        self.finished.clear()
        ids = np.arange(self.num_envs)
        self._start(ids)
        nothing = np.zeros(self.num_envs, np.float32)
        nowhere = np.zeros(self.num_envs, np.bool_)
        self._pending = self._step(ids, nothing, nothing.copy(), nowhere, nowhere.copy(), self._no_observations(ids))

    def send(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        reward, raw_reward, terminated = self._play(env_ids, actions)
        going = np.flatnonzero(~terminated)
        lost, raw_lost, terminated[going] = self._play_opponents(env_ids[going])
        reward[going] -= lost
        raw_reward[going] -= raw_lost
        reward += self.owed[env_ids, 0]
        raw_reward += self.owed[env_ids, 1]
        self.owed[env_ids] = 0
        self.returns[env_ids] += np.stack([reward, raw_reward], axis=1)
        plies = np.array([len(self.histories[i]) for i in env_ids])
        truncated = ~terminated & (plies >= self.game.max_plies)
        final_observation = self._no_observations(env_ids)
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            over = env_ids[ended]
            observed = self._no_observations(over)
            self.game.batch.observe(self.states[over], observed)
            final_observation[ended] = observed
            for i, seed, cut in zip(over, self._seeds(over), truncated[ended], strict=True):
                seat = int(self._seats(i))
                first, raw_first = self.returns[i] if seat == 0 else -self.returns[i]
                record = GameRecord(int(seed), self.histories[i], self._by_seat(first), not cut, bool(cut),
                                    raw_returns=self._by_seat(raw_first), adjudicated=bool(self._resigned[i]),
                                    unchosen=list(range(self.opened[i])))
                self.finished.append(FinishedGame(record, seat, int(self.facing[i])))
            self.episodes[over] += np.uint64(1)
            self._start(over)
        self._pending = self._step(env_ids, reward, raw_reward, terminated, truncated, final_observation)

    def recv(self, min_ready: int | None = None) -> Step:
        step, self._pending = self._pending, None
        assert step is not None, "recv() without send()"
        return step

    def close(self) -> None:
        self.opponent.close()

    def state_dict(self) -> dict[str, Any]:
        """The complete state, for an exact resume. Call it between ``recv`` and ``send``."""
        raw = self.states.view(np.uint8).reshape(self.num_envs, -1)
        return {"states": raw.copy(), "episodes": self.episodes.copy(), "returns": self.returns.copy(),
                "owed": self.owed.copy(), "opened": self.opened.copy(),
                "histories": copy.deepcopy(self.histories), "opponent": self._chance()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.states[:] = np.ascontiguousarray(state["states"]).view(self.game.state_dtype).reshape(-1)
        for name in ("episodes", "returns", "owed", "opened"):
            getattr(self, name)[:] = state[name]
        self.histories = copy.deepcopy(state["histories"])
        if state["opponent"] is not None:
            self.opponent.rng.bit_generator.state = state["opponent"]  # type: ignore[attr-defined]

    def _chance(self) -> Any:
        """The state of the opponent's random number generator, if it has one."""
        rng = getattr(self.opponent, "rng", None)
        return None if rng is None else rng.bit_generator.state

    def _seats(self, env_ids: np.ndarray) -> np.ndarray:
        """The learner's seats, 0 or 1."""
        return (env_ids + self.episodes[env_ids].astype(np.int64)) % 2

    def _seeds(self, env_ids: np.ndarray) -> np.ndarray:
        return np.array([mix64(mix64(mix64(self.seed) + np.uint64(i)) + self.episodes[i]) for i in env_ids], np.uint64)

    def _start(self, env_ids: np.ndarray, open_randomly: bool = True) -> None:
        """Start new games. The opponent moves in those where it is to move first."""
        states = self.states[env_ids]
        self._rules.init(states, self._seeds(env_ids))
        self.states[env_ids] = states
        for i in env_ids:
            self.histories[i] = []
        self._resigned[env_ids] = False
        self.returns[env_ids] = self.owed[env_ids] = self.opened[env_ids] = 0
        over = self._play_openings(env_ids) if open_randomly else np.zeros(len(env_ids), np.bool_)
        waiting = env_ids[~over & (self.opened[env_ids] % 2 != self._seats(env_ids))]
        lost, raw_lost, ended = self._play_opponents(waiting)
        self.owed[waiting] = -np.stack([lost, raw_lost], axis=1)
        again = np.concatenate([env_ids[over], waiting[ended]])
        if len(again):  # games that ended before the learner's first move
            assert open_randomly, "a game that ends with its first move"
            self._start(again, open_randomly=False)

    def _play_openings(self, env_ids: np.ndarray) -> np.ndarray:
        """Play random opening moves and count them in ``opened``; here none. Returns bool [n], whether the opening
        ended the game."""
        return np.zeros(len(env_ids), np.bool_)

    def _play_opponents(self, env_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Play the opponent's moves. Returns its rewards, its raw rewards, and whether the games ended."""
        if not len(env_ids):
            return np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(0, np.bool_)
        actions = self._opponents_actions(env_ids)
        resigns = self._resigned[env_ids] = actions == RESIGNS
        reward, raw_reward = np.zeros((2, len(env_ids)), np.float32)
        ended = resigns.copy()
        reward[resigns] = raw_reward[resigns] = -self.game.reward_range[1]
        plays = np.flatnonzero(~resigns)
        reward[plays], raw_reward[plays], ended[plays] = self._play(env_ids[plays], actions[plays])
        return reward, raw_reward, ended

    def _opponents_actions(self, env_ids: np.ndarray) -> np.ndarray:
        return self.opponent.choose(self.states[env_ids], [self.histories[i] for i in env_ids])

    def _play(self, env_ids: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Play one move per game. Returns the mover's rewards, its raw rewards, and whether the games ended."""
        states, count = self.states[env_ids], len(env_ids)
        raw_reward, ended = np.zeros(count, np.float32), np.zeros(count, np.bool_)
        self._rules.step(states, np.asarray(actions, np.int64), raw_reward, ended)
        self.states[env_ids] = states
        for i, action in zip(env_ids, actions, strict=True):
            self.histories[i].append(int(action))
        return (np.sign(raw_reward) if self.game.rewards == "outcome" else raw_reward.copy()), raw_reward, ended

    def _no_observations(self, env_ids: np.ndarray) -> np.ndarray:
        return np.zeros((len(env_ids), *self.spec.observation_shape), self.spec.observation_dtype)

    def _step(self, env_ids: np.ndarray, reward: np.ndarray, raw_reward: np.ndarray, terminated: np.ndarray,
              truncated: np.ndarray, final_observation: np.ndarray) -> Step:
        states, observation = self.states[env_ids], self._no_observations(env_ids)
        legal = np.zeros((len(env_ids), self.spec.num_actions), np.bool_)
        self._rules.observe(states, observation)
        self._rules.legal_actions(states, legal)
        return Step(
            env_ids=env_ids, observation=observation, legal_actions=legal, to_play=np.zeros(len(env_ids), np.int8),
            reward=reward, terminated=terminated, truncated=truncated, final_observation=final_observation,
            raw_reward=raw_reward, seed=self._seeds(env_ids))
