"""Creates the configuration and the folder of a new run."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from myosu.algorithms import algorithm_of, load_algorithm, load_settings
from myosu.envs.registry import Environment, load_environment
from myosu.errors import UserError
from myosu.players.opponents import resolve_opponent
from myosu.presets import default_algorithm, load_preset
from myosu.runs.config import LIMITS, RunConfig, TrainConfig
from myosu.runs.run import Run, create_folder

#: The limit of a run if none is set.
DEFAULT_MINUTES = 60.0


def configure(game: str, algorithm: str | None = None, settings: Mapping[str, Any] | None = None,
              rewards: Literal["score", "outcome"] = "score", env_kwargs: Mapping[str, Any] | None = None,
              opponent: str | None = None, preset: str | Path | None = None) -> RunConfig:
    """The configuration of a new run. Raises UserError.

    settings: fields of ``TrainConfig`` and of the algorithm's ``Config``, which override the presets for the
    environment. algorithm: by default the one that suits the environment. opponent: plays the other seat of a
    two-player game. preset: a file of settings that replaces the presets for the environment.
    """
    environment = load_environment(game, env_kwargs, rewards)
    if opponent is not None:
        opponent = resolve_opponent(opponent, environment, inside=True)
    algorithm = algorithm or default_algorithm(environment, opponent)
    module = load_algorithm(algorithm)
    kind = module.Config
    if getattr(module, "READS_ONE_ARRAY", False) and environment.maker is not None and not _is_one_array(environment):
        # The wrapper becomes part of the configuration, so that evaluations, videos and agents use it too.
        wrappers = [*(env_kwargs or {}).get("wrappers", []), {"wrapper": "myosu.envs.wrappers:OneArray"}]
        return configure(game, algorithm, settings, rewards, {**(env_kwargs or {}), "wrappers": wrappers},
                         opponent, preset)
    own, train = _field_names(kind), _field_names(TrainConfig)
    given = dict(settings or {})
    for name in given.keys() - {*own, *train}:
        near = difflib.get_close_matches(name, [*train, *own], n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join([*train, *own])}."
        raise UserError(f"{algorithm} has no setting {name!r}. {hint}")
    if "evaluation_opponent" in given:
        given["evaluation_opponent"] = resolve_opponent(given["evaluation_opponent"], environment)
    if all(given.get(name) is None for name in LIMITS):
        given["minutes"] = DEFAULT_MINUTES
    return RunConfig(
        game=game,
        algorithm=algorithm,
        algorithm_config=kind(**{**load_preset(algorithm, environment, kind, preset),
                                 **{name: given[name] for name in own if name in given}}),
        train=TrainConfig(**{name: given[name] for name in train if name in given}),
        rewards=rewards,
        opponent=opponent,
        env_kwargs=dict(env_kwargs or {}),
    )


def _is_one_array(environment: Environment) -> bool:
    shape = environment.spec.observation_shape
    one = np.dtype(environment.spec.observation_dtype).names is None and len(shape) in (1, 3)
    return one and not (len(shape) == 3 and environment.spec.channels_last(shape))


def _field_names(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def create_run(config: RunConfig, folder: str | Path | None = None) -> Run:
    """Create a new run in ``folder``, by default ``runs/GAME-ALGORITHM-DATE-TIME``. Machine-dependent settings are
    resolved.

    Raises UserError if the folder already holds something, or if the configuration is impossible.
    """
    require_possible(config)
    settings = algorithm_of(config).resolve(load_settings(config), config.learner_spec, config.train.deterministic)
    return create_folder(dataclasses.replace(config, algorithm_config=dataclasses.asdict(settings)), folder)


def require_possible(config: RunConfig) -> None:
    """Raise UserError if settings of the training loop do not suit the algorithm or the game."""
    algorithm = algorithm_of(config)
    if algorithm.SOURCE == "only in turn" and config.train.actors:
        raise UserError(f"actors = {config.train.actors}: {config.algorithm} learns only from what its newest policy "
                        "did, so it acts and learns in turn (actors = 0). num_envs and env_workers spread its "
                        "environments.")
    if algorithm.SOURCE == "recorded" and config.train.actors:
        raise UserError(f"actors = {config.train.actors}: {config.algorithm} learns from recorded games and has no "
                        "actors.")
    train, environment = config.train, config.environment
    if environment.opponent_inside and config.opponent not in (None, "random"):
        if train.env_workers != "none":
            raise UserError(f"env_workers = {train.env_workers}: {environment.name} runs in the process of its "
                            "opponent's network. Leave out --env-workers.")
        if train.pool_opening_plies:
            raise UserError(f"pool_opening_plies = {train.pool_opening_plies}: random openings need the rules of one "
                            "of Myosu's own games. Leave it out: members of the pool play a random move in ten.")
    games, two_players = train.evaluation_games, environment.spec.num_players == 2 or environment.opponent_inside
    if games is not None and two_players and (games < 4 or games % 2):
        raise UserError(f"evaluation_games = {games}: in a two-player game an even number from 4, because half of "
                        "them are played from each seat.")
