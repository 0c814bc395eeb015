"""A trained agent as a person's own program holds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from myosu.envs.gym_env import SingleEnv
from myosu.errors import UserError
from myosu.players.agent import load_agent
from myosu.runs.checkpoint import find_checkpoint


class TrainedAgent:
    """The agent in a run's folder or in one of its checkpoints, ready to act.

    What it remembers of an episode, if it has a memory, it keeps from one call of ``act`` to the next; ``reset``
    forgets it. path: of its checkpoint. name: as results call it. config: how it was trained (``RunConfig``). spec:
    what its environment is like (``EnvSpec``).

    Raises UserError where there is no agent, or its code may not run (see ``load_agent``).
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

    def act(self, observation: Any, legal_actions: Any = None, starts: Any = None) -> Any:
        """The action for one observation, or the actions for many.

        observation: one, as the environment gives it; or many: an array [n, *shape], a list, a dictionary of arrays
            [n, ...], or what ``myosu.make``'s environments give.
        legal_actions: bool [A] or [n, A], by default everything; games for two need it.
        starts: bool or bool [n], which episodes begin with this observation. Only an agent with a memory reads it; if
            it is left out, those of the first call after ``reset`` begin.

        Returns one action as the environment's own ``step`` takes it; or actions [n, *spec.action_shape], as
        ``myosu.make``'s environments take them: choices counted from 0, components of a continuous action in one axis.
        """
        batch, single = self._batch(observation)
        n = len(batch)
        state = self._state
        if state is not None and len(state) != n:
            raise UserError(f"The agent remembers {len(state)} episodes and now sees {n} observations: call reset() "
                            "where other episodes begin.")
        begin = None if starts is None else np.broadcast_to(np.asarray(starts, np.bool_), n)
        actions, self._state = self.agent.act(batch, self._mask(legal_actions, n), state, begin)
        actions = np.asarray(actions, self.spec.action_dtype)
        if single:
            return self._reader.decode(actions[0]) if self._reader else actions[0]
        return np.clip(actions, self.spec.action_low, self.spec.action_high) if self.spec.action_low else actions

    def reset(self) -> None:
        """Forget the episodes: new ones begin with the next observation."""
        self._state = None

    def save(self, path: str | Path) -> Path:
        """Write the agent into a folder of its own, which ``myosu.load`` and every command that plays take for a run's.
        Raises UserError where something is there already."""
        folder = Path(path).absolute()
        self._checkpoint.save_agent(folder)
        return folder

    @cached_property
    def _reader(self) -> SingleEnv | None:
        """Knows the spaces of a Gymnasium environment."""
        if self.environment.maker is None:
            return None
        reader = SingleEnv(self.environment.maker, 0, 0)
        reader.close()
        return reader

    def _batch(self, observation: Any) -> tuple[np.ndarray, bool]:
        """Observations [n, *shape] as the network takes them, and whether it is a single one."""
        shape, dtype = self.spec.observation_shape, np.dtype(self.spec.observation_dtype)
        if isinstance(observation, np.ndarray) and observation.dtype == dtype and observation.shape[1:] == shape \
                and observation.ndim == 1 + len(shape):
            return observation, False
        if self._reader is None:
            array = np.asarray(observation, dtype)
            if array.shape not in (shape, (len(array), *shape)):
                raise UserError(f"The observation has the shape {list(array.shape)}: of one it is {list(shape)}, of "
                                f"many [n, {', '.join(map(str, shape))}].")
            return (array[None], True) if array.shape == shape else (array, False)
        return self._encoded(self._reader, observation)

    def _encoded(self, reader: SingleEnv, observation: Any) -> tuple[np.ndarray, bool]:
        try:
            return reader.encode(observation), True
        except UserError as error:
            try:
                many = [reader.encode(one) for one in _split(observation)]
            except (UserError, TypeError, IndexError):
                raise error from None  # neither one nor many
            return np.concatenate(many), False

    def _mask(self, legal_actions: Any, n: int) -> np.ndarray:
        width = self.spec.num_actions
        if legal_actions is None:
            if self.spec.num_players == 2:
                raise UserError(f"{self.environment.name}: which actions are legal does not follow from the "
                                "observation. Give legal_actions, bool [A] or [n, A].")
            return np.ones((n, width), np.bool_)
        mask = np.asarray(legal_actions).astype(np.bool_)
        if mask.shape not in ((width,), (n, width)):
            raise UserError(f"legal_actions has the shape {list(mask.shape)}: it must be [{width}] or [{n}, {width}].")
        return np.ascontiguousarray(np.broadcast_to(mask, (n, width)))


def _split(observations: Any) -> list[Any]:
    """Single observations out of a list, an array, or a dictionary of arrays."""
    if not isinstance(observations, Mapping):
        return list(observations)
    parts = {key: _split(part) for key, part in observations.items()}
    count = len(next(iter(parts.values())))
    return [{key: part[i] for key, part in parts.items()} for i in range(count)]
