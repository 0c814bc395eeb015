"""Chooses the source of experience of a run."""

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

#: Number of actors that share a GPU with the learner: while two search, the third steps its environments.
GPU_ACTORS = 3


def make_source(config: RunConfig, cluster: str | None = None) -> Source:
    """Make the source that the configuration sets, by default the algorithm's ``SOURCE``. cluster: address of a Ray
    cluster for the actors (``ray.require_cluster``)."""
    if cluster is not None:
        return ClusterActors(config, cluster, config.train.actors)
    if algorithm_of(config).SOURCE == "recorded":
        return RecordedGames(config)
    count = actor_count(config)
    if not count:
        return ActorInTurn(config)
    # Processes would take turns on the GPU; threads of one process use it concurrently.
    return ActorThreads(config, count) if on_gpu(config) else ActorProcesses(config, count)


def actor_count(config: RunConfig) -> int:
    """Number of parallel actors; 0 if actor and learner take turns, or if there is no actor."""
    if config.train.deterministic:
        return 0
    if config.train.actors is not None:
        return config.train.actors
    if algorithm_of(config).SOURCE != "processes":
        return 0
    return GPU_ACTORS if on_gpu(config) else max(1, (os.cpu_count() or 1) - 1)


def on_gpu(config: RunConfig) -> bool:
    """Whether actors and learner use the same CUDA device."""
    return choose_device(getattr(load_settings(config), "device", "cpu")).type == "cuda"
