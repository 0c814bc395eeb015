"""Two-player environments of PettingZoo in which trained agents play the other seat."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np

from myosu.algorithms.interface import Agent, AgentState, known_positions
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.making import EnvMaker
from myosu.envs.pettingzoo_single import Seating, random_action
from myosu.players.agent import stack_states


class Opponents:
    """The opponents of episodes, by number (0 plays at random); here one agent. exploration: probability of a random
    move instead of the agent's."""

    exploration = 0.0

    def __init__(self, agent: Agent, seed: int) -> None:
        self._agent, self.rng = agent, np.random.default_rng(seed)

    def draw(self, count: int, in_use: np.ndarray) -> np.ndarray:
        return np.ones(count, np.int64)

    def agent(self, number: int) -> Agent:
        return self._agent

    def actions(self, number: int, memory: dict[int, AgentState], env_ids: list[int], observation: np.ndarray,
                legal_actions: np.ndarray, positions: np.ndarray | None = None, single: bool = True) -> np.ndarray:
        """Actions of opponent ``number`` in the environments ``env_ids``, sampled from its policy. Updates ``memory``,
        the recurrent states by environment. single: whether an action is one choice; other agents just act."""
        agent, before = self.agent(number), stack_states([memory.get(i) for i in env_ids])
        if single:
            analysis = agent.analyze(observation, legal_actions, *before, **known_positions(agent, positions))
            policy, after = analysis.policy, analysis.state
            chosen = (policy.cumsum(1) > self.rng.random((len(policy), 1)) * policy.sum(1, keepdims=True)).argmax(1)
        else:
            chosen, after = agent.act(observation, legal_actions, *before)
        if after is not None:
            memory.update(zip(env_ids, after, strict=True))
        return chosen

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


class AgainstAgents(GymVectorEnv):
    """A ``GymVectorEnv`` of ``TwoPlayerEnv``. Each episode's opponent is drawn from ``pool`` at its first move. It
    samples its moves from its policy, or just acts where an action is not one choice. Without ``pool`` it plays at
    random.

    seat: the learner's; None: drawn for each episode. finished: the finished episodes, in the order of ``Step``; the
    caller removes them.
    """

    def __init__(self, make: EnvMaker, num_envs: int, seed: int, pool: Opponents | None, seat: int | None = None
                 ) -> None:
        super().__init__(make, num_envs, seed)
        self.pool: Any = pool
        self.finished: list[Seating] = []
        self.memory: dict[int, AgentState] = {}  # recurrent states of the opponents, by environment
        self._games: list[Any] = [env.gym_env.unwrapped for env in self._envs]
        for i, game in enumerate(self._games):
            game.seat, game.opponent = seat, partial(self._reply, i) if pool else None

    def send(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        seatings = [self._games[i].seating for i in env_ids]
        super().send(actions, env_ids)
        for i, seating in zip(env_ids, seatings, strict=True):
            if seating is not self._games[i].seating:  # the next episode has begun
                seating.actions = self._log.actions[i].copy()
                self.finished.append(seating)

    def state_dict(self) -> dict[str, Any]:
        return copy.deepcopy({**super().state_dict(), "pool": self.pool.state_dict(),
                              "seatings": [vars(game.seating) for game in self._games],
                              "memory": {str(i): memory for i, memory in self.memory.items()}})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        seatings = [Seating(**seating) for seating in copy.deepcopy(state["seatings"])]
        for game, seating in zip(self._games, seatings, strict=True):
            game.known = seating.replies.copy()
        super().load_state_dict(state)
        for game, seating in zip(self._games, seatings, strict=True):
            game.seating = seating
        self.pool.load_state_dict(state["pool"])
        self.memory = {int(i): memory for i, memory in state["memory"].items()}

    def _reply(self, i: int, observation: Any, info: dict[str, Any]) -> Any:
        """The action of the opponent in environment ``i``."""
        pool, game = self.pool, self._games[i]
        seating = game.seating
        if not seating.replies:
            self.memory.pop(i, None)
            seating.opponent = int(pool.draw(1, np.array([game.seating.opponent for game in self._games]))[0])
        seen, legal = self._envs[i].seen(observation, info)
        wild = pool.rng.random() < pool.exploration
        if seating.opponent:
            single = not self.spec.action_shape
            chosen = pool.actions(seating.opponent, self.memory, [i], seen, legal, single=single)
            if not wild:
                return chosen[0]
        return random_action(game.action_space, legal[0] if legal.size else None, pool.rng)
