"""PPO playing both seats: advantages by turns, random openings, and that it teaches what has to be seen at once."""

from dataclasses import replace

import numpy as np
import pytest

from in_turn import InTurn
from myosu.algorithms import ppo
from myosu.envs.native import NativeVectorEnv, game_spec
from myosu.errors import UserError
from myosu.games import load_game
from myosu.games.playout import random_actions
from myosu.losses.advantage import generalized_advantages

TICTACTOE, CONNECT_FOUR = load_game("tictactoe"), load_game("connect_four")
SMALL = ppo.Config(num_envs=64, rollout_steps=16, batch_size=256, channels=16, hidden=(64,), learning_rate=1e-3,
                   entropy_weight=0.02, gae_lambda=0.8, opening_plies=4)


def test_next_value_is_negated_for_the_other_player():
    """γ = λ = ½, the third move wins:

        δ = (½ · 0.4 − 0.1, −½ · 0.2 + 0.4, 1 − 0.2) = (0.1, 0.3, 0.8)
        A = (0.1 − ¼ · 0.1, 0.3 − ¼ · 0.8, 0.8)
    """
    advantage = generalized_advantages(
        np.array([0, 0, 1], np.float32), np.array([0.1, -0.4, 0.2], np.float32), np.ones(3, np.bool_),
        np.array([False, False, True]), np.zeros(3, np.int64), game_spec(TICTACTOE).signed_discount(0.5), 0.5)
    np.testing.assert_allclose(advantage, [0.075, 0.1, 0.8], atol=1e-6)


def test_openings_are_random_and_recorded_but_not_learnt():
    """A rollout has every ply of its games but those of the openings; the records have them all, and play back."""
    config = ppo.resolve(SMALL, game_spec(TICTACTOE), True)
    loop = InTurn(ppo, config, NativeVectorEnv(TICTACTOE, config.num_envs, 0)).run(8192)
    lengths = [len(record.unchosen) for record in loop.episodes]
    assert set(lengths) == {0, 1, 2, 3, 4} and 0.15 < lengths.count(4) / len(lengths) < 0.25
    for record, plies in zip(loop.episodes, lengths, strict=True):
        assert record.unchosen == list(range(plies))
        assert list(record.history(TICTACTOE).now.returns) == record.returns
    chosen = sum(record.length - plies for record, plies in zip(loop.episodes, lengths, strict=True))
    assert 8192 - config.num_envs * 9 <= chosen <= 8192, "all steps but those of games that have not ended"
    first = loop.episodes[:50]  # by a policy that has learnt nothing: log(legal actions) at each ply that was chosen
    for record in first:
        plies = np.arange(len(record.unchosen), record.length)
        assert record.stats["policy_entropy"] == pytest.approx(np.log(9 - plies).mean(), abs=0.02)


def test_games_that_end_in_the_opening_restart_without_one():
    config = ppo.resolve(replace(SMALL, opening_plies=9), game_spec(TICTACTOE), True)
    actor = ppo.make_actor(config, NativeVectorEnv(TICTACTOE, config.num_envs, 0), 0)
    for _ in range(40):
        experience = actor.step()
        assert experience.steps == config.num_envs
        assert all(record.length > len(record.unchosen) for record in experience.episodes)
    assert (actor.current.legal_actions.sum(1) > 0).all()


@pytest.mark.parametrize("name, value", [("lstm_size", 8), ("curiosity", ("rnd",)), ("normalize_rewards", True)])
def test_settings_unfit_for_two_seats_are_refused(name, value):
    with pytest.raises(UserError, match=f"{name} = .* --opponent pool"):
        ppo.resolve(replace(SMALL, **{name: value}), game_spec(TICTACTOE), True)


def test_tictactoe_values_are_from_the_movers_view():
    """A row of three that can be completed is worth the win to whoever moves; two that the other has, which cannot both
    be blocked, are worth the loss. Were the next value taken for the mover's own, the second would be a win, too."""
    config = replace(SMALL, discount=1.0, batch_size=128)
    loop = InTurn(ppo, config, NativeVectorEnv(TICTACTOE, config.num_envs, 0)).run(40_000)
    mover = np.array([[[1, 1, 0], [0, 0, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 0], [0, 0, 1]]])
    other = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[1, 0, 1], [0, 0, 0], [1, 0, 0]]])
    observation = np.stack([mover, other], axis=1).astype(np.uint8)
    analysis = loop.agent().analyze(observation, ~(mover + other).astype(bool).reshape(2, 9))
    assert analysis.action[0] == 2 and analysis.value[0] > 0.7 and analysis.value[1] < -0.5, analysis


def wins_taken(agent, games=400):
    """The share of positions with an immediate win, in games at random, in which the agent takes one."""
    rng = np.random.default_rng(0)
    states, taken = CONNECT_FOUR.new_states(games), []
    while len(states):
        legal = np.zeros((len(states), 7), np.bool_)
        observation = np.zeros((len(states), 2, 6, 7), np.uint8)
        CONNECT_FOUR.batch.legal_actions(states, legal)
        CONNECT_FOUR.batch.observe(states, observation)
        wins = np.zeros_like(legal)
        for action in range(7):
            rows = np.flatnonzero(legal[:, action])
            _, wins[rows, action], _ = after(states[rows], np.full(len(rows), action))
        action = agent.act(observation, legal)[0]
        rows = np.flatnonzero(wins.any(1))
        taken += wins[rows, action[rows]].tolist()
        states, _, over = after(states, random_actions(legal, int(rng.integers(2**31))))
        states = states[~over]
    return np.mean(taken)


def after(states, actions):
    """The states after these actions, whether they won, and whether the games are over."""
    states, reward, over = states.copy(), np.zeros(len(states), np.float32), np.zeros(len(states), np.bool_)
    CONNECT_FOUR.batch.step(states, actions, reward, over)
    return states, reward > 0, over


@pytest.mark.slow
def test_random_openings_improve_play_in_unusual_positions():
    """What self-play from the first position leaves at about 0.48, after 100,000 steps as after 200,000."""
    taken = {}
    for plies in (0, 20):
        config = replace(SMALL, num_envs=256, rollout_steps=32, batch_size=512, opening_plies=plies)
        loop = InTurn(ppo, config, NativeVectorEnv(CONNECT_FOUR, config.num_envs, 0)).run(100_000)
        taken[plies] = wins_taken(loop.agent())
    assert taken[20] > 0.57 and taken[20] > taken[0] + 0.08, taken


def test_restored_self_play_continues_exactly():
    """The random openings and what is known of the running games among it."""
    def made():
        return InTurn(ppo, SMALL, NativeVectorEnv(TICTACTOE, SMALL.num_envs, 0))

    first, second = made().run(1500, until=4000), made()
    second.load_state_dict(first.state_dict())
    first.episodes.clear()
    for loop in (first, second):
        loop.run(1500, until=4000)
    assert [record.to_json() for record in first.episodes] == [record.to_json() for record in second.episodes]
    weights, other = first.learner.weights(), second.learner.weights()
    assert all((weights[name] == other[name]).all() for name in weights)
