"""The agent as a GTP engine: the dialect, malformed input, clocks, and whole games with real programs."""

import shlex
import sys
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from engines import needs_grhino
from myosu.evaluation import gtp_engine
from myosu.evaluation.clock import Clocks, Pace
from myosu.evaluation.gtp_engine import GtpEngine
from myosu.evaluation.match import play_match
from myosu.games import load_game
from myosu.players.gtp import COLOURS, GtpPlayer, MoveWords
from myosu.players.player import RandomPlayer, legal_mask
from toy_runs import othello_run


@pytest.fixture(scope="module")
def othello():
    return load_game("othello")


def last_legal(state, history, simulations):
    return int(np.flatnonzero(legal_mask(load_game("othello"), state)[0])[-1])


@pytest.fixture
def engine(othello):
    return GtpEngine(othello, last_legal, 16)


def say(engine, *lines):
    return [engine.answer(line) for line in lines]


# --- the dialect


def test_ids_comments_and_white_space_are_parsed(engine):
    assert engine.answer("7 protocol_version\n") == "=7 2\n\n"
    assert engine.answer("  8\tname # who are you?\r\n") == "=8 Myosu\n\n"
    assert engine.answer("clear_board") == "=\n\n"
    assert engine.answer("9 nonsense") == "?9 unknown command\n\n"
    assert say(engine, "", "   ", "# a remark", "\x00\x01") == [None] * 4
    assert engine.answer("12") == "?12 unknown command\n\n"
    assert engine.answer("known_command genmove") == "= true\n\n"
    assert engine.answer("known_command fly") == "= false\n\n"
    assert {"genmove", "undo", "time_left", "set_game"} <= set(engine.answer("list_commands")[2:].split())


def test_invalid_commands_within_a_game_are_refused(engine):
    assert say(engine, "set_game Othello", "boardsize 8", "komi -3.5", "play Black D3") == ["=\n\n"] * 4
    for line, what in [("play black c4", "white is to move"), ("play white d3", "illegal move"),
                       ("play white pass", "illegal move"), ("play white", "syntax"), ("play white z9", "syntax"),
                       ("play green c3", "syntax"), ("boardsize 19", "unacceptable size"), ("undo 3", "syntax"),
                       ("set_game Go", "unsupported game"), ("final_score", "cannot score"), ("komi much", "syntax"),
                       ("genmove black", "white is to move"), ("time_settings nan 0 0", "syntax")]:
        answer = engine.answer(line)
        assert answer.startswith("? ") and what in answer, (line, answer)
    assert say(engine, "play w c3", "undo", "undo", "undo") == ["=\n\n"] * 3 + ["? cannot undo\n\n"]
    assert "4 . . * O X . . .\n" in engine.answer("showboard")
    asked = engine.answer("reg_genmove b")
    assert asked == engine.answer("genmove b") and engine.answer("reg_genmove b").startswith("? ")


def test_score_is_right_with_sent_or_omitted_passes(othello):
    """Random games in which passes are sent or omitted at random; ``undo`` also takes back omitted passes."""
    rng, passes, silent = np.random.default_rng(4), 0, 0
    for _ in range(12):
        engine = GtpEngine(othello, lambda state, history, simulations: 0, 1)
        state, total, ply, ended = othello.new_states(1), 0.0, 0, False
        rewards, over = np.empty(1, np.float32), np.empty(1, np.bool_)
        while not ended:
            action = int(rng.choice(np.flatnonzero(legal_mask(othello, state)[0])))
            colour = ("black", "white")[ply % 2]
            passes += action == 64
            if action == 64 and rng.random() < 0.5:
                silent += 1
            else:
                line = f"play {colour} {othello.action_name(action)}"
                assert say(engine, line, "undo", line) == ["=\n\n"] * 3
            othello.batch.step(state, np.array([action]), rewards, over)
            total += float(rewards[0]) * (1 if ply % 2 == 0 else -1)
            ply, ended = ply + 1, bool(over[0])
        empty = 64 - int(state["own"][0] | state["opponent"][0]).bit_count()
        expected = "0" if total == 0 else f"{'B' if total > 0 else 'W'}+{2 * abs(total) + empty:g}"
        assert engine.answer("final_score") == f"= {expected}\n\n"
        assert engine.answer("genmove black") == "= pass\n\n" and engine.answer("play black a1").startswith("? illegal")
    assert passes > silent > 0


