"""Ratings: known strengths are recovered, and the order of the games does not matter."""

import numpy as np
import pytest

from myosu.evaluation.ratings import ELO, Results, connected, fit, intervals, probabilities


def sample(strengths, log_nu, pairings, games, rng):
    """Results of ``games`` games of each of ``pairings``, drawn from the model."""
    results = Results.none(len(strengths))
    for i, j in pairings:
        win, draw = probabilities(np.array(strengths[i] - strengths[j]), log_nu)
        for reward in rng.choice([1, 0, -1], size=games, p=[win, draw, 1 - win - draw]):
            results.add(i, j, reward)
    return results


def everybody(n):
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def test_probabilities_by_hand():
    """ν = 2 between equal players: half of the games are drawn. 400 points: ten wins per loss, regardless of draws."""
    win, draw = probabilities(np.array([0.0, 400 / ELO]), np.log(2))
    assert win[0] == pytest.approx(0.25) and draw[0] == pytest.approx(0.5)
    assert win[1] / (1 - win[1] - draw[1]) == pytest.approx(10)


def test_two_players_by_hand():
    """30 wins, 10 losses, no draw: 400 log10(3) = 191 points, slightly less due to the prior. Twice as many draws as
    wins and losses together change the probability of a draw, but hardly the rating: the wins are still 3 to 1."""
    results = Results(np.array([[0, 10.0], [30.0, 0]]), np.zeros((2, 2)))
    assert fit(results).elo()[1] == pytest.approx(400 * np.log10(3), abs=3)
    drawn = Results(results.wins, np.array([[0, 80.0], [80.0, 0]]))
    best = fit(drawn)
    assert best.elo()[1] == pytest.approx(400 * np.log10(3), abs=3)
    assert best.expected_scores()[1, 0] == pytest.approx((30 + 40) / 120, abs=0.01)


def test_interval_of_two_players_by_hand():
    """p = 0.75 in n = 1000 games without draws: ± 1.96 / √(n p q) in strength, as the interval is nearly symmetric."""
    results = Results(np.array([[0, 250.0], [750.0, 0]]), np.zeros((2, 2)))
    low, high = intervals(results, fit(results))[1]
    assert (high - low) / 2 == pytest.approx(ELO * 1.96 / np.sqrt(1000 * 0.75 * 0.25), rel=0.02)


def test_deviation_from_mean_is_below_that_from_a_weak_link():
    """With two players, the mean is half way. In the chain only the first player's connection is weak."""
    two = fit(Results(np.array([[0, 40.0], [60.0, 0]]), np.zeros((2, 2))))
    assert two.deviations_from_mean() == pytest.approx(np.sqrt(two.variances()[0, 1]) / 2)
    chain = Results.none(6)
    chain.wins[1:, 1:] = 100 * (1 - np.eye(5))
    chain.wins[1, 0] = chain.wins[0, 1] = 2
    best = fit(chain)
    assert (best.deviations_from_mean()[1:] < np.sqrt(best.variances()[0, 1:]) / 3).all()


@pytest.mark.parametrize("strengths, log_nu, games", [([0, 1, 2, 3.5, 5], -1.0, 20), ([0, 0.3, 0.8, 1, 1.2], 1.0, 20)],
                         ids=["far apart, few draws", "close, many draws"])
def test_intervals_cover_known_strengths(strengths, log_nu, games):
    """95 % of them: if all is correct, fewer than 215 or all of the 240 occur less than once in a thousand times."""
    rng, hits = np.random.default_rng(1), 0
    truth = ELO * np.array(strengths)
    for _ in range(60):
        results = sample(strengths, log_nu, everybody(len(strengths)), games, rng)
        ends = intervals(results, fit(results))
        hits += int(((ends[1:, 0] <= truth[1:]) & (truth[1:] <= ends[1:, 1])).sum())
    assert 215 <= hits < 240, hits


def test_ratings_of_a_league_of_neighbours_only():
    """Twelve players who play only their neighbours: all are on one scale, with errors below four standard errors."""
    strengths = np.linspace(0, 11, 12)
    results = sample(strengths, 0.0, [(i, i + 1) for i in range(11)], 400, np.random.default_rng(2))
    best = fit(results)
    assert connected(results).all()
    errors = np.abs(best.elo() - ELO * strengths) / (ELO * np.sqrt(np.maximum(best.variances()[0], 1e-9)))
    assert errors[1:].max() < 4


def test_order_of_games_and_players_does_not_matter():
    rng = np.random.default_rng(3)
    games = [(i, j, int(rng.integers(-1, 2))) for i, j in everybody(5) for _ in range(7)]
    there, back = Results.none(5), Results.none(5)
    for i, j, reward in games:
        there.add(i, j, reward)
    for i, j, reward in reversed(games):
        back.add(4 - j, 4 - i, -reward)
    assert fit(back).elo(anchor=4)[::-1] == pytest.approx(fit(there).elo(), abs=1e-4)
    assert intervals(back, fit(back), 4)[::-1] == pytest.approx(intervals(there, fit(there)), abs=0.05)


def test_a_player_without_losses_gets_a_finite_rating():
    results = Results(np.array([[0, 0.0], [20.0, 0]]), np.zeros((2, 2)))
    best = fit(results)
    (low, high), elo = intervals(results, best)[1], best.elo()[1]
    assert 200 < low < elo < high < 5000
    assert high - elo > 2 * (elo - low), "no loss bounds the rating from above"
    more = Results(results.wins * 3, results.draws)
    assert intervals(more, fit(more))[1, 0] > low + 100, "more wins raise the lower bound"


def test_all_draws_give_equal_ratings():
    results = Results(np.zeros((3, 3)), 30 * (1 - np.eye(3)))
    best = fit(results)
    assert best.elo() == pytest.approx(np.zeros(3), abs=1e-6)
    assert np.isfinite(intervals(results, best)).all()


def test_connected_players_are_on_one_scale():
    results = Results.none(5)
    results.add(0, 1, 1)
    results.add(2, 3, 0)
    assert connected(results).tolist() == [True, True, False, False, False]
    assert connected(results, 3).tolist() == [False, False, True, True, False]
    results.add(3, 1, -1)
    assert connected(results, 2).tolist() == [True, True, True, True, False]
