"""Every experiment of the doctor, once with a planted fault in the agent or environment, once with a healthy one.

The healthy agent is the one that comes with Myosu, which plays Connect Four well.
"""

import dataclasses
import time

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import myosu
from faults.game_faults import FIVE, four_mirrored
from myosu.commands.demo import _unpack
from myosu.doctor import experiments, model_experiments, short_runs
from myosu.doctor.experiments import dead_units, fit_one_batch, search_against_prior, seats_swapped
from myosu.doctor.model_experiments import (
    against_perfect_play,
    judge_model,
    judge_perfect_play,
    model_against_rules,
)
from myosu.doctor.short_runs import (
    by_distance,
    judge_control,
    judge_control_match,
    judge_one_match,
    judge_one_setting,
    one_setting_at_a_time,
    shuffled_reward_control,
)
from myosu.doctor.shuffled import ShuffledRewards
from myosu.doctor.solver import solve_positions
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.games import connect_four, load_game
from myosu.players.agent import load_agent
from myosu.players.player import legal_mask
from web_runs import untrained_run


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return _unpack(tmp_path_factory.mktemp("doctor") / "demo")


def planted(monkeypatch, module, change):
    """Patch ``module`` so that it loads the agent and environment returned by ``change(agent, environment)``."""
    def load(*arguments, **named):
        agent, environment, config = load_agent(*arguments, **named)
        return (*change(agent, environment), config)

    monkeypatch.setattr(module, "load_agent", load)


def other_side(agent, environment):
    """Values from the opponent's view."""
    scalar = agent.planner._scalar
    agent.planner._scalar = lambda logits: -scalar(logits)
    return agent, environment


def test_values_against_returns(demo, monkeypatch):
    assert experiments.values_against_returns(demo, 60.0) is None
    planted(monkeypatch, experiments, other_side)
    assert experiments.values_against_returns(demo, 60.0).check == "value-sign"


def test_search_against_prior(demo, monkeypatch):
    assert search_against_prior(demo, 1.0) is None
    planted(monkeypatch, experiments, other_side)
    assert search_against_prior(demo, 1.0).check == "search"


def test_weak_second_seat_is_reported(demo, monkeypatch):
    assert seats_swapped(demo, 1.0) is None

    def mirrored(agent, environment):
        game = dataclasses.replace(connect_four.GAME, step=four_mirrored, symmetries=None)
        return agent, dataclasses.replace(environment, game=game)

    planted(monkeypatch, experiments, mirrored)
    found = seats_swapped(demo, 1.0)
    assert found.check == "seats" and "second player's moves" in found.cause


def new_dynamics(agent, environment):
    torch.manual_seed(0)
    for parameter in agent.planner.net.dynamics.parameters():
        parameter.data.normal_(0, 0.1)
    return agent, environment


def mirrored_actions(agent, environment):
    recurrent = agent.planner.net.recurrent
    agent.planner.net.recurrent = lambda latent, action: recurrent(latent, 6 - action)
    return agent, environment


@pytest.mark.parametrize("fault", [new_dynamics, mirrored_actions], ids=lambda fault: fault.__name__)
def test_model_against_rules(demo, monkeypatch, fault):
    assert model_against_rules(demo, 60.0) is None
    planted(monkeypatch, model_experiments, fault)
    assert model_against_rules(demo, 60.0).check == "model"


def test_judge_model_reports_an_inaccurate_model():
    rng = np.random.default_rng(0)
    true = [rng.normal(0, 0.5, 300) for _ in range(3)]
    close = [values + 0.2 * rng.normal(size=300) for values in true]
    assert judge_model(close, true, (0.04, 0.09), (-1, 1)) is None
    found = judge_model([rng.permutation(values) for values in true], true, (0.04, 0.09), (-1, 1))
    assert found.check == "model" and "after 1 to 3 imagined moves" in found.message
    assert "does not tell moves apart" in judge_model(close, true, (0.04, 0.041), (-1, 1)).message
    with pytest.raises(UserError, match="values hardly differ yet"):
        judge_model([np.zeros(300)], [0.01 * rng.normal(size=300)], (0, 1), (-1, 1))


