"""Gymnasium environments as vector environments."""

import re

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gym_toys import Broken, Counter, Everything
from myosu.doctor import check_vector_env
from myosu.doctor.check_env import sample_actions
from myosu.envs.gym_env import DEFAULT_MAX_STEPS, GymVectorEnv
from myosu.errors import UserError
from vector_steps import act, start

PROBES = ("Constant", "Observation", "Discount", "Action", "Both")


@pytest.mark.parametrize(("env", "steps"), [
    ("CartPole-v1", 150), ("Pendulum-v1", 210), ("Taxi-v4", 210), ("FrozenLake-v1", 110), (Counter, 30),
    ("Blackjack-v1", 20),
    (Everything, 30), *((f"myosu.envs.probes:myosu/Probe{name}-v0", 20) for name in PROBES),
], ids=str)
def test_gym_env_keeps_the_contract(env, steps):
    one, twin = (GymVectorEnv(env, 3, seed=4) for _ in range(2))
    assert check_vector_env(one, steps, seed=1, twin=twin) == []


def test_cartpole_equals_gymnasiums():
    env = GymVectorEnv("CartPole-v1", 2, seed=1)
    assert env.spec.observation_shape == (4,) and env.spec.observation_dtype == np.float32
    assert env.spec.num_actions == 2 and env.spec.max_steps == 500 and env.spec.num_players == 1
    real, step, ends = gymnasium.make("CartPole-v1"), start(env), 0
    real.reset()
    for _ in range(200):
        real.unwrapped.state = step.observation[1].astype(np.float64)
        expected, reward, terminated, *_ = real.step(1)
        step = act(env, [0, 1])
        shown = step.final_observation[1] if terminated else step.observation[1]
        assert np.allclose(shown, expected, atol=1e-5)
        assert step.terminated[1] == terminated and step.reward[1] == reward
        if terminated:
            real.reset()
            ends += 1
    assert ends > 15


def test_final_observations_are_exact_and_copied():
    env = GymVectorEnv(Counter, 2, seed=7, kwargs={"length": 3})
    first = start(env)
    kept = first.observation.copy()
    steps = [act(env, [0, 1]) for _ in range(4)]
    assert np.array_equal(first.observation, kept)
    assert [s.observation[0, 0] for s in steps] == [1, 2, 0, 1]
    assert [s.terminated[0] for s in steps] == [False, False, True, False]
    assert [s.reward[0] for s in steps] == [1, 2, 3, 1]
    assert steps[2].final_observation.tolist() == [[3, kept[0, 1]], [3, kept[1, 1]]]
    assert not any(s.final_observation.any() for k, s in enumerate(steps) if k != 2)
    assert steps[2].observation[0, 1] != kept[0, 1], "every episode has a seed of its own"


def test_truncation():
    env = GymVectorEnv(lambda: gymnasium.wrappers.TimeLimit(Counter(length=5), 4), 1)
    start(env)
    assert env.spec.max_steps == 4
    steps = [act(env, [0]) for _ in range(4)]
    assert [s.truncated[0] for s in steps] == [False, False, False, True] and not steps[3].terminated[0]
    assert steps[3].final_observation[0, 0] == 4 and steps[3].observation[0, 0] == 0


def test_end_at_the_time_limit_is_not_a_truncation():
    env = GymVectorEnv(lambda: gymnasium.wrappers.TimeLimit(Counter(length=4), 4), 1)
    start(env)
    step = [act(env, [0]) for _ in range(4)][-1]
    assert step.terminated[0] and not step.truncated[0]


def test_autoreset_wrapper_changes_nothing():
    plain = GymVectorEnv(Counter, 2)
    wrapped = GymVectorEnv(lambda: gymnasium.wrappers.Autoreset(Counter()), 2)
    assert check_vector_env(plain, 30, twin=wrapped) == []


def test_endless_episode_is_truncated(monkeypatch):
    assert GymVectorEnv(Counter, 1).spec.max_steps == DEFAULT_MAX_STEPS
    monkeypatch.setattr("myosu.envs.gym_env.DEFAULT_MAX_STEPS", 6)
    env = GymVectorEnv(Counter, 1, kwargs={"length": 1000})
    start(env)
    assert [bool(act(env, [0]).truncated[0]) for _ in range(7)] == [False] * 5 + [True, False]


