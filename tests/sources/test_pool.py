"""Self-play against earlier versions: members of the pool, sampling of opponents, ratings, and learning."""

import json

import numpy as np
import pytest
import torch

import myosu
from myosu.algorithms.interface import Analysis
from myosu.errors import UserError
from myosu.evaluation.ratings import Results, fit
from myosu.games import load_game
from myosu.runs.checkpoint import find_checkpoint
from myosu.runs.config import TrainConfig
from myosu.runs.recordings import open_recording
from myosu.sources.pool import AgainstPool, Pool, PoolSettings
from own_game import NIM

TICTACTOE = load_game("tictactoe")


class Sure:
    """Takes the first free cell from ``cell`` on."""

    has_memory = False

    def __init__(self, cell):
        self.cell = cell

    def analyze(self, observation, legal_actions, state=None, starts=None, simulations=None):
        order = (np.arange(9) + self.cell) % 9
        action = order[legal_actions[:, order].argmax(1)]
        return Analysis(action, np.eye(9, dtype=np.float32)[action], np.zeros(len(action)), None, [])


class Remembers(Sure):
    """Counts its turns in its state, and takes the first free cell from that number on."""

    has_memory = True

    def analyze(self, observation, legal_actions, state=None, starts=None, simulations=None):
        turn = np.zeros(len(starts), int) if state is None else np.where(starts, 0, state[:, 0]).astype(int)
        analysis = super().analyze(observation, legal_actions)
        action = np.array([next(c for c in (np.arange(9) + t) % 9 if legal[c])
                           for t, legal in zip(turn, legal_actions, strict=True)])
        return Analysis(action, np.eye(9, dtype=np.float32)[action], analysis.value, None, [], turn[:, None] + 1.0)


def weights(number):
    return {"cell": torch.tensor(number)}


def pool_of(every=100, window=3, latest=0.5, kind=Sure):
    return Pool(PoolSettings(every, window, latest), lambda weights: kind(int(weights["cell"])), 0)


NONE = np.zeros(0, np.int64)


def test_members_are_added_by_steps_and_the_newest_follows():
    pool = pool_of()
    assert pool.draw(50, NONE).tolist() == [0] * 50, "before training only the initial member exists"
    pool.load_weights(weights(10))
    assert set(pool.draw(200, NONE)) == {0, 1} and pool.agent(1).cell == 10
    pool.load_weights(weights(11))
    pool.count(4)
    assert pool.agent(1).cell == 10, "the newest member is renewed 20 times per permanent member"
    pool.count(1)
    assert pool.agent(1).cell == 11
    pool.load_weights(weights(12))
    pool.count(95)
    assert pool.newest == 2 and {number: pool.agent(number).cell for number in (1, 2)} == {1: 12, 2: 12}
    pool.load_weights(weights(13))
    pool.count(50)
    assert {number: pool.agent(number).cell for number in (1, 2)} == {1: 12, 2: 13}


def test_opponents_are_drawn_by_window_and_latest_share():
    pool = pool_of(every=1, window=3, latest=0.4)
    for number in range(1, 7):
        pool.load_weights(weights(number))
        pool.count(1)
    drawn = pool.draw(20_000, np.array([2]))
    shares = {number: round((drawn == number).mean(), 2) for number in set(drawn.tolist())}
    assert pool.newest == 7 and shares == {7: pytest.approx(0.4, abs=0.02), **{
        number: pytest.approx(0.2, abs=0.02) for number in (4, 5, 6)}}
    assert set(pool.weights) == {2, 4, 5, 6, 7}, "2 still plays a game"
    pool.draw(1, NONE)
    assert set(pool.weights) == {4, 5, 6, 7}


def test_members_are_rated_relative_to_random_play():
    """The learner wins 3 of 4 games against member 0, then 2 of 4 against member 1 with a draw and a loss. Games
    against the newest member, a copy of the learner, do not count."""
    pool = pool_of()
    pool.load_weights(weights(1))
    for number, result in ((0, 1.0), (0, 1.0), (0, -1.0), (0, 1.0), (1, -1.0)):
        pool.record(number, result)
    pool.count(100)
    expected = Results.none(2)
    expected.wins[1, 0], expected.wins[0, 1] = 3, 1
    assert pool.elo == pytest.approx(fit(expected).elo()[1]) and 100 < pool.elo < 400
    for number, result in ((1, 5.0), (1, 0.0), (1, 1.0), (1, -1.0)):
        pool.record(number, result)
    pool.count(100)
    expected = Results.none(3)
    expected.wins[1, 0], expected.wins[0, 1], expected.wins[2, 1], expected.wins[1, 2] = 3, 1, 2, 1
    expected.draws[1, 2] = expected.draws[2, 1] = 1
    assert pool.elo == pytest.approx(fit(expected).elo()[2])


