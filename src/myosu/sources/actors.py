"""Making the actors of a run, in whichever process."""

from __future__ import annotations

from myosu.algorithms import algorithm_of, load_settings
from myosu.algorithms.interface import Actor
from myosu.envs.workers import WorkerVectorEnv
from myosu.randomness import derive_seed
from myosu.runs.config import RunConfig


def make_actor(config: RunConfig, start: int) -> Actor:
    """The ``start``-th actor that the run ever started: no two of a run play the same games."""
    settings, seed = load_settings(config), config.train.seed
    env = config.environment.make(settings.num_envs, derive_seed(seed, 1, start), config.train.env_workers)
    return algorithm_of(config).make_actor(settings, env, derive_seed(seed, 2, start))


def env_notices(actor: Actor) -> tuple[str, ...]:
    """What the actor's environments have to tell: a line for each worker process that was replaced."""
    return tuple(actor.env.notices()) if isinstance(actor.env, WorkerVectorEnv) else ()
