"""Recorded games as what reward signals imitate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.runs.demo import SUFFIX, read_demo
from myosu.runs.episodes import EpisodeIndex
from myosu.runs.run import open_run


def load_demonstrations(recordings: tuple[str, ...], spec: EnvSpec, stored: Callable[[np.ndarray], np.ndarray]
                        ) -> dict[str, np.ndarray]:
    """Every step of the games that these runs recorded, or that ``.demo`` files hold: columns observation [n, ...],
    action, terminated.

    stored: from the environment's actions [n, *action_shape] to those of the algorithm. Raises UserError where a run
    is missing, of another environment, or has no game that can be played again.
    """
    moves = []
    for folder in recordings:
        if folder.endswith(SUFFIX):
            moves += [move for episode in read_demo(Path(folder), spec) for move in episode]
            continue
        environment = open_run(folder).config.environment
        if environment.spec != spec:
            raise UserError(f"The games in {folder} are of {environment.name}, whose observations or actions are not "
                            "those of this run.")
        for record in EpisodeIndex(Path(folder)).with_actions():
            moves += list(record.moves(environment))
    if not moves:
        raise UserError(f"There is nothing to imitate in {', '.join(recordings) or 'recordings, which is empty'}: name "
                        "folders of runs with recorded games, or .demo files.")
    return {"observation": np.array([move.observation for move in moves]),
            "action": stored(np.array([move.action for move in moves])),
            "terminated": np.array([move.terminated for move in moves])}