def played(env, games, seed=0):
    """Finished games of a learner that plays at random, with the members that were its opponents."""
    rng, found = np.random.default_rng(seed), []
    env.reset()
    step = env.recv()
    while len(found) < games:
        env.send(np.argmax(rng.random(step.legal_actions.shape) * step.legal_actions, axis=1), np.arange(env.num_envs))
        step = env.recv()
        found += env.finished
        env.finished.clear()
    return found


@pytest.mark.parametrize("kind", [Sure, Remembers])
def test_drawn_member_plays_the_whole_game(monkeypatch, kind):
    monkeypatch.setattr("myosu.sources.pool.EXPLORATION", 0.0)
    pool = pool_of(every=1, window=3, kind=kind)
    for cell in (3, 7):
        pool.load_weights(weights(cell))
        pool.count(1)
    env = AgainstPool(TICTACTOE, pool, 8, 0)
    games = played(env, 200)
    assert {game.opponent for game in games} == {0, 1, 2, 3} and {game.seat for game in games} == {0, 1}
    follows = {number: [] for number in range(4)}
    for game in games:
        taken, cell = [], {0: 3, 1: 3, 2: 7, 3: 7}[game.opponent]
        for ply, action in enumerate(game.record.actions):
            if ply % 2 != game.seat:
                first = cell if kind is Sure else ply // 2
                expected = next(c for c in (np.arange(9) + first) % 9 if c not in taken)
                follows[game.opponent].append(action == expected)
            taken.append(action)
        assert game.record.history(TICTACTOE).now.over
    assert all(follows[1] + follows[2] + follows[3]) and np.mean(follows[0]) < 0.5, "0 plays at random"


@pytest.mark.parametrize("plies", [3, 7])
def test_games_begin_with_random_unchosen_plies(plies):
    """Five or more random plies can end the game, which then begins again without them."""
    pool = Pool(PoolSettings(1, 3, 0.5, plies), lambda weights: Sure(int(weights["cell"])), 0)
    pool.load_weights(weights(3))
    games = played(AgainstPool(TICTACTOE, pool, 8, 0), 400)
    lengths = [len(game.record.unchosen) for game in games]
    openings = np.bincount(lengths, minlength=plies + 1)
    assert len(openings) == plies + 1 and (openings[:4] > 400 / (plies + 1) / 2).all()
    assert {(opening % 2, game.seat) for opening, game in zip(lengths, games, strict=True)} == {
        (a, b) for a in (0, 1) for b in (0, 1)}
    for opening, game in zip(lengths, games, strict=True):
        assert list(game.record.history(TICTACTOE).now.returns) == game.record.returns
        assert any(ply % 2 == game.seat for ply in range(opening, game.record.length)), "the learner has moved"


def test_restored_pool_continues_exactly():
    def made():
        pool = pool_of(every=20)
        env = AgainstPool(TICTACTOE, pool, 4, 0)
        env.reset()
        return env, env.recv()

    def play(env, step, plies, seed):
        rng, seen = np.random.default_rng(seed), []
        for k in range(plies):
            env.pool.load_weights(weights(k % 9))
            env.send(np.argmax(rng.random(step.legal_actions.shape) * step.legal_actions, axis=1), np.arange(4))
            step = env.recv()
            env.pool.count(4)
            seen.append((step.observation.tobytes(), step.reward.tobytes(), env.facing.tolist(), env.pool.elo))
        return step, seen

    env, step = made()
    step, _ = play(env, step, 30, 0)
    kept, other = env.state_dict(), made()[0]
    _, seen = play(env, step, 30, 1)
    other.load_state_dict(kept)
    assert play(other, step, 30, 1)[1] == seen and len({facing for line in seen for facing in line[2]}) > 4


