"""Where experience comes from: actors in turn with the learner, actor processes, or recorded games."""

from __future__ import annotations

import os

from myosu.algorithms import algorithm_of
from myosu.runs.config import RunConfig
from myosu.sources.in_turn import ActorInTurn
from myosu.sources.processes import ActorProcesses
from myosu.sources.recorded import RecordedGames
from myosu.sources.source import Source


def make_source(config: RunConfig) -> Source:
    """The source that the algorithm asks for, or that the configuration says."""
    if algorithm_of(config).SOURCE == "recorded":
        return RecordedGames(config)
    count = actor_count(config)
    return ActorProcesses(config, count) if count else ActorInTurn(config)


def actor_count(config: RunConfig) -> int:
    """Actor processes; 0 where there are none, or actor and learner take turns."""
    if config.train.deterministic:
        return 0
    if config.train.actors is not None:
        return config.train.actors
    return max(1, (os.cpu_count() or 1) - 1) if algorithm_of(config).SOURCE == "processes" else 0
