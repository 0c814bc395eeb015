"""Errors of evaluations by stage of the game, compared with calculations by hand on games of tic-tac-toe."""

import numpy as np
import pytest

from myosu.envs.game_history import GameHistory
from myosu.errors import UserError
from myosu.evaluation.value_errors import STAGE, Sample, compare_evaluations, mean_of_rollouts, network_rollouts
from myosu.games import load_game
from myosu.games.tictactoe import GAME as TICTACTOE
from myosu.players.rollouts import random_rollouts
from myosu.runs.games import GameRecord

FIRST_WINS = GameRecord(seed=0, actions=[0, 3, 1, 4, 2], returns=[1.0, -1.0], terminated=True, truncated=False)
SECOND_WINS = GameRecord(seed=0, actions=[0, 3, 1, 4, 8, 5], returns=[-1.0, 1.0], terminated=True, truncated=False,
                         unchosen=[0, 1, 2, 3, 4])
DRAW = GameRecord(seed=0, actions=[0, 4, 8, 1, 7, 6, 2, 5, 3], returns=[0.0, 0.0], terminated=True, truncated=False,
                  unchosen=list(range(8)))


def test_sampled_positions_have_the_outcome_for_the_mover():
    sample = Sample.of([FIRST_WINS, SECOND_WINS, DRAW], TICTACTOE)
    assert sample.game.tolist() == [0, 1, 2] and sample.stage.tolist() == [0, 0, 0]
    assert sample.outcome[0] == (1.0 if sample.states["player"][0] == 0 else -1.0)
    assert sample.outcome[1:].tolist() == [1.0, 0.0], "the second player moves and wins; a draw is 0"
    assert len({Sample.of([FIRST_WINS], TICTACTOE, seed).states.tobytes() for seed in range(20)}) > 1, "not random"
    with pytest.raises(UserError, match="no position"):
        Sample.of([], TICTACTOE)


def test_positions_of_long_games_cover_every_stage():
    game, rng = load_game("othello"), np.random.default_rng(0)
    history = GameHistory(game, 0)
    while not history.now.over:
        history.play(int(rng.choice(np.flatnonzero(history.legal_actions()))))
    record = GameRecord(seed=0, actions=history.actions, returns=list(history.now.returns), terminated=True,
                        truncated=False)
    sample = Sample.of([record], game)
    assert sample.stage.tolist() == list(range(-(-record.length // STAGE)))
    assert set(np.abs(sample.outcome)) == {abs(history.now.returns[0])}


def test_value_errors_by_hand():
    """Evaluations by the outcome, by 0 and by the opposite of the outcome have errors 0, ½ and 2; 0 for the draw."""
    sample = Sample.of([FIRST_WINS, SECOND_WINS, DRAW], TICTACTOE)
    found = compare_evaluations(sample, {"oracle": lambda states: sample.outcome[:len(states)],
                                         "nothing": lambda states: np.zeros(len(states)),
                                         "contrary": lambda states: -sample.outcome[:len(states)]})
    assert [errors.error for errors in found.values()] == pytest.approx([0, 1 / 3, 4 / 3])
    assert [errors.by_stage for errors in found.values()] == [
        [(0, 3, 0.0)], [(0, 3, pytest.approx(1 / 3))], [(0, 3, pytest.approx(4 / 3))]]
    for errors in found.values():
        assert errors.error_ci95[0] <= errors.error <= errors.error_ci95[1]
        assert errors.by_stage_ci95[0][0] <= errors.error <= errors.by_stage_ci95[0][1]


def position(*moves):
    state = TICTACTOE.new_states(1)
    for move in moves:
        TICTACTOE.batch.step(state, np.array([move]), np.empty(1, np.float32), np.empty(1, np.bool_))
    return state


def prefers(action):
    """A policy that plays ``action`` wherever it is legal."""
    return lambda states, legal: (np.zeros(len(states)), np.where(np.arange(9) == action, 100.0, 0.0) + 0 * legal)


def test_network_rollouts_play_its_policy_and_score_the_mover():
    """X has 0 and 1, O has 3 and 4: the player to move wins immediately with 2 for X, with 5 for O."""
    run = network_rollouts(prefers(2), TICTACTOE)
    states = np.repeat(position(0, 3, 1, 4), 8)  # X to move
    assert run(states, 0).tolist() == [1.0] * 8
    assert states.tobytes() == np.repeat(position(0, 3, 1, 4), 8).tobytes(), "the positions are not modified"
    against = network_rollouts(prefers(5), TICTACTOE)(np.repeat(position(0, 3, 1, 4, 8), 8), 0)
    assert against.tolist() == [1.0] * 8, "O to move completes 3, 4, 5"


def test_network_rollouts_sample_from_the_policy():
    """X blocks at 5 and threatens 2. O plays 2, which leads to a draw, or 6, after which X wins, with probability ½
    each because the policy is uniform over them."""
    outcomes = network_rollouts(prefers(5), TICTACTOE)(np.repeat(position(0, 3, 1, 4, 8, 7), 400), 0)
    assert set(outcomes) == {0.0, 1.0} and outcomes.mean() == pytest.approx(0.5, abs=0.1)


def test_mean_of_rollouts_by_hand():
    """Only one cell is left, and it wins."""
    last = position(0, 4, 8, 1, 7, 6, 2, 3)
    assert mean_of_rollouts(random_rollouts(TICTACTOE), 5)(np.repeat(last, 3)).tolist() == [1.0] * 3
    uniform = mean_of_rollouts(random_rollouts(TICTACTOE), 4000, seed=1)(position())
    assert uniform == pytest.approx([0.2975], abs=0.04), "random play from the start: 58.5 % against 28.8 %"
