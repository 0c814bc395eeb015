"""PettingZoo environments with an agent in the other seat: what it sees and plays, pools, records, and learning."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from damage import renew

import myosu
from myosu import cli
from myosu.algorithms.interface import Analysis
from myosu.envs.playback import Playback
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.players.against_agents import AgainstAgents, Opponents
from myosu.players.opponents import load_opponent
from myosu.runs.checkpoint import find_checkpoint
from myosu.runs.minari_datasets import _played
from myosu.runs.recordings import open_recording
from myosu.sources.pool import Pool, PoolSettings

NIM = "nim_aec:nim_v0"
QUICK = {"num_envs": 4, "hidden": (16,), "deterministic": True, "evaluate_every": 0, "quiet": True}
ROLLOUT = {"rollout_steps": 16, "batch_size": 32}


class Takes:
    """Takes ``stones`` stones where it may, and writes down what it saw: stones left, legal actions."""

    has_memory = False

    def __init__(self, stones):
        self.action, self.seen = stones - 1, []

    def analyze(self, observation, legal_actions, state=None, starts=None):
        self.seen += [(int(left), legal.tolist())
                      for left, legal in zip(observation.argmax(1), legal_actions, strict=True)]
        action = np.where(legal_actions[:, self.action], self.action, 0)
        return Analysis(action, np.eye(2, dtype=np.float32)[action], np.zeros(len(action)), None, [])


class Alternates(Takes):
    """Recurrent: takes one stone at its first turn of an episode, then two, then one again."""

    has_memory = True

    def analyze(self, observation, legal_actions, state=None, starts=None):
        turn = np.zeros(len(starts)) if state is None else np.where(starts, 0, state[:, 0])
        self.action = int(turn[0]) % 2
        analysis = super().analyze(observation, legal_actions)
        return Analysis(analysis.action, analysis.policy, analysis.value, None, [], turn[:, None] + 1)


def seated(agent, seat, stones):
    env = AgainstAgents(load_environment(NIM, {"stones": stones}).maker, 1, 0, Opponents(agent, 0), seat)
    env.reset()
    return env, env.recv()


def take(env, stones):
    env.send(np.array([stones - 1]), np.arange(1))
    return env.recv()


def test_first_seat_move_by_move():
    """4 stones: the learner takes 1, the opponent 2 of 3, and the learner the last, which wins."""
    agent = Takes(2)
    env, step = seated(agent, 0, 4)
    assert step.observation.argmax(1) == 4 and step.legal_actions.tolist() == [[True, True]]
    step = take(env, 1)
    assert agent.seen == [(3, [True, True])], "the opponent sees the board as the player to move does"
    assert step.observation.argmax(1) == 1 and step.legal_actions.tolist() == [[True, False]]
    assert (step.reward[0], step.terminated[0]) == (0, False)
    step = take(env, 1)
    assert (step.reward[0], step.terminated[0]) == (1, True) and len(agent.seen) == 1
    assert [vars(seating) for seating in env.finished] == [
        {"seat": 0, "opponent": 1, "replies": [1], "actions": [0, 0]}]


def test_second_seat_move_by_move():
    """5 stones: the opponent takes 2, the learner 2 of 3, and the opponent the last, which wins."""
    agent = Takes(2)
    env, step = seated(agent, 1, 5)
    assert agent.seen == [(5, [True, True])] and step.observation.argmax(1) == 3
    step = take(env, 2)
    assert agent.seen[1] == (1, [True, False]), "its mask"
    assert (step.reward[0], step.terminated[0]) == (-1, True)
    assert step.observation.argmax(1) == 3 and len(agent.seen) == 3, "the next episode has begun"
    assert (env.finished[0].seat, env.finished[0].replies, env.finished[0].actions) == (1, [1, 0], [1])


def test_recurrent_opponent_remembers_its_own_turns_of_one_episode():
    env, _ = seated(Alternates(1), 1, 6)
    for _ in range(4):
        take(env, 1)
    # The opponent takes 1, 2, 1. Three turns: if it did not forget, it would take 2 first in the second episode.
    assert [seating.replies for seating in env.finished] == [[0, 1, 0]] * 2


def pool_of(every=1, kind=Takes):
    return Pool(PoolSettings(every, 3, 0.5), lambda weights: kind(int(weights["stones"])), 0)


def weights(stones):
    return {"stones": torch.tensor(stones)}


def play(env, step, count, seed):
    """Random play. Returns the last step and everything that was seen."""
    rng, seen = np.random.default_rng(seed), []
    for _ in range(count):
        env.send(np.argmax(rng.random(step.legal_actions.shape) * step.legal_actions, axis=1), np.arange(env.num_envs))
        step = env.recv()
        seen.append((step.observation.tobytes(), step.reward.tolist(), [game.seating.seat for game in env._games]))
    return step, seen


def test_drawn_member_plays_the_whole_episode(monkeypatch):
    """Members 1 and 2 take one stone, 3 (the newest, as 2) takes two; member 0 plays at random."""
    monkeypatch.setattr("myosu.sources.pool.EXPLORATION", 0.0)
    pool = pool_of()
    for stones in (1, 1, 2):
        pool.load_weights(weights(stones))
        pool.count(1)
    pool.load_weights(weights(2))
    env = AgainstAgents(load_environment(NIM, {"stones": 12}).maker, 8, 0, pool)
    env.reset()
    play(env, env.recv(), 300, 0)
    assert {seating.seat for seating in env.finished} == {0, 1}
    plays = {number: {tuple(seating.replies[:2]) for seating in env.finished if seating.opponent == number}
             for number in range(1, 5)}
    assert plays == {1: {(0, 0)}, 2: {(0, 0)}, 3: {(1, 1)}, 4: {(1, 1)}}
    newest = np.mean([seating.opponent == 4 for seating in env.finished])
    assert newest == pytest.approx(0.5, abs=0.15), "pool_latest"


def test_members_also_move_at_random_and_member_0_always():
    pool = pool_of(every=10**6)
    env = AgainstAgents(load_environment(NIM, {"stones": 12}).maker, 8, 0, pool)
    env.reset()
    step, _ = play(env, env.recv(), 100, 0)
    assert {seating.opponent for seating in env.finished} == {0}, "before training"
    moves = [reply for seating in env.finished for reply in seating.replies[:2]]
    assert np.mean(moves) == pytest.approx(0.5, abs=0.1)
    pool.load_weights(weights(1))
    env.finished.clear()
    play(env, step, 300, 1)
    moves = [reply for seating in env.finished for reply in seating.replies[:2] if seating.opponent == 1]
    assert np.mean(moves) == pytest.approx(0.05, abs=0.03), "one in ten at random, and half of those take two"


@pytest.mark.parametrize("kind", [Takes, Alternates])
def test_restored_environments_continue_exactly(kind):
    """In the middle of episodes, while the newest member changes."""
    def made():
        pool = pool_of(every=20, kind=kind)
        env = AgainstAgents(load_environment(NIM, {"stones": 12}).maker, 4, 0, pool)
        env.reset()
        return env, env.recv()

    def go_on(env, step, seed):
        seen = []
        for k in range(20):
            env.pool.load_weights(weights(k % 2 + 1))
            step, now = play(env, step, 1, seed + k)
            env.pool.count(4)
            seen += [*now, [game.seating.opponent for game in env._games]]
        return step, seen

    env, step = made()
    step, _ = go_on(env, step, 0)
    kept, other = env.state_dict(), made()[0]
    assert any(seating["replies"] for seating in kept["seatings"])
    _, seen = go_on(env, step, 100)
    other.load_state_dict(kept)
    assert go_on(other, step, 100)[1] == seen


@pytest.fixture(scope="module")
def greedy(tmp_path_factory):
    """A run whose agent always takes its network's choice."""
    return myosu.train(NIM, "dqn", run=tmp_path_factory.mktemp("greedy") / "run", env_steps=8, actors=0,
                       env_kwargs={"stones": 12}, **QUICK)


