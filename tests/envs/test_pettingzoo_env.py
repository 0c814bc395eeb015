"""Native two-player games as PettingZoo environments."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pettingzoo")
pytest.importorskip("pygame")  # pettingzoo.test imports it

from pettingzoo.test import api_test, seed_test
from pettingzoo.utils import AssertOutOfBoundsWrapper, OrderEnforcingWrapper, TerminateIllegalWrapper

from myosu.envs.pettingzoo_env import PettingZooEnv
from myosu.errors import UserError
from myosu.games import load_game, othello, tictactoe

EACH = pytest.mark.parametrize("name", ["othello", "connect_four", "tictactoe"])


@EACH
def test_pettingzoo_api_test_passes(name):
    wrapped = OrderEnforcingWrapper(AssertOutOfBoundsWrapper(TerminateIllegalWrapper(PettingZooEnv(name), -1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # It warns of dictionaries and empty boards, except in the classic games, which it knows by name.
        warnings.filterwarnings("ignore", "Observation (space for|is not a NumPy array|numpy array is all zeros)")
        api_test(PettingZooEnv(name), num_cycles=300)
        api_test(wrapped, num_cycles=300)
        seed_test(lambda: PettingZooEnv(name), num_cycles=300)


@EACH
def test_pettingzoo_env_plays_by_the_rules(name):
    game, random = load_game(name), np.random.default_rng(1)
    env = PettingZooEnv(game)
    for _ in range(10):
        env.reset(seed=0)
        state, total = game.new_states(1)[0], {"player_0": 0.0, "player_1": 0.0}
        observation, mask = np.empty(game.observation_shape, np.uint8), np.empty(game.num_actions, np.bool_)
        for agent in env.agent_iter():
            seen, reward, terminated, truncated, _ = env.last()
            total[agent] += reward
            assert not truncated
            if terminated:
                assert not seen["action_mask"].any()
                env.step(None)
                continue
            waiting = env.observe("player_1" if agent == "player_0" else "player_0")
            assert not waiting["observation"].any() and not waiting["action_mask"].any()
            game.observe(state, observation)
            game.legal_actions(state, mask)
            assert agent == f"player_{game.to_play(state)}"
            assert np.array_equal(seen["observation"], observation) and np.array_equal(seen["action_mask"], mask)
            assert seen["action_mask"].dtype == np.int8
            action = int(random.choice(np.flatnonzero(mask)))
            earned, _ = game.step(state, action)
            env.step(action)
            seen["observation"][:] = seen["action_mask"][:] = 1  # the caller's own
            last = agent, earned
        assert total[last[0]] == last[1] == -sum(total.values()) + last[1]
        assert env.agents == []


def test_winner_gets_the_reward():
    env = PettingZooEnv("tictactoe")
    env.reset()
    for action in (0, 3, 1, 4, 2):
        env.step(action)
    assert env.rewards == {"player_0": 1.0, "player_1": -1.0}
    assert env.terminations == {"player_0": True, "player_1": True}
    assert env.agent_selection == "player_1" and env.last()[1] == -1.0


def test_truncation_and_outcome_rewards():
    env = PettingZooEnv(replace(tictactoe.GAME, max_plies=2))
    env.reset()
    env.step(0)
    assert not any(env.truncations.values())
    env.step(1)
    assert all(env.truncations.values()) and not any(env.terminations.values())
    random, env = np.random.default_rng(0), PettingZooEnv(othello.GAME.with_outcome_rewards())
    env.reset()
    while not any(env.terminations.values()):
        env.step(int(random.choice(np.flatnonzero(env.last()[0]["action_mask"]))))
    assert sorted(env.rewards.values()) in ([-1.0, 1.0], [0.0, 0.0])


@pytest.mark.parametrize("action", [4, 9, -1, None])
def test_illegal_moves_are_refused(action):
    env = PettingZooEnv("tictactoe")
    env.reset()
    env.step(4)
    with pytest.raises(ValueError, match="illegal"):
        env.step(action)
    wrapped = TerminateIllegalWrapper(PettingZooEnv("tictactoe"), -1)
    wrapped.reset()
    wrapped.step(4)
    wrapped.step(4)
    assert wrapped.rewards == {"player_0": 0, "player_1": -1} and all(wrapped.terminations.values())


def test_rendering_as_text_and_image():
    text, image = (PettingZooEnv("othello", mode) for mode in ("ansi", "rgb_array"))
    for env in (text, image):
        env.reset()
        env.step(19)
    assert text.render().splitlines()[3].split()[4] == "X"
    assert image.render().shape == (432, 432, 3)


def test_single_player_game_is_refused():
    with pytest.raises(UserError, match="snake is a 1-player game"):
        PettingZooEnv("snake")
