"""Leagues: real players come out in their order, known ones with their ratings, and nothing is lost or played twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from myosu.arena.entrants import find_entrants
from myosu.arena.league import League, Pair
from myosu.arena.play import play_league
from myosu.arena.schedule import expected_gains, next_pairing
from myosu.arena.standings import Standings
from myosu.arena.workers import Block, Workers
from myosu.errors import UserError
from myosu.evaluation.ratings import ELO, Results, fit, probabilities
from myosu.games import load_game
from myosu.plots.ratings import plot_ratings
from myosu.training.checkpoint import Checkpoints
from myosu.training.trainer import train
from test_gtp import fake_engine
from toy_runs import toy_run


@pytest.fixture(scope="module")
def tictactoe():
    return load_game("tictactoe")


def make_league(folder, game, *words):
    league = League(folder, game.name)
    league.enter(find_entrants(list(words), game))
    return league


def allowed(n):
    return np.ones((n, n), np.bool_)


# --- who meets whom


def with_strengths(strengths, games=20):
    """A fit as of a league where everybody met the next one ``games`` times."""
    results = Results.none(len(strengths))
    for i in range(len(strengths) - 1):
        win, _ = probabilities(np.array(strengths[i] - strengths[i + 1]), -20.0)
        results.wins[i, i + 1], results.wins[i + 1, i] = games * win, games * (1 - win)
    return fit(results)


def test_newcomers_first_then_neighbours():
    best = with_strengths([0, 1, 2, 3, 4])
    gains = expected_gains(best, np.zeros((5, 5)))
    assert gains[0, 1] > gains[0, 4], "a game whose winner is known tells less"
    results = Results.none(4)
    results.wins[:3, :3] = 20 * (1 - np.eye(3))
    assert 3 in next_pairing(fit(results), np.zeros((4, 4)), allowed(4)), "the newcomer plays first"


def test_games_under_way_count():
    best, none = fit(Results.none(4)), np.zeros((4, 4))
    first = next_pairing(best, none, allowed(4))
    pending = none.copy()
    pending[first] = pending[first[::-1]] = 8
    second = next_pairing(best, pending, allowed(4))
    assert second != first and expected_gains(best, pending)[first] < expected_gains(best, none)[first]
    assert next_pairing(best, none, np.zeros((4, 4), np.bool_)) is None


def test_the_schedule_finds_known_strengths_with_fewer_games_than_round_robin():
    """Eight players, 1000 points from the first to the last: 400 scheduled games leave the ratings of neighbours less
    uncertain than 400 games of everybody against everybody."""
    truth, log_nu, rng = np.linspace(0, 1000, 8) / ELO, -1.0, np.random.default_rng(0)

    def play(results, i, j, games):
        win, draw = probabilities(np.array(truth[i] - truth[j]), log_nu)
        for reward in rng.choice([1, 0, -1], size=games, p=[win, draw, 1 - win - draw]):
            results.add(i, j, reward)

    scheduled, everybody = Results.none(8), Results.none(8)
    for _ in range(50):
        play(scheduled, *next_pairing(fit(scheduled), np.zeros((8, 8)), allowed(8)), 8)
    pairings = [(i, j) for i in range(8) for j in range(i + 1, 8)]
    for k in range(50):
        play(everybody, *pairings[k % len(pairings)], 8)
    ours, theirs = (np.log(np.linalg.eigvalsh(fit(results).covariance[:-1, :-1])[:-1]).sum()
                    for results in (scheduled, everybody))
    assert ours < theirs
    errors = fit(scheduled).elo() - ELO * truth
    assert np.abs(errors[1:] / (ELO * np.sqrt(fit(scheduled).variances()[0, 1:]))).max() < 4


# --- real leagues


def test_real_players_come_out_in_their_order(tmp_path):
    league = make_league(tmp_path, load_game("connect_four"), "greedy", "alphabeta:3", "mcts:400")
    play_league(league, games=240, seconds=600, workers=1)
    standings = Standings.of(league)
    league.close()
    names = [entrant.name for entrant in standings.entrants]
    assert names == ["mcts:400", "alphabeta:3", "greedy", "random"]
    assert standings.elo[-1] == 0 and tuple(standings.interval[-1]) == (0, 0)
    assert standings.interval[2, 0] > 100, "greedy beats random"
    assert standings.to_json()["games"] == 240 == sum(player["games"] for player in standings.to_json()["players"]) / 2
    openings = Counter((frozenset((pair.first, pair.second)), pair.opening) for pair in league.pairs)
    assert max(openings.values()) == 1
    for pair in league.pairs:
        assert pair.actions[0][:4] == pair.actions[1][:4] == list(league.openings[pair.opening])


def test_checkpoints_play_and_are_drawn_over_their_training(tmp_path, tictactoe):
    run = toy_run(tmp_path / "toy", updates=12, keep_every=4, evaluate_every=4)
    train(run, quiet=True)
    entrants = find_entrants([str(run.checkpoints), str(run.folder), f"{run.checkpoints}/best", "greedy", "greedy",
                              f"{run.folder}:7"], tictactoe)
    updates = [int(path.name.removeprefix("update-")) for path in Checkpoints(run.checkpoints).paths()]
    assert len(updates) > 1 and updates[-1] == 12
    assert [entrant.name for entrant in entrants] == [
        "random", *(f"toy/{update}" for update in updates), "greedy", "toy/12:7"]
    league = League(tmp_path / "league", "tictactoe")
    league.enter(entrants)
    play_league(league, games=24 * len(entrants), seconds=600, workers=1)
    standings = Standings.of(league)
    league.close()
    plot_ratings(standings, tmp_path / "ratings.svg")
    drawn = (tmp_path / "ratings.svg").read_text()
    assert "minutes of training" in drawn and ">toy<" in drawn and ">greedy  " in drawn and ">random  0<" in drawn


def test_runs_of_one_name_are_told_apart(tmp_path, tictactoe):
    for name in ("a", "b"):
        train(toy_run(tmp_path / name / "toy", updates=2), quiet=True)
    words = [str(tmp_path / name / "toy") for name in ("a", "b")]
    names = [entrant.name for entrant in find_entrants(words, tictactoe)]
    assert len(set(names)) == 3 and "/a/toy/checkpoints/update-" in names[1] and "/b/toy/" in names[2]
    with pytest.raises(UserError, match="plays tictactoe, not connect_four"):
        find_entrants([str(tmp_path / "a" / "toy")], load_game("connect_four"))


def test_two_who_repeat_themselves_stop_when_all_openings_are_played(tmp_path, tictactoe):
    league = make_league(tmp_path, tictactoe, "greedy", "alphabeta:4")
    assert len(league.openings) == 72
    i, j = league.names.index("greedy"), league.names.index("alphabeta:4")
    assert league.next_openings(i, j, 4, {0, 1}) == [2, 3, 4, 5]
    for number in range(70):
        league.add(Pair("greedy", "alphabeta:4", number, (0.0, 0.0), ([], []), 0.0))
    assert league.next_openings(i, j, 4, set()) == [70, 71] and league.next_openings(i, j, 4, {70, 71}) == []
    assert league.next_openings(0, j, 80, set()) == list(range(80)), "against chance the games differ all the same"
    league.close()


def arena(folder, *arguments):
    return [sys.executable, "-m", "myosu.cli", "arena", "tictactoe", "greedy", "mcts:200", "--league",
            str(folder), "--games", "160", "--workers", "1", "--json", *arguments]


def test_killed_at_any_moment_nothing_is_lost_or_played_twice(tmp_path):
    games = tmp_path / "games.jsonl"
    process = subprocess.Popen(arena(tmp_path), stdout=subprocess.DEVNULL)
    while not games.exists() or games.read_text().count("\n") < 10:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = games.read_text()
    with open(games, "a") as file:
        file.write('{"first": "greedy", "sec')  # a line cut short
    done = subprocess.run(arena(tmp_path), capture_output=True, text=True, check=True)
    report, after = json.loads(done.stdout), games.read_text()
    assert after.startswith(before[:before.rfind("\n") + 1])
    lines = [json.loads(line) for line in after.splitlines()]
    assert len(lines) == 80 and report["games"] == 160
    assert len({(frozenset((line["first"], line["second"])), line["opening"]) for line in lines}) == 80
    assert report == json.loads((tmp_path / "ratings.json").read_text())
    league = League.open(tmp_path)
    play_league(league, games=160, seconds=60, workers=1)
    league.close()
    assert games.read_text() == after, "there was nothing left to play"


def test_a_worker_that_dies_is_replaced(tmp_path, tictactoe):
    league = make_league(tmp_path, tictactoe, "greedy")
    pool = Workers(league, 1)
    try:
        pool.start(Block(0, 1, (0, 1)))
        os.kill(pool._workers[0].process.pid, signal.SIGKILL)
        assert pool.finished(timeout=600) == [] and "A worker died (exit code -9)" in pool.notices[0]
        assert pool.idle() == 1
        pool.start(Block(0, 1, (0, 1)))
        assert [(pair.first, pair.second, pair.opening) for pair in pool.finished(timeout=600)] == [
            ("random", "greedy", 0), ("random", "greedy", 1)]
    finally:
        pool.close()
        league.close()


def test_a_failing_engine_stops_the_league_with_its_name(tmp_path, tictactoe):
    broken = fake_engine("sys.exit(3) if line.startswith('genmove') else print('=\\n', flush=True)\n")
    league = make_league(tmp_path, tictactoe, f"gtp:{broken}")
    with pytest.raises(UserError, match=r"(?s)The engine gtp:.* ended with exit code 3"):
        play_league(league, games=8, seconds=600, workers=1)
    league.close()


def test_players_join_later_and_too_few_games_say_so(tmp_path, tictactoe):
    league = make_league(tmp_path, tictactoe, "greedy")
    league.add(Pair("random", "greedy", 0, (-1.0, 0.0), ([], []), 0.1))
    league.close()
    league = make_league(tmp_path, tictactoe, "alphabeta:3", "greedy")
    assert league.names == ["random", "greedy", "alphabeta:3"] and len(league.pairs) == 1
    with pytest.raises(UserError, match=r"No games join random, greedy with alphabeta:3"):
        Standings.of(league)
    with pytest.raises(UserError, match="is being played in by another process"):
        League.open(tmp_path)
    league.close()
    reopened = League.open(tmp_path)
    assert reopened.names == league.names and reopened.pairs == league.pairs
    reopened.close()


@pytest.mark.parametrize("arguments, message", [
    ("snake greedy", "a game for one"),
    ("tictactoe", "somebody besides random"),
    ("", "Which game"),
    ("tictactoe gredy", "Did you mean 'greedy'"),
    ("tictactoe mcts:many", "mcts:1000"),
    ("tictactoe exhaustive", "exhaustive is no player"),
    ("tictactoe greedy --games -1", "--games -1"),
    ("--resume nowhere", "There is no league in nowhere"),
    ("othello greedy --league LEAGUE", "a league with game = 'tictactoe', not 'othello'"),
    ("tictactoe greedy --league LEAGUE --seed 5", "seed = 0, not 5"),
    ("tictactoe greedy --league OTHER", "exists and is no league"),
])
def test_errors_name_what_to_do(tmp_path, tictactoe, capsys, arguments, message):
    from myosu import cli

    league, other = tmp_path / "league", tmp_path / "other"
    make_league(league, tictactoe).close()
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    words = arguments.replace("LEAGUE", str(league)).replace("OTHER", str(other)).split()
    assert cli.run(["arena", *words]) == 2
    assert message in capsys.readouterr().err