def choice(agent, left, stones=12):
    mask = np.array([True, left > 1])
    return int(agent.act({"observation": np.eye(stones + 1, dtype=np.uint8)[left], "action_mask": mask}, mask.copy()))


@pytest.mark.parametrize("algorithm", ["ppo", "dqn", "sac"])
def test_run_plays_the_other_seat_and_records_hold_its_moves(greedy, algorithm, tmp_path, monkeypatch):
    monkeypatch.setattr("myosu.runs.metrics.ACTIONS_EVERY", 1)
    settings = QUICK | (ROLLOUT if algorithm == "ppo" else {
        "learning_starts": 100, "batch_size": 8, "replay_ratio": 1.0, "actors": 0})
    run = myosu.train(NIM, algorithm, opponent=greedy, run=tmp_path / "run", env_steps=200,
                      env_kwargs={"stones": 12}, **settings)
    assert json.loads((run.folder / "config.json").read_text())["opponent"] == str(greedy.folder.resolve())
    environment, agent, seats = load_environment(NIM, {"stones": 12}), greedy.agent(), set()
    records = list(open_recording(run.folder).records())
    for record in records:
        observed = [int(move.observation.argmax()) for move in record.moves(environment)]
        seat, left, actions, replies = int(observed[0] < 12), 12, record.actions.copy(), record.replies.copy()
        for ply in range(len(actions) + len(replies)):
            learns = ply % 2 == seat
            if learns:
                assert observed.pop(0) == left, "replayed as it was played"
            else:
                assert replies[0] == choice(agent, left), "the opponent's moves are those of its network"
            left -= (actions if learns else replies).pop(0) + 1
        assert left == 0 and record.returns == [1.0 if learns else -1.0], "who takes the last stone wins"
        seats.add(seat)
    assert len(records) > 20 and seats == {0, 1}
    # Videos and datasets replay these moves too.
    playback = Playback(environment)
    for record in records[:10]:
        assert len(list(playback.images(*record.seed_and_actions(), record.replies))) == record.length + 1
        assert playback.returns.tolist() == record.returns and playback.terminated
        observations, _, rewards = _played(environment, record)
        assert [int(one["observation"].argmax()) for one in observations[:-1]] == [
            int(move.observation.argmax()) for move in record.moves(environment)] and sum(rewards) == record.returns[0]


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_run_against_the_pool_is_resumed_exactly(algorithm, tmp_path):
    settings = QUICK | {"opponent": "pool", "pool_every": 40, "env_kwargs": {"stones": 12}} | (
        ROLLOUT if algorithm == "ppo" else {"learning_starts": 64, "batch_size": 16, "actors": 0, "replay_ratio": 4.0})
    updates = {"updates": 40} if algorithm == "dqn" else {"updates": 32}
    whole = myosu.train(NIM, algorithm, run=tmp_path / "whole", **updates, **settings)
    first = myosu.train(NIM, algorithm, run=tmp_path / "parts", updates=17, **settings)
    again = myosu.train(resume=first, quiet=True, **updates)
    one, other = (find_checkpoint(run.folder).weights() for run in (whole, again))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    numbers = [len(record.replies) for record in open_recording(again.folder).records()]
    assert numbers == [len(record.replies) for record in open_recording(whole.folder).records()] and any(numbers)


