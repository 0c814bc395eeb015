"""``myosu gtp``: let an agent play in other programs, as a GTP engine."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import tyro
from tyro.conf import Positional

from myosu.commands.options import check_seed, check_simulations, parse, trust_if
from myosu.errors import UserError


@dataclass
class Options:
    """Let the agent of a run play as a GTP engine, for GRhino, Quarry and other programs.

    It reads commands from standard input and answers on standard output. With a clock it uses fewer simulations when
    time is short.
    """

    run: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")]
    """A run's folder (its latest checkpoint), RUN/checkpoints/best, the folder of one checkpoint, or AlphaGo's search
    around a run's network, apv:network=RUN,…"""
    game: str | None = None
    """The game, for apv: without a run among its parts."""
    simulations: int | None = None
    """Simulations per move (more is stronger and slower); by default the number the run was trained with."""
    seed: int = 0
    """Seed of the agent's random choices."""
    trust: bool = False
    """Allow user code that the run names: a game, environment or algorithm in a file or module."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "gtp", arguments)
    trust_if(options.trust)
    check_seed(options.seed)
    check_simulations(options.simulations)
    from myosu.evaluation.gtp_analysis import AnalysisEngine
    from myosu.evaluation.gtp_engine import GtpEngine
    from myosu.players.agent import AgentPlayer, load_agent
    from myosu.players.apv import APVPlayer, analyst_of
    from myosu.players.apv_name import named_apv
    from myosu.players.gtp import title
    from myosu.randomness import use_one_thread

    use_one_thread()
    player: APVPlayer | AgentPlayer
    if options.run.startswith("apv:"):
        player = named_apv(options.run, options.game, options.simulations, options.seed)
        game, searches, wanted = player.game, True, player.config.simulations
    else:
        agent, environment, config = load_agent(options.run, options.simulations, options.seed)
        game = environment.rules
        if game.num_players != 2:
            raise UserError(f"{game.name} is a single-player game; GTP is for two players.")
        searches = "simulations" in config.algorithm_config
        wanted = (options.simulations or config.algorithm_config["simulations"]) if searches else 1
        player = AgentPlayer(game, agent, "agent")

    def choose_move(state: np.ndarray, history: list[int], simulations: int) -> int:
        return int(player.choose(state, [history], simulations if searches else None)[0])

    if title(game) == "Go":
        analyst = player if isinstance(player, APVPlayer) else analyst_of(agent, game)
        engine: GtpEngine = AnalysisEngine(game, choose_move, wanted, analyst)
    else:
        engine = GtpEngine(game, choose_move, wanted)
    engine.warm_up()
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    engine.serve(sys.stdin, sys.stdout)
    return 0
