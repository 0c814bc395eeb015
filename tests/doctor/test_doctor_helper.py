"""The process in which a run's environment is used: it may hang, die or raise, and the doctor goes on."""

import json

import pytest

from bad_calls import crash, double, fail, hang, leave, refuse, work
from myosu import cli
from myosu.doctor import verdict
from myosu.doctor.finding import Unsuited
from myosu.doctor.helper import Died, Helper, TooLong
from myosu.errors import UserError
from own_game import NIM
from web_runs import untrained_run


@pytest.fixture(scope="module")
def helper():
    helper = Helper("CartPole-v1")
    yield helper
    helper.close()


def test_calls_return_or_raise_as_here(helper, capfd):
    assert helper.call(double, 4, seconds=60) == 8
    assert "does not reach" not in capfd.readouterr().out
    for kind in (UserError, Unsuited):
        with pytest.raises(UserError, match="not here") as raised:
            helper.call(refuse, kind, seconds=60)
        assert type(raised.value) is kind
    with pytest.raises(RuntimeError, match=r"ZeroDivisionError: division by zero \(.*bad_calls.py, line"):
        helper.call(fail, seconds=60)
    with pytest.raises(RuntimeError, match=r"sys.exit\(3\) was called"):
        helper.call(leave, seconds=60)


def test_process_that_dies_or_hangs_is_replaced(helper):
    with pytest.raises(Died, match="exit code 7"):
        helper.call(crash, seconds=60)
    assert helper.call(double, 5, seconds=60) == 10, "in a new process"
    with pytest.raises(TooLong, match=r"had not ended after 4 s, and was in hang\(\) of bad_calls.py"):
        helper.call(hang, seconds=4)
    assert helper.call(double, 6, seconds=60) == 12


# --- in an examination


@pytest.mark.parametrize(("experiments", "missing", "healthy", "crashed"), [
    ([fail, hang, work], ["fail: it failed (ZeroDivisionError: division by zero", "hang: it had not ended after"],
     ["work"], False),
    ([crash, work], [], [], True),
], ids=["fails and hangs", "crashes"])
def test_experiments_may_fail_hang_or_crash(tmp_path, monkeypatch, experiments, missing, healthy, crashed):
    monkeypatch.setattr(verdict._Examination, "_examine_environment", lambda self: None)
    monkeypatch.setattr(verdict, "EXPERIMENTS", experiments)
    call = Helper.call
    monkeypatch.setattr(Helper, "call", lambda self, function, *arguments, seconds: call(
        self, function, *arguments, seconds=3 if function is hang else 300))
    folder = untrained_run(tmp_path / "run", "tictactoe")
    (folder / "games.jsonl").write_text(json.dumps({"returns": [1.0, -1.0], "length": 7, "truncated": False,
                                                    "env_steps": 7, "weights_version": 0}) + "\n")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = verdict.examine_folder(folder, 5.0, lambda _: None)
    assert found.incomplete
    for words in missing:
        assert any(part.startswith(words) for part in found.missing), found.missing
    assert set(healthy) <= set(found.healthy) and ("work" in found.healthy) == bool(healthy)
    assert found.failed == crashed and ("crash" in [finding.check for finding in found.findings]) == crashed
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_run_without_weights_gets_no_experiments(tmp_path):
    folder = untrained_run(tmp_path / "run", "tictactoe", updates=())
    said = []
    found = verdict.examine_folder(folder, 0.1, said.append)
    assert found.incomplete and any("loading its agent" in part for part in found.missing), found.missing
    assert said == ["Looking at its environment …"]


def test_game_of_the_users_with_functions_that_cannot_be_pickled(tmp_path, capfd):
    (tmp_path / "nim.py").write_text(NIM)
    folder = untrained_run(tmp_path / "run", str(tmp_path / "nim.py"))
    assert cli.run(["doctor", str(folder), "--minutes", "0"]) == 2
    said = capfd.readouterr()
    assert "no game has ended yet" in said.out and "ended the process" not in said.out and "Traceback" not in said.err


def test_environment_that_dies_when_it_is_loaded(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text("import os\nos._exit(9)\n")
    folder = untrained_run(tmp_path / "run", "tictactoe")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"game": str(tmp_path / "mine.py"), "spec": None}))
    assert cli.run(["doctor", str(folder), "--minutes", "0"]) == 2
    assert "that you have neither named nor agreed to" in capsys.readouterr().out
    monkeypatch.setattr("myosu.trust._agreed", {str(tmp_path / "mine.py")})
    assert cli.run(["doctor", str(folder), "--minutes", "0"]) == 2
    assert "ended the process that loaded it (exit code 9)" in capsys.readouterr().out
