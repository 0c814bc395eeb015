"""A trained agent for use in Python programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from myosu.algorithms.interface import known_positions
from myosu.envs.gym_env import SingleEnv
from myosu.errors import UserError
from myosu.players.agent import load_agent
from myosu.runs.checkpoint import find_checkpoint


class TrainedAgent:
    """The agent of a run or checkpoint.

    A recurrent agent's state is kept from one call of ``act`` to the next; ``reset`` clears it.

    path: the checkpoint's path. name: shown in results. config: the training run's ``RunConfig``. spec: the
    environment's ``EnvSpec``.

    Raises UserError if there is no agent, or its code is not trusted (see ``load_agent``).
    """

    def __init__(self, path: str | Path, simulations: int | None = None, seed: int = 0,
                 trust: bool = False) -> None:
        self.name = str(path)
        found = find_checkpoint(path)
        self.path = found.path.absolute()  # an environment may change the working directory
        self._checkpoint = dataclasses.replace(found, path=self.path)
        self.agent, self.environment, self.config = load_agent(self.path, simulations, seed, trust=trust)
        self.simulations = simulations or self.config.algorithm_config.get("simulations")
        self.spec = self.environment.spec
        self._state: np.ndarray | None = None

    def act(self, observation: Any, legal_actions: Any = None, starts: Any = None, positions: Any = None) -> Any:
        """The action for one observation, or the actions for many.

        observation: one, as the environment returns it; or many: an array [n, *shape], a list, a dictionary of arrays
        [n, ...], or the observations of ``myosu.make``'s environments.
        legal_actions: bool [A] or [n, A], by default all actions; required for two-player games.
        starts: bool or bool [n], whether an episode begins with this observation. Only used by recurrent agents; by
        default episodes begin with the first call after ``reset``.
        positions: the game's true state, or many [n] (``env.states`` of ``myosu.make``'s environments). Required by
        agents that search by the rules (AlphaZero) and ignored by others.

        Returns one action as the environment's own ``step`` takes it; or actions [n, *spec.action_shape] as
        ``myosu.make``'s environments take them: discrete actions counted from 0, continuous actions with their
        components in one axis.
        """
        batch, single = self._batch(observation)
        n = len(batch)
        state = self._state
        if state is not None and len(state) != n:
            raise UserError(f"The agent has the state of {len(state)} episodes, but got {n} observations: call "
                            "reset() before new episodes.")
        begin = None if starts is None else np.broadcast_to(np.asarray(starts, np.bool_), n)
        known = known_positions(self.agent, None if positions is None else np.atleast_1d(np.asarray(positions)))
        actions, self._state = self.agent.act(batch, self._mask(legal_actions, n), state, begin, **known)
        actions = np.asarray(actions, self.spec.action_dtype)
        if single:
            return self._reader.decode(actions[0]) if self._reader else actions[0]
        return np.clip(actions, self.spec.action_low, self.spec.action_high) if self.spec.action_low else actions

    def reset(self) -> None:
        """Clear the recurrent state; new episodes begin with the next observation."""
        self._state = None

    def save(self, path: str | Path) -> Path:
        """Write the agent to a new folder, which ``myosu.load`` and all commands that play accept in place of a run.
        Raises UserError if ``path`` exists."""
        folder = Path(path).absolute()
        self._checkpoint.save_agent(folder)
        return folder

    @cached_property
    def _reader(self) -> SingleEnv | None:
        """Encoder and decoder for the spaces of a Gymnasium environment; None for native games."""
        if self.environment.maker is None:
            return None
        reader = SingleEnv(self.environment.maker, 0, 0)
        reader.close()
        return reader

    def _batch(self, observation: Any) -> tuple[np.ndarray, bool]:
        """Observations [n, *shape] as the network takes them, and whether ``observation`` was a single one."""
        shape, dtype = self.spec.observation_shape, np.dtype(self.spec.observation_dtype)
        if isinstance(observation, np.ndarray) and observation.dtype == dtype and observation.shape[1:] == shape \
                and observation.ndim == 1 + len(shape):
            return observation, False
        if self._reader is None:
            array = np.asarray(observation, dtype)
            if array.shape not in (shape, (len(array), *shape)):
                raise UserError(f"The observation has the shape {list(array.shape)}: it must be {list(shape)} for one, "
                                f"or [n, {', '.join(map(str, shape))}] for many.")
            return (array[None], True) if array.shape == shape else (array, False)
        return self._encoded(self._reader, observation)

    def _encoded(self, reader: SingleEnv, observation: Any) -> tuple[np.ndarray, bool]:
        try:
            return reader.encode(observation), True
        except UserError as error:
            try:
                many = [reader.encode(one) for one in _split(observation)]
            except (UserError, TypeError, IndexError):
                raise error from None  # neither a single observation nor a batch
            return np.concatenate(many), False

    def _mask(self, legal_actions: Any, n: int) -> np.ndarray:
        width = self.spec.num_actions
        if legal_actions is None:
            if self.spec.num_players == 2:
                raise UserError(f"{self.environment.name} needs the mask of legal actions: pass legal_actions, "
                                "bool [A] or [n, A].")
            return np.ones((n, width), np.bool_)
        mask = np.asarray(legal_actions).astype(np.bool_)
        if mask.shape not in ((width,), (n, width)):
            raise UserError(f"legal_actions has the shape {list(mask.shape)}: it must be [{width}] or [{n}, {width}].")
        return np.ascontiguousarray(np.broadcast_to(mask, (n, width)))


def _split(observations: Any) -> list[Any]:
    """A list, an array or a dictionary of arrays as a list of single observations."""
    if not isinstance(observations, Mapping):
        return list(observations)
    parts = {key: _split(part) for key, part in observations.items()}
    count = len(next(iter(parts.values())))
    return [{key: part[i] for key, part in parts.items()} for i in range(count)]
