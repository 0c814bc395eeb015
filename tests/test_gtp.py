"""Engines over GTP: a real one, and broken ones."""

import shlex
import sys
import textwrap

import numpy as np
import pytest

from myosu.errors import UserError
from myosu.evaluation.match import play_match
from myosu.games import load_game
from myosu.players.gtp import GtpPlayer, find_engine
from myosu.players.players import RandomPlayer

needs_grhino = pytest.mark.skipif(
    find_engine("gtp-rhino") is None, reason="GRHINO IS NOT INSTALLED: run scripts/install_program.sh gtp-rhino grhino"
)


@pytest.fixture(scope="module")
def othello():
    return load_game("othello")


def fake_engine(body: str) -> str:
    """A command whose process reads ``line`` after ``line`` and runs ``body`` for each."""
    script = "import sys, time\nfor line in sys.stdin:\n    line = line.strip()\n" + textwrap.indent(body, "    ")
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}"


def answering(genmove: str, otherwise: str = "print('=\\n', flush=True)") -> str:
    return fake_engine(f"if line.startswith('genmove'):\n    {genmove}\nelse:\n    {otherwise}\n")


@needs_grhino
def test_grhino_plays_whole_games_and_beats_chance(othello):
    engine = GtpPlayer(othello, "gtp-rhino -l 1")
    try:
        result = play_match(othello, engine, RandomPlayer(othello, 1), games=12, seed=1)
    finally:
        engine.close()
    assert result.overall.win_rate > 0.5 and result.overall.mean_reward > 4
    assert any(64 in history for history in result.histories), "no game had a pass"


@needs_grhino
def test_grhino_keeps_the_games_apart_and_counts_as_we_do(othello):
    """One process goes to and fro between games; its board afterwards is ours, and so is its score."""
    engine = GtpPlayer(othello, "gtp-rhino -l 1")
    try:
        result = play_match(othello, RandomPlayer(othello, 2), engine, games=8, opening_plies=8, seed=2)
        for history, reward, seat in zip(result.histories, result.rewards.reshape(-1), [0, 1] * 4, strict=True):
            engine.send("clear_board")
            for ply, action in enumerate(history):
                if action != 64:  # GRhino passes by itself
                    engine.send(f"play {('black', 'white')[ply % 2]} {othello.action_name(action)}")
            score = engine.send("final_score")  # B+12, W+4 or 0
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
        (answering("print('= resign\\n', flush=True)"), r"answered 'resign': "),
        (answering("print('? cannot\\n', flush=True)"), r"answered '\? cannot'"),
        (answering("print('Hello!\\n', flush=True)"), r"answered 'Hello!', which is not GTP"),
    ],
    ids=["crash", "hang", "illegal", "no move", "resign", "error", "garbage"],
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


def test_a_pass_that_the_engine_has_no_word_for_is_left_out(othello):
    """As GRhino, which passes by itself."""
    without_pass = "print('? syntax error\\n' if 'pass' in line else '=\\n', flush=True)"
    engine = GtpPlayer(othello, answering("print('= a1\\n', flush=True)", without_pass), timeout=5)
    with pytest.raises(UserError, match="answered 'a1', an illegal move, asked to 'genmove white' after: d3 pass c3"):
        engine.choose(othello.new_states(1), [[19, 64, 18]])
    engine.close()


def test_engines_that_cannot_start(othello):
    with pytest.raises(UserError, match="there is no program 'gtp-nonesuch'"):
        GtpPlayer(othello, "gtp-nonesuch -l 1")
    with pytest.raises(UserError, match="exit code 0"):
        GtpPlayer(othello, "true")
    with pytest.raises(UserError, match="set_game"):
        other_games = "print('= set_game\\n' if line == 'list_commands' else '? unsupported game\\n', flush=True)"
        GtpPlayer(othello, fake_engine(other_games))