@pytest.mark.slow
def test_against_perfect_play(demo, monkeypatch, tmp_path):
    assert against_perfect_play(demo, 90.0) is None
    planted(monkeypatch, model_experiments, other_side)
    assert against_perfect_play(demo, 90.0).severity == "error"
    monkeypatch.undo()
    assert "at random" in against_perfect_play(untrained_run(tmp_path / "run", "tictactoe"), 90.0).message
    with pytest.raises(UserError, match="only in Myosu's own two-player games"):
        against_perfect_play(untrained_run(tmp_path / "snake", "snake"), 1.0)


def test_judge_perfect_play_reports_bad_moves():
    rng = np.random.default_rng(0)
    chance, worth = np.full(200, 0.3), rng.choice([-1.0, 0.0, 1.0], 200)
    assert judge_perfect_play(rng.random(200) < 0.8, chance, worth + rng.normal(size=200), worth) is None
    assert judge_perfect_play(rng.random(200) < 0.3, chance, rng.normal(size=200), worth).severity == "warning"
    assert judge_perfect_play(rng.random(200) < 0.1, chance, rng.normal(size=200), worth).severity == "error"
    assert judge_perfect_play(rng.random(200) < 0.8, chance, -worth, worth).severity == "error"
    assert judge_perfect_play(rng.random(200) < 0.8, chance, -0.01 * worth, worth) is None, "no values are learnt yet"


def after(game, state, action):
    state, reward, over = state.copy(), np.zeros(1, np.float32), np.zeros(1, np.bool_)
    game.batch.step(state, np.array([action]), reward, over)
    return state, float(reward[0]), bool(over[0])


def test_a_position_is_solved():
    """X on 0 and 1, O on 3 and 4, X to move: 2 wins, 5 draws, all other moves lose."""
    game = load_game("tictactoe")
    state = game.new_states(1)
    for action in (0, 3, 1, 4):
        state = after(game, state, action)[0]
    kept, worth = solve_positions(game, np.repeat(state, 2), 10, 5_000, time.monotonic() + 60)
    assert len(kept) == 1, "equal positions are solved only once"
    assert worth[0, 2] == 1 and worth[0, 5] == 0 and worth[0, [6, 7, 8]].tolist() == [-1, -1, -1]
    assert np.isnan(worth[0, [0, 1, 3, 4]]).all()
    assert len(solve_positions(game, game.new_states(1), 10, 3, time.monotonic() + 60)[0]) == 0, "too many nodes"


def test_solved_positions_agree_with_plain_negamax():
    """Four in a row on 5×5, with seven free cells."""
    def value(state):
        legal = legal_mask(FIVE, state)[0]
        return max(reward if over else reward - value(later) for later, reward, over in
                   (after(FIVE, state, action) for action in np.flatnonzero(legal)))

    rng, solved = np.random.default_rng(0), 0
    while solved < 3:
        state, over = FIVE.new_states(1), False
        for action in rng.permutation(25)[:18]:
            over = over or after(FIVE, state, action)[2]
            state = state if over else after(FIVE, state, action)[0]
        kept, worth = solve_positions(FIVE, state, 1, 1_000_000, time.monotonic() + 60) if not over else ([], None)
        if len(kept):
            for action in np.flatnonzero(legal_mask(FIVE, state)[0]):
                later, reward, ends = after(FIVE, state, action)
                assert worth[0, action] == (reward if ends else reward - value(later))
            solved += 1


def test_fit_one_batch_reports_a_tiny_learning_rate(tmp_path):
    small = {"channels": 8, "blocks": 1, "simulations": 4, "batch_size": 32, "num_envs": 16}
    for rate, check in ((1e-2, None), (1e-7, "fit")):
        settings = {**small, "learning_rate": rate}
        folder = untrained_run(tmp_path / f"{rate}", "tictactoe", learnt_by=("muzero", settings))
        found = fit_one_batch(folder, 60.0)
        assert (found and found.check) == check, rate


def test_dead_units(demo, monkeypatch):
    assert dead_units(demo, 60.0) is None

    def closed(agent, environment):
        """The first normalisation of the representation makes all its outputs negative."""
        with torch.no_grad():
            norm = next(m for m in agent.planner.net.representation.modules() if isinstance(m, torch.nn.BatchNorm2d)
                        or (hasattr(m, "running_mean") and hasattr(m, "bias")))
            norm.weight.zero_()
            norm.bias.fill_(-1.0)
        return agent, environment

    planted(monkeypatch, experiments, closed)
    assert dead_units(demo, 60.0).check == "dead-units"


# --- experiments that train