@pytest.fixture(scope="module")
def nim(tmp_path_factory):
    file = tmp_path_factory.mktemp("nim") / "nim.py"
    file.write_text(NIM)
    return str(file)


def test_run_against_the_pool_is_resumed_exactly(nim, tmp_path):
    settings = {"num_envs": 4, "rollout_steps": 32, "batch_size": 64, "hidden": (16,), "pool_every": 100,
                "deterministic": True, "evaluate_every": 0, "quiet": True, "opponent": "pool"}
    whole = myosu.train(nim, "ppo", run=tmp_path / "whole", updates=32, **settings)
    first = myosu.train(nim, "ppo", run=tmp_path / "parts", updates=17, **settings)
    again = myosu.train(resume=first, updates=32, quiet=True)
    one, other = (find_checkpoint(run.folder).weights() for run in (whole, again))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_actor_process_plays_against_the_pool_and_is_resumed(nim, tmp_path, monkeypatch):
    """At ``learning_starts`` the learner has 64 · 8 / 16 updates to do, and the actor waits for them. Then it continues
    with newer weights, and versions of them join its pool."""
    monkeypatch.setattr("myosu.sources.processes.PUBLISH_SECONDS", 0.0)
    monkeypatch.setattr("myosu.training.trainer.RECORD_SECONDS", 0.05)
    settings = {"num_envs": 4, "learning_starts": 64, "replay_ratio": 8.0, "batch_size": 16, "hidden": (16,),
                "pool_every": 100, "actors": 1, "evaluate_every": 0, "quiet": True, "opponent": "pool"}
    run = myosu.train(nim, "dqn", run=tmp_path / "run", env_steps=600, **settings)
    before = (run.folder / "metrics.jsonl").read_text()
    myosu.train(resume=run, env_steps=1200, quiet=True)
    after = (run.folder / "metrics.jsonl").read_text().removeprefix(before)
    for text, end in ((before, 600), (after, 1200)):
        lines = [json.loads(line) for line in text.splitlines()]
        assert max(line["env_steps"] for line in lines) >= end
        ratings = {line["selfplay/pool_elo"] for line in lines if "selfplay/pool_elo" in line} - {0.0}
        assert len(ratings) > 1, "one for each version that joined, and 0 before"
    versions = [game.weights_version for game in open_recording(run.folder).records()]
    assert versions[0] == 0 and len(set(versions)) > 3


LEARNS = {
    "ppo": (20_000, {"num_envs": 32, "rollout_steps": 16, "batch_size": 128, "learning_rate": 3e-3, "hidden": (64,),
                     "entropy_weight": 0.02, "anneal_learning_rate": True}),
    "dqn": (8000, {"hidden": (64,), "replay_ratio": 8.0}),
}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_nim_is_learnt_by_pool_self_play(nim, tmp_path, algorithm):
    """Nim with 21 stones, which the first player wins. The evaluation tries every reply to the agent in both seats."""
    steps, settings = LEARNS[algorithm]
    run = myosu.train(nim, algorithm, opponent="pool", run=tmp_path / "run", env_steps=steps, pool_every=1000,
                      deterministic=True, evaluate_every=0, quiet=True, **settings)
    result = myosu.evaluate(run, "exhaustive")
    assert result["loss_rate"] < 0.15 and result["first_seat"]["loss_rate"] < 0.15
    lines = map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines())
    assert max(line.get("selfplay/pool_elo", 0.0) for line in lines) > 250
    for record in list(open_recording(run.folder).records())[:20]:
        assert tuple(record.returns) in ((1.0, -1.0), (-1.0, 1.0))


@pytest.mark.parametrize("settings, words", [
    ({"pool_every": 0}, "pool_every must be 1 or more"), ({"pool_window": 0}, "pool_window must be 1 or more"),
    ({"pool_latest": 1.5}, "pool_latest must be from 0 to 1")])
def test_invalid_pool_settings_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        TrainConfig(updates=1, **settings)


def test_pool_is_refused_outside_two_player_training():
    for env in ("snake", "CartPole-v1"):
        with pytest.raises(UserError, match="single-player"):
            myosu.train(env, "ppo", opponent="pool", updates=1, quiet=True)
    with pytest.raises(UserError, match="--opponent pool in training"):
        myosu.train("tictactoe", "ppo", opponent="pool", evaluation_opponent="pool", updates=1, quiet=True)
