"""The command: flags, exit codes, what is printed where."""

import dataclasses
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import myosu.players.agent
import myosu.players.opponents
import myosu.training.trainer
from myosu import cli
from myosu.doctor.attending import RunDoctor
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.games import load_game
from myosu.runs.run import open_run
from myosu.training.trainer import TrainResult
from web_runs import untrained_run


class CentreFirst:
    """An agent for tic-tac-toe: the centre, else the first free square."""

    has_memory = False

    def act(self, observation, legal_actions, state=None, starts=None):
        preference = np.array([2, 1, 1, 1, 3, 1, 1, 1, 1])
        return np.argmax(legal_actions * preference, axis=1), None


@pytest.fixture
def agent(monkeypatch):
    """Every run holds a ``CentreFirst``; what was asked of ``load_agent``."""
    calls = []

    def load_agent(path, simulations=None, seed=0, game=None):
        calls.append((str(path), simulations))
        config = SimpleNamespace(algorithm="stub", algorithm_config={"simulations": 16})
        return CentreFirst(), load_environment("tictactoe"), config

    monkeypatch.setattr(myosu.players.agent, "load_agent", load_agent)
    monkeypatch.setattr(myosu.players.opponents, "load_agent", load_agent)
    return calls


@pytest.fixture
def trained(monkeypatch):
    """Runs that ``train`` was asked for; nothing is trained."""
    runs = []

    def train(run, quiet, callbacks, handle_signals, cluster):
        assert handle_signals and [type(callback) for callback in callbacks] == [RunDoctor] and cluster is None
        runs.append(run)
        return TrainResult(run, "10 updates", 10, 1, 9, 1.0, None)

    monkeypatch.setattr(myosu.training.trainer, "train", train)
    return runs


def exit_code(arguments):
    try:
        return cli.run(arguments)
    except SystemExit as end:
        return end.code


def test_help_imports_neither_torch_nor_numba():
    script = ("import sys; from myosu.cli import run; code = run(['--help']); "
              "sys.exit(code or any(m in sys.modules for m in ('torch', 'numba', 'numpy', 'tyro')))")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "train" in done.stdout and "evaluate" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_play_of_a_missing_run_is_reported(capsys):
    """Not that packages of environments could be installed."""
    assert cli.run(["play", "runs/NAME"]) == 2
    assert capsys.readouterr().err == ("myosu: There is no run runs/NAME. The runs of myosu train are folders in "
                                       "runs/.\n")
    assert cli.run(["play", "ALE/Nothing-v5"]) == 2
    assert "no game or environment" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["games", "train --help", "train --help-all", "check tictactoe --games 5"])