def test_seats_are_evaluated_against_known_play(greedy):
    """Two deterministic players have one game in each seat; who wins it follows from their choices."""
    environment, agent = load_environment(NIM, {"stones": 12}), greedy.agent()
    left, ply = 12, 0
    while left:
        left, ply = left - choice(agent, left) - 1, ply + 1
    report = myosu.evaluate(greedy, greedy, games=20)
    assert report["opponent"] == str(greedy.folder) and report["distinct_games"] == 2
    assert [report[seat]["win_rate"] for seat in ("first_seat", "second_seat")] == [ply % 2, 1 - ply % 2]
    assert report["win_rate"] == 0.5 and report["mean_reward"] == 0.0 and report["first_seat"]["games"] == 10
    assert 2 * report["mean_length"] == ply
    assert load_opponent("random", environment) is None and myosu.evaluate(greedy, games=4)["opponent"] == "random"


def test_evaluations_during_training_play_both_seats(greedy, tmp_path):
    run = myosu.train(NIM, "ppo", run=tmp_path / "run", updates=8, env_kwargs={"stones": 12}, evaluation_games=6,
                      **QUICK | ROLLOUT | {"evaluate_every": 8}, evaluation_opponent=str(greedy.folder))
    last = run.evaluations[-1]
    assert last["opponent"] == str(greedy.folder) and last["first_seat"]["games"] == last["second_seat"]["games"] == 3


