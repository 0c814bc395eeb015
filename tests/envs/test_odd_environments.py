"""Environments with odd results, side effects on the process, or unusual spaces. Each is either read correctly or
reported with a remedy."""

import pickle
import signal
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from myosu.commands.options import read_environment_flags
from myosu.envs.gym_env import DEFAULT_MAX_STEPS, GymVectorEnv, SingleEnv, row_at, row_type
from myosu.envs.making import EnvMaker
from myosu.envs.playback import Move
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.runs.demo import write_demo
from odd_envs import Lookahead, Ten


def play(habit, steps=25, make=Ten):
    """Play at random. Returns the environment, its row, and (reward, raw reward, terminated) of each step."""
    env = SingleEnv(EnvMaker(make, {"habit": habit} if make is Ten else {}), 0, 0)
    row = row_at(np.zeros(1, row_type(env.spec)), 0)
    env.start(row, 0)
    rng, rewards = np.random.default_rng(0), []
    for _ in range(steps):
        masks = env.spec.branch_masks(row["legal_actions"][0])
        action = [rng.choice(np.flatnonzero(mask)) for mask in masks]
        row["action"][0] = action if env.spec.action_branches else action[0]
        env.step(row)
        rewards.append((float(row["reward"][0]), float(row["raw_reward"][0]), bool(row["terminated"][0])))
    return env, row, rewards


@pytest.mark.parametrize(("habit", "message"), [
    ("info none", r"step 0: info is None\. It must be a dictionary"),
    ("ragged mask", r"step 0: the action mask is \[True, \[False, True\]\]\. It must be one array of 3"),
    ("huge reward", r"step 1: the reward is 1e\+39\. It must be finite in float32"),
    ("far", r"step 0: the observation holds 1\.798e\+308, which is infinite for a network \(float32\)\. Clip it"),
    ("exits", r"step 3: step\(\) raised SystemExit: .*odd_envs.py, line \d+"),
    ("interrupts", r"step 3: step\(\) raised KeyboardInterrupt: .*odd_envs.py"),
    ("exits when made", r"Ten cannot be made: SystemExit: 3"),
])
def test_invalid_values_and_exits_are_reported(habit, message):
    with pytest.raises(UserError, match=message):
        play(habit)


def test_ctrl_c_is_not_reported_as_an_environment_fault():
    with pytest.raises(KeyboardInterrupt):
        play("ctrl-c")


@pytest.mark.parametrize(("habit", "shape", "choices"), [
    ("int keys", {"0": (3,), "1": (3,)}, 3), ("empty key", {"part0": (3,), "b": (3,)}, 3),
    ("text", {"direction": (4,)}, 3), ("lamps", None, 8), ("tuple", None, 3 + 4 + 4), ("dict", None, 5)])
def test_many_kinds_of_spaces_are_supported(habit, shape, choices):
    env, _, rewards = play(habit)
    assert rewards[9] == (1.0, 1.0, True) and env.spec.num_actions == choices
    if shape:
        dtype = env.spec.observation_dtype
        assert {name: dtype[name].shape for name in dtype.names} == shape


def test_text_observations_are_left_out_with_a_warning():
    assert play("text")[0].left_out == ["['mission'] (Text)"]
    with pytest.warns(UserWarning, match=r"odd_envs:Ten: no network reads \['mission'\] \(Text\)"):
        load_environment("odd_envs:Ten", {"habit": "text"})


def test_mask_in_the_observation_becomes_the_action_mask():
    env, row, _ = play("mask")
    assert row["legal_actions"].tolist() == [[True, False, True]]
    assert env.spec.observation_shape == (3,), "without the mask the observation has one part"


def test_tuple_action_is_decoded_per_part():
    env = SingleEnv(EnvMaker(Ten, {"habit": "tuple"}), 0, 0)
    single, pair, lamps = env.decode(np.array([1, 0, 1, 1, 0]))
    assert single == 6 and pair.tolist() == [0, 1] and lamps.tolist() == [1, 0]
    assert env.spec.action_branches == (3, 2, 2, 2, 2)


def test_step_limit_of_minus_one_means_no_limit():
    assert play("no limit")[0].spec.max_steps == DEFAULT_MAX_STEPS


