"""Creates opponents from their names on the command line."""

from __future__ import annotations

import difflib
import os

from myosu.envs.making import WRAPPERS
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.games.game import Game
from myosu.players.against_agents import Opponents
from myosu.players.agent import AgentPlayer, load_agent
from myosu.players.alphabeta import AlphaBetaPlayer
from myosu.players.gtp import GtpPlayer
from myosu.players.mcts import MctsPlayer
from myosu.players.player import Player, RandomPlayer
from myosu.runs.config import shape_of

SPELLINGS = ('random, greedy, alphabeta:DEPTH, mcts:SIMULATIONS, apv:PARTS, gtp:"COMMAND", exhaustive (small games), '
             'or the folder of a run or checkpoint, optionally with :SIMULATIONS')


def make_opponent(text: str, game: Game, simulations: int | None = None, seed: int = 0) -> Player:
    """The player that ``text`` names: ``random``, ``greedy``, ``alphabeta:DEPTH``, ``mcts:SIMULATIONS``,
    ``apv:PARTS`` (see ``make_apv``), ``gtp:COMMAND``, or the folder of a run or checkpoint, optionally with
    ``:SIMULATIONS``.

    simulations: per move, for an agent without ``:SIMULATIONS``. Raises UserError if there is no such player.
    """
    kind, colon, rest = text.partition(":")
    if text == "random":
        return RandomPlayer(game, seed)
    if text == "greedy":
        return AlphaBetaPlayer(game, 1)
    if kind == "alphabeta":
        if (depth := _whole(rest)) is None:
            raise UserError(f"{text}: write the depth as a number, such as alphabeta:4.")
        return AlphaBetaPlayer(game, depth)
    if kind == "mcts":
        if (games := _whole(rest)) is None:
            raise UserError(f"{text}: write the simulations as a number, such as mcts:1000.")
        return MctsPlayer(game, games, seed)
    if kind == "gtp" and colon:
        return GtpPlayer(game, rest)
    if kind == "apv" and colon:
        from myosu.players.apv_name import make_apv

        return make_apv(text, game, simulations, seed)
    path, own_simulations = split_simulations(text)
    if not os.path.exists(path) and os.path.isdir(folder := text.rpartition(":")[0]):
        raise UserError(f"{text}: after {folder}: comes the number of simulations per move, 1 or more.")
    if os.path.exists(path) or "/" in path:
        agent, _, _ = load_agent(path, own_simulations or simulations, seed, game=game.name)
        return AgentPlayer(game, agent, text)
    if text == "pool":
        raise UserError("pool is not a player: it stands for a run's own earlier versions. Use it with "
                        "--opponent pool in training.")
    if text == "exhaustive":
        raise UserError("exhaustive is not a player: it tries every reply. Use it with myosu evaluate.")
    near = difflib.get_close_matches(kind, ["random", "greedy", "alphabeta", "mcts", "apv", "gtp", "exhaustive"], n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise UserError(f"There is no opponent {text!r}, and no such folder. {hint}Opponents: {SPELLINGS}.")


def resolve_opponent(text: str, environment: Environment, inside: bool = False) -> str:
    """``text`` as stored in a run's configuration, with an absolute path. Raises UserError if ``environment`` has no
    such opponent.

    inside: whether the opponent becomes part of the environment; if not, "random" is allowed for single-player
    environments.
    """
    if text == "random" and not inside:
        return text
    if environment.opponent_inside:
        if text == "pool" and inside:
            _require_no_wrappers(environment)
            return text
        return os.path.abspath(text) if load_opponent(text, environment) else text
    if environment.spec.num_players == 1:
        raise UserError(f"{environment.name} is single-player: there is no opponent {text!r} in it.")
    if text == "pool" and inside:
        environment.rules  # noqa: B018  raises UserError if there are none
        return text
    opponent = make_opponent(text, environment.rules)
    opponent.close()
    if not isinstance(opponent, AgentPlayer):
        return opponent.name if text.startswith("apv:") else text
    path, simulations = split_simulations(text)
    return os.path.abspath(path) + (f":{simulations}" if simulations else "")


def load_opponent(text: str, environment: Environment, seed: int = 0) -> Opponents | None:
    """The agent of the run or checkpoint ``text`` as the opponent in a two-player environment of PettingZoo; None for
    "random". Raises UserError unless it was trained in the same environment."""
    if text == "random":
        return None
    if not os.path.exists(text):
        raise UserError(f"{environment.name} has no opponent {text!r}. Opponents in it are random, the folder of a run "
                        "trained in it, and in training pool; others need the rules of one of Myosu's own games.")
    agent, own, _ = load_agent(text, seed=seed, game=environment.name)
    for one in (environment, own):
        _require_no_wrappers(one)
    if shape_of(own.spec) != shape_of(environment.spec):
        raise UserError(f"{text} was trained in {own.name} with other spaces: use the same arguments (--env-kwargs).")
    return Opponents(agent, seed)


def _require_no_wrappers(environment: Environment) -> None:
    if environment.maker and environment.maker.kwargs.get(WRAPPERS):
        raise UserError(f"{environment.name}: wrappers change only what the learner observes, not what an opponent "
                        "does. Leave them out, or use --opponent random.")


def split_simulations(text: str) -> tuple[str, int | None]:
    """Split ``RUN:64`` into the folder and the simulations per move; the latter is None if ``text`` has no number or
    is itself a folder."""
    path, _, number = text.rpartition(":")
    simulations = None if os.path.isdir(text) else _whole(number)
    return (path, simulations) if path and simulations else (text, None)


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None
