"""GTP engines: a real one, and broken ones."""

import shlex
import sys
from dataclasses import replace

import numpy as np
import pytest

from engines import fake_engine, needs_grhino
from myosu.arena.entrants import find_entrants
from myosu.envs.game_history import GameHistory
from myosu.errors import UserError
from myosu.evaluation.match import play_match, reward_of_resigning
from myosu.games import load_game
from myosu.players.gtp import GtpPlayer
from myosu.players.opponents import make_opponent, split_simulations
from myosu.players.player import RandomPlayer
from web_runs import TINY, untrained_run


@pytest.fixture(scope="module")
def othello():
    return load_game("othello")


def answering(genmove: str, otherwise: str = "print('=\\n', flush=True)") -> str:
    return fake_engine(f"if line.startswith('genmove'):\n    {genmove}\nelse:\n    {otherwise}\n")


@needs_grhino
def test_grhino_plays_whole_games_and_beats_random_play(othello):
    engine = GtpPlayer(othello, "gtp-rhino -l 1")
    try:
        result = play_match(othello, engine, RandomPlayer(othello, 1), games=12, seed=1)
    finally:
        engine.close()
    assert result.overall.win_rate > 0.5 and result.overall.mean_reward > 4
    assert any(64 in history for history in result.histories), "no game had a pass"


@needs_grhino
def test_grhino_switches_between_games_and_scores_agree(othello):
    """One process switches between games; its final scores agree with the rewards."""
    engine = GtpPlayer(othello, "gtp-rhino -l 1")
    try:
        result = play_match(othello, RandomPlayer(othello, 2), engine, games=8, opening_plies=8, seed=2)
        for history, reward, seat in zip(result.histories, result.rewards.reshape(-1), [0, 1] * 4, strict=True):
            engine.send("clear_board")
            for ply, action in enumerate(history):
                if action != 64:  # GRhino passes implicitly
                    engine.send(f"play {('black', 'white')[ply % 2]} {othello.action_name(action)}")
            score = engine.send("final_score")  # such as "B+12", "W+4" or "0"
            black = 0.0 if score == "0" else float(score[2:]) * (1 if score[0] == "B" else -1)
            assert np.sign(black) == np.sign(reward) * (1 if seat == 0 else -1)
    finally:
        engine.close()


@pytest.mark.parametrize(
    "command, message",
    [
        (answering("sys.stderr.write('out of luck'); sys.exit(3)"), r"ended with exit code 3 and said: out of luck"),
        (answering("time.sleep(60)"), r"gave no answer within 1 seconds"),
        (answering("print('= a1\\n', flush=True)"), r"answered 'a1', an illegal move"),
        (answering("print('= z99\\n', flush=True)"), r"answered 'z99': "),
        (answering("print('? cannot\\n', flush=True)"), r"answered '\? cannot'"),
        (answering("print('Hello!\\n', flush=True)"), r"answered 'Hello!', which is not GTP"),
    ],
    ids=["crash", "hang", "illegal", "no move", "error", "garbage"],
)
def test_a_broken_engine_is_named_with_its_answer_and_the_game(othello, command, message):
    engine = GtpPlayer(othello, command, timeout=1)
    try:
        with pytest.raises(UserError, match=message) as caught:
            engine.choose(othello.new_states(1), [[19, 18]])
        assert "asked to 'genmove black' after: d3 c3" in str(caught.value)
        assert "The engine gtp:" in str(caught.value)
    finally:
        engine.close()
    assert engine._process.poll() is not None


def test_an_engine_that_refuses_our_move_is_named(othello):
    with pytest.raises(UserError, match=r"answered '\? illegal move', asked to 'play black d3' after: \(no move yet\)"):
        refusing = fake_engine("print('? illegal move\\n' if 'play' in line else '=\\n', flush=True)")
        GtpPlayer(othello, refusing, timeout=5).choose(othello.new_states(1), [[19]])


def test_passes_unknown_to_the_engine_are_not_sent(othello):
    """Like GRhino, which passes implicitly."""
    without_pass = "print('? syntax error\\n' if 'pass' in line else '=\\n', flush=True)"
    engine = GtpPlayer(othello, answering("print('= a1\\n', flush=True)", without_pass), timeout=5)
    with pytest.raises(UserError, match="answered 'a1', an illegal move, asked to 'genmove white' after: d3 pass c3"):
        engine.choose(othello.new_states(1), [[19, 64, 18]])
    engine.close()


def test_engines_that_cannot_start_are_reported(othello):
    with pytest.raises(UserError, match="there is no program 'gtp-nonesuch'"):
        GtpPlayer(othello, "gtp-nonesuch -l 1")
    with pytest.raises(UserError, match="exit code 0"):
        GtpPlayer(othello, "true")
    with pytest.raises(UserError, match="set_game"):
        other_games = "print('= set_game\\n' if line == 'list_commands' else '? unsupported game\\n', flush=True)"
        GtpPlayer(othello, fake_engine(other_games))


