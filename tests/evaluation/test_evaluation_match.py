"""Matches: seats, openings from both sides, and results."""

import numpy as np
import pytest

from myosu.envs.game_history import replay
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.evaluation.episodes import play_episodes
from myosu.evaluation.exhaustive import walk_all_replies
from myosu.evaluation.match import Score, play_match, random_openings
from myosu.games import load_game
from myosu.players.agent import AgentPlayer
from myosu.players.alphabeta import AlphaBetaPlayer
from myosu.players.player import RESIGNS, RandomPlayer, legal_mask


@pytest.fixture(scope="module")
def tictactoe():
    return load_game("tictactoe")


@pytest.fixture(scope="module")
def othello():
    return load_game("othello")


class FirstLegal:
    """A deterministic agent (``algorithms.interface.Agent``) that plays the first legal action."""

    has_memory = False

    def act(self, observation, legal_actions, state=None, starts=None):
        assert len(observation) == len(legal_actions)
        return np.argmax(legal_actions, axis=1), None


class Fixed:
    """Always plays the same action, legal or not."""

    name, repeats_itself = "fixed", True

    def choose(self, states, histories):
        return np.full(len(states), 4)

    def close(self):
        pass


def test_a_deterministic_player_scores_zero_against_itself(othello):
    player = AgentPlayer(othello, FirstLegal(), "first")
    result = play_match(othello, player, player, games=20)
    assert result.opening_plies == 8
    assert np.all(result.rewards.sum(axis=1) == 0) and np.any(result.rewards != 0)
    assert result.overall.mean_reward == 0 and result.overall.mean_reward_ci95 == (0, 0)
    assert all(a[:8] == b[:8] for a, b in zip(result.histories[::2], result.histories[1::2], strict=True))
    assert len({tuple(h) for h in result.histories}) == 10


def test_replayed_histories_give_the_rewards(othello):
    result = play_match(othello, RandomPlayer(othello, 1), AlphaBetaPlayer(othello, 1), games=12, seed=3)
    for index, (history, reward) in enumerate(zip(result.histories, result.rewards.reshape(-1), strict=True)):
        state, to_play = othello.new_states(1), np.empty(1, np.int8)
        earned, ended, total = np.empty(1, np.float32), np.zeros(1, np.bool_), 0.0
        for action in history:
            assert not ended[0]
            othello.batch.to_play(state, to_play)
            othello.batch.step(state, np.array([action]), earned, ended)
            total += float(earned[0]) * (1 if to_play[0] == index % 2 else -1)
        assert ended[0] and total == reward


def test_results_are_reported_per_seat(tictactoe):
    """The first player in random tic-tac-toe wins 737/1260 of the games and loses 121/420."""
    result = play_match(tictactoe, RandomPlayer(tictactoe, 1), RandomPlayer(tictactoe, 2), games=4000)
    assert result.opening_plies == 0
    assert result.first_seat.games == result.second_seat.games == 2000
    assert result.first_seat.win_rate == pytest.approx(737 / 1260, abs=0.04)
    assert result.second_seat.win_rate == pytest.approx(121 / 420, abs=0.04)
    assert result.overall.win_rate + result.overall.draw_rate + result.overall.loss_rate == pytest.approx(1)


def test_the_same_seed_gives_the_same_match(othello):
    first, again, other = (
        play_match(othello, RandomPlayer(othello, seed), AlphaBetaPlayer(othello, 1), games=6, seed=seed)
        for seed in (5, 5, 6)
    )
    assert first.histories == again.histories != other.histories


def test_openings_differ_as_long_as_the_game_has_enough(tictactoe):
    assert len(set(random_openings(tictactoe, 9, 1, seed=0))) == 9
    assert sorted(random_openings(tictactoe, 18, 1, seed=0)) == sorted([(a,) for a in range(9)] * 2)
    with pytest.raises(UserError, match="opening-plies"):
        random_openings(tictactoe, 4, 9, seed=0)


def test_games_are_truncated_at_max_plies(tictactoe):
    from dataclasses import replace

    short = replace(tictactoe, max_plies=4)
    result = play_match(short, RandomPlayer(short, 1), RandomPlayer(short, 2), games=10)
    assert {len(h) for h in result.histories} == {4} and np.all(result.rewards == 0)


def test_an_illegal_move_names_player_and_game(tictactoe):
    with pytest.raises(UserError, match=r"fixed played the illegal move b2 after: .*b2"):
        play_match(tictactoe, Fixed(), RandomPlayer(tictactoe), games=4)


@pytest.mark.parametrize("games", [0, 2, 5])
def test_odd_numbers_of_games_are_refused(tictactoe, games):
    with pytest.raises(UserError, match=f"--games {games}"):
        play_match(tictactoe, RandomPlayer(tictactoe), RandomPlayer(tictactoe), games=games)


def test_score_of_pairs_worked_by_hand():
    """Three pairs with the means 1, 2 and 3: 2 ± 4.30265 · 1 / √3."""
    score = Score.of(np.array([[4.0, -2.0], [2.0, 2.0], [6.0, 0.0]]))
    assert score.games == 6 and score.mean_reward == 2
    assert score.mean_reward_ci95 == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    assert (score.win_rate, score.draw_rate, score.loss_rate) == pytest.approx((4 / 6, 1 / 6, 1 / 6))


def test_intervals_of_short_matches_stay_in_the_reward_range(othello):
    """Four games of random players, whose results differ by dozens of discs."""
    for seed in range(8):
        result = play_match(othello, RandomPlayer(othello, seed), RandomPlayer(othello, 99), games=4, seed=seed)
        for score in (result.overall, result.first_seat, result.second_seat):
            low, high = score.mean_reward_ci95
            assert -32 <= low <= score.mean_reward <= high <= 32


def test_intervals_of_episodes_stay_in_the_reward_range():
    """Two games of Woodoku, whose return cannot be less than 0."""
    low, high = play_episodes(load_environment("woodoku"), FirstLegal(), 2, seed=1).to_json()["mean_reward_ci95"]
    assert low == 0 < high


class GivesUp:
    """Plays the first legal action, and resigns after four plies in about every other game."""

    name, repeats_itself = "gives up", True

    def __init__(self, game):
        self.game = game

    def choose(self, states, histories):
        chosen = np.argmax(legal_mask(self.game, states), axis=1)
        return np.where([len(h) >= 4 and sum(h[:4]) % 2 == 0 for h in histories], RESIGNS, chosen)

    def close(self):
        pass


def test_a_resigned_game_is_lost_and_the_others_continue(othello):
    """For both seats. The history ends at the resignation, and the positions of the other games are not affected."""
    for seat, players in enumerate([(GivesUp(othello), RandomPlayer(othello, 1)),
                                    (RandomPlayer(othello, 1), GivesUp(othello))]):
        result = play_match(othello, *players, games=20, opening_plies=0, seed=0)
        rewards = result.rewards.reshape(-1)
        given_up = np.array([len(history) in (4, 5) for history in result.histories])
        assert 0 < given_up.sum() < 20 and set(rewards[given_up]) == {-32.0 if seat == 0 else 32.0}
        for k in np.flatnonzero(~given_up):
            now = replay(othello, 0, result.histories[k]).now
            assert now.over and rewards[k] == now.returns[k % 2]
    with pytest.raises(UserError, match="gives up resigned a game of tictactoe"):
        walk_all_replies(load_game("tictactoe"), GivesUp(load_game("tictactoe")), 0)
