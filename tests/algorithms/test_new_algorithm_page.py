"""The algorithm of docs/new-algorithm.md learns, and keeps what the page promises."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

import myosu
from in_turn import InTurn
from myosu.algorithms import dqn, load_algorithm, ppo
from myosu.envs.gym_env import GymVectorEnv
from toy_runs import last_weights, same_weights

PAGE = Path(__file__).parents[2] / "docs" / "new-algorithm.md"


def code_of_page(beginning):
    page = PAGE.read_text()
    return page[page.index(f"```python\n{beginning}") + len("```python\n"):].partition("```")[0]


@pytest.fixture(scope="module")
def reinforce(tmp_path_factory):
    file = tmp_path_factory.mktemp("algorithm") / "reinforce.py"
    file.write_text(code_of_page('"""REINFORCE'))
    return str(file)


def test_it_learns_cartpole(reinforce, tmp_path):
    """Random play balances the pole for 22 steps."""
    pole = myosu.train("CartPole-v1", reinforce, env_steps=25_000, evaluate_every=0, quiet=True, run=tmp_path / "pole")
    assert myosu.evaluate(pole, games=20)["mean_reward"] > 100


def test_returns_worked_out_by_hand(reinforce):
    """In a game for two, what follows is the opponent's."""
    algorithm = load_algorithm(reinforce)
    for game, returns in (("tictactoe", [0.25, -0.5, 1.0]), ("CartPole-v1", [0.25, 0.5, 1.0])):
        config, env = algorithm.Config(discount=0.5, replay_capacity=5), myosu.make(game, 1)
        actor, learner = algorithm.make_actor(config, env, 0), algorithm.make_learner(config, env.spec, None, 0)
        replay, shape = algorithm.make_replay(config, env.spec), env.spec.observation_shape
        steps = [(np.zeros(shape), np.ones(env.spec.num_actions, np.bool_), 1, reward) for reward in (0.0, 0.0, 1.0)]
        replay.add(actor.rows(steps), version=0)
        rows = replay.add(actor.rows(steps), version=0)
        assert rows.tolist() == [3, 4, 0] and learner.returns(replay, rows).tolist() == returns


def test_resumed_run_continues_exactly(reinforce, tmp_path):
    limits = {"deterministic": True, "evaluate_every": 0, "quiet": True, "env_steps": 4000}
    myosu.train("CartPole-v1", reinforce, run=tmp_path / "whole", **limits)

    class Interrupt(myosu.Callback):
        def on_evaluation(self, evaluation):
            return False

    parts = myosu.train("CartPole-v1", reinforce, run=tmp_path / "parts", callbacks=[Interrupt()],
                        **{**limits, "evaluate_every": 10, "evaluation_games": 4})
    assert parts.reason == "stopped by Interrupt.on_evaluation" and parts.updates < 20
    myosu.train(resume=parts, quiet=True)
    assert same_weights(last_weights(tmp_path / "whole"), last_weights(tmp_path / "parts"))


class Walk(gymnasium.Env):
    """Action 1 moves by 1, action 0 stays. It pays nothing."""

    observation_space = gymnasium.spaces.Box(-100, 100, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = np.zeros(1, np.float32), 0
        return self.place, {}

    def step(self, action):
        self.place, self.steps = self.place + np.float32(action), self.steps + 1
        return self.place, 0.0, False, self.steps == 10, {}


@pytest.mark.parametrize("algorithm, settings", [
    (ppo, {"num_envs": 8, "rollout_steps": 16, "batch_size": 64}),
    (dqn, {"num_envs": 8, "learning_starts": 100, "batch_size": 32, "replay_ratio": 4.0, "advantage_learning": 0.0})],
    ids=["ppo", "dqn"])
def test_documented_reward_signal_is_maximised(monkeypatch, algorithm, settings):
    names = {"np": np}
    exec(code_of_page("class Calm"), names)
    signals = algorithm.reward_signals
    monkeypatch.setattr(algorithm, "reward_signals", lambda *arguments: [*signals(*arguments), names["Calm"]()])
    config = algorithm.Config(hidden=(16,), learning_rate=1e-2, **settings)
    loop = InTurn(algorithm, config, GymVectorEnv(Walk, 8)).run(2500)
    assert np.mean([sum(episode.actions) for episode in loop.episodes[:10]]) > 2, "the untrained policy must move"
    seen = np.arange(5, dtype=np.float32)[:, None]
    assert loop.agent().act(seen, np.ones((5, 2), np.bool_))[0].tolist() == [0] * 5


def test_continuous_actions_are_refused(reinforce, tmp_path):
    with pytest.raises(myosu.UserError, match=r"reinforce.py is for environments with a single choice"):
        myosu.train("Pendulum-v1", reinforce, run=tmp_path / "run", env_steps=100)