def test_seeds_fit_into_31_bits():
    env = SingleEnv(EnvMaker(Ten), 0, 0)
    row = row_at(np.zeros(1, row_type(env.spec)), 0)
    seeds = []
    for episode in range(40):
        env.start(row, episode)
        seeds.append(int(row["seed"][0]))
    assert max(seeds) < 2**31 and len(set(seeds)) == 40 and max(seeds) > 2**29


def test_error_in_close_becomes_one_warning():
    env, _, _ = play("close", 1)
    with pytest.warns(UserWarning, match=r"close\(\) raised RuntimeError: not connected"):
        env.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.close()


def test_changes_to_signal_handler_and_numpy_errors_are_undone():
    handler, errors = signal.getsignal(signal.SIGINT), np.geterr()
    for habit in ("takes Ctrl-C", "numpy errors"):
        EnvMaker(Ten, {"habit": habit})()
    assert signal.getsignal(signal.SIGINT) is handler and np.geterr() == errors


def test_loading_an_environment_keeps_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    spec = load_environment("odd_envs:Ten", {"habit": "changes folder"}).spec
    assert spec.num_actions == 3 and Path.cwd() == tmp_path
    episode = [Move(np.zeros(3, np.float32), np.ones(3, np.bool_), np.int64(1), 0, np.ones(1), True, False)]

    def played():
        EnvMaker(Ten, {"habit": "changes folder"})()
        yield episode

    assert write_demo(Path("here.demo"), "ten", spec, played()) == 1 and (tmp_path / "here.demo").is_file()


class Exclusive(Ten):
    """Allows two instances at most, like an environment with fixed ports."""

    made = 0

    def __init__(self):
        if Exclusive.made == 2:
            raise RuntimeError("the port is in use")
        super().__init__()
        Exclusive.made += 1

    def close(self):
        Exclusive.made -= 1


def test_too_many_environments_are_reported_and_closed():
    with pytest.raises(UserError, match=r"the port is in use.* This was number 3; .* lower num_envs to 2"):
        GymVectorEnv(Exclusive, 4)
    assert Exclusive.made == 0
    GymVectorEnv(Exclusive, 2).close()


def test_copied_environment_steps_independently():
    env, _, rewards = play("", 10, lambda: Lookahead(Ten()))
    assert rewards == [(1.0, 1.0, False)] * 9 + [(1.0, 1.0, True)]
    copied = pickle.loads(env._env.snapshot)
    assert type(copied) is Ten and copied.steps == 9


def test_wrappers_and_arguments_from_functions():
    wrapped = {"wrappers": [{"wrapper": "odd_envs:Doubled", "kwargs": {"by": {"python": "odd_envs:three"}}},
                            {"wrapper": "gymnasium.wrappers:FrameStackObservation", "kwargs": {"stack_size": 4}}],
               "max_episode_steps": 5}
    for name in ("odd_envs:OddTen-v0", "odd_envs:Ten", "odd_envs:make_ten"):
        env = GymVectorEnv(name, 1, kwargs=wrapped)
        env.reset()
        env.recv()
        steps = []
        for _ in range(5):
            env.send(np.zeros(1, np.int64), np.arange(1))
            steps.append(env.recv())
        assert env.spec.observation_shape == (4, 3) and env.spec.max_steps == 5
        assert [step.reward[0] for step in steps] == [3] * 5 and [step.raw_reward[0] for step in steps] == [1] * 5
        assert [step.truncated[0] for step in steps] == [False] * 4 + [True]


class WithoutSpaces(gymnasium.Env):
    def reset(self, seed=None, options=None):
        return np.zeros(2), {}


class TakesNoSeed(gymnasium.Env):
    observation_space, action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)

    def reset(self):
        return np.zeros(2, np.float32)


@pytest.mark.parametrize(("make", "kwargs", "message"), [
    (WithoutSpaces, {}, r"WithoutSpaces: observation_space is None\. Set self\.observation_space in __init__"),
    (TakesNoSeed, {}, r"reset\(\) takes no seed\. .*def reset\(self, \*, seed=None, options=None\)"),
    ("CartPole-v1", read_environment_flags(atari=True), r"CartPole-v1 is not an Atari game .* leave out --atari"),
])
def test_missing_spaces_and_seed_are_reported_with_a_remedy(make, kwargs, message):
    with pytest.raises(UserError, match=message):
        GymVectorEnv(make, 1, kwargs=kwargs).reset()
