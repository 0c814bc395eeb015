"""Create the actors of a run, in any process."""

from __future__ import annotations

from dataclasses import replace

from myosu.algorithms import algorithm_of, load_settings
from myosu.algorithms.interface import Actor, Experience
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.gym_vector import BatchVectorEnv
from myosu.envs.scenes import SceneVectorEnv
from myosu.envs.vector import VectorEnv
from myosu.envs.workers import WorkerVectorEnv
from myosu.games.game import Game
from myosu.players.against import AgainstEnv, FinishedGame
from myosu.players.opponents import make_opponent
from myosu.randomness import derive_seed
from myosu.runs.config import RunConfig
from myosu.runs.state import State, Weights
from myosu.sources.pool import AgainstPool, Pool, PoolSettings


def make_actor(config: RunConfig, start: int) -> Actor:
    """Make the ``start``-th actor that the run has ever started. No two actors of a run play the same games."""
    settings, seed = load_settings(config), config.train.seed
    if config.opponent is not None:
        game = config.environment.rules
        if config.opponent == "pool":
            return _make_pool_actor(config, game, start)
        against = AgainstEnv(game, make_opponent(config.opponent, game, seed=derive_seed(seed, 5, start)),
                             settings.num_envs, derive_seed(seed, 1, start))
        return ActorAgainst(algorithm_of(config).make_actor(settings, against, derive_seed(seed, 2, start)), against)
    env = config.environment.make(settings.num_envs, derive_seed(seed, 1, start))
    return algorithm_of(config).make_actor(settings, env, derive_seed(seed, 2, start))


def _make_pool_actor(config: RunConfig, game: Game, start: int) -> Actor:
    settings, train, algorithm = load_settings(config), config.train, algorithm_of(config)
    pool = Pool(PoolSettings(train.pool_every, train.pool_window, train.pool_latest, train.pool_opening_plies),
                lambda weights: algorithm.make_agent(settings, config.learner_spec, weights, seed=train.seed),
                derive_seed(train.seed, 5, start))
    env = AgainstPool(game, pool, settings.num_envs, derive_seed(train.seed, 1, start))
    return ActorAgainstPool(algorithm.make_actor(settings, env, derive_seed(train.seed, 2, start)), env)


class ActorAgainst:
    """An actor that plays against an opponent inside the environment. Its episodes are recorded as whole games, with
    the moves of both seats, so that the rules can replay them."""

    def __init__(self, actor: Actor, env: AgainstEnv) -> None:
        self.actor, self.finished = actor, env.finished
        self.env: VectorEnv = env

    def step(self) -> Experience:
        experience = self.actor.step()
        for k, episode in enumerate(experience.episodes):
            game = self.finished.pop(0)
            assert game.record.seed == episode.seed, "records of another game"
            experience.episodes[k] = replace(
                game.record, weights_version=episode.weights_version,
                stats={**episode.stats, **self.statistics(game, episode.returns[0])})
        return experience

    def statistics(self, game: FinishedGame, learner_return: float) -> dict[str, float]:
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

    def __init__(self, actor: Actor, env: AgainstPool) -> None:
        super().__init__(actor, env)
        self.pool = env.pool

    def step(self) -> Experience:
        experience = super().step()
        self.pool.count(experience.steps)
        return experience

    def statistics(self, game: FinishedGame, learner_return: float) -> dict[str, float]:
        self.pool.record(game.opponent, learner_return)
        return {**super().statistics(game, learner_return), "pool_elo": self.pool.elo}

    def load_weights(self, weights: Weights, version: int) -> None:
        super().load_weights(weights, version)
        self.pool.load_weights(weights)


def env_notices(actor: Actor) -> tuple[str, ...]:
    """Notices of the actor's environments: a line for each worker process or engine that was replaced."""
    with_notices = WorkerVectorEnv | GymVectorEnv | BatchVectorEnv | SceneVectorEnv
    return tuple(actor.env.notices()) if isinstance(actor.env, with_notices) else ()
