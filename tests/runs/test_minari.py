"""Episodes from and to Minari's datasets."""

import warnings

import numpy as np
import pytest
from gymnasium import spaces

import myosu
from myosu.algorithms.demonstrations import load_demonstrations
from myosu.commands.episodes import main
from myosu.envs.registry import load_environment
from myosu.envs.spaces import Layout, native_action, own_action
from myosu.errors import UserError
from myosu.runs.games import GameRecord
from myosu.runs.minari_datasets import read_minari, write_minari

minari = pytest.importorskip("minari")


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def records_of(environment, episodes, seed=0):
    """Played at random, a few steps of each if they do not end."""
    rng, found = np.random.default_rng(seed), []
    env = environment.make(1, seed)
    env.reset()
    step = env.recv()
    while len(found) < episodes:
        start, actions, total = int(step.seed[0]), [], 0.0
        while True:
            spec = env.spec
            if spec.action_low:
                action = rng.uniform(spec.action_low, spec.action_high).astype(np.float32)
            else:
                action = rng.choice(np.flatnonzero(step.legal_actions[0]))
            env.send(np.array([action]), np.zeros(1, np.int64))
            step = env.recv()
            actions.append(action.tolist())
            total += float(step.reward[0])
            if step.terminated[0] or step.truncated[0]:
                break
        found.append(GameRecord(seed=start, actions=actions, returns=[total], terminated=bool(step.terminated[0]),
                                truncated=bool(step.truncated[0]), index=len(found)))
    env.close()
    return found


@pytest.mark.parametrize("name", ["x", "", "a b-v0", "x-v"])
def test_names_that_minari_does_not_take_are_refused(name):
    with pytest.raises(UserError, match="cannot name a dataset of Minari"):
        write_minari(name, load_environment("CartPole-v1"), [])


@pytest.mark.parametrize("data_format, name, kwargs", [
    ("hdf5", "CartPole-v1", {}), ("hdf5", "Pendulum-v1", {"max_episode_steps": 20}), ("hdf5", "snake", {}),
    ("hdf5", "pettingzoo:tictactoe_v3", {}), ("arrow", "Pendulum-v1", {"max_episode_steps": 20}),
    ("arrow", "snake", {}), ("arrow", "pettingzoo:tictactoe_v3", {})])