class Match(gymnasium.Env):
    """Episodes of ten steps; reward 1 for the action that the observation names."""

    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def observe(self):
        self.shown = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.shown

    def step(self, action):
        self.steps += 1
        reward = self.pay(int(action) == int(self.shown[0] > 0))
        return self.observe().copy(), reward, self.steps == 10, False, {}

    def pay(self, right):
        return float(right)


class Luck(Match):
    """Pays by chance."""

    def pay(self, right):
        return float(self.np_random.integers(2))


SMALL = {"num_envs": 16, "hidden": (16,), "evaluate_every": 0, "quiet": True, "learning_rate": 1e-2}


@pytest.mark.slow
def test_shuffled_reward_control(tmp_path, monkeypatch):
    monkeypatch.setattr(short_runs, "_SECONDS", 1.0)
    for env, check in ((Match, None), (Luck, "shuffled-rewards")):
        run = myosu.train(env, "ppo", env_steps=160_000, run=tmp_path / env.__name__, **SMALL)
        found = shuffled_reward_control(run.folder, 2.5)
        assert (found and found.check) == check


def test_rewards_are_shuffled():
    """As large and as frequent as before, but independent of the actions."""
    env, true = (load_environment("myosu.envs:myosu/ProbeAction-v0").make(64, 0) for _ in range(2))
    shuffled = ShuffledRewards(env, 0)
    paid, earned = [], []
    for one in (shuffled, true):
        one.reset()
        one.recv()
    for _ in range(50):
        for one, kept in ((shuffled, paid), (true, earned)):
            one.send(np.ones(64, np.int64), np.arange(64))
            kept.append(one.recv())
    rewards = np.concatenate([step.reward for step in paid])
    assert {step.reward.min() for step in earned} == {1.0} and abs(rewards.mean()) < 0.1
    assert set(np.abs(rewards)) == {1.0}
    assert (paid[0].raw_reward == 1).all() and shuffled.num_envs == 64


def test_judge_control_reports_runs_no_better_than_shuffled():
    rng = np.random.default_rng(0)
    assert judge_control(rng.normal(9, 1, 30), rng.normal(5, 1, 30)) is None
    assert judge_control(rng.normal(5, 1, 30), rng.normal(5, 1, 30)).check == "shuffled-rewards"
    assert judge_control(rng.normal(4, 1, 30), rng.normal(5, 1, 30)).check == "shuffled-rewards"
    assert judge_control_match(0.9, 80) is None and judge_control_match(0.55, 80).check == "shuffled-rewards"
    with pytest.raises(UserError, match="only 3 and 30 episodes"):
        judge_control(np.zeros(3), np.zeros(30))


@pytest.mark.slow
def test_one_setting_at_a_time_finds_the_bad_one(tmp_path, monkeypatch):
    monkeypatch.setattr(short_runs, "_SECONDS", 1.2)
    good = {"learning_rate": 1e-2, "gae_lambda": 0.95}

    def known(config, environment, missing):
        return {**config.algorithm_config, **good}

    monkeypatch.setattr(short_runs, "known_good", known)
    settings = {**SMALL, "learning_rate": 3e-7, "gae_lambda": 0.9}
    run = myosu.train(Match, "ppo", env_steps=100, run=tmp_path / "run", **settings)
    found = one_setting_at_a_time(run.folder, 4.6)
    assert found.check == "settings" and "with only learning_rate changed (2 settings" in found.message
    assert found.advice.endswith("--learning-rate 0.01.")
    with pytest.raises(UserError, match=r"need 0\.0 minutes"):
        one_setting_at_a_time(run.folder, 1.0)


def test_judge_one_setting_names_the_bad_setting():
    rng = np.random.default_rng(0)
    differing = {"a": (1, 2), "b": (0.1, 0.001), "c": (True, False)}
    poor, good = rng.normal(5, 1, 100), rng.normal(9, 1, 100)
    found = judge_one_setting(poor, {"a": poor + 0.1, "b": good}, differing)
    assert found.cause.endswith("b = 0.1 (known good: 0.001).")
    assert judge_one_setting(good, {"a": good, "b": poor}, differing) is None
    assert judge_one_match({"a": 0.6, "c": 0.9}, 80, differing).message.count("with only c changed") == 1
    assert judge_one_match({"a": 0.6, "c": 0.7}, 80, differing) is None
    assert by_distance(differing) == ["b", "a", "c"]
