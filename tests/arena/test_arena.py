"""Leagues: real players come out in their order, known ones with their ratings, and nothing is lost or played twice."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from rich.console import Console

from engines import fake_engine
from myosu.arena.entrants import find_entrants
from myosu.arena.league import League, Pair
from myosu.arena.play import play_league
from myosu.arena.schedule import expected_gains, expected_seconds, next_pairing
from myosu.arena.standings import Standings, cross_table, ratings_table
from myosu.arena.workers import Block, Workers
from myosu.errors import UserError
from myosu.evaluation.ratings import ELO, Fit, Results, fit, probabilities
from myosu.games import load_game
from myosu.plots.ratings import plot_ratings
from myosu.runs.checkpoint import Checkpoints
from myosu.training.trainer import train
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


def with_results(strengths, games=20):
    """Of a league where everybody met the next one ``games`` times."""
    results = Results.none(len(strengths))
    for i in range(len(strengths) - 1):
        win, _ = probabilities(np.array(strengths[i] - strengths[i + 1]), -20.0)
        results.wins[i, i + 1], results.wins[i + 1, i] = games * win, games * (1 - win)
    return results


def gains(results, pending=0.0):
    n = len(results.wins)
    return expected_gains(fit(results), np.zeros((n, n)) + pending, 0)


def test_expected_gain_is_the_loss_of_variance():
    """By hand, for a game that tells all it can: the sum of variances before, and after one more game's information."""
    best, told = fit(with_results([0, 0, 0, 0])), 0.25
    gain = expected_gains(Fit(best.strengths, -20.0, 1e-8 * best.covariance, 0.0), np.zeros((4, 4)), 0) * 1e8
    precision = np.linalg.inv(1e-8 * best.covariance[:-1, :-1])
    order = np.argsort(best.strengths)
    for i, j in ((0, 1), (0, 3), (1, 2)):
        d = np.eye(4)[i] - np.eye(4)[j]
        lost = 1e-8 * best.covariance[:-1, :-1] - np.linalg.inv(precision + told * np.outer(d, d))
        distances = [np.eye(4)[p] - np.eye(4)[0] for p in range(4)] + list(np.diff(np.eye(4)[order], axis=0))
        assert gain[i, j] == pytest.approx(1e8 * sum(c @ lost @ c for c in distances), rel=1e-4)


def test_newcomers_first_then_neighbours():
    found = gains(with_results([0, 1, 2, 3, 4]))
    assert found[0, 2] > found[0, 4], "a game whose winner is known tells less"
    links = np.diag(found, 1)
    assert (np.diff(links) < 0).all(), "links nearer to random determine more ratings"
    assert 0 in next_pairing(found, allowed(5))
    results = Results.none(4)
    results.wins[:3, :3] = 20 * (1 - np.eye(3))
    assert 3 in next_pairing(gains(results), allowed(4)), "the newcomer plays first"


def test_pairing_counts_games_under_way():
    nothing, pending = Results.none(4), np.zeros((4, 4))
    first = next_pairing(gains(nothing), allowed(4))
    pending[first] = pending[first[::-1]] = 8
    second = next_pairing(gains(nothing, pending), allowed(4))
    assert second != first and gains(nothing, pending)[first] < gains(nothing)[first]
    assert next_pairing(gains(nothing), np.zeros((4, 4), np.bool_)) is None


def test_expected_seconds_per_game():
    """Players of 1, 2 and 9 seconds a game; a fourth met nobody, so half of the mean game of 3, 10 and 11 is his."""
    games, shares = np.zeros((4, 4)), np.array([1, 2, 9, 0])
    games[:3, :3] = 1000 * (1 - np.eye(3))
    found = expected_seconds(games, games * (shares[:, None] + shares[None, :]))
    assert found[[0, 0, 1, 0], [1, 2, 2, 3]] == pytest.approx([3, 10, 11, 1 + 24 / 6], rel=0.01)
    assert (expected_seconds(np.zeros((3, 3)), np.zeros((3, 3))) == 2).all()


#: 20 players as far apart as those of docs/results.md.
LEAGUE = np.array([0, 450, 750, 900, 914, 959, 1000, 1038, 1060, 1100, 1150, 1200, 1240, 1280, 1312, 1400, 1431, 1485,
                   1535, 1648]) / ELO


def test_schedule_gives_narrower_intervals_than_round_robin():
    """592 games of twenty players: intervals to random are less than half of what games of everybody against everybody
    leave, those between neighbours narrower, too, and the true ratings lie within four standard errors."""
    log_nu, rng, n = -2.5, np.random.default_rng(0), len(LEAGUE)

    def play(results, i, j):
        win, draw = probabilities(np.array(LEAGUE[i] - LEAGUE[j]), log_nu)
        for reward in rng.choice([1, 0, -1], size=8, p=[win, draw, 1 - win - draw]):
            results.add(i, j, reward)

    scheduled, everybody = Results.none(n), Results.none(n)
    pairings = rng.permutation([(i, j) for i in range(n) for j in range(i + 1, n)])
    for k in range(74):
        play(scheduled, *next_pairing(gains(scheduled), allowed(n)))
        play(everybody, *pairings[k])
    (ours, our_steps), (theirs, their_steps) = (
        (np.sqrt(variances[0, 1:]), np.sqrt(np.diag(variances, 1))) for variances in (
            fit(scheduled).variances(), fit(everybody).variances()))
    assert ours.mean() < theirs.mean() / 2 and our_steps.mean() < their_steps.mean()
    assert 1.96 * ELO * ours.mean() < 280, "the anchor random is well connected"
    assert np.abs((fit(scheduled).strengths - LEAGUE - fit(scheduled).strengths[0])[1:] / ours).max() < 4


