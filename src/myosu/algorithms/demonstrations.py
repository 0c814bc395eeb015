"""Recorded games as what reward signals imitate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from myosu.envs.playback import Move
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.runs.recordings import open_recording


def load_demonstrations(recordings: tuple[str, ...], spec: EnvSpec, stored: Callable[[np.ndarray], np.ndarray]
                        ) -> dict[str, np.ndarray]:
    """Every step of these recorded games (``open_recording``): columns observation [n, ...], action, terminated.

    stored: from the environment's actions [n, *action_shape] to those of the algorithm. Raises UserError where one is
    missing, of another environment, or has no game that can be played again.
    """
    moves: list[Move] = []
    for source in recordings:
        recording = open_recording(source, spec)
        environment = recording.environment if recording.origin else None
        if environment and environment.spec != spec:
            raise UserError(f"The games in {source} are of {environment.name}, whose observations or actions are not "
                            "those of this run.")
        for record in recording.records():
            moves += list(record.moves(environment))
    if not moves:
        raise UserError(f"There is nothing to imitate in {', '.join(recordings) or 'recordings, which is empty'}: name "
                        "folders of runs or of myosu record, or .demo files.")
    return {"observation": np.array([move.observation for move in moves]),
            "action": stored(np.array([move.action for move in moves])),
            "terminated": np.array([move.terminated for move in moves])}
