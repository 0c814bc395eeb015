"""One thread that searches for all games: requests within a few milliseconds form one batch."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from myosu.algorithms.interface import Agent, AgentState, known_positions
from myosu.players.agent import Turn, recall, stack_states

#: Seconds that the first request waits for others; positions per batch; maximum number of agents in memory.
GATHER, BATCH, AGENTS = 0.003, 128, 4


@dataclass(frozen=True)
class PositionAnalysis:
    """One row of ``Analysis``: an agent's evaluation of one position.

    policy, visits: [A]; visits is None without a search. line: the expected actions. state: the recurrent state after
    the position, None if the agent has none. parts: name → [A]. owners: for each point of a Go board, from −1 (surely
    White's at the end) to 1 (surely Black's).
    """

    action: int
    policy: np.ndarray
    value: float
    visits: np.ndarray | None
    line: list[int]
    state: AgentState | None = None
    parts: dict[str, np.ndarray] | None = None
    owners: np.ndarray | None = None


@dataclass
class _Request:
    checkpoint: str
    simulations: int
    turns: list[Turn]
    state: AgentState | None
    answer: asyncio.Future[PositionAnalysis]

    @property
    def batch(self) -> tuple[int, str]:
        return self.simulations, self.checkpoint


class Analyzer:
    """Runs agents in its own thread.

    load: returns the agent for a checkpoint's name. owners: maps a position [1] to ``PositionAnalysis.owners``.
    ``batches`` counts the searches, ``positions`` the positions in them.
    """

    def __init__(self, load: Callable[[str], Agent], owners: Callable[[Any], np.ndarray] | None = None) -> None:
        self._load, self._owners = load, owners
        self._agents: OrderedDict[str, Agent] = OrderedDict()
        self._have_memory: dict[str, bool] = {}
        self._waiting: list[_Request] = []
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "analyzer", initializer=_one_thread)
        self.batches = self.positions = 0

    async def has_memory(self, checkpoint: str) -> bool:
        """Whether the agent of ``checkpoint`` has a recurrent state, which the caller must pass."""
        if checkpoint not in self._have_memory:
            self._have_memory[checkpoint] = await asyncio.get_running_loop().run_in_executor(
                self._thread, lambda: self._agent(checkpoint).has_memory)
        return self._have_memory[checkpoint]

    async def analyze(self, checkpoint: str, simulations: int, turns: list[Turn], state: AgentState | None = None
                    ) -> PositionAnalysis:
        """Evaluate the last of ``turns`` with the agent of ``checkpoint``.

        An agent with recurrent state first observes the earlier turns. state: its state before the first of them, None
        if its game begins there.
        """
        request = _Request(checkpoint, simulations, turns, state, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await request.answer

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    async def _work(self) -> None:
        await asyncio.sleep(GATHER)
        while self._waiting:
            # Short searches go first, so no request waits long for a deep one.
            self._waiting.sort(key=lambda request: request.batch)
            _, group = next(groupby(self._waiting, key=lambda request: request.batch))
            batch = list(group)[:BATCH]
            del self._waiting[:len(batch)]
            batch = [request for request in batch if not request.answer.done()]  # the others were cancelled
            if batch:
                await self._answer(batch)

    async def _answer(self, batch: list[_Request]) -> None:
        try:
            analyses = await asyncio.get_running_loop().run_in_executor(self._thread, self._analyze, batch)
        except Exception as error:  # reported to all requests of the batch
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        self.batches += 1
        self.positions += len(batch)
        for request, analysis in zip(batch, analyses, strict=True):
            if not request.answer.done():
                request.answer.set_result(analysis)

    def _analyze(self, batch: list[_Request]) -> list[PositionAnalysis]:
        """Evaluate a batch. Runs in the thread."""
        agent, simulations = self._agent(batch[0].checkpoint), batch[0].simulations
        states = [recall(agent, request.turns[:-1], request.state) for request in batch]
        observation, legal, positions = (np.stack(arrays) for arrays in zip(*(request.turns[-1] for request in batch),
                                                                            strict=True))
        found = agent.analyze(observation, legal, *stack_states(states), simulations,
                              **known_positions(agent, positions))
        return [PositionAnalysis(int(found.action[i]), found.policy[i], float(found.value[i]),
                        None if found.visits is None else found.visits[i], found.lines[i],
                        None if found.state is None else found.state[i],
                        None if found.parts is None else {name: part[i] for name, part in found.parts.items()},
                        None if self._owners is None else self._owners(positions[i:i + 1])) for i in range(len(batch))]

    def _agent(self, checkpoint: str) -> Agent:
        if checkpoint not in self._agents:
            self._agents[checkpoint] = self._load(checkpoint)
            if len(self._agents) > AGENTS:
                self._agents.popitem(last=False)
        self._agents.move_to_end(checkpoint)
        return self._agents[checkpoint]


def shares(analysis: PositionAnalysis) -> np.ndarray:
    """[A], sum 1: the numbers that determine the move.

    With a search these are the fractions of simulations, otherwise the policy. The agent plays a move with the greatest
    number.
    """
    return analysis.policy if analysis.visits is None else analysis.visits / analysis.visits.sum()


def choose(analysis: PositionAnalysis, temperature: float, rng: np.random.Generator) -> int:
    """The agent's action; with a temperature, an action sampled in proportion to shares ** (1 / temperature)."""
    if temperature == 0:
        return analysis.action
    share = shares(analysis)
    weights = np.where(share > 0, np.log(np.maximum(share, 1e-30)) / temperature, -np.inf)
    weights = np.exp(weights - weights.max())
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def analysis_to_json(analysis: PositionAnalysis, legal_line: list[int]) -> dict[str, Any]:
    """The analysis as JSON, with the at most twelve actions of greatest share.

    Among equal shares the chosen action comes first, then those with the greater policy.
    """
    share, chosen = shares(analysis), np.arange(len(analysis.policy)) == analysis.action
    first = [int(action) for action in np.lexsort((-analysis.policy, ~chosen, -share))[:12] if share[action] > 0]
    message = {"action": analysis.action, "value": round(analysis.value, 4), "line": legal_line,
               "shares": [[action, round(float(share[action]), 4)] for action in first],
               "visits": None if analysis.visits is None else [int(analysis.visits[action]) for action in first]}
    if analysis.parts is not None:  # with the shares of all actions
        message["parts"] = {name: _numbers(part) for name, part in {**analysis.parts, "visits": share}.items()}
    if analysis.owners is not None:
        message["owners"] = _numbers(analysis.owners)
    return message


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 3) for value in values.tolist()]


def _one_thread() -> None:
    from myosu.randomness import use_one_thread

    use_one_thread()
