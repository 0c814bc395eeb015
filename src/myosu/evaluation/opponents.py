"""Opponents by the words of the command line."""

from __future__ import annotations

import difflib
from pathlib import Path

from myosu.errors import UserError
from myosu.evaluation.gtp import GtpPlayer
from myosu.evaluation.players import AgentPlayer, AlphaBetaPlayer, Player, RandomPlayer
from myosu.games.game import Game

SPELLINGS = 'random, greedy, alphabeta:DEPTH, gtp:"COMMAND", exhaustive (small games), or the folder of a run'


def make_opponent(text: str, game: Game, simulations: int | None = None, seed: int = 0) -> Player:
    """The player that ``text`` names: ``random``, ``greedy``, ``alphabeta:DEPTH``, ``gtp:COMMAND`` or a run's folder.

    simulations: a move, for the agent of a run. Raises UserError when there is no such player.
    """
    kind, colon, rest = text.partition(":")
    if text == "random":
        return RandomPlayer(game, seed)
    if text == "greedy":
        return AlphaBetaPlayer(game, 1)
    if kind == "alphabeta":
        if not rest.isdecimal():
            raise UserError(f"--opponent {text}: write the depth as a number, such as alphabeta:4.")
        return AlphaBetaPlayer(game, int(rest))
    if kind == "gtp" and colon:
        return GtpPlayer(game, rest)
    if Path(text).exists() or "/" in text:
        from myosu.training.checkpoint import load_agent

        agent, _, _ = load_agent(text, simulations, seed, game=game.name)
        return AgentPlayer(game, agent, text)
    near = difflib.get_close_matches(kind, ["random", "greedy", "alphabeta", "gtp", "exhaustive"], n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise UserError(f"There is no opponent {text!r}, and no such folder. {hint}Opponents: {SPELLINGS}.")