GIVES_UP = """
import sys

taken = []
for line in sys.stdin:
    command, *words = line.split() or [""]
    answer = ""
    if command == "clear_board":
        taken.clear()
    elif command == "play":
        taken.append(words[1].lower())
    elif command == "genmove":
        answer = "resign"
        if len(taken) < 4:
            answer = next(c + r for r in "123" for c in "abc" if c + r not in taken)
            taken.append(answer)
    print(f"= {answer}\\n", flush=True)
"""


def test_an_engine_that_resigns_has_lost(tmp_path):
    """The engine plays the first free square and resigns when four squares are taken; then it plays the next game."""
    game, script = load_game("tictactoe"), tmp_path / "engine.py"
    script.write_text(GIVES_UP)
    engine = make_opponent(f"gtp:{shlex.quote(sys.executable)} {script}", game)
    try:
        result = play_match(game, RandomPlayer(game, 1), engine, games=40, seed=1)
        mirrored = play_match(game, engine, RandomPlayer(game, 1), games=4, seed=1)
    finally:
        engine.close()
    assert np.all(result.rewards == 1) and result.overall.win_rate == 1
    assert {len(history) for history in result.histories} == {4, 5} and np.all(mirrored.rewards == -1)


def test_resigning_gives_the_minimum_reward(othello):
    """A resigning player gets the minimum reward; −1 if the rewards are unbounded."""
    assert reward_of_resigning(othello) == -32 and reward_of_resigning(othello.with_outcome_rewards()) == -1
    assert reward_of_resigning(replace(othello, reward_range=(-np.inf, np.inf))) == -1


@pytest.mark.parametrize("command, message", [
    ("'a", "this is not a valid command line: No closing quotation"),
    ('"', "this is not a valid command line: No closing quotation"),
    ("\\", "this is not a valid command line: No escaped character"),
    ("", "there is no program ''"),
    ("   ", "there is no program ''"),
    ("a\0b", "there is no program|cannot be started"),
    ("{folder}/not_a_program", "cannot be started: .*Exec format error"),
])
def test_invalid_command_lines_are_refused(othello, tmp_path, command, message):
    (tmp_path / "not_a_program").write_bytes(b"\x7fELF nothing")
    (tmp_path / "not_a_program").chmod(0o755)
    with pytest.raises(UserError, match=message):
        make_opponent(f"gtp:{command.format(folder=tmp_path)}", othello)


@pytest.mark.parametrize("text", ["alphabeta:", "alphabeta:x", "alphabeta:-1", "alphabeta:0", "alphabeta:" + "9" * 5000,
                                  "alphabeta:\u00b2", "mcts:1.5", "mcts:" + "9" * 5000, "runs/none:" + "9" * 50,
                                  "exhaustive", "nobody", ""])
def test_unknown_players_are_refused(othello, text):
    with pytest.raises(UserError):
        make_opponent(text, othello)


def simulations_of(player, game):
    history = GameHistory(game, 0)
    return player._agent.analyze(history.observation(history.now)[None], history.legal_actions()[None]).visits.sum()


def test_an_existing_folder_has_precedence_over_simulations(tmp_path, monkeypatch):
    """``othello:3`` is that folder if it exists, else three simulations per move of ``othello``; also in leagues."""
    monkeypatch.chdir(tmp_path)
    untrained_run(tmp_path / "runs" / "a", "tictactoe")
    assert split_simulations("runs/a:3") == ("runs/a", 3)
    nine = ("muzero", TINY["tictactoe"][1] | {"simulations": 9})
    untrained_run(tmp_path / "runs" / "a:3", "tictactoe", learnt_by=nine)
    assert split_simulations("runs/a:3") == ("runs/a:3", None) and split_simulations("runs/a:4") == ("runs/a", 4)
    game = load_game("tictactoe")
    assert simulations_of(make_opponent("runs/a:3", game), game) == 9
    checkpoint = "runs/a/checkpoints/update-00000001"
    (tmp_path / f"{checkpoint}:4").mkdir()
    _, entrant, *_ = find_entrants(["runs/a:4"], game)
    assert simulations_of(make_opponent(entrant.text, game), game) == 4


def test_an_endless_answer_is_reported(othello):
    for body, message in [("while True: print('= x', flush=True)", "had not ended its answer after 1 s|gave no answer"),
                          ("while True: print('= ' + 100_000 * 'x', end='', flush=True)", "a line of more than")]:
        with pytest.raises(UserError, match=message):
            GtpPlayer(othello, fake_engine(body), timeout=1)