@needs_grhino
def test_empty_squares_are_scored_as_by_grhino(othello):
    """Random games that end before the board is full; in one of them a player has no disc left."""
    grhino, rng, margins = GtpPlayer(othello, "gtp-rhino -l 1"), np.random.default_rng(0), []
    try:
        while len(margins) < 4:
            engine = GtpEngine(othello, lambda state, history, simulations: 0, 1)
            lines, over = ["clear_board"], False
            state = othello.new_states(1)[0]
            for ply in count():
                action = int(rng.choice(np.flatnonzero(legal_mask(othello, np.array([state]))[0])))
                if action != 64:
                    lines.append(f"play {('black', 'white')[ply % 2]} {othello.action_name(action)}")
                _, over = othello.step(state, action)
                if over:
                    break
            if len(lines) - 1 < 60:
                for line in lines:
                    assert engine.answer(line) == "=\n\n"
                    grhino.send(line)
                margins.append(engine.answer("final_score").split()[1])
                assert margins[-1] == grhino.send("final_score")
    finally:
        grhino.close()
    assert margins[0].endswith("+64"), margins


def test_random_bytes_do_not_break_the_engine(engine):
    """Afterwards the engine still works."""
    rng = np.random.default_rng(0)
    words = [*engine.answer("list_commands")[2:].split(), "black", "white", "d3", "pass", "-1", "1e400", "#", "9" * 400]
    words.remove("quit")
    for _ in range(3000):
        line = " ".join(rng.choice(words, size=rng.integers(1, 5)))
        if rng.random() < 0.3:
            line += bytes(rng.integers(0, 256, 20, dtype=np.uint8)).decode(errors="replace")
        answer = engine.answer(line)
        assert answer is None or (answer[0] in "=?" and answer.endswith("\n\n") and "\n\n" not in answer[:-2]), line
    assert say(engine, "clear_board", "time_settings 0 1 0", "genmove black") == ["=\n\n", "=\n\n", "= E6\n\n"]
    assert engine.answer("x" * 10**6) == "? unknown command\n\n"
    assert engine.answer("quit") == "=\n\n" and engine.over


NAMED = {
    "spaces": [f"take square {k}" for k in range(9)], "capitals": [*"aAbBcCdDe"],
    "alike but for spaces": ["a b", "a_b", *"cdefghi"], "a mark of comments": [f"#{k}" for k in range(9)],
    "line ends": [f"{k}\n\n= {k}" for k in range(9)], "nothing": ["", *"abcdefgh"],
    "a word of GTP": ["resign", "Resign", "pass", *"abcdef"], "numbers": [str(8 - k) for k in range(9)],
}


@pytest.mark.parametrize("names", NAMED.values(), ids=NAMED)
def test_play_accepts_what_genmove_answers(names):
    """For any names of actions, the engine uses valid words of GTP, which Myosu's client can also read."""
    game = replace(load_game("tictactoe"), action_name=names.__getitem__, parse_action=names.index)
    order, words = [4, 0, 8, 2, 6, 7, 1, 3, 5], []
    giving = GtpEngine(game, lambda state, history, simulations: order[len(history)], 1)
    taking = GtpEngine(game, lambda state, history, simulations: 0, 1)
    for ply in range(9):
        answer = giving.answer(f"genmove {COLOURS[ply % 2]}")
        assert answer.startswith("= ") and answer.endswith("\n\n") and answer.count("\n") == 2
        words.append(answer[2:-2])
        assert taking.answer(f"play {COLOURS[ply % 2]} {words[-1]}") == "=\n\n"
        assert MoveWords(game).action(words[-1]) == order[ply]
    assert taking.answer("final_score") == giving.answer("final_score") == "= 0\n\n"
    assert len({word.lower() if "aA" not in "".join(names) else word for word in words}) == 9


def test_action_names_with_spaces_are_accepted():
    names = NAMED["spaces"]
    game = replace(load_game("tictactoe"), action_name=names.__getitem__, parse_action=names.index)
    engine = GtpEngine(game, lambda state, history, simulations: 0, 1)
    assert say(engine, "play black take square 4", "genmove white") == ["=\n\n", "= TAKE_SQUARE_0\n\n"]


@pytest.mark.parametrize("picture", ["a\n\nb", "\n\na", "a\n \n\t\n\n", "a\r\n\r\nb", "a\x0b\x0bb", "a\u2028\u2028b",
                                     ""])
