"""``myosu gtp``"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tyro.conf import Positional

from myosu.commands.options import check_seed
from myosu.errors import UserError


@dataclass
class Options:
    """Let the agent of a run speak GTP, as an engine for GRhino's and Quarry's boards and for other programs.

    It reads commands from its input and answers on its output. Where a clock is set it thinks less when time is short.
    """

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run's folder (its latest checkpoint), RUN/checkpoints/best, or the folder of one checkpoint."""
    simulations: int | None = None
    """Simulations a move, instead of what the run was trained with: more is stronger and slower."""
    seed: int = 0
    """What the agent's chance follows from."""


def main(arguments: list[str]) -> int:
    options = tyro.cli(Options, prog="myosu gtp", args=arguments)
    check_seed(options.seed)
    if options.simulations is not None and options.simulations < 1:
        raise UserError(f"--simulations {options.simulations}: one at least.")
    import torch

    from myosu.evaluation.gtp_engine import GtpEngine
    from myosu.players.agent import load_agent
    from myosu.players.players import legal_mask

    torch.set_num_threads(1)
    agent: Any
    agent, environment, config = load_agent(options.run, options.simulations, options.seed)
    game = environment.rules
    if game.num_players != 2:
        raise UserError(f"{game.name} is a game for one; GTP is for two.")
    searches = "simulations" in config.algorithm_config
    wanted = (options.simulations or config.algorithm_config["simulations"]) if searches else 1

    def think(state: np.ndarray, simulations: int) -> int:
        observation: np.ndarray = np.empty((1, *game.observation_shape), game.observation_dtype)
        game.batch.observe(state, observation)
        less = {"simulations": simulations} if searches else {}
        return int(agent.act(observation, legal_mask(game, state), **less)[0])

    engine = GtpEngine(game, think, wanted)
    engine.warm_up()
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
    engine.serve(sys.stdin, sys.stdout)
    return 0
