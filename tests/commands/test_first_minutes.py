"""What a stranger sees first: myosu alone, train without a name, its help, the demo, completion."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest

import myosu
from myosu import cli
from myosu.commands import demo, play, train
from myosu.runs.checkpoint import find_checkpoint


def help_of(arguments, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        cli.run(arguments)
    assert not end.value.code
    return capsys.readouterr().out


def flags_in(text):
    return {flag for flag in re.findall(r"^[│ ]{1,4}(--[a-z][a-z-]+)", text, re.MULTILINE)}


def test_myosu_without_arguments_suggests_next_steps(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.run([]) == 0
    assert "myosu demo" in capsys.readouterr().out
    for name in ("old", "new"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs/new/config.json").write_text("{}")
    assert cli.run([]) == 0
    assert "myosu play runs/new" in capsys.readouterr().out


def test_suggested_commands_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = cli.next_steps()
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "runs/a/config.json").write_text("{}")
    for command in re.findall(r"^  myosu (\w+)", said + cli.next_steps() + cli.HELP, re.MULTILINE):
        assert command in cli.COMMANDS


def test_train_without_a_name_lists_what_can_be_trained(capsys):
    assert cli.run(["train"]) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ("othello", "CartPole-v1", "mygame.py"))
    assert max(map(len, said.splitlines())) <= 80


def test_help_of_train_is_short_and_help_all_is_complete(capsys, monkeypatch):
    short = help_of(["train", "CartPole-v1", "--help"], capsys, monkeypatch)
    every = help_of(["train", "CartPole-v1", "--help-all"], capsys, monkeypatch)
    assert len(flags_in(short)) == 10 and flags_in(short) < flags_in(every) and len(flags_in(every)) > 40
    assert len(short.splitlines()) < 50 and "--help-all" in short
    assert "(default: 0.98)" in short, "defaults are those of the preset"
    assert "None" not in short


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_help_is_80_columns_wide(command, capsys, monkeypatch):
    text = help_of([command, "--help"], capsys, monkeypatch)
    assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("algorithm", ["muzero", "sac", "cloning"])
def test_short_help_shows_only_the_main_flags(algorithm, capsys, monkeypatch):
    short = flags_in(help_of(["train", "--algorithm", algorithm, "-h"], capsys, monkeypatch))
    assert short <= {f"--{name.replace('_', '-')}" for name in train.FIRST} and "--learning-rate" in short


def test_demo_plays_the_packaged_agent(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    asked = []
    monkeypatch.setattr(play, "main", lambda arguments: asked.append(arguments) or 0)
    assert cli.run(["demo", "--terminal", "--simulations", "8", "--seat", "second"]) == 0
    assert asked == [[str(tmp_path / "myosu/demo"), "--seat", "second", "--terminal", "--simulations", "8"]]
    assert "connect_four" in capsys.readouterr().out
    checkpoint = find_checkpoint(tmp_path / "myosu/demo")
    assert checkpoint.config.game == "connect_four" and checkpoint.weights()
    (tmp_path / "myosu/demo/played").mkdir()
    assert cli.run(["demo"]) == 0 and (tmp_path / "myosu/demo/played").is_dir(), "games that were played stay"


def test_demo_works_without_a_writable_state_folder(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert find_checkpoint(demo.unpack_agent()).config.game == "connect_four"


def test_demo_agent_plays_well(monkeypatch, tmp_path):
    """It won all of 100 games against random and 77 of 100 against greedy when it was made."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    agent = demo.unpack_agent()
    assert myosu.evaluate(agent, games=40)["win_rate"] > 0.9
    assert myosu.evaluate(agent, "greedy", games=40)["win_rate"] > 0.5


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_has_valid_syntax(shell, capsys):
    assert cli.run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in [*cli.COMMANDS, "learning-rate", "preset", "connect_four"])
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_completion_in_bash(capsys, tmp_path):
    """Commands, flags, values of flags, games, the runs of the folder, and file names otherwise (no words). Spaces in
    the name of a run are escaped, unless the user has opened a quote."""
    for name in ("othello-1", "two words", "othello-unfinished"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        if "unfinished" not in name:
            (tmp_path / "runs" / name / "config.json").touch()
    cases = {("pl",): "play plot", ("train", "othel"): "othello", ("train", "CartP"): "CartPole-v1",
             ("train", "x", "--algorithm", "mu"): "muzero muesli",
             ("train", "--resume", ""): r"runs/othello-1 runs/two\ words",
             ("train", "x", "--learning-r"): "--learning-rate", ("play", "runs/o"): "runs/othello-1",
             ("play", r"runs/two\ w"): r"runs/two\ words", ("play", "'runs/two w"): "runs/two words",
             ("arena", "tictactoe", "gr"): "greedy", ("evaluate", "x", "--opponent", "alph"): "alphabeta:2",
             ("publish", "x", "-o", ""): "", ("completion", ""): "bash zsh fish", ("demo", "--seat", "f"): "first",
             ("recipe", ""): "alphago9", ("episodes", "x", "-"): "--help"}
    assert cli.run(["completion", "bash"]) == 0
    calls = [f"COMP_WORDS=(myosu {shlex.join(words)}); COMP_CWORD={len(words)}; _myosu_words; echo ${{COMPREPLY[*]}}"
             for words in cases]
    script = "\n".join([capsys.readouterr().out, *calls])
    done = subprocess.run(["bash"], input=script, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert done.stderr == "" and lines[-1].split()[:3] == ["--help", "--last", "--best"]
    assert lines[:-1] == list(cases.values())[:-1]


def test_python_m_myosu_runs_the_command():
    done = subprocess.run([sys.executable, "-m", "myosu", "--version"], capture_output=True, text=True, check=False)
    assert done.stdout == f"myosu {myosu.__version__}\n"