def test_answers_contain_no_empty_line(picture):
    """A client that reads up to an empty line gets the next answer correctly."""
    engine = GtpEngine(replace(load_game("tictactoe"), render=lambda state: picture), lambda *_: 0, 1)
    answer = engine.answer("showboard")
    assert all(line.strip() for line in answer[:-2].split("\n")) and answer.endswith("\n\n")
    assert [part for part in picture.split() if part not in answer] == []
    lines = iter((answer + engine.answer("name")).splitlines())
    first = list(iter(lambda: next(lines), ""))
    assert first and next(lines) == "= Myosu"


def test_parsing_time_is_linear_in_line_length(engine):
    """The time is linear in the length, not quadratic: with quadratic time, 32,000 spaces took 6.6 seconds, and these
    lines would take a quarter of an hour."""
    for line in ("play b d" + " " * 400_000 + "x y", " " * 400_000, "1" * 400_000, "play" + " b" * 200_000,
                 "1" * 400_000 + " name" + " " * 400_000, "\t" * 400_000 + "name", "name #" + " #" * 200_000):
        assert engine.answer(line) is None or len(engine.answer(line)) < 400_100
    assert engine.answer("name") == "= Myosu\n\n"


@pytest.mark.parametrize("clock", ["1e308 0 0", "1e308 1e308 1", "0 1e308 1e308", "0 1e-308 1", "-1e308 0 0",
                                   "1e308 0 -7"])
def test_extreme_clock_values_are_handled(engine, clock):
    assert say(engine, f"time_settings {clock}", "genmove black", "name")[1:] == ["= E6\n\n", "= Myosu\n\n"]
    left = " ".join(clock.split()[::2])
    assert say(engine, f"time_left white {left}", "genmove white", "name")[2] == "= Myosu\n\n"


# --- time


def test_pace_handles_zero_durations_and_huge_budgets():
    """Durations of 0, because the machine's clock is too coarse, and times beyond the range of floats."""
    pace = Pace()
    pace.observe(8, 0.0)
    assert pace.simulations(0.1, 64) == 64 and pace.simulations(0.0, 64) == 64
    pace.observe(1, 1e-9)
    assert [pace.simulations(budget, 64) for budget in (1e308, np.inf, 3.5e-9, 0.0)] == [64, 64, 3, 0]


def test_clocks_by_hand():
    for unlimited in [(), (0, 1, 0), (10, 1, 0), (0, 0, 0)]:
        assert Clocks(*unlimited).budget(0, 30) == np.inf
    absolute = Clocks(10.1, 0, 0)
    assert absolute.budget(0, 10) == pytest.approx(0.7)
    absolute.spend(0, 5)
    assert absolute.budget(0, 5) == pytest.approx(0.7) and absolute.budget(1, 10) == pytest.approx(0.7)
    absolute.spend(0, 6)
    assert absolute.budget(0, 5) == 0
    absolute.set_left(0, 1.1, 0)
    assert absolute.budget(0, 1) == pytest.approx(0.7)
    periods = Clocks(1, 4.1, 2)
    periods.spend(0, 1.5)
    assert periods.budget(0, 30) == pytest.approx(1.4), "two moves in 4.1 seconds"
    periods.spend(0, 1)
    assert periods.budget(0, 30) == pytest.approx(0.7 * 3)
    periods.spend(0, 3)
    assert periods.budget(0, 30) == pytest.approx(1.4), "a new period"


def test_pace_is_the_slowest_of_the_last_moves():
    pace = Pace()
    assert pace.simulations(0.01, 64) == 64, "no move has been measured yet"
    for seconds in (0.1, 0.2, 0.1, 0.1, 0.1, 0.1):
        pace.observe(10, seconds)
    assert pace.simulations(0.5, 64) == 25 and pace.simulations(np.inf, 64) == 64
    pace.observe(10, 0.1)
    assert pace.simulations(0.5, 64) == 50 and pace.simulations(0.005, 64) == 0


class Referee:
    """The clock of one player according to the rules of GTP."""

    def __init__(self, main, period, stones):
        self.left, self.period, self.stones, self.to_make = main, period, stones, 0

    def charge(self, seconds):
        self.left -= seconds
        if self.left < 0 and self.stones and not self.to_make:  # the first period begins when the main time is used up
            self.left, self.to_make = self.left + self.period, self.stones + 1
        assert self.left >= 0, "lost on time"
        if self.to_make:
            self.to_make -= 1
            if self.to_make == 0:
                self.left, self.to_make = self.period, self.stones


