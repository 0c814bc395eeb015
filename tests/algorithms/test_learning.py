"""Does it learn? The whole way from a game's file through the command's training to an agent, on a game whose every
value is known; and the same with a broken part, which must not."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from myosu.algorithms import muzero
from myosu.players.agent import load_agent
from myosu.replay import unroll
from myosu.runs.config import RunConfig, TrainConfig
from myosu.training.start import create_run
from myosu.training.trainer import train

pytestmark = pytest.mark.slow

STONES = 10
SEED = 1
PAGE = Path(__file__).parents[2] / "docs" / "new-game.md"
CONFIG = muzero.Config(channels=64, blocks=1, atoms=11, simulations=12, considered_actions=3, num_envs=32,
                       opening_plies=3, batch_size=64, unroll_steps=3, learning_starts=500, replay_capacity=2000,
                       replay_ratio=4.0, learning_rate=5e-3, device="cpu", precision="float32")


@pytest.fixture
def nim(tmp_path):
    """The game of docs/new-game.md with ten stones: take one to three, the last one wins. To move at a multiple of
    four stones is to lose, and from anywhere else taking (stones mod 4) is the one move that wins."""
    path = tmp_path / "nim.py"
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1)
    path.write_text(code.replace("STONES = 21", f"STONES = {STONES}"))
    return path


def train_and_judge(nim, tmp_path, updates=800, config=CONFIG):
    """Share of the winning moves that the agent finds, and the worst error of the values that its network foresees."""
    run = create_run(RunConfig(str(nim), "muzero", config, TrainConfig(updates=updates, deterministic=True, seed=SEED,
                                                                     evaluate_every=0)), tmp_path / "run")
    train(run, quiet=True)
    agent, environment, _ = load_agent(run.folder)
    game = environment.rules
    stones = np.arange(1, STONES + 1)
    states = game.new_states(len(stones))
    states["stones"] = stones
    observation = np.zeros((len(stones), *game.observation_shape), game.observation_dtype)
    legal = np.zeros((len(stones), game.num_actions), np.bool_)
    game.batch.observe(states, observation)
    game.batch.legal_actions(states, legal)
    won = stones % 4 != 0
    found = agent.act(observation, legal)[0][won] == stones[won] % 4 - 1
    value = muzero.improved_value(agent.planner.plan(observation, legal)[0])
    return found.mean(), float(np.abs(value - np.where(won, 1.0, -1.0)).max())


def test_learns_nim_from_its_file(nim, tmp_path):
    found, error = train_and_judge(nim, tmp_path)
    assert found == 1.0 and error < 0.5, (found, error)


LAMBDA = dataclasses.replace(CONFIG, td_lambda=0.8, search_value_weight=0.2)


def test_learns_nim_from_lambda_returns(nim, tmp_path):
    found, error = train_and_judge(nim, tmp_path, config=LAMBDA)
    assert found == 1.0 and error < 0.5, (found, error)


def test_single_player_lambda_returns_do_not_learn_nim(nim, tmp_path, monkeypatch):
    returns = unroll._lambda_returns
    monkeypatch.setattr(unroll, "_lambda_returns", lambda *arguments: returns(*arguments[:5], 1.0, arguments[6]))
    _, error = train_and_judge(nim, tmp_path, config=LAMBDA)
    assert error > 0.5, "the search may find the moves of so short a game, but not what they are worth"


def broken_sign(config, spec):
    return 1.0


def broken_targets(replay, rows, discount, td_steps, search_weight, td_lambda):
    return -unroll.lambda_returns(replay.columns, rows, discount)


def test_a_broken_sign_does_not_learn(nim, tmp_path, monkeypatch):
    monkeypatch.setattr(muzero, "signed_discount", broken_sign)
    found, error = train_and_judge(nim, tmp_path)
    assert found < 1.0 and error > 0.5, (found, error)


def test_a_broken_value_target_does_not_learn(nim, tmp_path, monkeypatch):
    monkeypatch.setattr("myosu.replay.unroll.value_targets", broken_targets)
    found, error = train_and_judge(nim, tmp_path)
    assert found < 1.0 and error > 0.5, (found, error)


def test_learns_to_beat_a_random_player_at_tictactoe(tmp_path):
    """A board, a residual tower, symmetries: well above the +0.3 that moving first against random play is worth."""
    settings = dataclasses.replace(CONFIG, channels=16, opening_plies=2, considered_actions=9, num_envs=16,
                                   reconstruction_loss_weight=2.0, replay_capacity=10_000)
    run = create_run(RunConfig("tictactoe", "muzero", settings, TrainConfig(updates=1000, deterministic=True, seed=SEED,
                                                                           evaluate_every=1000)), tmp_path / "run")
    result = train(run, quiet=True)
    assert result.evaluation["mean_reward"] > 0.7, result.evaluation
