"""Two-player games with a built-in opponent: rewards, turns, and training of single-player algorithms."""

from dataclasses import replace

import numpy as np
import pytest

import myosu
from myosu.doctor.check_env import check_vector_env
from myosu.envs.game_history import replay
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.games import load_game
from myosu.players.against import AgainstEnv
from myosu.players.opponents import make_opponent
from myosu.players.player import RESIGNS, RandomPlayer, legal_mask
from myosu.runs.config import RunConfig
from myosu.runs.recordings import open_recording
from myosu.runs.run import open_run
from positions import look

TICTACTOE, OTHELLO = load_game("tictactoe"), load_game("othello")


class Script:
    """Plays the first free cell of its list, in all games."""

    name, repeats_itself = "script", True

    def __init__(self, game, *cells):
        self.game, self.cells, self.closed = game, cells, False

    def choose(self, states, histories):
        mask = legal_mask(self.game, states)
        return np.array([next(cell for cell in self.cells if cell == RESIGNS or legal[cell]) for legal in mask])

    def close(self):
        self.closed = True


def send(env, *actions):
    env.send(np.array(actions), np.arange(env.num_envs))
    return env.recv()


def started(game, opponent, num_envs=2, seed=0):
    env = AgainstEnv(game, opponent, num_envs, seed)
    env.reset()
    return env, env.recv()


def test_a_game_move_by_move():
    """The learner has the first seat in the first environment and the second seat in the other, where the opponent has
    already moved."""
    env, step = started(TICTACTOE, Script(TICTACTOE, 4, 0, 8, 1))
    assert (env.spec.num_players, env.spec.max_steps, env.spec.num_actions) == (1, 5, 9)
    assert step.legal_actions.sum(1).tolist() == [9, 8] and not step.legal_actions[1, 4]
    assert step.to_play.tolist() == [0, 0] and step.reward.tolist() == [0, 0]
    # In both, the first plane shows the learner's pieces.
    step = send(env, 2, 2)
    assert [step.observation[:, k].reshape(2, 9).nonzero()[1].tolist() for k in (0, 1)] == [[2, 2], [4, 0, 4]]
    step = send(env, 5, 5)
    assert step.observation[0, 1].reshape(9).nonzero()[0].tolist() == [0, 4]
    assert step.reward.tolist() == [0, -1] and step.terminated.tolist() == [False, True], "4, 0, 8 is a line"
    step = send(env, 8, 0)
    assert step.reward.tolist() == [1, 0] and step.terminated.tolist() == [True, False], "2, 5, 8 is a line"
    assert not step.truncated.any()
    (first, seat, _), (second, other, _) = env.finished
    assert (first.actions, seat, first.returns) == ([4, 2, 0, 5, 8], 1, [1, -1])
    assert (second.actions, other, second.returns) == ([2, 4, 5, 0, 8], 0, [1, -1])
    # The seats alternate: now the opponent has moved in the first environment, and the learner begins in the second.
    assert step.legal_actions[0].sum() == 8
    env.close()
    assert env.opponent.closed


@pytest.mark.parametrize("game", [TICTACTOE, OTHELLO, load_game("connect_four"), OTHELLO.with_outcome_rewards()])
def test_rewards_equal_those_of_the_replayed_game(game):
    env, step = started(game, RandomPlayer(game, 1), num_envs=6, seed=3)
    random, seeds, totals, games, seats = np.random.default_rng(0), step.seed.copy(), np.zeros((2, 6)), 0, []
    while games < 60:
        actions = np.argmax(random.random(step.legal_actions.shape) * step.legal_actions, axis=1)
        step = send(env, *actions)
        totals += step.reward, step.raw_reward
        for i in np.flatnonzero(step.terminated | step.truncated):
            record, seat, _ = env.finished.pop(0)
            history = record.history(game)
            assert history.now.over and not step.truncated[i] and record.seed == seeds[i]
            assert list(history.now.returns) == record.returns
            assert totals[:, i].tolist() == [record.returns[seat], record.raw_returns[seat]]
            if game.rewards == "outcome":
                assert abs(record.returns[0]) <= 1 and np.sign(record.raw_returns).tolist() == record.returns
            assert np.array_equal(step.final_observation[i], look(game, history.now.state))
            totals[:, i], seeds[i] = 0, step.seed[i]
            games += 1
            seats.append(seat)
    assert abs(np.mean(seats) - 0.5) < 0.1


