"""A command that is refused changes nothing in the run that it was to resume."""

import os
from pathlib import Path

import pytest

import myosu
from myosu.runs.checkpoint import Checkpoints
from myosu.runs.run import Run, open_run
from myosu.training import trackers
from myosu.training.start import configure, create_run
from myosu.training.trainer import train
from toy_runs import toy_run


@pytest.fixture
def run(tmp_path) -> Run:
    """A run with checkpoints at updates 20 and 30, of which the first is the best by evaluation."""
    run = toy_run(tmp_path / "run", updates=20, evaluate_every=10, evaluation_games=4)
    train(run, quiet=True)
    train(open_run(run.folder, updates=30), quiet=True)
    assert {path.name for path in Checkpoints(run.checkpoints).paths()} >= {"update-00000020", "update-00000030"}
    return open_run(run.folder)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"}


def damage(run: Run) -> None:
    (run.checkpoints / "update-00000030" / "state.safetensors").unlink()


def damage_replay(run: Run) -> None:
    for path in run.replay.iterdir():
        path.write_bytes(b"damaged")


@pytest.mark.parametrize(("start", "settings", "message"), [
    ("", {"updates": 25}, r"has reached its end \(25 updates\)"),
    ("", {"updates": 20, "evaluate_every": 0}, "has reached its end"),
    ("checkpoints/update-00000020", {"updates": 20}, "has reached its end"),
    ("", {"updates": 60, "evaluation_games": 5}, "evaluation_games = 5: in a two-player game an even number"),
    ("", {"updates": 60, "evaluation_opponent": "nobody"}, "nobody"),
    ("", {"updates": 60, "seed": 1}, "seed of a run cannot be changed"),
    ("", {"updates": -1}, "updates must be above 0"),
], ids=["limit", "limit-without-evaluations", "earlier-checkpoint", "evaluation-games", "opponent", "seed", "negative"])
def test_refused_settings_change_nothing(run, start, settings, message):
    before = contents(run.folder)
    with pytest.raises(myosu.UserError, match=message):
        myosu.train(resume=run.folder / start, quiet=True, **settings)
    assert contents(run.folder) == before


@pytest.mark.parametrize("spoil", [damage, damage_replay])
def test_a_damaged_run_is_not_changed_by_the_attempt_to_resume_it(run, spoil):
    spoil(run)
    before = contents(run.folder)
    # From the earlier checkpoint too, which would set the later one aside.
    for start in [run.folder] + [run.checkpoints / "update-00000020"] * (spoil is damage_replay):
        with pytest.raises(myosu.UserError):
            myosu.train(resume=start, quiet=True, updates=60)
        assert contents(run.folder) == before


def test_a_run_that_another_process_trains_is_not_changed(run):
    before, lock = contents(run.folder), run.lock()
    with pytest.raises(myosu.UserError, match="another process"):
        myosu.train(resume=run.folder, quiet=True, updates=60)
    assert contents(run.folder) == before
    os.close(lock)


def test_actors_are_refused_where_acting_and_learning_take_turns(tmp_path):
    run = create_run(configure("CartPole-v1", "ppo", {"env_steps": 256}), tmp_path / "pole")
    before = contents(run.folder)
    with pytest.raises(myosu.UserError, match="actors = 2: ppo learns only from"):
        myosu.train(resume=run.folder, quiet=True, actors=2)
    assert contents(run.folder) == before


def test_a_refused_command_starts_no_tracker(run, monkeypatch):
    started = []
    monkeypatch.setitem(trackers.BACKENDS, "wandb", lambda *given: started.append(given))
    monkeypatch.setattr("myosu.api.require_tracker", lambda name: None)
    before = contents(run.folder)
    with pytest.raises(myosu.UserError, match="has reached its end"):
        myosu.train(resume=run.folder, quiet=True, track="wandb")
    assert contents(run.folder) == before and not started


def test_accepted_settings_are_kept(run):
    myosu.train(resume=run.folder, quiet=True, updates=40)
    assert open_run(run.folder).config.train.updates == 40
