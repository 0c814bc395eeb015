"""From a configuration to the folder of a run that can be trained."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from myosu.algorithms import load_algorithm, load_settings
from myosu.errors import UserError
from myosu.runs.config import RunConfig
from myosu.runs.run import Run, create_folder


def create_run(config: RunConfig, folder: str | Path | None = None) -> Run:
    """A new run in ``folder``, by default ``runs/GAME-ALGORITHM-DATE-TIME``; what depends on this machine is decided.

    Raises UserError where something is already, or the configuration is impossible.
    """
    algorithm = load_algorithm(config.algorithm)
    if algorithm.ACTORS == "only in turn" and config.train.actors:
        raise UserError(f"actors = {config.train.actors}: {config.algorithm} learns only from what its newest policy "
                        "did, so it acts and learns in turn (actors = 0). num_envs and env_workers spread its "
                        "environments.")
    settings = algorithm.resolve(load_settings(config), config.environment.spec, config.train.deterministic)
    return create_folder(dataclasses.replace(config, algorithm_config=dataclasses.asdict(settings)), folder)


def actor_count(config: RunConfig) -> int:
    """Actor processes; 0 where actor and learner take turns."""
    if config.train.deterministic:
        return 0
    if config.train.actors is not None:
        return config.train.actors
    return max(1, (os.cpu_count() or 1) - 1) if load_algorithm(config.algorithm).ACTORS == "beside" else 0
