"""AlphaGo's search as an agent for the web page: the estimates of each part for every move."""

import numpy as np
import pytest

from myosu.errors import UserError
from myosu.games.tictactoe import GAME as TICTACTOE
from myosu.players.apv import APVPlayer
from myosu.players.apv_agent import APVAgent
from myosu.players.player import legal_mask
from myosu.players.rollouts import random_rollouts
from myosu.search.apv import APVConfig


def agent_of(prior=None, value=None, rollouts=False, **settings):
    config = APVConfig(**{"simulations": 9, "batch_size": 1, "rollout_weight": float(rollouts)} | settings)
    return APVAgent(APVPlayer(TICTACTOE, prior, value, random_rollouts(TICTACTOE) if rollouts else None, config))


def says(value, logits=0.0):
    """A network with the same output for every position."""
    return lambda states, legal: (np.full(len(states), value, np.float32),
                                  np.broadcast_to(np.asarray(logits, np.float32), legal.shape))


def after(*moves):
    state = TICTACTOE.new_states(1)
    for move in moves:
        TICTACTOE.batch.step(state, np.array([move]), np.empty(1, np.float32), np.empty(1, np.bool_))
    return state


def analyze(agent, states, **more):
    return agent.analyze(np.zeros((len(states), 1)), legal_mask(TICTACTOE, states), positions=states, **more)


def test_prior_and_value_parts_by_hand():
    """A value of 0.5 for the next player is −0.5 for the player to move, less than the 0 of an untried move. So nine
    simulations try all nine moves once."""
    told = analyze(agent_of(says(0.0, np.log([0.6] + 8 * [0.05])), says(0.5), c_puct=0.01), after())
    assert told.visits[0].tolist() == [1] * 9 and set(told.parts) == {"prior", "value"}
    assert told.parts["prior"][0].tolist() == pytest.approx([0.6] + 8 * [0.05], rel=1e-5)
    assert told.parts["value"][0].tolist() == [-0.5] * 9
    assert told.value[0] == pytest.approx((0.5 - 9 * 0.5) / 10)


def test_untried_moves_have_only_a_prior():
    told = analyze(agent_of(says(0.0, np.log([0.6] + 8 * [0.05])), says(-0.5), c_puct=0.01), after(4), simulations=2)
    assert told.visits[0].tolist() == [2] + 8 * [0], "the tried move is worth more than untried ones"
    assert np.isfinite(told.parts["value"][0]).tolist() == [True] + 8 * [False]
    prior = told.parts["prior"][0]
    assert np.isnan(prior[4]) and np.nansum(prior) == pytest.approx(1), "the middle is occupied"


def test_rollouts_find_immediate_wins():
    """X (0, 1) to move wins at 2; O (3, 4) threatens 5. Both positions are in one batch."""
    states = np.concatenate([after(0, 3, 1, 4), after(0, 3, 1, 4, 8)])  # then O to move wins at 5
    agent = agent_of(rollouts=True, simulations=300)
    told = analyze(agent, states)
    assert told.action.tolist() == [2, 5] and told.parts["rollouts"][[0, 1], [2, 5]].tolist() == [1.0, 1.0]
    assert set(told.parts) == {"prior", "rollouts"} and told.visits.sum(axis=1).tolist() == [300, 300]
    assert told.policy.sum(axis=1) == pytest.approx(1) and told.lines[0] == [2]
    again = analyze(agent, states, simulations=20)
    assert again.visits.sum(axis=1).tolist() == [20, 20], "no tree is kept between calls"


def test_act_without_positions_is_refused():
    with pytest.raises(UserError, match="searches by the rules"):
        agent_of(rollouts=True).act(np.zeros((1, 1)), np.ones((1, 9), np.bool_))
