"""Names of environments, the records of a run, exact resumption, and evaluation."""

import json
import os
import signal

import gymnasium
import numpy as np
import pytest

from myosu import cli
from myosu.algorithms import dqn, load_algorithm
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.native import NativeVectorEnv
from myosu.envs.registry import load_environment
from myosu.envs.workers import WorkerVectorEnv
from myosu.errors import UserError
from myosu.evaluation.episodes import play_episodes
from myosu.games import load_game
from myosu.players.agent import load_agent
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.run import open_run
from myosu.sources.factory import actor_count
from myosu.training.start import create_run
from myosu.training.trainer import train
from toy_runs import last_weights, same_weights


def test_load_environment_finds_games_and_gymnasium_ids():
    assert load_environment("snake").game is not None
    cartpole = load_environment("CartPole-v1")
    assert cartpole.game is None and cartpole.spec.max_steps == 500 and cartpole.spec.num_actions == 2
    assert load_environment("Acrobot-v1", {"render_mode": "rgb_array"}).spec.num_actions == 3
    assert load_environment("myosu.envs.probes:myosu/ProbeBoth-v0").spec.num_actions == 2
    with pytest.raises(UserError, match=r"no game or environment 'CartPol-v1'. Did you mean 'CartPole-v1'\?"):
        load_environment("CartPol-v1")
    with pytest.raises(UserError, match="takes no arguments: leave out size"):
        load_environment("snake", {"size": 5})
    with pytest.raises(UserError, match="gravitas"):
        load_environment("CartPole-v1", {"gravitas": 1})
    with pytest.raises(UserError, match="only Myosu's own games know who won"):
        load_environment("CartPole-v1", rewards="outcome")
    with pytest.raises(UserError, match="needs the rules"):
        assert cartpole.rules


class Twice(gymnasium.RewardWrapper):
    def reward(self, reward):
        return 2.0 * float(reward)


def twice_cartpole():
    return gymnasium.wrappers.RecordEpisodeStatistics(Twice(gymnasium.make("CartPole-v1")))


def test_reward_before_all_wrappers_is_recorded():
    """Independent of the order of wrappers: here the statistics wrapper sees the changed reward."""
    env = GymVectorEnv(twice_cartpole, 3)
    env.reset()
    env.recv()
    env.send(np.zeros(3, np.int64), np.arange(3))
    step = env.recv()
    assert step.reward.tolist() == [2.0] * 3 and step.raw_reward.tolist() == [1.0] * 3


def follow(env, steps, seed=0, current=None):
    """Take random actions. Returns all steps."""
    rng, seen = np.random.default_rng(seed), []
    if current is None:
        env.reset()
        current = env.recv(env.num_envs)
    for _ in range(steps):
        env.send(rng.integers(0, 2, env.num_envs), np.arange(env.num_envs))
        current = env.recv(env.num_envs)
        seen.append(current)
    return seen


@pytest.mark.parametrize("make", [
    lambda: GymVectorEnv("CartPole-v1", 3, seed=1), lambda: WorkerVectorEnv("CartPole-v1", 2, seed=1),
    lambda: NativeVectorEnv(load_game("snake"), 3, seed=1)])
def test_environments_continue_exactly_from_their_state(make):
    first, second = make(), make()
    follow(first, 57)  # some episodes have ended, others have not
    state = first.state_dict()
    wanted = follow(first, 40, seed=2, current=True)
    second.load_state_dict(state)
    for ours, theirs in zip(wanted, follow(second, 40, seed=2, current=True), strict=True):
        for name in vars(ours):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    first.close()
    second.close()


def test_episode_seed_reproduces_the_first_observation():
    env = GymVectorEnv("CartPole-v1", 2, seed=7)
    for step in follow(env, 60):
        for i in np.flatnonzero(step.terminated):
            again, _ = gymnasium.make("CartPole-v1").reset(seed=int(step.seed[i]))
            assert np.array_equal(again, step.observation[i])


class Upright:
    """Balances CartPole's pole for a while: pushes in the direction in which it falls."""

    def act(self, observation, legal_actions, state=None, starts=None):
        return (observation[:, 2] + observation[:, 3] > 0).astype(np.int64), None


class Left:
    def act(self, observation, legal_actions, state=None, starts=None):
        return np.zeros(len(observation), np.int64), None


def test_evaluation_plays_the_requested_number_of_episodes():
    environment = load_environment("CartPole-v1")
    good, bad = play_episodes(environment, Upright(), 70, seed=1), play_episodes(environment, Left(), 70, seed=1)
    assert len(good.returns) == len(bad.returns) == 70
    assert np.array_equal(good.returns, good.lengths) and good.truncated.any()
    report = bad.to_json()
    assert 8 < report["mean_reward"] < 11 and report["mean_reward_ci95"][0] < report["mean_reward"]
    assert good.returns.mean() > 150 and report["truncated_rate"] == 0
    with pytest.raises(UserError, match="at least two"):
        play_episodes(environment, Left(), 1)