def test_parts_of_a_dictionary_keep_their_types():
    env = GymVectorEnv(Everything, 2, seed=3)
    step, inner = start(env), env._envs[1]._env
    types = {name: (part.dtype, part.shape) for name in step.observation.dtype.names
             for part in [step.observation[name]]}
    assert types.pop("inner")[1] == (2,) and step.observation["inner"]["flag"].dtype == np.bool_
    assert types == {"camera": (np.uint8, (2, 4, 5, 3)), "speed": (np.float64, (2,)), "gear": (np.uint8, (2, 4)),
                     "dials": (np.uint8, (2, 5)), "lamps": (np.int8, (2, 3))}
    for _ in range(3):
        last, shown = inner.last, step.observation[1]
        assert (shown["camera"] == last["camera"]).all() and shown["speed"] == last["speed"]
        assert shown["gear"].argmax() == last["gear"] + 1 and shown["gear"].sum() == 1
        assert shown["dials"][:2].argmax() == last["dials"][0] and shown["dials"][2:].argmax() == last["dials"][1]
        step = act(env, [[0, 0], [0, 0]])
    assert step.legal_actions.tolist() == [[True, False, True, False, False]] * 2
    step = act(env, [[0, 0], [0, 0]])
    assert step.truncated.all() and step.final_observation["speed"].tolist() == [4, 4]
    assert step.observation["speed"].tolist() == [0, 0]


def test_parts_of_a_tuple_are_numbered():
    env = GymVectorEnv("Blackjack-v1", 2, seed=3)
    step = start(env)
    assert {name: step.observation[name].shape for name in step.observation.dtype.names} == {
        "0": (2, 32), "1": (2, 11), "2": (2, 2)}
    shown = env._envs[1]._env.unwrapped._get_obs()
    assert tuple(step.observation[name][1].argmax() for name in "012") == shown

    class Short(gymnasium.Env):
        observation_space = spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)])
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return (0,), {}

    with pytest.raises(UserError, match=r"the observation is \(0,\)\. It must be a tuple of 2"):
        start(GymVectorEnv(Short, 1))


@pytest.mark.parametrize(("space", "sent", "arrives"), [
    (spaces.Discrete(3, start=5), [2], np.int64(7)),
    (spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 0], [0, 0]]), [[1, 2, 3, 4]], np.array([[2, 2], [3, 4]])),
    (spaces.Box(-1, 1, (2,), np.float32), [[0.5, 3]], np.array([0.5, 1], np.float32)),
    (spaces.Box(0, np.inf, (1, 2), np.float64), [[-1, 3]], np.array([[0, 3]], np.float64)),
], ids=str)
def test_actions_arrive_in_the_environments_own_form(space, sent, arrives):
    env = GymVectorEnv(Counter, 1, kwargs={"action_space": space})
    step = start(env)
    spec = env.spec
    assert step.legal_actions.shape == (1, spec.num_actions) and np.shape(sent) == (1, *spec.action_shape)
    act(env, np.array(sent, spec.action_dtype))
    assert np.array_equal(env._envs[0]._env.actions[0], arrives)
    for seed in range(5):
        act(env, sample_actions(spec, step.legal_actions, seed))


def test_action_mask_in_info_is_read():
    env = GymVectorEnv("Taxi-v4", 4)
    step = start(env)
    assert np.array_equal(step.legal_actions[2], env._envs[2]._env.unwrapped.action_mask(
        env._envs[2]._env.unwrapped.s).astype(bool)) and not step.legal_actions.all()


@pytest.mark.parametrize(("env", "message"), [
    ("CartPole-v11", r"There is no environment 'CartPole-v11'. Did you mean 'CartPole-v1'\?"),
    ("myosu.nothing:Game-v0", r"module 'myosu.nothing' of .* cannot be imported: ModuleNotFoundError"),
    ("gym_toys:Quux-v0", r"no environment 'Quux-v0' in gym_toys. Available: gym_toys:"),
])
def test_unknown_ids_are_refused(env, message):
    with pytest.raises(UserError, match=message):
        GymVectorEnv(env, 1)


