"""Agents out of runs and checkpoints."""

from __future__ import annotations

from pathlib import Path

from myosu.algorithms import load_algorithm, load_settings
from myosu.algorithms.interface import Agent
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.runs.checkpoint import find_checkpoint
from myosu.runs.config import RunConfig


def load_agent(path: str | Path, simulations: int | None = None, seed: int = 0,
               game: str | None = None) -> tuple[Agent, Environment, RunConfig]:
    """The agent in the run or checkpoint ``path`` (see ``find_checkpoint``), its environment, and how it was trained.

    simulations: a move, instead of what it was trained with. game: raise UserError unless it is an agent for this one.
    """
    checkpoint = find_checkpoint(path)
    config = checkpoint.config
    environment = config.environment
    own = environment.game.name if environment.game else environment.name
    if game is not None and game not in (config.game, own):
        raise UserError(f"{checkpoint.path} plays {own}, not {game}.")
    algorithm = load_algorithm(config.algorithm)
    with checkpoint.being_loaded():
        agent = algorithm.make_agent(load_settings(config), environment.spec, checkpoint.weights(),
                                     simulations=simulations, seed=seed)
    return agent, environment, config
