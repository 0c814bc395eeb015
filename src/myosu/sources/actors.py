"""Create the actors of a run, in any process."""

from __future__ import annotations

from dataclasses import replace

from myosu.algorithms import algorithm_of, load_settings
from myosu.algorithms.interface import Actor, Experience
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.gym_vector import BatchVectorEnv
from myosu.envs.pettingzoo_single import Seating
from myosu.envs.scenes import SceneVectorEnv
from myosu.envs.vector import VectorEnv
from myosu.envs.workers import WorkerVectorEnv
from myosu.players.against import AgainstEnv, FinishedGame
from myosu.players.against_agents import AgainstAgents
from myosu.players.opponents import load_opponent, make_opponent
from myosu.randomness import derive_seed
from myosu.runs.config import RunConfig
from myosu.runs.state import State, Weights
from myosu.sources.pool import AgainstPool, Pool, PoolSettings


def make_actor(config: RunConfig, start: int) -> Actor:
    """Make the ``start``-th actor that the run has ever started. No two actors of a run play the same games."""
    settings, environment, algorithm = load_settings(config), config.environment, algorithm_of(config)
    env_seed, actor_seed, seed = (derive_seed(config.train.seed, k, start) for k in (1, 2, 5))
    if config.opponent is None or (environment.opponent_inside and config.opponent == "random"):
        return algorithm.make_actor(settings, environment.make(settings.num_envs, env_seed), actor_seed)
    pool = _make_pool(config, seed) if config.opponent == "pool" else None
    env: AgainstEnv | AgainstAgents
    if environment.maker is not None:
        env = AgainstAgents(environment.maker, settings.num_envs, env_seed,
                            pool or load_opponent(config.opponent, environment, seed))
    elif pool is not None:
        env = AgainstPool(environment.rules, pool, settings.num_envs, env_seed)
    else:
        opponent = make_opponent(config.opponent, environment.rules, seed=seed)
        env = AgainstEnv(environment.rules, opponent, settings.num_envs, env_seed)
    actor = algorithm.make_actor(settings, env, actor_seed)
    return ActorAgainst(actor, env) if pool is None else ActorAgainstPool(actor, env, pool)


def _make_pool(config: RunConfig, seed: int) -> Pool:
    settings, train, algorithm = load_settings(config), config.train, algorithm_of(config)
    return Pool(PoolSettings(train.pool_every, train.pool_window, train.pool_latest, train.pool_opening_plies),
                lambda weights: algorithm.make_agent(settings, config.learner_spec, weights, seed=train.seed), seed)


class ActorAgainst:
    """An actor that plays against an opponent inside the environment. Its episodes are recorded with the moves of both
    seats, so that they can be replayed: those of native games as whole games."""

    def __init__(self, actor: Actor, env: AgainstEnv | AgainstAgents) -> None:
        self.actor, self.finished = actor, env.finished
        self.env: VectorEnv = env

    def step(self) -> Experience:
        experience = self.actor.step()
        for k, episode in enumerate(experience.episodes):
            game = self.finished.pop(0)
            if isinstance(game, FinishedGame):
                assert game.record.seed == episode.seed, "records of another game"
                whole = replace(game.record, weights_version=episode.weights_version)
            else:
                whole = replace(episode, replies=game.replies)
            experience.episodes[k] = replace(
                whole, stats={**episode.stats, **self.statistics(game, episode.returns[0])})
        return experience

    def statistics(self, game: FinishedGame | Seating, learner_return: float) -> dict[str, float]:
        """Statistics of a finished game, by name."""
        return {"learner_return": learner_return}

    def load_weights(self, weights: Weights, version: int) -> None:
        self.actor.load_weights(weights, version)

    def state_dict(self) -> State:
        return self.actor.state_dict()

    def load_state_dict(self, state: State) -> None:
        self.actor.load_state_dict(state)


class ActorAgainstPool(ActorAgainst):
    """An ``ActorAgainst`` whose opponents are earlier versions of the learner. Adds pool_elo to the metrics: the
    learner's Elo rating above random play when the newest member joined the pool (``evaluation.ratings``)."""

    def __init__(self, actor: Actor, env: AgainstEnv | AgainstAgents, pool: Pool) -> None:
        super().__init__(actor, env)
        self.pool = pool

    def step(self) -> Experience:
        experience = super().step()
        self.pool.count(experience.steps)
        return experience

    def statistics(self, game: FinishedGame | Seating, learner_return: float) -> dict[str, float]:
        self.pool.record(game.opponent, learner_return)
        return {**super().statistics(game, learner_return), "pool_elo": self.pool.elo}

    def load_weights(self, weights: Weights, version: int) -> None:
        super().load_weights(weights, version)
        self.pool.load_weights(weights)


def env_notices(actor: Actor) -> tuple[str, ...]:
    """Notices of the actor's environments: a line for each worker process or engine that was replaced."""
    with_notices = WorkerVectorEnv | GymVectorEnv | BatchVectorEnv | SceneVectorEnv
    return tuple(actor.env.notices()) if isinstance(actor.env, with_notices) else ()