@pytest.mark.parametrize(("habit", "message"), [
    ("init", r"Broken cannot be made: RuntimeError: no licence \(.*gym_toys.py, line \d+\)"),
    ("reset", r"episode 0 \(seed \d+\), step 0: reset\(\) raised RuntimeError: no level \(.*gym_toys.py, line \d+\)"),
    ("old reset", r"step 0: reset\(\) must return \(observation, info\)"),
    ("step", r"Broken \(environment 0\), episode 0 \(seed \d+\), step 3: step\(\) raised ZeroDivisionError: "),
    ("old step", r"step 3: step\(\) must return \(observation, reward, terminated, truncated, info\)"),
    ("nan reward", r"step 3: the reward is nan. It must be finite"),
    ("list reward", r"step 3: the reward is \[1, 2\]. It must be one number"),
    ("nan", r"step 3: the observation holds NaN"),
    ("shape", r"step 3: the observation is int32 \[3\]. By its space it must be int32 \[2\]"),
    ("fractions", r"step 3: the observation \(float64\) loses its values in the int32 of its space"),
    ("long mask", r"step 3: the action mask has 4 entries for 3 actions"),
    ("empty mask", r"step 3: the action mask allows no action"),
    ("no mask", r"step 3: info has an \"action_mask\" at some steps only"),
    ("late mask", r"step 3: info has an \"action_mask\" at some steps only"),
])
def test_contract_violations_are_reported(habit, message):
    def play():
        env = GymVectorEnv(Broken, 1, kwargs={"habit": habit})
        start(env)
        for _ in range(3):
            act(env, [0])

    with pytest.raises(UserError, match=message) as error:
        play()
    assert re.search(r"\. [A-Z].*\.$", str(error.value)), "the last sentence must be a remedy"


@pytest.mark.parametrize(("attribute", "space"), [
    ("observation_space", spaces.Text(5)), ("observation_space", spaces.Dict({})),
    ("action_space", spaces.Box(0, 5, (2,), np.int64)), ("action_space", spaces.Tuple([spaces.Text(2)])),
])
def test_unsupported_spaces_are_refused(attribute, space):
    def make():
        env = Counter()
        setattr(env, attribute, space)
        return env

    kind = attribute.replace("_", " ")
    with pytest.raises(UserError, match=f"the {kind} {re.escape(str(space))} is not supported"):
        GymVectorEnv(make, 1)


def test_object_that_is_not_an_environment_is_refused():
    with pytest.raises(UserError, match=r"made a builtins.dict\. It must make a gymnasium.Env"):
        GymVectorEnv(dict, 1)


@pytest.mark.parametrize("name", PROBES)
def test_probe_environments_pay_the_documented_rewards(name):
    env = GymVectorEnv(f"myosu.envs.probes:myosu/Probe{name}-v0", 20)
    step = start(env)
    for number in range(4):
        actions = sample_actions(env.spec, step.legal_actions, number)
        seen = step.observation[:, 0]
        step = act(env, actions)
        sign = np.where(actions == 1, 1, -1)
        expected = {"Constant": 1, "Observation": seen, "Discount": seen, "Action": sign, "Both": sign * seen}[name]
        assert (step.reward == expected).all() and not step.truncated.any()
        assert (step.terminated == (seen == 1 if name == "Discount" else True)).all()
    assert set(seen) == ({-1, 1} if name in ("Observation", "Both") else {1})


class OnlyOne(Counter):
    """Fails with another instance in the same process, like environments that share one global simulator."""

    latest = None

    def reset(self, *, seed=None, options=None):
        OnlyOne.latest = self
        return super().reset(seed=seed)

    def step(self, action):
        if OnlyOne.latest is not self:
            raise RuntimeError("the simulation belongs to somebody else")
        return super().step(action)


def test_interfering_environments_are_reported_with_a_remedy():
    alone, both = GymVectorEnv(OnlyOne, 1), GymVectorEnv(OnlyOne, 2)
    start(both)
    with pytest.raises(UserError, match=r"somebody else .*--env-workers synchronous gives each its own process\."):
        act(both, [0, 0])
    start(alone)
    assert act(alone, [0]).reward.tolist() == [1]
