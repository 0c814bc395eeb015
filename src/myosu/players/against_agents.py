"""Two-player environments of PettingZoo in which trained agents play the other seat."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, Protocol

import numpy as np

from myosu.algorithms.interface import Agent, AgentState
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.making import EnvMaker
from myosu.envs.pettingzoo_single import Seating, TwoPlayerEnv, random_action
from myosu.envs.registry import Environment
from myosu.players.agent import stack_states
from myosu.players.opponents import load_opponent
from myosu.randomness import draw


class Opponents(Protocol):
    """Draws opponents by number (0 plays at random). exploration: probability of a random move."""

    exploration: float
    rng: np.random.Generator

    def draw(self, count: int, in_use: np.ndarray) -> np.ndarray: ...

    def agent(self, number: int) -> Agent: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class OneOpponent:
    """``Opponents`` with a single agent."""

    exploration = 0.0

    def __init__(self, agent: Agent, seed: int) -> None:
        self._agent, self.rng = agent, np.random.default_rng(seed)

    def draw(self, count: int, in_use: np.ndarray) -> np.ndarray:
        return np.ones(count, np.int64)

    def agent(self, number: int) -> Agent:
        return self._agent

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


def one_opponent(text: str, environment: Environment, seed: int) -> OneOpponent | None:
    """The opponent named ``text`` (``load_opponent``); None for "random". Raises UserError."""
    agent = load_opponent(text, environment, seed)
    return None if agent is None else OneOpponent(agent, seed)


class AgainstAgents(GymVectorEnv):
    """A ``GymVectorEnv`` of ``TwoPlayerEnv``. The opponent of an episode is drawn from ``pool`` at its first move and
    samples its moves from its policy; without ``pool`` it plays at random. An agent whose action is not a single choice
    has no such policy, and plays as it acts.

    make: makes one ``TwoPlayerEnv`` without wrappers. seat: the learner's; None: drawn for each episode.
    finished: the finished episodes, in the order of ``Step``; the caller removes them.
    """

    def __init__(self, make: EnvMaker, num_envs: int, seed: int, pool: Opponents | None, seat: int | None = None
                 ) -> None:
        super().__init__(make, num_envs, seed)
        self.pool: Any = pool
        self.finished: list[Seating] = []
        self.memory: dict[int, AgentState] = {}  # recurrent states of the opponents, by environment
        self._games: list[Any] = [env.gym_env.unwrapped for env in self._envs]
        for i, game in enumerate(self._games):
            assert isinstance(game, TwoPlayerEnv)
            game.seat, game.opponent = seat, partial(self._reply, i) if pool else None

    def send(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        seatings = [self._games[i].seating for i in env_ids]
        super().send(actions, env_ids)
        over = self._rows["terminated"] | self._rows["truncated"]
        for i, seating in zip(env_ids, seatings, strict=True):
            if over[i]:
                seating.actions = self._log.actions[i].copy()
                self.finished.append(seating)

    def state_dict(self) -> dict[str, Any]:
        return copy.deepcopy({
            **super().state_dict(), "pool": self.pool.state_dict(),
            "seatings": [vars(game.seating) for game in self._games],
            "memory": {str(i): memory for i, memory in self.memory.items()}})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for game, seating in zip(self._games, state["seatings"], strict=True):
            game.known = list(seating["replies"])
        super().load_state_dict(state)
        for game, seating in zip(self._games, state["seatings"], strict=True):
            game.seating.opponent = seating["opponent"]
        self.pool.load_state_dict(state["pool"])
        self.memory = {int(i): memory for i, memory in state["memory"].items()}

    def _reply(self, i: int, observation: Any, info: dict[str, Any]) -> Any:
        """The action of the opponent in environment ``i``, which observes this."""
        pool, seating = self.pool, self._games[i].seating
        if not seating.replies:
            self.memory.pop(i, None)
            in_use = np.array([game.seating.opponent for game in self._games])
            seating.opponent = int(pool.draw(1, in_use)[0])
        seen, legal = self._envs[i].seen(observation, info)
        action = random_action(self._games[i].action_space, legal[0] if legal.size else None, pool.rng)
        if seating.opponent > 0:
            wild, agent = pool.rng.random() < pool.exploration, pool.agent(seating.opponent)
            before = stack_states([self.memory.get(i)])
            if self.spec.action_shape:
                chosen, after = agent.act(seen, legal, *before)
            else:
                analysis = agent.analyze(seen, legal, *before)
                chosen, after = draw(analysis.policy, 1.0, pool.rng), analysis.state
            if after is not None:
                self.memory[i] = after[0]
            action = action if wild else chosen[0]
        return action