def test_episodes_round_trip_through_minari(data_format, name, kwargs):
    if data_format == "arrow":
        pytest.importorskip("pyarrow")
    environment = load_environment(name, kwargs)
    records = records_of(environment, 4)
    assert write_minari("test/random-v0", environment, records, data_format) == 4
    episodes = list(read_minari("minari:test/random-v0", environment.spec))
    for record, episode in zip(records, episodes, strict=True):
        expected = list(record.moves(environment))
        found = list(episode.moves())
        assert len(found) == record.length > 2
        for one, other in zip(found, expected, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
            assert one.observation.dtype == other.observation.dtype and one.rewards == pytest.approx(other.rewards)
            assert one[5:] == other[5:]
        assert episode.returns == pytest.approx(record.returns) and episode.truncated == record.truncated


def test_minari_dataset_has_spaces_seeds_and_ends():
    """One observation more than actions, the environment's own spaces, seeds, and what ended it."""
    environment = load_environment("CartPole-v1")
    records = records_of(environment, 3)
    write_minari("test/random-v0", environment, records)
    dataset = minari.load_dataset("test/random-v0")
    env = dataset.recover_environment()
    assert env.spec.id == "CartPole-v1" and dataset.action_space == spaces.Discrete(2)
    assert dataset.total_steps == sum(record.length for record in records)
    for record, episode in zip(records, dataset.iterate_episodes(), strict=True):
        observation, _ = env.reset(seed=record.seed)
        assert np.array_equal(episode.observations[0], observation)
        for t, action in enumerate(record.actions):
            observation, reward, terminated, _, _ = env.step(action)
            assert np.array_equal(episode.observations[t + 1], observation) and episode.actions[t] == action
            assert (episode.rewards[t], episode.terminations[t]) == (reward, terminated)
        assert len(episode.observations) == len(episode.actions) + 1


@pytest.mark.parametrize("space", [
    spaces.Discrete(3, start=2), spaces.MultiDiscrete([2, 3], start=[1, 5]), spaces.MultiBinary(3),
    spaces.Box(-2, 3, (2, 2), np.float32), spaces.Tuple([spaces.Discrete(3, start=-1), spaces.MultiBinary(2)]),
    spaces.Dict({"b": spaces.Discrete(2), "a": spaces.MultiDiscrete([4, 5])})], ids=lambda space: type(space).__name__)
def test_actions_round_trip_to_their_space(space):
    space.seed(0)
    for _ in range(10):
        action = space.sample()
        again = native_action(space, own_action(space, action))
        assert space.contains(again) and str(again) == str(action)


def test_exported_minari_dataset_is_cloned(tmp_path, capsys):
    """By what the command writes of a run's recorded episodes."""
    settings = {"num_envs": 4, "rollout_steps": 32, "batch_size": 64, "hidden": (16,), "quiet": True}
    teacher = myosu.train("CartPole-v1", "ppo", run=tmp_path / "teacher", env_steps=1500, deterministic=True,
                          evaluate_every=0, **settings)
    assert main([str(teacher.folder), "--minari", "cartpole/ppo-v0"]) == 0
    assert "--recordings minari:cartpole/ppo-v0" in capsys.readouterr().out
    pupil = myosu.train("CartPole-v1", "cloning", run=tmp_path / "pupil", recordings=("minari:cartpole/ppo-v0",),
                        updates=1000, learning_starts=32, batch_size=32, replay_ratio=4.0, evaluate_every=0,
                        quiet=True, deterministic=True)
    assert pupil.reason == "all recorded games have been used" and pupil.games > 2
    spec = load_environment("CartPole-v1").spec
    shown = load_demonstrations(("minari:cartpole/ppo-v0",), spec, lambda actions: actions[:, None])
    assert shown["observation"].shape == (pupil.env_steps, 4) and shown["terminated"].sum() == pupil.games


def test_mismatched_datasets_are_refused(tmp_path):
    cartpole, othello = load_environment("CartPole-v1"), load_environment("othello")
    records = records_of(cartpole, 2)
    write_minari("test/random-v0", cartpole, records)
    for source, environment, words in (
            ("minari:test/nothing-v0", "CartPole-v1", "no dataset 'test/nothing-v0'.*minari download"),
            ("minari:test/random-v0", "Acrobot-v1", "its observation_shape is \\(4,\\), here it is"),
            ("minari:test/random-v0", "MountainCarContinuous-v0", "another environment")):
        with pytest.raises(UserError, match=words):
            list(read_minari(source, load_environment(environment).spec))
    with pytest.raises(UserError, match="already"):
        write_minari("test/random-v0", cartpole, records)
    with pytest.raises(UserError, match="for two players"):
        write_minari("test/othello-v0", othello, [])
    with pytest.raises(UserError, match="no episode with recorded actions"):
        write_minari("test/none-v0", cartpole, [])
    with pytest.raises(UserError, match="no dataset"):
        myosu.train("CartPole-v1", "cloning", recordings=("minari:test/nothing-v0",), updates=1, quiet=True,
                    run=tmp_path / "run")


@pytest.mark.parametrize("observation, action, words", [
    ([np.nan, 0], 1, "holds NaN"), ([0, 0], 2, "which is not legal")])
def test_damaged_episodes_are_refused(observation, action, words):
    buffer = minari.data_collector.EpisodeBuffer(id=0, observations=np.array([[0, 0], observation, [0, 0]], np.float32),
                           actions=np.array([0, action]), rewards=[0.0, 1.0], terminations=[False, True],
                           truncations=[False, False], infos={"action_mask": [np.array([1, 1, 0])] * 3})
    space = spaces.Box(-1, 1, (2,), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers("test/bad-v0", [buffer], observation_space=space, author="test",
                                           action_space=spaces.Discrete(3), data_format="hdf5")
    with pytest.raises(UserError, match=f"Episode 0 of the dataset test/bad-v0: .*{words}"):
        list(read_minari("minari:test/bad-v0", Layout(space, spaces.Discrete(3), "here").spec(10)))
