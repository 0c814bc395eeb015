"""Recorded games as demonstrations for imitation learning (GAIL and cloning losses)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from myosu.envs.playback import Move
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.rewards.gail import GAIL
from myosu.runs.recordings import open_recording


def load_demonstrations(recordings: tuple[str, ...], spec: EnvSpec, stored: Callable[[np.ndarray], np.ndarray]
                        ) -> dict[str, np.ndarray]:
    """All steps of recorded games (``open_recording``): columns observation [n, ...], legal_actions bool [n, A],
    action, terminated.

    stored: maps the environment's actions [n, *action_shape] to the algorithm's. Raises UserError if a recording is
    missing or comes from an environment with other observations or actions, or if no game can be replayed.
    """
    moves: list[Move] = []
    for source in recordings:
        recording = open_recording(source, spec)
        environment = recording.environment if recording.origin else None
        if environment and not _fits(environment.spec, spec):
            raise UserError(f"The games in {source} are of {environment.name}, whose observations or actions are not "
                            "those of this run.")
        for record in recording.records():
            moves += list(record.moves(environment))
    if not moves:
        raise UserError(f"There is nothing to imitate in {', '.join(recordings) or 'recordings, which is empty'}: name "
                        "folders of runs or of myosu record, or .demo files.")
    return {"observation": np.array([move.observation for move in moves]),
            "action": stored(np.array([move.action for move in moves])),
            "legal_actions": np.array([move.legal_actions for move in moves]),
            "terminated": np.array([move.terminated for move in moves])}


def _fits(one: EnvSpec, other: EnvSpec) -> bool:
    """Whether observations and actions are the same, as for a native game and the Gymnasium environment made of it."""
    names = ("observation_shape", "observation_dtype", "num_actions", "num_players", "action_branches", "action_low",
             "action_high")
    return all(getattr(one, name) == getattr(other, name) for name in names)


class Imitates(Protocol):
    """The imitation settings of an algorithm's ``Config``."""

    @property
    def gail_weight(self) -> float: ...

    @property
    def gail_discount(self) -> float: ...

    @property
    def recordings(self) -> tuple[str, ...]: ...


def gail_signals(config: Imitates, spec: EnvSpec, stored: Callable[[np.ndarray], np.ndarray],
                 action_features: Callable[[np.ndarray], np.ndarray], epochs: int, seed: int) -> list[GAIL]:
    """The reward signal for imitating ``config.recordings``; empty if its weight is 0.

    stored: see ``load_demonstrations``, also for the UserError raised. action_features, epochs: see ``GAIL``.
    """
    if not config.gail_weight:
        return []
    return [GAIL(spec, load_demonstrations(config.recordings, spec, stored), action_features, config.gail_discount,
                 config.gail_weight, epochs=epochs, seed=seed)]