def test_ascii_terminal_gets_ascii_output(command):
    done = subprocess.run([sys.executable, "-m", "myosu.cli", *command.split()], capture_output=True, check=False,
                          env={**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stdout.isascii() and not done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("trian othello", "There is no command 'trian'. Did you mean 'train'?"),
        ("train othelo", "There is no game or environment 'othelo'. Did you mean 'othello'?"),
        ("train othello --algorithm muzeroo", "There is no algorithm 'muzeroo'. Did you mean 'muzero'?"),
        ("train", "Which game or environment?"),
        ("train tictactoe --learning-rate 100", "learning_rate = 100.0 is impossible: it must be from"),
        ("train tictactoe --learning-rat 1", "--learning-rate"),
        ("train tictactoe --minutes soon", "minutes"),
        ("train tictactoe --minutes -1", "minutes must be above 0"),
        ("train tictactoe --deterministic", "cannot be limited by minutes alone"),
        ("train --resume nowhere", "There is no run in nowhere"),
        ("train tictactoe --resume nowhere", "leave out 'tictactoe'"),
        ("train --resume nowhere --channels 8", "leave out --channels"),
        ("evaluate", "RUN"),
        ("evaluate nowhere", "nowhere"),
        ("evaluate nowhere --simulations 0", "--simulations 0"),
        ("play nowhere", "nowhere"),
        ("play nowhere --seat third", "second"),
        ("check nosuch.py", "There is no file 'nosuch.py'"),
        ("check CartPole-v11", "Did you mean 'CartPole-v1'?"),
        ("check CartPole-v1 --env-kwargs {", "--env-kwargs {: this is not JSON"),
        ("check tictactoe --games 0", "--games 0"),
        ("train tictactoe --updates 1 --seed -1", "seed must be from 0 to"),
        ("train tictactoe --updates 1 --seed 18446744073709551616", "seed must be from 0 to"),
        ("check tictactoe --seed -1", "--seed -1: choose one from 0 to"),
        ("evaluate nowhere --seed 18446744073709551616", "--seed 18446744073709551616: choose"),
        ("play nowhere --seed -1", "--seed -1: choose"),
        ("gtp nowhere --seed -1", "--seed -1: choose"),
        ("arena tictactoe random greedy --seed -1", "--seed -1: choose"),
        ("bench othelo", "Did you mean 'othello'?"),
    ],
)
def test_bad_input_is_reported_on_stderr_with_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert exit_code(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert message in err and "Traceback" not in err and out == ""
    assert not list(tmp_path.iterdir()), "bad input must not create files"


def test_interrupted_commands_exit_with_130(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("myosu.commands.games.main", interrupted)
    assert cli.run(["games"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_train_takes_fields_of_both_configurations(trained, tmp_path):
    line = f"train tictactoe --run {tmp_path}/a --updates 10 --seed 7 --no-symmetries --learning_rate 1e-4 --channels=8"
    assert exit_code(line.split()) == 0
    config = trained[0].config
    assert (config.game, config.algorithm, config.rewards) == ("tictactoe", "muzero", "score")
    assert (config.train.updates, config.train.minutes, config.train.seed) == (10, None, 7)
    settings = SimpleNamespace(**config.algorithm_config)
    assert (settings.learning_rate, settings.channels, settings.symmetries) == (1e-4, 8, False)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["algorithm_config"]["channels"] == 8


def test_training_has_an_end_by_default(trained, tmp_path):
    assert exit_code(["train", "tictactoe", "--run", str(tmp_path / "a")]) == 0
    assert trained[0].config.train.minutes == 60


def test_resume_changes_only_what_is_given(trained, tmp_path):
    exit_code(f"train tictactoe --run {tmp_path}/a --updates 10 --channels 8 --seed 3".split())
    assert exit_code(f"train --resume {tmp_path}/a --updates 20".split()) == 0
    first, again = (run.config for run in trained)
    assert (again.train.updates, again.train.seed, again.train.minutes) == (20, 3, None)
    assert again.algorithm_config == first.algorithm_config
    assert exit_code(f"train tictactoe --run {tmp_path}/a".split()) == 2, "an existing run must not be overwritten"


def test_presets_are_defaults_that_flags_override(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("myosu.training.start.load_preset", lambda *_: {"channels": 24, "blocks": 1})
    assert exit_code(f"train tictactoe --run {tmp_path}/a --updates 1 --blocks 3".split()) == 0
    settings = SimpleNamespace(**trained[0].config.algorithm_config)
    assert (settings.channels, settings.blocks) == (24, 3)


def test_every_preset_is_a_valid_configuration():
    from importlib.resources import files
    from pathlib import Path

    from myosu.algorithms import load_algorithm
    from myosu.presets import load_preset

    for file in Path(str(files("myosu.presets"))).glob("*/*.toml"):
        settings = load_algorithm(file.parent.name).Config
        # Those that are not for one environment.
        names = {"board": "othello", "categories": "Taxi-v4", "vectors": "Acrobot-v1", "environment": "Acrobot-v1"}
        not_here = file.stem == "atari" or file.stem in ("Hopper-v5", "HalfCheetah-v5")  # MuJoCo is not installed
        environment = load_environment("CartPole-v1" if not_here else names.get(file.stem, file.stem))
        if file.stem == "board":
            game = dataclasses.replace(environment.rules, name="a board game of a user's")
            environment = dataclasses.replace(environment, game=game)
        preset = load_preset(file.parent.name, environment, settings, own=file if not_here else None)
        assert preset
        settings(**preset)


def test_games_command_prints_json(capsys):
    assert exit_code(["games", "--json"]) == 0
    games = {game["name"]: game for game in json.loads(capsys.readouterr().out)}
    assert games["othello"]["actions"] == 65 and {"connect_four", "tictactoe"} <= set(games)
    assert exit_code(["games"]) == 0 and "othello" in capsys.readouterr().out


def test_check_reports_and_exits_with_1_when_rules_are_broken(capsys, tmp_path):
    assert exit_code(["check", "tictactoe", "--games", "20"]) == 0
    assert "the rules hold" in capsys.readouterr().out
    broken = tmp_path / "broken.py"
    broken.write_text("from dataclasses import replace\nfrom myosu.games.tictactoe import GAME as RIGHT\n"
                      "GAME = replace(RIGHT, name='broken', reward_range=(-0.5, 0.5))\n")
    assert exit_code(["check", str(broken), "--games", "20", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"] and any(f["severity"] == "error" for f in report["findings"])


def test_evaluate_json_has_only_the_documented_keys(agent, capsys):
    flags = ["--opponent", "random", "--games", "20", "--simulations", "4", "--json"]
    assert exit_code(["evaluate", "some/run", *flags]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert {"game", "algorithm", "opponent", "games", "mean_reward", "mean_reward_ci95", "win_rate", "win_rate_ci95",
            "draw_rate", "first_seat", "second_seat", "simulations", "seconds"} <= set(report)
    assert (report["game"], report["opponent"]) == ("tictactoe", "random")
    assert (report["games"], report["simulations"]) == (20, 4)
    assert report["first_seat"]["games"] == report["second_seat"]["games"] == 10 and report["opening_plies"] == 0
    low, high = report["mean_reward_ci95"]
    assert low <= report["mean_reward"] <= high and err == "" and agent == [("some/run", 4)]


@pytest.mark.parametrize("opponent, plies", [("greedy", 1), ("alphabeta:2", 1), ("another/run", 1)])
def test_evaluate_against_each_kind_of_opponent(agent, capsys, opponent, plies):
    assert exit_code(["evaluate", "some/run", "--opponent", opponent, "--games", "18"]) == 0
    out = capsys.readouterr().out
    assert "tictactoe against" in out and "16 simulations" in out
    exit_code(["evaluate", "some/run", "--opponent", opponent, "--games", "18", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["opening_plies"] == plies and report["opponent"] == opponent
    if opponent == "another/run":
        assert report["mean_reward"] == 0, "an agent against itself scores 0 on average"


def test_evaluate_exhaustive_lists_losing_lines(agent, capsys):
    assert exit_code(["evaluate", "some/run", "--opponent", "exhaustive", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["losses"] == len(report["losing_lines"]) > 0 and report["algorithm"] == "stub"
    assert exit_code(["evaluate", "some/run", "--opponent", "exhaustive"]) == 0
    assert "lines of play are lost" in capsys.readouterr().out


@pytest.mark.parametrize("opponent, message", [
    ("grredy", "Did you mean 'greedy'?"), ("alphabeta:x", "alphabeta:4"), ("alphabeta:0", "alphabeta:0"),
    ("gtp:nosuch-engine", "there is no program 'nosuch-engine'"), ("stockfish", "There is no opponent 'stockfish'"),
])
def test_unknown_opponents_are_refused(agent, capsys, opponent, message):
    assert exit_code(["evaluate", "some/run", "--opponent", opponent]) == 2
    assert message in capsys.readouterr().err


def test_person_plays_a_whole_game_in_the_terminal(agent, capsys, monkeypatch):
    """After b2 the agent takes the first free square each time: a1, then b1, and a3 c1 wins for the person."""
    lines = iter(["hint", "moves", "nonsense", "b2", "b2", "a3", "undo", "board", "c2", "a2"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert exit_code(["play", "some/run", "--terminal"]) == 0
    out = capsys.readouterr().out
    assert "The agent would play b2." in out and "a1 b1 c1 a2 b2 c2 a3 b3 c3" in out
    assert "'nonsense' is not a square" in out and "b2 is not legal here" in out
    assert "The agent plays a1." in out and out.rstrip().endswith("You win. Your reward: +1")


def test_play_handles_undo_and_end_of_input(agent, capsys, monkeypatch):
    lines = iter(["undo", "a1", "undo", "undo"])

    def typed(prompt):
        for line in lines:
            return line
        raise EOFError

    monkeypatch.setattr("builtins.input", typed)
    assert exit_code(["play", "some/run", "--terminal", "--seat", "second"]) == 0
    out = capsys.readouterr().out
    assert out.count("There is nothing to take back.") == 2 and out.count("The agent plays b2.") == 1
    assert "O . ." in out, "a1 was played and taken back"


def test_person_without_moves_passes(capsys, monkeypatch):
    from myosu.commands.play import Table
    from myosu.players.player import RandomPlayer

    othello = load_game("othello")
    table = Table(othello, RandomPlayer(othello), seat=1)
    moves = "c4 e3 f2 e2 f6 g2 f3 e6 f4 c3 d1 c6 h2 f1 b7 c5 b2 c2 c1 e1 d2 b1 d6 b4 a4 a1 a2 b3"
    table.seat = 0
    table.go_to([othello.parse_action(move) for move in moves.split()])  # now the first player must pass
    monkeypatch.setattr("builtins.input", lambda prompt: "quit")
    table.play()
    out = capsys.readouterr().out
    assert "You have no move and must pass." in out and len(table.history) >= 30


def test_play_refuses_single_player_games():
    from dataclasses import replace

    from myosu.commands.play import Table

    with pytest.raises(UserError, match="nobody to play against"):
        Table(replace(load_game("tictactoe"), num_players=1), None, 0)


@pytest.mark.parametrize("game, opponent, message", [
    ("tictactoe", "nobody", "There is no opponent 'nobody'"),
    ("tictactoe", "alphabeta", "write the depth as a number"),
    ("tictactoe", "gtp:'a", "this is not a valid command line"),
    ("tictactoe", "exhaustive", "exhaustive is not a player"),
    ("tictactoe", "runs/none", "There is no run or checkpoint 'runs/none'"),
    ("snake", "greedy", "snake is single-player: there is no opponent 'greedy' in it"),
])
def test_invalid_evaluation_opponents_are_refused(trained, tmp_path, monkeypatch, capsys, game, opponent, message):
    monkeypatch.chdir(tmp_path)
    words = ["train", game, "--algorithm", "ppo" if game == "snake" else "muzero", "--updates", "1", "--run", "run"]
    assert exit_code([*words, "--evaluation-opponent", opponent]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists() and trained == []


def test_evaluation_opponent_is_stored_as_absolute_path(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    untrained_run(tmp_path / "old", "tictactoe")
    words = ["train", "tictactoe", "--updates", "1", "--run", "run", "--evaluation-opponent"]
    assert exit_code([*words, "old/checkpoints/update-00000001:8"]) == 0
    known = open_run("run").config.train.evaluation_opponent
    assert known == f"{tmp_path}/old/checkpoints/update-00000001:8"
    assert exit_code(["train", "--resume", "run", "--evaluation-opponent", "./old"]) == 0
    assert trained[-1].config.train.evaluation_opponent == f"{tmp_path}/old"
    assert exit_code(["train", "--resume", "run", "--evaluation-opponent", "nobody"]) == 2
    assert open_run("run").config.train.evaluation_opponent == known, "only a training that begins changes it"
