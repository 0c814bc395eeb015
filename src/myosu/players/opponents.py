"""Opponents by the words of the command line."""

from __future__ import annotations

import difflib
from pathlib import Path

from myosu.errors import UserError
from myosu.games.game import Game
from myosu.players.gtp import GtpPlayer
from myosu.players.players import AgentPlayer, AlphaBetaPlayer, MctsPlayer, Player, RandomPlayer

SPELLINGS = ('random, greedy, alphabeta:DEPTH, mcts:SIMULATIONS, gtp:"COMMAND", exhaustive (small games), or the '
             'folder of a run or checkpoint, with :SIMULATIONS if you like')


def make_opponent(text: str, game: Game, simulations: int | None = None, seed: int = 0) -> Player:
    """The player that ``text`` names: ``random``, ``greedy``, ``alphabeta:DEPTH``, ``mcts:SIMULATIONS``,
    ``gtp:COMMAND``, or the folder of a run or checkpoint, with ``:SIMULATIONS`` or without.

    simulations: a move, for an agent that is not told. Raises UserError when there is no such player.
    """
    kind, colon, rest = text.partition(":")
    if text == "random":
        return RandomPlayer(game, seed)
    if text == "greedy":
        return AlphaBetaPlayer(game, 1)
    if kind == "alphabeta":
        if not rest.isdecimal():
            raise UserError(f"{text}: write the depth as a number, such as alphabeta:4.")
        return AlphaBetaPlayer(game, int(rest))
    if kind == "mcts":
        if not rest.isdecimal():
            raise UserError(f"{text}: write the simulations as a number, such as mcts:1000.")
        return MctsPlayer(game, int(rest), seed)
    if kind == "gtp" and colon:
        return GtpPlayer(game, rest)
    path, own_simulations = split_simulations(text)
    if Path(path).exists() or "/" in path:
        from myosu.players.agent import load_agent

        agent, _, _ = load_agent(path, own_simulations or simulations, seed, game=game.name)
        return AgentPlayer(game, agent, text)
    near = difflib.get_close_matches(kind, ["random", "greedy", "alphabeta", "mcts", "gtp", "exhaustive"], n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise UserError(f"There is no opponent {text!r}, and no such folder. {hint}Opponents: {SPELLINGS}.")


def split_simulations(text: str) -> tuple[str, int | None]:
    """``RUN:64`` as the folder and the simulations a move; None where it says nothing of them."""
    path, _, number = text.rpartition(":")
    return (path, int(number)) if path and number.isdecimal() and int(number) > 0 else (text, None)