def test_truncation_happens_on_the_learners_turn():
    """Truncated after at least four plies, with the learner to move: in the first seat after four, in the second after
    five."""
    short = replace(TICTACTOE, max_plies=4)
    env, _ = started(short, Script(TICTACTOE, 4, 0, 7, 1))
    assert send(env, 2, 2).truncated.tolist() == [False, False]
    step = send(env, 3, 3)
    assert step.truncated.tolist() == [True, True] and not step.terminated.any()
    assert [[plane.reshape(9).nonzero()[0].tolist() for plane in planes[:2]] for planes in step.final_observation] == [
        [[2, 3], [0, 4]], [[2, 3], [0, 4, 7]]]
    assert [game.record.length for game in env.finished] == [4, 5]


def test_an_opponent_that_resigns_has_lost():
    env, _ = started(TICTACTOE, Script(TICTACTOE, 4, RESIGNS))
    step = send(env, 2, 2)
    assert step.terminated.tolist() == [False, True] and step.reward.tolist() == [0, 1]
    [(record, seat, _)] = env.finished
    assert record.adjudicated and record.returns[seat] == 1, "the moves alone do not show it"
    assert list(record.moves(load_environment("tictactoe")))[-1].terminated


def test_play_continues_from_a_saved_state():
    """With a random opponent."""
    def play(env, step, plies, seed):
        random, seen = np.random.default_rng(seed), []
        for _ in range(plies):
            step = send(env, *np.argmax(random.random(step.legal_actions.shape) * step.legal_actions, axis=1))
            seen.append((step.observation.tobytes(), step.reward.tobytes(), step.seed.tobytes()))
        return step, seen

    env, step = started(TICTACTOE, RandomPlayer(TICTACTOE, 1), num_envs=4)
    step, _ = play(env, step, 10, 0)
    kept = env.state_dict()
    _, seen = play(env, step, 20, 1)
    other = AgainstEnv(TICTACTOE, RandomPlayer(TICTACTOE, 9), 4)
    other.load_state_dict(kept)
    assert play(other, step, 20, 1)[1] == seen


def test_environment_passes_the_vector_env_check():
    env, twin = (AgainstEnv(OTHELLO, RandomPlayer(OTHELLO, 1), 4, 2) for _ in range(2))
    assert [str(finding) for finding in check_vector_env(env, twin=twin) if finding.severity != "info"] == []


TINY = {"hidden": (64,), "channels": 16, "blocks": 0}


@pytest.mark.slow
def test_ppo_learns_tictactoe_against_a_random_player(tmp_path):
    """A random player wins 44 % of these games and loses 44 %; PPO trained this way wins 90 % and loses 6 %."""
    run = myosu.train("tictactoe", "ppo", opponent="random", run=tmp_path / "run", env_steps=60_000, num_envs=32,
                      rollout_steps=16, batch_size=128, learning_rate=2e-3, anneal_learning_rate=True,
                      entropy_weight=0.02, hidden=(128,), blocks=1, deterministic=True, evaluate_every=0, quiet=True)
    result = myosu.evaluate(run, "random", games=400)
    assert result["win_rate"] > 0.8 and result["mean_reward"] > 0.7
    opened = open_run(run.folder)
    assert opened.config.opponent == "random" and RunConfig.from_json(opened.config.to_json()) == opened.config
    kept = list(open_recording(run.folder).records())
    assert len(kept) > 20
    for record in kept:
        assert replay(TICTACTOE, record.seed, record.actions).now.returns == tuple(record.returns)


def test_dqn_trains_against_alphabeta_and_resumes(tmp_path):
    settings = {"num_envs": 4, "learning_starts": 64, "batch_size": 16, "deterministic": True, "evaluation_games": 10,
                "evaluate_every": 20, "quiet": True, **TINY}
    run = myosu.train("tictactoe", "dqn", opponent="alphabeta:2", run=tmp_path / "run", updates=30, **settings)
    assert run.evaluations[-1]["opponent"] == "random"
    again = myosu.train(resume=run, updates=40, quiet=True)
    assert again.updates == 40


@pytest.mark.parametrize(("env", "opponent", "words"), [
    ("snake", "random", "single-player"), ("CartPole-v1", "random", "single-player"),
    ("tictactoe", "nobody", "no opponent 'nobody'")])
def test_impossible_opponents_are_refused(env, opponent, words):
    with pytest.raises(UserError, match=words):
        myosu.train(env, "ppo", opponent=opponent, updates=1, quiet=True)
    assert make_opponent("random", TICTACTOE).name == "random"
