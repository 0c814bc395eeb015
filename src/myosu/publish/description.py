"""The data that the page needs about the game and the agent in addition to the compiled code."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from myosu.algorithms import alphazero, dqn, muesli, muzero, ppo
from myosu.algorithms.interface import Agent
from myosu.envs.game_history import GameHistory
from myosu.errors import UserError
from myosu.games import Game
from myosu.games.bubble import PATH_POINTS
from myosu.games.go.rules import COLUMNS
from myosu.publish import network
from myosu.publish.network import Programs
from myosu.search import GumbelConfig
from myosu.web.views import BUBBLE_DEGREES, board_of, bubble_field, pieces


def of_rules(game: Game) -> dict[str, Any]:
    """Description of the rules for ``engine/rules.js`` and ``engine/views.js``."""
    fields = game.state_dtype.fields
    assert fields is not None
    return {
        "state": game.state_dtype.itemsize, "actions": game.num_actions, "players": game.num_players,
        "max_plies": game.max_plies, "pass": game.pass_action, "fps": game.fps,
        "observation": [np.dtype(game.observation_dtype).str, list(game.observation_shape)],
        "fields": {name: [dtype.base.str, offset, int(np.prod(dtype.shape))]
                   for name, (dtype, offset, *_) in fields.items()},
        "board": _board(game),
    }


def _board(game: Game) -> dict[str, Any]:
    """The kind of board that the page draws, and its settings."""
    drawn = board_of(game)
    of, settings = (drawn.func, drawn.keywords) if isinstance(drawn, partial) else (drawn, {})
    match kind := of.__name__.strip("_"):
        case "text":
            return _grid_by_playing(game) or {"kind": "text"}
        case "bubble":
            return {"kind": kind, "points": PATH_POINTS, "degrees": BUBBLE_DEGREES, **bubble_field()}
        case "go":
            return {"kind": kind, "files": COLUMNS[:game.observation_shape[2]]}
    return {"kind": kind, **settings}


def _grid_by_playing(game: Game, games: int = 10) -> dict[str, Any] | None:
    """Detect grid games by playing random games; None if the game is not one.

    In a grid game every legal action except a pass fills one cell, different actions fill different cells, and the
    first two planes of the observation show the two players' pieces. If actions are columns, pieces drop."""
    if game.num_players != 2 or len(game.observation_shape) != 3 or game.observation_shape[0] < 2:
        return None
    columns, rng = game.observation_shape[2], np.random.default_rng(0)
    drops = True
    for seed in range(games):
        history = GameHistory(game, seed)
        while not history.now.over:
            planes = history.observation(history.now)[:2]
            if ((planes != 0) & (planes != 1)).any() or planes.all(axis=0).any():
                return None
            before, legal = pieces(history, history.now), np.flatnonzero(history.legal_actions()).tolist()
            filled = []
            for action in legal:
                if action != game.pass_action:
                    cells = np.flatnonzero((before == 0) & (pieces(history, history.after(history.now, action)) != 0))
                    if len(cells) != 1:
                        return None
                    filled.append(int(cells[0]))
                    drops &= cells[0] % columns == action
            if len(set(filled)) < len(filled):
                return None
            history.play(int(rng.choice(legal)))
    return {"kind": "grid", "drops": bool(drops)}


def of_agent(agent: Agent, game: Game) -> tuple[dict[str, Any], np.ndarray]:
    """Description of the agent for ``engine/agents.js``, and the network's weights, float32 [size]. Raises UserError
    for agents that the page does not support."""
    programs = Programs(game)
    match agent:
        case alphazero.Agent():
            raise UserError("The page cannot search with the rules of a game yet: publish a MuZero run, or export the "
                            "network alone with myosu export.")
        case muzero.Agent(planner=planner):
            net = planner.net.for_inference(torch.float32)
            described = _search(planner) | network.of_muzero(programs, net, imagines=True)
        case muesli.Agent(player=player, support=support):
            net = player.net.for_inference(torch.float32)
            described = {"kind": "policy", "points": support.points().tolist(),
                         **network.of_muzero(programs, net, imagines=False)}
        case ppo.Agent(net=net):
            described = {"kind": "policy", "points": None, **network.of_ppo(programs, net)}
        case dqn.Agent(player=player):
            described = {"kind": "values", **network.of_dqn(programs, player.net)}
        case _:
            raise UserError("The page supports the networks of MuZero, Muesli, PPO and DQN, not that of "
                            f"{Path(inspect.getfile(type(agent))).name}.")
    return {**described, **programs.to_json()}, programs.all_weights()


def _search(planner: muzero.Planner) -> dict[str, Any]:
    config = planner.search.config
    return {"kind": "gumbel" if isinstance(config, GumbelConfig) else "puct", "search": vars(config),
            "discount": float(planner.discounts[0]), "points": planner.support.points().tolist()}
