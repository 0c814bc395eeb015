"""Code that a folder, a record of a game or a league names runs only where the person named it or agreed to it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from myosu import cli, trust
from myosu.arena.entrants import Entrant
from myosu.arena.league import League
from myosu.errors import UserError
from myosu.games import load_game
from myosu.players.agent import load_agent
from myosu.players.opponents import make_opponent
from myosu.runs.curves import read_curve
from myosu.runs.games import GameRecord, read_game
from myosu.runs.run import open_run
from myosu.training.trainer import train
from toy_runs import TOY, toy_run

GYM = """
import pathlib
pathlib.Path({marker!r}).touch()
import gymnasium
gymnasium.register("Evil-v0", entry_point="gymnasium.envs.classic_control:CartPoleEnv")
"""


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A machine on which nobody has named anything yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(trust, "_agreed", set())
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def forget(monkeypatch):
    """A new process."""
    monkeypatch.setattr(trust, "_agreed", set())


def edit(file: Path, **changes) -> None:
    data = json.loads(file.read_text())
    data.update(changes)
    file.write_text(json.dumps(data))


def make_evil(folder: Path) -> tuple[Path, Path]:
    """A module that leaves a mark when it runs, and the mark."""
    marker, module = folder / "CODE-RAN", folder / "evil_module.py"
    module.write_text(GYM.format(marker=str(marker)))
    return module, marker


READERS = {
    "plot": lambda run: cli.run(["plot", str(run), "-o", str(run / "x.svg")]),
    "episodes": lambda run: cli.run(["episodes", str(run)]),
    "video": lambda run: cli.run(["episodes", str(run), "--video", "0"]),
    "evaluate": lambda run: cli.run(["evaluate", str(run), "--games", "2"]),
    "gtp": lambda run: cli.run(["gtp", str(run)]),
    "play": lambda run: cli.run(["play", str(run), "--terminal"]),
    "resume": lambda run: cli.run(["train", "--resume", str(run), "--updates", "50"]),
    "load_agent": lambda run: load_agent(run),
    "opponent": lambda run: cli.run(["arena", "tictactoe", str(run), "--league", str(run / "league"), "--games", "2"]),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("field, value", [("algorithm", "evil_module.py"), ("game", "evil_module.py"),
                                          ("game", "evil_module:Evil-v0"), ("game", "GymV26Environment-v0")])
def test_a_foreign_run_executes_no_code(alone, capfd, monkeypatch, reader, field, value):
    _, marker = make_evil(alone)
    monkeypatch.chdir(alone)
    run = alone / "run"
    train(toy_run(run, updates=20), quiet=True)
    forget(monkeypatch)
    changes = {field: value, "code": {}, "read_from": None, "env_kwargs": {"env_id": "evil_module:Evil-v0"}
               if value.startswith("GymV") else {}}
    edit(run / "config.json", **changes)
    for manifest in (run / "checkpoints").glob("*/manifest.json"):
        data = json.loads(manifest.read_text())
        data["config"].update(changes)
        manifest.write_text(json.dumps(data))
        from damage import renew
        assert renew(manifest.parent)
    try:
        code = READERS[reader](run)
        needs_no_code = reader in ("plot", "episodes")
        assert code == (2 if not needs_no_code or reader == "plot" else 0)  # this run was never evaluated
        if not needs_no_code:
            assert "If you trust it, add --trust" in capfd.readouterr().err
    except UserError as error:
        assert "If you trust it, add --trust" in str(error)
    assert not marker.exists()


def test_curves_and_lists_execute_no_code(alone, monkeypatch, capsys):
    run = alone / "run"
    train(toy_run(run, updates=20, evaluate_every=10, evaluation_games=4), quiet=True)
    evil, marker = make_evil(alone)
    edit(run / "config.json", algorithm=str(evil), game="evil_module:Evil-v0")
    forget(monkeypatch)
    assert read_curve(run).two_players
    assert cli.run(["episodes", str(run)]) == 0
    from myosu.web.watching import Shown, Watched
    watched = Watched(run)
    assert watched.look(Shown("minutes"))[1]["evaluations"] and "--trust" in watched.games()["why"]
    assert not marker.exists()


def test_code_named_by_the_user_is_trusted_until_it_changes(alone, monkeypatch, capsys):
    own = alone / "my_algorithm.py"
    shutil.copy(TOY, own)
    monkeypatch.setattr("toy_runs.TOY", str(own))
    run = alone / "run"
    train(toy_run(run, updates=10), quiet=True)
    assert open_run(run).config.code == {str(own): trust.digest(str(own))}
    forget(monkeypatch)
    load_agent(run)  # unchanged: no question
    known = json.loads((alone / "state" / "myosu" / "trusted.json").read_text())
    assert known == {str(own): trust.digest(str(own))}
    own.write_text(own.read_text() + "\nprint('changed')\n")
    forget(monkeypatch)
    message = rf"config\.json names code .*{own}, which has changed since .*--trust"
    with pytest.raises(UserError, match=message) as found:
        open_run(run).config.environment  # noqa: B018
    assert "\n" not in str(found.value)
    load_agent(run, trust=True)
    forget(monkeypatch)
    assert cli.run(["evaluate", str(run), "--games", "4"]) == 2
    assert cli.run(["evaluate", str(run), "--games", "4", "--trust"]) == 0
    forget(monkeypatch)
    assert cli.run(["evaluate", str(run), "--games", "4"]) == 2  # --trust holds for one command
    capsys.readouterr()


def test_child_processes_inherit_trust(alone, monkeypatch, capsys):
    """The actors and the evaluator are processes of their own."""
    own = alone / "my_algorithm.py"
    shutil.copy(TOY, own)
    run = alone / "run"
    command = ["train", "tictactoe", "--algorithm", str(own), "--run", str(run), "--updates", "20", "--actors", "0",
               "--evaluate-every", "10", "--evaluation-games", "4", "--quiet"]
    assert cli.run(command) == 0
    resume = ["train", "--resume", str(run), "--quiet", "--actors", "1", "--updates"]
    forget(monkeypatch)
    assert cli.run([*resume, "30"]) == 0  # the decision was remembered
    forget(monkeypatch)
    monkeypatch.setenv("XDG_STATE_HOME", str(alone / "elsewhere"))
    capsys.readouterr()
    assert cli.run([*resume, "40"]) == 2 and "add --trust" in capsys.readouterr().err
    assert cli.run([*resume, "50", "--trust"]) == 0
    evaluated = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in evaluated if line["kind"] == "evaluation"][-1] == 50


def test_a_module_is_found_without_importing_its_packages(alone):
    (alone / "package").mkdir()
    (alone / "package" / "__init__.py").write_text("raise RuntimeError('ran')")
    (alone / "package" / "inner.py").write_text("x = 1")
    assert trust.exists("package.inner") and not trust.exists("package.other") and not trust.exists("nowhere.inner")
    assert trust.digest("package.inner") == trust.digest(str(alone / "package" / "inner.py")) != ""
    assert "package" not in sys.modules


@pytest.mark.parametrize("name, source", [
    ("othello", None), ("CartPole-v1", None), ("myosu.envs.probes:myosu/ProbeBoth-v0", None), ("ppo", None),
    ("ale_py:ALE/Pong-v5", "ale_py"), ("gtp:gnugo --mode gtp", "gtp:gnugo --mode gtp"), ("myosux:A-v0", "myosux")])
def test_source_of_names_the_code_to_trust(name, source):
    assert trust.source_of(name) == source


def test_a_foreign_game_executes_no_code(alone):
    evil, marker = make_evil(alone)
    for name in (str(evil), "evil_module:Evil-v0"):
        record = GameRecord(1, [0], [0.0, 0.0], False, False, game=name, players=[{"kind": "person"}] * 2)
        (alone / "game.json").write_text(json.dumps(record.to_json()))
        with pytest.raises(UserError, match="add --trust"):
            read_game(alone / "game.json").history()
        with pytest.raises(UserError, match="add --trust"):
            list(read_game(alone / "game.json").moves())
    assert not marker.exists()


def test_a_foreign_league_executes_no_code(alone, monkeypatch, capsys):
    evil, marker = make_evil(alone)
    league = League(alone / "league", "tictactoe")
    league.enter([Entrant("random", "random", False), Entrant("engine", f"gtp:{sys.executable} {evil}", True)])
    league.close()
    command = ["arena", "--resume", str(alone / "league"), "--games", "2"]
    assert cli.run(command) == 2 and "gtp:" in (error := capsys.readouterr().err) and "add --trust" in error
    edit(alone / "league" / "league.json", game=str(evil), players=[])
    assert cli.run(command) == 2
    assert not marker.exists()
    with pytest.raises(UserError):
        make_opponent(f"gtp:{sys.executable} {evil}", load_game("tictactoe"))
    assert marker.exists()  # as it would have been


def test_an_unusable_trust_file_is_no_error(alone, monkeypatch):
    (alone / "state").write_text("a file where a folder should be")
    trust.remember(TOY)
    forget(monkeypatch)
    with pytest.raises(UserError, match="add --trust"):
        trust.require([TOY], "something")
    (alone / "state").unlink()
    (alone / "state" / "myosu").mkdir(parents=True)
    for damage in ("[]", "{", '{"x": 1}'):
        (alone / "state" / "myosu" / "trusted.json").write_text(damage)
        with pytest.raises(UserError, match="add --trust"):
            trust.require([TOY], "something")
    trust.remember(TOY)
    forget(monkeypatch)
    trust.require([TOY], "something")
