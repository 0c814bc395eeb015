"""Environments in worker processes: exactness, asynchronous order, and crashes."""

import os
import re
import signal
import threading
import time
from contextlib import contextmanager

import gymnasium
import numpy as np
import pytest

import myosu
from gym_toys import Broken, Counter, DiesWhenMade, Everything, FailsOnce, Slow
from myosu.doctor import check_vector_env
from myosu.doctor.check_env import sample_actions
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.workers import MAX_FAILURES, WorkerVectorEnv
from myosu.errors import UserError
from myosu.processes import end, end_with, spawn
from vector_steps import act, start

FIELDS = ("observation", "legal_actions", "to_play", "reward", "terminated", "truncated", "final_observation")


@contextmanager
def workers(*args, **kwargs):
    env = WorkerVectorEnv(*args, **kwargs)
    try:
        yield env
    finally:
        env.close()


@pytest.mark.parametrize("made", ["CartPole-v1", Everything], ids=str)
def test_workers_play_the_same_episodes_as_in_process(made):
    alone = GymVectorEnv(made, 2, seed=5)
    with workers(made, 2, seed=5) as env:
        assert env.spec == alone.spec
        assert check_vector_env(env, 60, twin=alone) == []
        one, two = start(env), start(alone)
        for number in range(30):
            for name in FIELDS:
                assert np.array_equal(getattr(one, name), getattr(two, name)), name
            actions = sample_actions(env.spec, one.legal_actions, number)
            one, two = act(env, actions), act(alone, actions)
        assert env.restarts == 0 and env.notices() == []


def test_recv_returns_the_first_ready_environment():
    with workers(Slow, 3, kwargs={"length": 100}) as env:
        start(env)
        begun = time.monotonic()
        step = act(env, [10, 0, 10], min_ready=1)
        assert step.env_ids.tolist() == [1] and time.monotonic() - begun < 0.9
        step = act(env, [0], ids=[1], min_ready=1)
        assert step.env_ids.tolist() == [1] and step.observation[:, 0].tolist() == [2]
        env.send(np.array([0]), np.array([1]))
        step = env.recv()
        assert step.env_ids.tolist() == [0, 2, 1] and step.observation[:, 0].tolist() == [1, 1, 3]
        assert time.monotonic() - begun > 0.9
        env.send(np.array([0, 0]), np.array([2, 0]))  # sent separately, received together
        env.send(np.array([0]), np.array([1]))
        step = env.recv(min_ready=9)
        assert step.env_ids.tolist() == [2, 0, 1]


def test_reset_during_episodes():
    with workers(Counter, 2, seed=3) as env:
        first = start(env)
        act(env, [0, 0])
        env.send(np.array([0, 0]), np.arange(2))
        again = start(env)
        assert np.array_equal(first.observation, again.observation) and again.env_ids.tolist() == [0, 1]


@pytest.mark.parametrize(("habit", "reason"), [("dies", r"ended \(exit code 3\)"),
                                               ("hangs", r"did not answer within 3 s")])
def test_failed_worker_is_replaced(habit, reason, tmp_path):
    with workers(FailsOnce, 1, kwargs={"habit": habit, "done": str(tmp_path / "done")}, timeout=3) as env:
        step = start(env)
        seed = step.observation[0, 1]
        steps = [act(env, [0]) for _ in range(8)]
        assert [s.truncated[0] for s in steps] == [False, False, True, *[False] * 5]
        assert [s.terminated[0] for s in steps] == [False] * 7 + [True]
        assert [s.reward[0] for s in steps] == [1, 2, 0, 1, 2, 3, 4, 5]
        assert steps[2].final_observation.tolist() == [[2, seed]] and steps[2].observation[0, 0] == 0
        assert steps[2].observation[0, 1] != seed
        assert env.restarts == 1
        notice, = env.notices()
        assert re.search(rf"FailsOnce \(environment 0, episode 0\): its worker {reason}; it was restarted\.", notice)
        assert env.notices() == []


