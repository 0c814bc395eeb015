"""Alpha-beta compared with plain minimax and known positions; play against all replies."""

import numpy as np
import pytest

from myosu.errors import UserError
from myosu.evaluation.exhaustive import exhaustive_report, losing_lines, never_loses, walk_all_replies
from myosu.evaluation.match import play_match, replay_openings
from myosu.games import load_game
from myosu.players.alphabeta import AlphaBetaPlayer
from myosu.players.player import RandomPlayer, legal_mask


@pytest.fixture(scope="module")
def tictactoe():
    return load_game("tictactoe")


@pytest.fixture(scope="module")
def connect_four():
    return load_game("connect_four")


def after(game, text):
    return replay_openings(game, [tuple(game.parse_action(move) for move in text.split())])


def minimax(game, state, depth):
    """(value, first best action) by plain recursion, without pruning and without shared code."""
    best, chosen = -np.inf, -1
    for action in np.flatnonzero(legal_mask(game, state)[0]):
        child, reward, ended = state.copy(), np.empty(1, np.float32), np.empty(1, np.bool_)
        game.batch.step(child, np.array([action]), reward, ended)
        value = float(reward[0])
        if not ended[0]:
            if depth > 1:
                value -= minimax(game, child, depth - 1)[0]
            elif game.heuristic is not None:
                value -= game.heuristic(child[0])
        if value > best:
            best, chosen = value, int(action)
    return best, chosen


@pytest.mark.parametrize("name, depth", [("tictactoe", 5), ("connect_four", 3), ("othello", 3)])
def test_alphabeta_chooses_what_minimax_chooses(name, depth):
    game = load_game(name)
    chance, player = RandomPlayer(game, 7), AlphaBetaPlayer(game, depth)
    states = game.new_states(6)
    rewards, ended = np.empty(6, np.float32), np.zeros(6, np.bool_)
    for _ in range(4):
        best = [minimax(game, states[i : i + 1], depth)[1] for i in range(6)]
        assert player.choose(states, [[]] * 6).tolist() == best
        game.batch.step(states, chance.choose(states, [[]] * 6), rewards, ended)
        assert not ended.any()


@pytest.mark.parametrize(
    "position, depth, best",
    [
        ("d a d a d a", 1, "d"),  # four in a column
        ("a d a d b d", 2, "d"),  # the opponent threatens four in a column
        ("d d e e", 3, "cf"),  # an open three wins
    ],
)
def test_alphabeta_sees_forced_wins_in_connect_four(connect_four, position, depth, best):
    action = AlphaBetaPlayer(connect_four, depth).choose(after(connect_four, position), [[]])[0]
    assert connect_four.action_name(action) in best


def test_alphabeta_never_loses_tictactoe_and_chance_does(tictactoe):
    assert never_loses(tictactoe, AlphaBetaPlayer(tictactoe, 9))
    assert losing_lines(tictactoe, RandomPlayer(tictactoe))


def test_losing_lines_end_in_losses(tictactoe):
    """The greedy player in the second seat plays a1, b1, …: it loses, and the losing lines contain this game."""
    report = walk_all_replies(tictactoe, AlphaBetaPlayer(tictactoe, 1), seat=1)
    assert report.losses == len(report.losing_lines) > 0
    assert report.wins + report.draws + report.losses == report.games
    for line in report.losing_lines:
        assert len(line) % 2 == 1, "the first seat made the last move"
    assert [tictactoe.parse_action(m) for m in ["b2", "a1", "c1", "b1", "a3"]] in report.losing_lines


def test_every_reply_is_searched(tictactoe):
    """There are at most 8·6·4·2 = 384 lines with the player in the first seat, 9·7·5·3 = 945 in the second."""
    report = exhaustive_report(tictactoe, AlphaBetaPlayer(tictactoe, 9))
    assert report["first_seat"]["games"] <= 384 and report["second_seat"]["games"] <= 945
    assert report["losses"] == report["loss_rate"] == 0 and report["losing_lines"] == []
    assert report["first_seat"]["win_rate"] > 0.5


def test_large_games_are_refused():
    othello = load_game("othello")
    with pytest.raises(UserError, match="othello is too large to try every reply"):
        losing_lines(othello, RandomPlayer(othello))


def test_deeper_search_is_stronger():
    connect_four = load_game("connect_four")
    result = play_match(connect_four, AlphaBetaPlayer(connect_four, 5), AlphaBetaPlayer(connect_four, 1), games=40)
    assert result.opening_plies == 4 and result.overall.mean_reward_ci95[0] > 0


def test_depth_is_checked(tictactoe):
    with pytest.raises(UserError, match="alphabeta:0"):
        AlphaBetaPlayer(tictactoe, 0)