# --- real leagues


def test_real_players_are_rated_in_order_of_strength(tmp_path):
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


def test_checkpoints_play_and_are_plotted_over_training(tmp_path, tictactoe):
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


def test_runs_of_equal_name_get_distinct_names(tmp_path, tictactoe):
    for name in ("a", "b"):
        train(toy_run(tmp_path / name / "toy", updates=2), quiet=True)
    words = [str(tmp_path / name / "toy") for name in ("a", "b")]
    names = [entrant.name for entrant in find_entrants(words, tictactoe)]
    assert len(set(names)) == 3 and "/a/toy/checkpoints/update-" in names[1] and "/b/toy/" in names[2]
    with pytest.raises(UserError, match="plays tictactoe, not connect_four"):
        find_entrants([str(tmp_path / "a" / "toy")], load_game("connect_four"))


def test_deterministic_players_stop_after_all_openings(tmp_path, tictactoe):
    league = make_league(tmp_path, tictactoe, "greedy", "alphabeta:4")
    assert len(league.openings) == 72
    i, j = league.names.index("greedy"), league.names.index("alphabeta:4")
    assert league.next_openings(i, j, 4, {0, 1}) == [2, 3, 4, 5]
    for number in range(70):
        league.add(Pair("greedy", "alphabeta:4", number, (0.0, 0.0), ([], []), 0.0))
    assert league.next_openings(i, j, 4, set()) == [70, 71] and league.next_openings(i, j, 4, {70, 71}) == []
    assert league.next_openings(0, j, 80, set()) == list(range(80)), "against random players the openings may repeat"
    league.close()


def arena(folder, *arguments):
    return [sys.executable, "-m", "myosu.cli", "arena", "tictactoe", "greedy", "mcts:200", "--league",
            str(folder), "--games", "160", "--workers", "1", "--json", *arguments]


def test_a_killed_league_loses_and_repeats_no_game(tmp_path):
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


def test_a_dead_worker_is_replaced(tmp_path, tictactoe):
    league = make_league(tmp_path, tictactoe, "greedy")
    pool = Workers(league, 1)
    try:
        pool.start(Block(0, 1, (0, 1)))
        os.kill(pool._pool._workers[0].process.pid, signal.SIGKILL)
        assert pool.finished(timeout=600) == [] and "A worker died (exit code -9)" in pool.notices[0]
        assert pool.idle() == 1
        pool.start(Block(0, 1, (0, 1)))
        assert [(pair.first, pair.second, pair.opening) for pair in pool.finished(timeout=600)] == [
            ("random", "greedy", 0), ("random", "greedy", 1)]
    finally:
        pool.close()
        league.close()


def test_a_failing_engine_stops_the_league_and_is_named(tmp_path, tictactoe):
    broken = fake_engine("sys.exit(3) if line.startswith('genmove') else print('=\\n', flush=True)\n")
    league = make_league(tmp_path, tictactoe, f"gtp:{broken}")
    with pytest.raises(UserError, match=r"(?s)The engine gtp:.* ended with exit code 3"):
        play_league(league, games=8, seconds=600, workers=1)
    league.close()


def test_players_may_join_later_and_are_unrated_without_games(tmp_path, tictactoe):
    league = make_league(tmp_path, tictactoe, "greedy")
    league.add(Pair("random", "greedy", 0, (-1.0, 0.0), ([], []), 0.1))
    league.close()
    league = make_league(tmp_path, tictactoe, "alphabeta:3", "greedy")
    assert league.names == ["random", "greedy", "alphabeta:3"] and len(league.pairs) == 1
    standings = Standings.of(league)
    assert [entrant.name for entrant in standings.entrants] == ["greedy", "random"] and standings.elo[1] == 0
    assert standings.to_json()["not_rated"] == [{"name": "alphabeta:3", "why": "no games with greedy, random"}]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(ratings_table(standings), cross_table(standings))
    assert re.search("alphabeta:3 +– +not rated yet", console.export_text())
    with pytest.raises(UserError, match="is being played in by another process"):
        League.open(tmp_path)
    league.close()
    reopened = League.open(tmp_path)
    assert reopened.names == league.names and reopened.pairs == league.pairs
    reopened.close()


@pytest.mark.parametrize("arguments, message", [
    ("snake greedy", "a single-player game"),
    ("tictactoe", "a player besides random"),
    ("", "Which game"),
    ("tictactoe gredy", "Did you mean 'greedy'"),
    ("tictactoe mcts:many", "mcts:1000"),
    ("tictactoe exhaustive", "exhaustive is not a player"),
    ("tictactoe greedy --games -1", "--games -1"),
    ("--resume nowhere", "There is no league in nowhere"),
    ("othello greedy --league LEAGUE", "a league with game = 'tictactoe', not 'othello'"),
    ("tictactoe greedy --league LEAGUE --seed 5", "seed = 0, not 5"),
    ("tictactoe greedy --league OTHER", "exists and is not a league"),
    ("tictactoe greedy --league NEW --opening-plies 9", "--opening-plies 9 must be 0 to 8"),
])
def test_errors_say_what_to_do(tmp_path, tictactoe, capsys, arguments, message):
    from myosu import cli

    league, other = tmp_path / "league", tmp_path / "other"
    make_league(league, tictactoe).close()
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    words = arguments.replace("LEAGUE", str(league)).replace("OTHER", str(other)).replace("NEW", f"{tmp_path}/new")
    assert cli.run(["arena", *words.split()]) == 2
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
