"""Two-player PettingZoo environments by name, with a built-in opponent."""

import sys
from types import ModuleType

import numpy as np
import pytest
from gymnasium import spaces

import myosu
from myosu.doctor.check_env import check_vector_env
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.pettingzoo_env import PettingZooEnv
from myosu.envs.pettingzoo_single import TwoPlayerEnv
from myosu.envs.registry import load_environment
from myosu.errors import UserError

TICTACTOE = "pettingzoo:tictactoe_v3"


def made(name=TICTACTOE):
    return load_environment(name).maker().unwrapped


def seated(env, seat, *cells):
    """Reset until the player has this seat, with an opponent that takes these cells. Returns the first observation."""
    for seed in range(50):
        given = iter(cells)
        env.opponent = lambda observation, mask, given=given: next(given)
        observation, _ = env.reset(seed=seed)
        if env.player == env.players[seat]:
            return observation
    raise AssertionError("one seat in 50 episodes")


def test_rewards_and_masks_move_by_move():
    """PettingZoo numbers cells column by column; the first seat wins with cells 0, 1, 2."""
    env = made()
    observation = seated(env, 0, 3, 4)
    assert observation["action_mask"].tolist() == [1] * 9 and not observation["observation"].any()
    observation, *rest = env.step(0)
    assert rest == [0.0, False, False, {}]
    assert observation["action_mask"].tolist() == [0, 1, 1, 0, 1, 1, 1, 1, 1]
    assert observation["observation"][..., 0].sum() == observation["observation"][..., 1].sum() == 1
    assert env.step(1)[1:4] == (0.0, False, False)
    _, *rest = env.step(2)
    assert rest[:3] == [1.0, True, False]


def test_second_seat_moves_second_and_loses_what_the_opponent_wins():
    env = made()
    observation = seated(env, 1, 0, 1, 2)
    assert observation["action_mask"].tolist() == [0] + [1] * 8
    assert observation["observation"][0, 0].tolist() == [0, 1], "the opponent's piece is in the second plane"
    assert env.step(3)[1:4] == (0.0, False, False)
    assert env.step(4)[1:4] == (-1.0, True, False)


def test_both_seats_are_played_and_seeds_determine_episodes():
    vector = GymVectorEnv(load_environment(TICTACTOE).maker, 8, 0)
    twin = GymVectorEnv(load_environment(TICTACTOE).maker, 8, 0)
    assert [str(found) for found in check_vector_env(vector, twin=twin) if found.severity == "error"] == []
    env, seats, opened = made(), set(), []
    for seed in range(30):
        first, again = (env.reset(seed=seed)[0]["observation"] for _ in range(2))
        assert np.array_equal(first, again)
        seats.add(env.player)
        opened.append(int(first.any()))
    assert seats == set(env.players) and 5 < sum(opened) < 25


@pytest.mark.parametrize("name, num_actions, parts", [
    ("pettingzoo:connect_four_v3", 7, {"": (6, 7, 2)}), ("pettingzoo:rps_v2", 3, {"": (4,)})])
def test_spec_leaves_the_mask_out_of_the_observation(name, num_actions, parts):
    """Masks are not part of the observation that networks read."""
    spec = load_environment(name).spec
    assert (spec.num_players, spec.num_actions) == (1, num_actions)
    assert {key: part.shape[1:] for key, part in spec.parts().items()} == parts


def test_pettingzoo_environments_are_found_by_their_module(monkeypatch):
    """So is any other module with an ``env``. Returns are those of the rules."""
    module = ModuleType("my_games")
    module.othello_v0 = ModuleType("my_games.othello_v0")
    module.othello_v0.env = lambda render_mode=None: PettingZooEnv("othello", render_mode)
    monkeypatch.setitem(sys.modules, "my_games", module)
    monkeypatch.setitem(sys.modules, "my_games.othello_v0", module.othello_v0)
    env, rng, totals = made("my_games:othello_v0"), np.random.default_rng(0), []
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            observation, reward, over, cut, _ = env.step(int(rng.choice(np.flatnonzero(observation["action_mask"]))))
            total, over = total + reward, over or cut
        totals.append(total)
    assert min(totals) < 0 < max(totals) and all(abs(total) <= 32 for total in totals)


class Players(ModuleType):
    """A module with an environment whose players have these observation spaces."""

    def __init__(self, *observation_spaces):
        super().__init__("crowd_v0")
        self.observation_spaces = observation_spaces

    def env(self, render_mode=None):
        class Crowd:
            metadata, possible_agents = None, tuple(f"player_{k}" for k in range(len(self.observation_spaces)))

            def observation_space(_, agent):
                return self.observation_spaces[int(agent[-1])]

            def action_space(_, agent):
                return spaces.Discrete(2)
        return Crowd()


@pytest.mark.parametrize("observation_spaces, words", [
    ([spaces.Discrete(2)] * 3, "has 3 players \\(player_0, player_1, player_2\\).*two-player"),
    ([spaces.Discrete(2), spaces.Discrete(3)], "different observation spaces"),
    ([spaces.Discrete(2)], "has 1 players")])
def test_other_numbers_of_players_are_refused(monkeypatch, observation_spaces, words):
    monkeypatch.setitem(sys.modules, "crowd_v0", Players(*observation_spaces))
    with pytest.raises(UserError, match=words):
        TwoPlayerEnv("crowd_v0", "crowd:crowd_v0")


@pytest.mark.parametrize("name", ["pettingzoo:connect_five_v1", "pettingzoo:../v1", "pettingzoo:"])
def test_unknown_pettingzoo_names_are_refused(name):
    with pytest.raises(UserError, match="PettingZoo has no environment"):
        load_environment(name)


def test_training_evaluation_and_resuming_in_tictactoe(tmp_path):
    settings = {"num_envs": 4, "rollout_steps": 16, "batch_size": 32, "hidden": (16,), "quiet": True}
    run = myosu.train(TICTACTOE, "ppo", run=tmp_path / "run", updates=8, deterministic=True, evaluation_games=4,
                      evaluate_every=8, **settings)
    assert run.evaluations[-1]["games"] == 4
    assert myosu.train(resume=run, updates=16, quiet=True).updates == 16
