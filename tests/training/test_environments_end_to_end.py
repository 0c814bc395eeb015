"""Odd environments in whole trainings: failures are reported and the run is saved; evaluation and resuming use the same
wrappers as training."""

import json

import numpy as np
import pytest

import myosu
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.registry import load_environment
from myosu.envs.wrappers import OneArray
from myosu.errors import UserError
from myosu.evaluation.episodes import play_episodes
from myosu.replay import replay as replay_module
from myosu.replay.replay import fitting_capacity, row_bytes
from odd_envs import Ten

QUICK = {"quiet": True, "evaluate_every": 0}
SMALL = {"ppo": {"num_envs": 2, "rollout_steps": 8, "batch_size": 8, "epochs": 1},
         "dqn": {"num_envs": 2, "learning_starts": 16, "batch_size": 8},
         "muzero": {"num_envs": 2, "channels": 4, "blocks": 0, "learning_starts": 16, "batch_size": 8, "actors": 0,
                    "simulations": 2, "precision": "float32"},
         "muesli": {"num_envs": 2, "channels": 4, "blocks": 0, "learning_starts": 32, "batch_size": 20,
                    "sequence_length": 10, "actors": 0}}


class FailsLater(Ten):
    """Exits at the hundredth step, like an environment whose window is closed."""

    made = 0

    def step(self, action):
        self.made += 1
        if self.made == 100:
            raise SystemExit
        return super().step(action)


def test_run_with_failing_environment_is_saved_and_resumes(tmp_path):
    with pytest.raises(UserError, match=r"step\(\) raised SystemExit.*saved; resume with: myosu train --resume"):
        myosu.train(FailsLater, "ppo", env_steps=1000, run=tmp_path / "run", **SMALL["ppo"], **QUICK)
    first = max(path.name for path in (tmp_path / "run" / "checkpoints").glob("update-*"))
    with pytest.raises(UserError, match="SystemExit"):  # it fails again, after more steps and updates
        myosu.train(FailsLater, resume=tmp_path / "run", quiet=True)
    assert max(path.name for path in (tmp_path / "run" / "checkpoints").glob("update-*")) > first >= "update-00000010"


@pytest.mark.parametrize("algorithm", ["ppo", "dqn", "muzero", "muesli"])
@pytest.mark.parametrize("habit", ["text", "mask", "int keys", "empty key"])
def test_every_algorithm_trains_on_unusual_observations(tmp_path, algorithm, habit):
    ended = myosu.train("odd_envs:Ten", algorithm, env_steps=64, run=tmp_path / "run", env_kwargs={"habit": habit},
                        **SMALL[algorithm], **QUICK)
    assert ended.updates > 0
    assert myosu.evaluate(ended, games=3)["mean_reward"] == 10


def test_wrappers_are_kept_with_the_run(tmp_path):
    wrapped = {"wrappers": [{"wrapper": "odd_envs:Doubled", "kwargs": {"by": 3.0}}], "max_episode_steps": 4}
    ended = myosu.train("odd_envs:OddTen-v0", "ppo", env_steps=64, run=tmp_path / "run", env_kwargs=wrapped,
                        **SMALL["ppo"], **QUICK)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["env_kwargs"] == wrapped
    report = myosu.evaluate(ended, games=5)
    assert report["games"] == 5 and report["mean_reward"] == 12 and report["mean_raw_reward"] == 4
    assert myosu.train(resume=ended, env_steps=96, quiet=True).env_steps == 96


# --- evaluation


class Still:
    has_memory = False

    def __init__(self):
        self.asked = 0

    def act(self, observation, legal_actions, state=None, starts=None):
        self.asked += len(observation)
        return np.zeros(len(observation), np.int64), None


class Longer(Ten):
    """The first episode has two steps, and each later one has one more."""

    def reset(self, **kwargs):
        self.played = getattr(self, "played", 1) + 1
        return super().reset(**kwargs)

    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        return observation, reward, self.steps == self.played, False, info


def environment(make):
    return load_environment(myosu.api.register(make)[0])


def test_finished_environments_are_not_stepped_further():
    """For 70 episodes, 6 environments play two (of 2 and 3 steps) and 58 environments play one (of 2 steps)."""
    agent = Still()
    result = play_episodes(environment(Longer), agent, 70)
    assert sorted(result.lengths) == [2] * 64 + [3] * 6
    assert agent.asked == 64 * 2 + 6 * 3


@pytest.mark.parametrize("games", [2, 3, 5])
def test_any_number_of_episodes(games):
    assert len(play_episodes(environment(Ten), Still(), games).returns) == games


def test_evaluation_of_endless_episodes_stops():
    class Endless(Ten):
        def step(self, action):
            observation, reward, _, _, info = super().step(action)
            return observation, reward, False, False, info

    agent = Still()
    result = play_episodes(environment(Endless), agent, 8, most_steps=400)
    assert result.truncated.all() and result.lengths.tolist() == [50] * 8 and agent.asked == 400


# --- memory


def test_replay_capacity_is_limited_by_machine_memory(monkeypatch):
    columns = {"observation": ((480, 640, 3), np.uint8), "reward": ((), np.float32)}
    assert row_bytes(columns) == 480 * 640 * 3 + 4 + 8
    monkeypatch.setattr(replay_module, "machine_memory", lambda: 2000 * row_bytes(columns))
    assert fitting_capacity(columns, 900) == 900
    with pytest.warns(UserWarning, match=r"replay_capacity = 1,000, because 100,000 positions would take 85\.8 GiB"):
        assert fitting_capacity(columns, 100_000) == 1000
    monkeypatch.setattr(replay_module, "machine_memory", lambda: row_bytes(columns))
    with pytest.raises(UserError, match=r"One position takes 0\.00 GiB"):
        fitting_capacity(columns, 5)


def test_rollout_too_large_for_memory_is_refused_at_start(monkeypatch, tmp_path):
    monkeypatch.setattr(replay_module, "machine_memory", lambda: 10_000)
    with pytest.raises(UserError, match=r"A rollout of num_envs \* rollout_steps = 8 \* 128 steps takes .* GiB"):
        myosu.train("CartPole-v1", "ppo", env_steps=64, run=tmp_path / "run", rollout_steps=128, **QUICK)
    assert not (tmp_path / "run").exists()


# --- one array


def test_one_array_joins_image_and_numbers():
    from gym_toys import Everything

    env = OneArray(Everything())
    assert env.observation_space.shape == (3 + 1 + 4 + 5 + 3 + 1, 4, 5)
    seen, _ = env.reset(seed=0)
    last = env.unwrapped.last
    assert seen.dtype == np.float32 and np.allclose(seen[:3], np.moveaxis(last["camera"], -1, 0) / 255)
    numbers = seen[3:, 0, 0]
    assert (seen[3:] == numbers[:, None, None]).all()
    assert sorted(numbers.tolist())[-1] == 1 and numbers.sum() == 1 + 2 + last["lamps"].sum() + 1 + last["speed"]


def test_one_array_keeps_the_mask():
    env = GymVectorEnv(lambda: OneArray(Ten("mask")), 2)
    env.reset()
    assert env.recv().legal_actions.tolist() == [[True, False, True]] * 2
