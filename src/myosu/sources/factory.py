"""Which source a run has."""

from __future__ import annotations

import os

from myosu.algorithms import algorithm_of, load_settings
from myosu.nets.inference import choose_device
from myosu.runs.config import RunConfig
from myosu.sources.in_turn import ActorInTurn
from myosu.sources.processes import ActorProcesses
from myosu.sources.ray import ClusterActors
from myosu.sources.recorded import RecordedGames
from myosu.sources.source import Source
from myosu.sources.threads import ActorThreads

#: Actors that share a card with the learner: two search while the third takes its games on.
CARD_ACTORS = 3


def make_source(config: RunConfig, cluster: str | None = None) -> Source:
    """The source that the algorithm asks for, or that the configuration says; actors in the Ray cluster at ``cluster``
    if there is one (``ray.require_cluster``)."""
    if cluster is not None:
        return ClusterActors(config, cluster, config.train.actors)
    if algorithm_of(config).SOURCE == "recorded":
        return RecordedGames(config)
    count = actor_count(config)
    if not count:
        return ActorInTurn(config)
    # Processes would share a card by taking turns; threads share it by working on it at once.
    return ActorThreads(config, count) if on_card(config) else ActorProcesses(config, count)


def actor_count(config: RunConfig) -> int:
    """Actor processes; 0 where there are none, or actor and learner take turns."""
    if config.train.deterministic:
        return 0
    if config.train.actors is not None:
        return config.train.actors
    if algorithm_of(config).SOURCE != "processes":
        return 0
    return CARD_ACTORS if on_card(config) else max(1, (os.cpu_count() or 1) - 1)


def on_card(config: RunConfig) -> bool:
    """Whether actors and learner work on the same CUDA device."""
    return choose_device(getattr(load_settings(config), "device", "cpu")).type == "cuda"
