"""The report of ``myosu evaluate`` and ``myosu.evaluate``."""

from __future__ import annotations

from typing import Any

from myosu.algorithms.interface import Agent
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.evaluation.episodes import play_both_seats, play_episodes
from myosu.evaluation.exhaustive import exhaustive_report
from myosu.evaluation.match import play_match
from myosu.games.game import Game
from myosu.players.agent import AgentPlayer
from myosu.players.opponents import make_opponent
from myosu.players.player import Player


def evaluation_report(agent: Agent, environment: Environment, name: str, opponent: str = "random", games: int = 200,
                      simulations: int | None = None, opening_plies: int | None = None, seed: int = 0
                      ) -> dict[str, Any]:
    """JSON report of a match against ``opponent`` (see ``make_opponent``, or "exhaustive"), or of episodes in a
    single-player environment. simulations: simulations per move of the opponent, if it is a run with a search.

    Raises UserError if the opponent does not exist, or is given for a single-player environment.
    """
    if environment.opponent_inside:
        if opening_plies is not None:
            raise UserError(f"{environment.name}: random openings need the rules of one of Myosu's own games. Leave "
                            "out the opening plies.")
        return play_both_seats(environment, agent, opponent, games, seed)
    if environment.spec.num_players == 1:
        if opponent != "random" or opening_plies is not None:
            raise UserError(f"{environment.name} is single-player: leave out the opponent and the opening plies.")
        return play_episodes(environment, agent, games, seed).to_json()
    game = environment.rules
    return match_report(game, AgentPlayer(game, agent, name), opponent, games, simulations, opening_plies, seed)


def match_report(game: Game, player: Player, opponent: str, games: int, simulations: int | None = None,
                 opening_plies: int | None = None, seed: int = 0) -> dict[str, Any]:
    """``evaluation_report`` of a match for any player."""
    if opponent == "exhaustive":
        return exhaustive_report(game, player)
    other = make_opponent(opponent, game, simulations, seed + 1)
    try:
        report = play_match(game, player, other, games, opening_plies, seed).to_json()
    finally:
        other.close()
    report.pop("player")
    return report
