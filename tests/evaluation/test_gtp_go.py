"""The engine's Go commands, compared with GNU Go's answers if it is installed."""

import numpy as np
import pytest

from myosu.evaluation.gtp_go import GoEngine
from myosu.games.go import GO9, GO19, make_game
from myosu.players.gtp import GtpPlayer, find_engine
from myosu.players.player import legal_mask


def first_legal(game):
    return lambda state, history, simulations: int(np.flatnonzero(legal_mask(game, state)[0])[0])


@pytest.fixture
def engine():
    return GoEngine(GO9, first_legal(GO9), 1)


def say(engine, *commands):
    """The answers to ``commands``, without blank lines."""
    return [engine.answer(command).strip() for command in commands]


def test_komi_persists_and_is_scored(engine):
    assert say(engine, "get_komi", "komi 0.5", "get_komi") == ["= 7.5", "=", "= 0.5"]
    assert say(engine, "clear_board", "get_komi", "play b e5", "undo", "get_komi") == ["=", "= 0.5", "=", "=", "= 0.5"]
    assert say(engine, "play b e5", "play w pass", "play b pass", "final_score")[-1] == "= B+80.5"
    assert say(engine, "komi much", "komi 1000") == ["? syntax error"] * 2
    assert say(engine, "clear_board", "komi 6", "play b pass", "play w pass", "final_score")[-1] == "= W+6"


def test_final_score_counts_the_board_as_it_stands(engine):
    assert say(engine, "final_score") == ["? cannot score: the game is not over"]
    say(engine, "komi 7.5", *(f"play {'bw'[k % 2]} {'DE'[k % 2]}{k // 2 + 1}" for k in range(18)), "play b pass")
    assert say(engine, "play w pass", "final_score")[-1] == "= W+16.5"  # 36 points against 45, and komi
    assert say(engine, "final_status_list dead", "final_status_list seki") == ["=", "="]
    assert len(say(engine, "final_status_list alive")[0].split()) == 19
    assert say(engine, "final_status_list unwell") == ["? syntax error"]


def test_only_go_of_this_size_is_supported(engine):
    assert say(engine, "list_games", "set_game Go") == ["= Go", "="]
    assert say(engine, "boardsize 9", "boardsize 19") == ["=", "? unacceptable size"]
    assert say(engine, "play b i5", "play b k1", "play b j10") == ["? syntax error"] * 3


def test_handicap_commands(engine):
    assert say(engine, "fixed_handicap 2") == ["= C3 G7"]
    assert say(engine, "fixed_handicap 2") == ["? board not empty"]
    assert "white to move" in say(engine, "showboard")[0]
    assert say(engine, "play w e5", "undo", "genmove w") == ["=", "=", "= A9"]
    assert say(engine, "clear_board", "set_free_handicap A1 B2 C3", "play w A2", "play b D4") == ["="] * 4
    assert say(engine, "clear_board", "set_free_handicap A1 A1", "set_free_handicap A1", "set_free_handicap A1 pass",
               "fixed_handicap 1", "fixed_handicap 10", "fixed_handicap two")[1:] == [
        "? bad vertex list", "? bad vertex list", "? bad vertex list", "? invalid number of stones",
        "? invalid number of stones", "? syntax error"]
    small = make_game(5)
    assert say(GoEngine(small, first_legal(small), 1), "fixed_handicap 2") == ["? invalid number of stones"]


@pytest.mark.skipif(find_engine("gnugo") is None, reason="GNU GO IS NOT INSTALLED")
@pytest.mark.parametrize("game", [GO9, GO19, make_game(13)])
def test_handicap_stones_are_where_gnugo_puts_them(game):
    theirs, ours = GtpPlayer(game, "gnugo --mode gtp"), GoEngine(game, first_legal(game), 1)
    try:
        for stones in range(2, 10):
            ours.answer("clear_board")
            theirs.send("clear_board")
            points = ours.answer(f"fixed_handicap {stones}").strip("= \n").split()
            assert len(points) == stones and set(points) == set(theirs.send(f"fixed_handicap {stones}").split())
    finally:
        theirs.close()


def test_loadsgf_command(engine, tmp_path):
    path = tmp_path / "game.sgf"
    path.write_text("(;SZ[9]KM[5.5]AB[cg][gc];W[ee];B[cc];W[gg])")
    assert say(engine, f"loadsgf {path}", "get_komi") == ["= black", "= 5.5"]
    assert say(engine, "play b E5", "play b A1") == ["? illegal move", "="]
    assert say(engine, f"loadsgf {path} 5", "play b C7") == ["= black", "="]
    path.write_text("(;SZ[13];B[ee])")
    assert say(engine, f"loadsgf {path}")[0].startswith("? cannot load file: a game on 13×13")
    path.write_text("(;SZ[9];B[ee")
    assert "is not SGF" in say(engine, f"loadsgf {path}")[0]
    assert say(engine, "loadsgf nowhere.sgf")[0].startswith("? cannot load file:")


@pytest.mark.skipif(find_engine("gnugo") is None, reason="GNU GO IS NOT INSTALLED")
@pytest.mark.parametrize(("settings", "left", "budget"), [
    ("none", None, np.inf), ("absolute 100", None, 0.7 * 99.9 / 30), ("canadian 0 50 10", None, 0.7 * 49.9 / 10),
    # One move in each period of 10 seconds, however many periods are left; main time is divided among the moves.
    ("byoyomi 0 10 5", None, 0.7 * 9.9), ("byoyomi 60 10 5", "10 5", 0.7 * 9.9),
    ("byoyomi 60 10 5", "60 0", 0.7 * 59.9 / 30),
], ids=["none", "absolute", "canadian", "periods", "period-left", "main-left"])
def test_kgs_time_settings(engine, settings, left, budget):
    assert say(engine, f"kgs-time_settings {settings}") == ["="]
    if left:
        assert say(engine, f"time_left b {left}") == ["="]
    assert engine._clocks.budget(0, 30) == pytest.approx(budget)
    assert say(engine, "known_command kgs-time_settings", "kgs-time_settings byoyomi 10", "kgs-time_settings sand 1",
               "kgs-time_settings absolute soon") == ["= true", *["? syntax error"] * 3]


def test_kgs_rules_are_those_of_area_scoring(engine):
    assert say(engine, "kgs-rules chinese", "kgs-rules AGA") == ["=", "="]
    for rules in ("japanese", "new_zealand"):
        assert say(engine, f"kgs-rules {rules}")[0].startswith(f"? unsupported rules: {rules}")


def test_komi_is_sent_to_engines():
    engine = GtpPlayer(make_game(9, komi=3.5), "gnugo --mode gtp")
    assert float(engine.send("get_komi")) == 3.5
    engine.close()