@pytest.mark.parametrize("settings", ["4 0 0", "0.5 0 0", "1 3 5", "0 2 10", "3 1 1"])
@pytest.mark.parametrize("informed", [False, True])
def test_never_loses_on_time(othello, monkeypatch, settings, informed):
    """100 simulations of about 20 ms would take 2 s per move. Time is simulated: a simulation takes 15 to 30 ms,
    everything else 1 ms."""
    now, asked, rng = [0.0], [], np.random.default_rng(0)

    def choose_move(state, history, simulations):
        asked.append(simulations)
        now[0] += simulations * rng.uniform(0.015, 0.03)
        return int(np.flatnonzero(legal_mask(othello, state)[0])[0])

    monkeypatch.setattr(gtp_engine.time, "perf_counter", lambda: now[0])
    engine = GtpEngine(othello, choose_move, 100)
    engine.warm_up()
    engine.answer(f"time_settings {settings}")
    clocks = [Referee(*map(float, settings.split())) for _ in range(2)]
    asked.clear()
    for ply in range(200):
        colour, clock, start = ("black", "white")[ply % 2], clocks[ply % 2], now[0]
        if informed:
            engine.answer(f"time_left {colour} {clock.left:.2f} {clock.to_make:.0f}")
        now[0] += 0.001
        answer = engine.answer(f"genmove {colour}")
        clock.charge(now[0] - start)
        if engine.answer("final_score").startswith("="):
            break
    assert answer.startswith("= ") and ply > 50 and 0 < max(asked) < 100


def test_compile_time_does_not_count_in_the_pace(othello, monkeypatch):
    """The first search takes 4 s longer; a simulation takes 10 ms. 70 simulations fit into 0.7 · 40 s / 40 moves."""
    now, asked = [0.0], []

    def choose_move(state, history, simulations):
        now[0] += 0.01 * simulations + (0 if asked else 4)
        asked.append(simulations)
        return int(np.flatnonzero(legal_mask(othello, state)[0])[0])

    monkeypatch.setattr(gtp_engine.time, "perf_counter", lambda: now[0])
    engine = GtpEngine(othello, choose_move, 100)
    engine.warm_up()
    engine.answer("time_settings 40.1 0 0")
    assert engine.answer("genmove black").startswith("= ") and asked == [1, 100, 100, 70]
    assert engine.answer("undo") == "=\n\n" and engine.answer("undo") == "? cannot undo\n\n"


# --- whole games


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    run = othello_run(tmp_path_factory.mktemp("gtp") / "run")
    return f"{shlex.quote(sys.executable)} -m myosu.cli gtp {shlex.quote(str(run.folder))} --simulations 4"


@needs_grhino
def test_whole_games_against_grhino(othello, command):
    """The controller is Myosu's GTP client, which knows the rules and raises an error for illegal moves."""
    ours, grhino = GtpPlayer(othello, command), GtpPlayer(othello, "gtp-rhino -l 1")
    try:
        assert ours.send("name") == "Myosu"
        ours.send("time_settings 60 0 0")
        result = play_match(othello, grhino, ours, games=4, opening_plies=4, seed=3)
        assert min(map(len, result.histories)) > 30
        for history, reward, seat in zip(result.histories, result.rewards.reshape(-1), [0, 1] * 2, strict=True):
            for engine in (ours, grhino):
                engine.send("clear_board")
                for ply, action in enumerate(history):
                    if action != 64:
                        engine.send(f"play {('black', 'white')[ply % 2]} {othello.action_name(action)}")
            assert ours.send("final_score") == grhino.send("final_score")
            assert np.sign(reward) * (1 if seat == 0 else -1) == np.sign(
                {"B": 1, "W": -1, "0": 0}[ours.send("final_score")[0]])
    finally:
        ours.close()
        grhino.close()


def test_whole_games_against_chance_with_little_time(othello, command):
    engine = GtpPlayer(othello, command)
    try:
        engine.send("time_settings 1 0 0")
        result = play_match(othello, engine, RandomPlayer(othello, 1), games=4, seed=1)
        assert min(map(len, result.histories)) > 9
    finally:
        engine.close()