def test_killed_workers_are_replaced():
    with workers("CartPole-v1", 2) as env:
        now = start(env)
        os.kill(env._workers[1].process.pid, signal.SIGKILL)  # while it is idle
        env._workers[1].process.join()
        step = act(env, [0, 0])
        assert step.truncated.tolist() == [False, True] and step.reward.tolist() == [1, 0]
        assert np.array_equal(step.final_observation[1], now.observation[1])
        assert np.abs(step.observation).max() < 0.5
        env.send(np.array([0, 0]), np.arange(2))
        os.kill(env._workers[0].process.pid, signal.SIGKILL)  # before or after it has answered
        for _ in range(2):
            step = env.recv()
            env.send(np.array([1, 1]), np.arange(2))
        env.recv()
        assert env.restarts == 2 and all("SIGKILL" in notice for notice in env.notices())


def test_repeated_failures_end_the_run():
    failures = rf"DiesWhenMade .*ended \(exit code 5\), {MAX_FAILURES + 1} times without an answer"
    with pytest.raises(UserError, match=failures):
        WorkerVectorEnv(DiesWhenMade, 1)


@pytest.mark.parametrize(("habit", "message"), [
    ("init", "Broken cannot be made: RuntimeError: no licence"),
    ("step", r"Broken \(environment 0\), episode 0 \(seed \d+\), step 3: step\(\) raised ZeroDivisionError"),
    ("shape", r"step 3: the observation is int32 \[3\]"),
])
def test_contract_violations_are_reported(habit, message):
    def play():
        with workers(Broken, 1, kwargs={"habit": habit}) as env:
            start(env)
            for _ in range(3):
                act(env, [0])

    with pytest.raises(UserError, match=message):
        play()


def test_lambdas_are_sent_to_worker_processes():
    with workers(lambda: Counter(length=2), 1) as env:
        start(env)
        assert [bool(act(env, [0]).terminated[0]) for _ in range(3)] == [False, True, False]
    lock = threading.Lock()
    with pytest.raises(UserError, match="cannot be sent to a worker process: TypeError: cannot pickle"):
        WorkerVectorEnv(lambda: Counter(length=lock), 1)


def test_unknown_id_is_refused():
    with pytest.raises(UserError, match="Did you mean 'CartPole-v1'"):
        WorkerVectorEnv("CartPol-v1", 1)


def _actor(connection, parent):
    end_with(parent)
    env = WorkerVectorEnv("CartPole-v1", 1)
    connection.send((start(env).observation.shape, env._workers[0].process.pid))
    time.sleep(1000)


def alive(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc")
def test_workers_end_with_their_actor():
    process, connection = spawn(_actor)
    shape, worker = connection.recv()
    assert shape == (1, 4) and alive(worker)
    process.kill()
    end(process)
    deadline = time.monotonic() + 20
    try:
        while alive(worker) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not alive(worker)
    except FileNotFoundError:
        pass


class PaysForAProcess(gymnasium.Env):
    """Episodes of three steps; each has reward 1 unless the environment is in the process ``not_in``."""

    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (1,)), gymnasium.spaces.Discrete(2)

    def __init__(self, not_in):
        self.paid = float(os.getpid() != not_in)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 3
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.zeros(1, np.float32), self.paid, self.left == 0, False, {}


@pytest.mark.parametrize("workers", ["none", "synchronous", "asynchronous"])
def test_evaluations_use_the_same_workers_as_training(tmp_path, workers):
    run = myosu.train(PaysForAProcess, "ppo", env_kwargs={"not_in": os.getpid()}, env_workers=workers, num_envs=2,
                      rollout_steps=8, batch_size=16, env_steps=16, evaluation_games=2, deterministic=True,
                      run=tmp_path / "run", quiet=True)
    paid = 0.0 if workers == "none" else 3.0
    assert [found["mean_reward"] for found in run.evaluations] == [paid] * len(run.evaluations) and run.evaluations
    assert myosu.evaluate(run, games=5)["mean_reward"] == paid