def test_optimal_play_is_learnt_from_the_pool(tmp_path):
    """Of 7 stones the first player wins by leaving multiples of 3; the network must find all of these moves."""
    run = myosu.train(NIM, "ppo", opponent="pool", run=tmp_path / "run", env_steps=4000, pool_every=1000,
                      env_kwargs={"stones": 7}, **QUICK | {"num_envs": 16, "rollout_steps": 16, "batch_size": 64,
                                                           "hidden": (32,), "learning_rate": 3e-3})
    agent = run.agent()
    assert [choice(agent, left, 7) + 1 for left in (1, 2, 4, 5, 7)] == [1, 2, 1, 2, 1]
    report = myosu.evaluate(run, games=40)
    assert report["first_seat"]["win_rate"] == 1.0 and report["second_seat"]["win_rate"] > 0.7
    lines = map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines())
    assert max(line.get("episodes/pool_elo", 0.0) for line in lines) > 50


@pytest.mark.parametrize("name", ["alphabeta:3", "mcts:10", "gtp:gnugo", "greedy", "nobody"])
def test_players_that_need_rules_are_refused(name, capsys, tmp_path):
    out = tmp_path / "run"
    assert cli.run(["train", NIM, "--opponent", name, "--run", str(out), "--updates", "1", "--quiet"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"{NIM} has no opponent {name!r}" in error and "a run trained in it" in error and not out.exists()


@pytest.mark.parametrize("flags, words", [
    (["--opponent", "RUN", "--env-kwargs", '{"stones": 7}'], "with other spaces"),
    (["--opponent", "RUN", "--env-kwargs", '{"stones": 12}', "--env-workers", "synchronous"],
     "env_workers = synchronous: .* Leave out --env-workers"),
    (["--opponent", "RUN", "--env-kwargs", '{"stones": 12}', "--wrapper", "myosu.envs.wrappers:OneArray"],
     "wrappers change only what the learner observes"),
    (["--opponent", "pool", "--wrapper", "myosu.envs.wrappers:OneArray"], "or use --opponent random"),
    (["--opponent", "pool", "--pool-opening-plies", "2"], "pool_opening_plies = 2: random openings need the rules"),
    (["--evaluation-opponent", "pool"], "no opponent 'pool'"),
    (["--evaluation-games", "5"], "an even number from 4")])
def test_what_does_not_fit_is_refused(greedy, flags, words, capsys, tmp_path):
    given = [str(greedy.folder) if flag == "RUN" else flag for flag in flags]
    out = tmp_path / "run"
    assert cli.run(["train", NIM, *given, "--run", str(out), "--updates", "1", "--quiet"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(words, error), error
    assert not out.exists()


def test_wrapper_that_an_algorithm_needs_is_refused_as_well(tmp_path):
    """MuZero reads one array; the wrapper must not make it forget the opponent."""
    with pytest.raises(UserError, match="or use --opponent random"):
        myosu.train("pettingzoo:tictactoe_v3", "muzero", opponent="pool", run=tmp_path / "run", updates=1, quiet=True)


def test_runs_of_other_environments_and_single_player_environments_are_refused(greedy):
    other = "pettingzoo:tictactoe_v3"
    with pytest.raises(UserError, match=f"plays {NIM}, not {other}"):
        load_opponent(str(greedy.folder), load_environment(other))
    with pytest.raises(UserError, match="is single-player"):
        myosu.train("CartPole-v1", "ppo", opponent=greedy, updates=1, quiet=True)
    for wrong in ({"games": 5}, {"opening_plies": 2}):
        with pytest.raises(UserError, match=r"an even number from 4|Leave out the opening plies"):
            myosu.evaluate(greedy, **wrong)


def test_code_that_an_opponents_folder_names_does_not_run(greedy, tmp_path):
    folder, evil = shutil.copytree(greedy.folder, tmp_path / "changed"), tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for manifest in (folder / "checkpoints").glob("*/manifest.json"):
        data = json.loads(manifest.read_text())
        data["config"] |= {"algorithm": str(evil), "code": {}}
        manifest.write_text(json.dumps(data))
        assert renew(manifest.parent)
    with pytest.raises(UserError, match="add --trust"):
        load_opponent(str(folder), load_environment(NIM, {"stones": 12}))
    assert not (tmp_path / "ran").exists()
