"""The algorithm of docs/new-algorithm.md learns, and keeps what the page promises."""

from pathlib import Path

import numpy as np
import pytest

import myosu
from myosu.algorithms import load_algorithm
from toy_runs import last_weights, same_weights

PAGE = Path(__file__).parents[2] / "docs" / "new-algorithm.md"


@pytest.fixture(scope="module")
def reinforce(tmp_path_factory):
    file = tmp_path_factory.mktemp("algorithm") / "reinforce.py"
    page = PAGE.read_text()
    file.write_text(page[page.index('```python\n"""REINFORCE') + len("```python\n"):].partition("```")[0])
    return str(file)


def test_it_learns(reinforce, tmp_path):
    """Random play balances the pole for 22 steps."""
    pole = myosu.train("CartPole-v1", reinforce, env_steps=25_000, evaluate_every=0, quiet=True, run=tmp_path / "pole")
    assert myosu.evaluate(pole, games=20)["mean_reward"] > 100


def test_returns_worked_out_by_hand(reinforce):
    """In a game for two, what follows is the opponent's."""
    algorithm = load_algorithm(reinforce)
    for game, returns in (("tictactoe", [0.25, -0.5, 1.0]), ("CartPole-v1", [0.25, 0.5, 1.0])):
        actor = algorithm.make_actor(algorithm.Config(discount=0.5), myosu.make(game, 1), 0)
        steps = [(np.zeros(4), np.ones(9, np.bool_), 1, reward) for reward in (0.0, 0.0, 1.0)]
        assert actor.rows(steps)["return"].tolist() == returns


def test_it_goes_on_exactly(reinforce, tmp_path):
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


def test_what_it_cannot_do_it_refuses(reinforce, tmp_path):
    with pytest.raises(myosu.UserError, match=r"reinforce.py is for environments with a single choice"):
        myosu.train("Pendulum-v1", reinforce, run=tmp_path / "run", env_steps=100)
