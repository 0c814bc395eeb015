"""Plain Monte Carlo tree search: it finds wins and blocks in both seats, and more simulations are stronger."""

import numpy as np
import pytest

from myosu.errors import UserError
from myosu.evaluation.exhaustive import losing_lines
from myosu.evaluation.match import play_match, replay_openings
from myosu.games import load_game
from myosu.players.mcts import MctsPlayer
from myosu.players.player import RandomPlayer


@pytest.fixture(scope="module")
def tictactoe():
    return load_game("tictactoe")


def choice(game, player, moves):
    history = [game.parse_action(move) for move in moves.split()]
    return game.action_name(int(player.choose(replay_openings(game, [tuple(history)]), [history])[0]))


@pytest.mark.parametrize("moves, best", [
    ("a1 b1 a2 b2", "a3"),  # wins immediately instead of blocking
    ("a1 b1 a2", "a3"),  # blocks
    ("b1 a1 b3 a2", "b2"),
    ("c3 b2 c1", "c2"),
])
def test_finds_wins_and_blocks_from_either_seat(tictactoe, moves, best):
    assert choice(tictactoe, MctsPlayer(tictactoe, 500), moves) == best


def test_never_loses_a_game_that_can_be_searched_through(tictactoe):
    assert losing_lines(tictactoe, MctsPlayer(tictactoe, 3000, seed=1)) == []


def test_more_simulations_are_stronger():
    game = load_game("connect_four")
    assert play_match(game, MctsPlayer(game, 200), MctsPlayer(game, 10, 1), games=40).overall.win_rate > 0.8
    assert play_match(game, MctsPlayer(game, 10), RandomPlayer(game), games=40).overall.win_rate > 0.7


def test_plays_long_games_with_passes():
    """Othello has positions in which only the pass is legal, and long games."""
    game = load_game("othello")
    result = play_match(game, MctsPlayer(game, 20), RandomPlayer(game, 1), games=20)
    assert result.overall.win_rate > 0.7
    assert any(64 in history for history in result.histories), "no game had a pass"


def test_equal_seeds_choose_equal_moves(tictactoe):
    states = tictactoe.new_states(50)
    first, again, other = (MctsPlayer(tictactoe, 5, seed).choose(states, [[]] * 50) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert len(set(first.tolist())) > 1, "each game of a batch has its own random numbers"


def test_zero_simulations_are_refused(tictactoe):
    with pytest.raises(UserError, match="mcts:0: the number of simulations per move"):
        MctsPlayer(tictactoe, 0)
