"""Pictures of learning: the numbers of the runs are in them, and what cannot be drawn says why."""

import json

import pytest

from myosu import cli
from myosu.errors import UserError
from myosu.plots.learning import plot_learning
from myosu.plots.ratings import _spread
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.curves import minutes_at, read_curve
from myosu.training.start import create_run
from toy_runs import toy_run


def with_metrics(folder, *lines):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def evaluation(update, reward, **more):
    return {"kind": "evaluation", "update": update, "training_seconds": 6.0 * update, "mean_reward": reward,
            "mean_reward_ci95": [reward - 1, reward + 2], **more}


@pytest.fixture
def duel(tmp_path):
    """A run of tic-tac-toe, as its metrics tell it."""
    return with_metrics(toy_run(tmp_path / "duel", updates=1).folder,
                        {"kind": "training", "update": 0, "seconds": 0.0},
                        evaluation(10, -0.5, env_steps=1000, opponent="random"),
                        {"kind": "training", "update": 20, "seconds": 120.0},
                        evaluation(20, 0.75, env_steps=2500, opponent="random"))


@pytest.fixture
def solo(tmp_path):
    """A run of Snake, evaluated once."""
    from myosu.algorithms import ppo

    folder = create_run(RunConfig("snake", "ppo", ppo.Config(), TrainConfig(updates=1)), tmp_path / "solo").folder
    played = ({"kind": "training", "update": k, "seconds": 3.0 * k, "env_steps": 100 * k,
               "episodes/reward_mean": k / 2.0} for k in range(4))
    return with_metrics(folder, *played, evaluation(3, 4.0, env_steps=300))


def test_curves_over_minutes_steps_and_updates(duel, solo):
    curve = read_curve(duel)
    assert curve.two_players and curve.x.tolist() == [1, 2] and curve.mean.tolist() == [-0.5, 0.75]
    assert curve.interval.tolist() == [[-1.5, 1.5], [-0.25, 2.75]] and curve.episodes.shape == (0, 2)
    assert read_curve(duel, "env_steps").x.tolist() == [1000, 2500]
    assert read_curve(duel, "updates").x.tolist() == [10, 20]
    alone = read_curve(solo, "env_steps")
    assert alone.episodes.tolist() == [[0, 0], [100, 0.5], [200, 1], [300, 1.5]] and alone.x.tolist() == [300]
    assert minutes_at(duel, [0, 10, 20]).tolist() == [0, 1, 2]


def test_learning_plots_are_written(duel, solo, tmp_path):
    plot_learning([duel, duel], tmp_path / "duel.svg", "updates", "Noughts")
    drawn = (tmp_path / "duel.svg").read_text()
    for text in (">Noughts<", ">gradient steps<", ">mean reward against random<", ">duel<"):
        assert text in drawn
    plot_learning([solo], tmp_path / "solo.svg")
    assert ">mean episode return<" in (tmp_path / "solo.svg").read_text()
    plot_learning([duel, duel], tmp_path / "again.svg", "updates", "Noughts")
    assert (tmp_path / "again.svg").read_text() == drawn
    with_metrics(duel, evaluation(10, 0.1, opponent="random"), evaluation(20, 0.2, opponent="alphabeta:3"))
    plot_learning([duel], tmp_path / "two.svg", "updates")
    assert ">mean reward against random, alphabeta:3<" in (tmp_path / "two.svg").read_text()
    assert cli.run(["plot", str(solo), "-o", str(tmp_path / "new" / "solo.png"), "--x", "env_steps"]) == 0
    assert (tmp_path / "new" / "solo.png").read_bytes().startswith(b"\x89PNG")


def test_impossible_plots_are_refused(duel, solo, tmp_path, capsys):
    with pytest.raises(UserError, match=r"different games \(snake, tictactoe\)"):
        plot_learning([duel, solo], tmp_path / "both.png")
    with_metrics(duel, evaluation(1, 0.0))
    with pytest.raises(UserError, match="no steps in the environment with its evaluations"):
        read_curve(duel, "env_steps")
    with pytest.raises(UserError, match="has not been evaluated yet"):
        read_curve(with_metrics(duel))
    assert cli.run(["plot", str(solo), "-o", str(tmp_path / "curve.pdf")]) == 2
    assert cli.run(["plot", "-o", "curve.png"]) == 2
    assert cli.run(["plot", str(tmp_path / "nowhere"), "-o", "curve.png"]) == 2
    said = capsys.readouterr().err
    assert "a .png or .svg file" in said and "Which run?" in said and "There is no run in" in said


def test_overlapping_labels_are_spread_minimally():
    assert _spread([100, 50, 0], 10) == [100, 50, 0]
    assert _spread([50, 48, 0], 10) == [54, 44, 0]
    assert _spread([50, 50, 50, 39], 10) == pytest.approx([62.25, 52.25, 42.25, 32.25])
