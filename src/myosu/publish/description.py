"""What the page must know beside the code: of the game, and of the agent."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from myosu.algorithms import dqn, muesli, muzero, ppo
from myosu.algorithms.interface import Agent
from myosu.errors import UserError
from myosu.games import Game
from myosu.publish import network
from myosu.publish.network import Programs
from myosu.search import GumbelConfig
from myosu.web.views import BOARDS


def of_rules(game: Game) -> dict[str, Any]:
    """For ``engine/rules.js`` and ``engine/views.js``."""
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
    """The kind of board that the page draws, and what it must know of it."""
    drawn = BOARDS.get(game.name)
    if drawn is None:
        return {"kind": "planes"}
    of, settings = (drawn.func, drawn.keywords) if isinstance(drawn, partial) else (drawn, {})
    return {"kind": of.__name__.strip("_"), **settings}


def of_agent(agent: Agent, game: Game) -> tuple[dict[str, Any], bytes]:
    """For ``engine/agents.js``, and the network's weights. Raises UserError where the page cannot play it."""
    programs = Programs(game)
    match agent:
        case muzero.Agent(planner=planner):
            net = planner.net.for_inference(_float32())
            described = _search(planner) | network.of_muzero(programs, net, imagines=True)
        case muesli.Agent(player=player, support=support):
            net = player.net.for_inference(_float32())
            described = {"kind": "policy", "points": support.points().tolist(),
                         **network.of_muzero(programs, net, imagines=False)}
        case ppo.Agent(net=net):
            described = {"kind": "policy", "points": None, **network.of_ppo(programs, net)}
        case dqn.Agent(player=player):
            described = {"kind": "values", **network.of_dqn(programs, player.net)}
        case _:
            raise UserError(f"The page knows the agents of MuZero, Muesli, PPO and DQN, not {type(agent).__module__}'s.")
    return {**described, **programs.to_json()}, programs.halves()


def _search(planner: muzero.Planner) -> dict[str, Any]:
    config = planner.search.config
    return {"kind": "gumbel" if isinstance(config, GumbelConfig) else "puct", "search": vars(config),
            "discount": float(planner.discounts[0]), "points": planner.support.points().tolist()}


def _float32():
    import torch

    return torch.float32