SMALL = {
    "dqn": {"num_envs": 4, "hidden": (32,), "learning_starts": 100, "replay_capacity": 2000, "batch_size": 16,
            "replay_ratio": 4.0},
    "ppo": {"num_envs": 4, "hidden": (32,), "rollout_steps": 32, "batch_size": 32, "epochs": 2,
            "normalize_observations": True, "normalize_rewards": True},
    "muzero": {"num_envs": 4, "channels": 16, "blocks": 0, "simulations": 4, "learning_starts": 100,
               "replay_capacity": 2000, "batch_size": 16, "replay_ratio": 4.0, "unroll_steps": 2, "device": "cpu"},
}


def small_run(folder, algorithm="dqn", **limits):
    config = load_algorithm(algorithm).Config(**SMALL[algorithm])
    train_config = TrainConfig(**{"evaluate_every": 0, **limits})
    return create_run(RunConfig("CartPole-v1", algorithm, config, train_config), folder)


@pytest.mark.parametrize("algorithm", SMALL)
def test_resumed_run_equals_an_uninterrupted_one(tmp_path, monkeypatch, algorithm):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    limits = {"env_steps": 1000, "deterministic": True}
    train(small_run(whole, algorithm, **limits), quiet=True)
    actor = load_algorithm(algorithm).Actor
    step, steps = actor.step, []

    def step_and_interrupt(self):
        steps.append(1)
        if len(steps) in (90, 150):
            os.kill(os.getpid(), signal.SIGINT)
        return step(self)

    monkeypatch.setattr(actor, "step", step_and_interrupt)
    assert train(small_run(parts, algorithm, **limits), quiet=True, handle_signals=True).reason == "interrupted"
    assert train(open_run(parts), quiet=True, handle_signals=True).reason == "interrupted"
    assert train(open_run(parts), quiet=True).env_steps >= 1000
    assert same_weights(last_weights(whole), last_weights(parts))
    assert (whole / "games.jsonl").read_text() == (parts / "games.jsonl").read_text()


def test_a_run_of_an_environment_records_and_evaluates(tmp_path, capsys):
    folder = tmp_path / "run"
    train(small_run(folder, env_steps=1200, deterministic=True), quiet=True)
    games = [json.loads(line) for line in (folder / "games.jsonl").read_text().splitlines()]
    assert [line["index"] for line in games] == list(range(len(games)))
    for line in games:
        assert line["returns"] == line["raw_returns"] == [line["length"]] and "seed" in line
    assert len(games[0]["actions"]) == games[0]["length"]
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["env_steps"] == 1200 and "episodes/reward_mean" in metrics[-1]

    assert cli.run(["evaluate", str(folder), "--games", "4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["games"] == 4 and report["algorithm"] == "dqn" and report["game"] == "CartPole-v1"
    assert report["mean_reward_ci95"][0] <= report["mean_reward"] <= report["mean_reward_ci95"][1]
    assert cli.run(["evaluate", str(folder), "--games", "4"]) == 0 and "mean reward" in capsys.readouterr().out
    assert cli.run(["evaluate", str(folder), "--opponent", "greedy"]) == 2
    assert "single-player" in capsys.readouterr().err
    agent, environment, _ = load_agent(folder)
    assert environment.name == "CartPole-v1" and agent.act(np.zeros((2, 4), np.float32), np.ones((2, 2), bool))[0].shape


def test_killed_workers_are_replaced_and_counted_in_training(tmp_path, monkeypatch):
    run = small_run(tmp_path / "run", env_steps=1500, env_workers="asynchronous")
    step, killed = dqn.Actor.step, []

    def step_and_kill(actor):
        experience = step(actor)
        if len(killed) < 3 and actor.env._log.episodes.sum() > 2 * len(killed):
            killed.append(actor.env._workers[len(killed)].process.pid)
            os.kill(killed[-1], signal.SIGKILL)
        return experience

    monkeypatch.setattr(dqn.Actor, "step", step_and_kill)
    result = train(run, quiet=True)
    assert result.env_steps >= 1500
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["env_restarts"] == 3


def test_on_policy_algorithms_refuse_actor_processes():
    config = load_algorithm("ppo").Config()
    with pytest.raises(UserError, match="actors = 2: ppo learns only from what its newest policy did"):
        create_run(RunConfig("CartPole-v1", "ppo", config, TrainConfig(updates=1, actors=2)))
    assert actor_count(RunConfig("CartPole-v1", "ppo", config, TrainConfig(updates=1))) == 0
