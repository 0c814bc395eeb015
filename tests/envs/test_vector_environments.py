"""Gymnasium vector environments as Myosu's vector environments, in every autoreset mode."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

from gym_toys import Everything
from in_turn import InTurn
from myosu.algorithms import dqn, muzero, ppo
from myosu.cli import run
from myosu.doctor import check_vector_env
from myosu.doctor.check_env import sample_actions
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.gym_vector import BatchVectorEnv
from myosu.envs.registry import Environment, load_environment
from myosu.errors import UserError
from myosu.evaluation.episodes import play_episodes

MODES = ["NEXT_STEP", "SAME_STEP", "DISABLED"]


def many(make, kind=SyncVectorEnv, mode="NEXT_STEP"):
    """A function that makes one of Gymnasium's own vector environments."""
    def make_vector(num_envs):
        return kind([make] * num_envs, autoreset_mode=AutoresetMode[mode])
    return make_vector


cartpole = partial(gymnasium.make, "CartPole-v1")


class Counters(VectorEnv):
    """Counts the steps of each environment, with the given autoreset mode.

    Episodes of environment i end after i + 2 steps, and odd environments truncate. Observations are (step, episode),
    always in the same array. The action mask changes with every step.
    """

    single_observation_space = spaces.Box(0, 1000, (2,), np.int32)
    single_action_space = spaces.Discrete(3)

    def __init__(self, num_envs, autoreset_mode=AutoresetMode.NEXT_STEP, final_obs=True, masks=False):
        self.num_envs, self.final_obs, self.masks = num_envs, final_obs, masks
        self.metadata = {"autoreset_mode": autoreset_mode}
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.shown, self.done = np.zeros((num_envs, 2), np.int32), np.zeros(num_envs, bool)
        self.stepped = 0

    def reset(self, *, seed=None, options=None):
        mask = (options or {}).get("reset_mask")
        if mask is None:
            self.shown[:] = 0
        else:
            self.shown[mask] = self.shown[mask] * [0, 1] + [0, 1]
        self.done[slice(None) if mask is None else mask] = False
        return self.shown, self.infos()

    def infos(self):
        return {"action_mask": (self.shown[:, :1] % 3 != np.arange(3)).astype(np.int8)} if self.masks else {}

    def step(self, actions):
        assert self.action_space.contains(actions)
        self.stepped += 1
        mode, again = self.metadata["autoreset_mode"], self.done.copy()
        assert mode == AutoresetMode.NEXT_STEP or not again.any()
        assert not self.masks or (again | (actions != self.shown[:, 0] % 3)).all()
        self.shown[again] = self.shown[again] * [0, 1] + [0, 1]
        self.shown[~again, 0] += 1
        self.done = ~again & (self.shown[:, 0] == np.arange(self.num_envs) + 2)
        odd = np.arange(self.num_envs) % 2 == 1
        rewards = np.where(again, 0.0, self.shown[:, 0])
        done, infos = self.done, {}
        if mode == AutoresetMode.SAME_STEP and done.any():
            infos = {"final_obs": self.shown.copy(), "_final_obs": done.copy()} if self.final_obs else {}
            self.shown[done] = self.shown[done] * [0, 1] + [0, 1]
            self.done = np.zeros_like(done)
        return self.shown, rewards, done & ~odd, done & odd, {**infos, **self.infos()}


def start(env):
    env.reset()
    return env.recv()


def act(env, actions, ids=None):
    env.send(np.asarray(actions), np.arange(env.num_envs) if ids is None else ids)
    return env.recv()


def same(one, two):
    for name in vars(one):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [cartpole, Everything], ids=["CartPole", "Everything"])
def test_sync_vector_env_plays_the_same_episodes_as_ours(make, mode):
    """In every mode transitions are identical: seeds, masks, last observations and ends."""
    ours, theirs = GymVectorEnv(make, 3, seed=5), BatchVectorEnv(many(make, mode=mode), 3, seed=5)
    assert theirs.spec == ours.spec and theirs.exact
    assert check_vector_env(theirs, 60, twin=GymVectorEnv(make, 3, seed=5)) == []
    one, two = start(ours), start(theirs)
    for number in range(80):
        same(one, two)
        actions = sample_actions(ours.spec, one.legal_actions, number)
        one, two = act(ours, actions), act(theirs, actions)
    theirs.close()


def test_async_vector_env_plays_the_same_episodes_as_ours():
    ours, theirs = GymVectorEnv(Everything, 2, seed=5), BatchVectorEnv(many(Everything, AsyncVectorEnv), 2, seed=5)
    assert check_vector_env(theirs, 15, twin=ours) == []
    theirs.close()


@pytest.mark.parametrize("mode", MODES)
def test_vector_env_continues_exactly_from_its_state(mode):
    first, second = (BatchVectorEnv(many(cartpole, mode=mode), 3, seed=1) for _ in range(2))
    start(first)
    rng = np.random.default_rng(0)
    for _ in range(57):  # some episodes have ended; the current ones have different lengths
        act(first, rng.integers(0, 2, 3))
    second.load_state_dict(first.state_dict())
    for _ in range(40):
        actions = rng.integers(0, 2, 3)
        same(act(first, actions), act(second, actions))
    second.load_state_dict(first.state_dict())  # a state can also be loaded into a used environment
    same(act(first, [0, 0, 0]), act(second, [0, 0, 0]))


@pytest.mark.parametrize("mode", MODES)
def test_custom_vector_environment(mode):
    env = BatchVectorEnv(Counters, 2, kwargs={"autoreset_mode": AutoresetMode[mode]})
    first = start(env)
    assert first.observation.tolist() == [[0, 0], [0, 0]] and not env.exact
    step = act(env, [0, 0])
    assert step.observation.tolist() == [[1, 0], [1, 0]] and step.reward.tolist() == [1, 1]
    step = act(env, [0, 0])  # the first environment's episode has ended
    if mode == "NEXT_STEP":
        assert step.env_ids.tolist() == [1] and step.observation.tolist() == [[2, 0]]
        step = act(env, [0], np.array([1]))  # the second one's has ended, and the first one was reset
        assert step.env_ids.tolist() == [0]
    assert step.env_ids[0] == 0 and step.reward[0] == 2 and step.terminated[0] and not step.truncated[0]
    assert step.observation[0].tolist() == [0, 1] and step.final_observation[0].tolist() == [2, 0]
    step = act(env, [0], np.array([0])) if mode == "NEXT_STEP" else act(env, [0, 0])
    last = list(step.env_ids).index(1)
    assert step.truncated[last] and not step.terminated[last] and step.reward[last] == 3
    assert step.observation[last].tolist() == [0, 1] and step.final_observation[last].tolist() == [3, 0]
    assert step.observation[list(step.env_ids).index(0)].tolist() == [1, 1]


@pytest.mark.parametrize("mode", MODES)
def test_every_transition_is_returned_once_and_in_order(mode):
    """In every mode, the rewards of each environment are 1, 2, … until the end, and then 1 again; with masks."""
    env = BatchVectorEnv(Counters, 3, kwargs={"autoreset_mode": AutoresetMode[mode], "masks": True})
    step, seen = start(env), {index: [] for index in range(3)}
    for number in range(60):
        step = act(env, sample_actions(env.spec, step.legal_actions, number), step.env_ids)
        assert np.array_equal(step.legal_actions, step.observation[:, :1] % 3 != np.arange(3))
        for index, reward in zip(step.env_ids.tolist(), step.reward.tolist(), strict=True):
            seen[index].append(reward)
    for index, rewards in seen.items():
        assert len(rewards) >= 39  # with NEXT_STEP, at most one step in three is a reset
        assert rewards == [float(1 + t % (index + 2)) for t in range(len(rewards))]


def test_next_step_autoreset_when_all_episodes_end():
    """With NEXT_STEP and all episodes ended, ``recv`` steps until they have begun again."""
    env = BatchVectorEnv(Counters, 1)
    start(env)
    assert [act(env, [0]).reward[0] for _ in range(6)] == [1, 2, 1, 2, 1, 2]


@pytest.mark.parametrize("mode", MODES)
def test_step_limit_of_ours_in_a_vector_environment(mode):
    """At Myosu's limit an environment is reset if it can be reset alone; otherwise the next episode continues."""
    kwargs = {"autoreset_mode": AutoresetMode[mode], "max_episode_steps": 2}
    env = BatchVectorEnv(Counters, 3, kwargs=kwargs)
    assert env.spec.max_steps == 2
    start(env)
    act(env, [0, 0, 0])
    step = act(env, [0, 0, 0])
    cut = list(step.env_ids).index(2)
    assert step.truncated[cut] and step.final_observation[cut].tolist() == [2, 0]
    assert step.observation[cut].tolist() == ([0, 1] if mode == "DISABLED" else [2, 0])
    limited = BatchVectorEnv(many(cartpole), 2, kwargs={"max_episode_steps": 5})
    start(limited)
    assert [act(limited, [0, 1]).truncated.all() for _ in range(10)] == [False] * 4 + [True] + [False] * 4 + [True]


@pytest.mark.parametrize("mode", MODES)
def test_episodes_are_truncated_if_state_cannot_be_restored(mode):
    make = partial(BatchVectorEnv, Counters, 2, kwargs={"autoreset_mode": AutoresetMode[mode]})
    first, second = make(), make()
    start(first)
    act(first, [0, 0])
    now = act(first, [0, 0])
    second.load_state_dict(first.state_dict())
    waiting = now.env_ids
    step = act(second, [0] * len(waiting), waiting)
    assert sorted(step.env_ids.tolist()) == [0, 1]  # pending results are returned, too
    for index, final in ((0, [2, 0] if mode == "NEXT_STEP" else [0, 1]), (1, [2, 0])):
        place = list(step.env_ids).index(index)
        assert step.observation[place].tolist() == [0, 0] and step.final_observation[place].tolist() == final
        owed = mode == "NEXT_STEP" and index == 0
        assert step.terminated[place] == owed and step.truncated[place] != owed
        assert step.reward[place] == (2 if owed else 0)
    notice, = second.notices()
    assert "Counters cannot be restored" in notice and second.notices() == []
    assert act(second, [0, 0]).observation.tolist() == [[1, 0], [1, 0]]


class Failing(Counters):
    def __init__(self, num_envs, habit):
        super().__init__(num_envs, AutoresetMode.SAME_STEP, final_obs=habit != "final")
        self.habit = habit
        if habit == "mode":
            self.metadata = {"autoreset_mode": "sometimes"}

    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        match self.habit:
            case "raises":
                raise ZeroDivisionError("division by zero")
            case "old step":
                return observations, rewards, rest[0], rest[2]
            case "few":
                observations = observations[:1]
            case "nan":
                rewards[1] = np.nan
        return observations, rewards, *rest


@pytest.mark.parametrize(("habit", "message"), [
    ("raises", r"Failing \(a vector environment of 2\): step\(\) raised ZeroDivisionError"),
    ("old step", r"step\(\) must return \(observations, rewards, terminations, truncations, infos\)"),
    ("few", "there are 1 observations for 2 environments"),
    ("nan", r"Failing \(environment 1\), episode 0 .*, step 1: the reward is nan"),
    ("final", "the infos have no \"final_obs\""), ("mode", "'sometimes'. It must be a gymnasium.vector.AutoresetMode")])
def test_broken_vector_environments_are_reported(habit, message):
    with pytest.raises(UserError, match=message):
        env = BatchVectorEnv(Failing, 2, kwargs={"habit": habit})
        start(env)
        act(env, [0, 0])
        act(env, [0, 0])


def test_vector_env_must_accept_num_envs():
    with pytest.raises(UserError, match=r"made a vector environment of 4\. It must take the argument num_envs"):
        BatchVectorEnv(lambda: Counters(4), 2)
    with pytest.raises(UserError, match="Taxi-v4 has no vector form of its own"):
        replace(load_environment("Taxi-v4"), workers="vector").make(2, 0)


OWN = '''
from gymnasium.vector import SyncVectorEnv
from test_vector_environments import Counters


class Mine(Counters):
    def __init__(self, num_envs=1, render_mode=None):
        super().__init__(num_envs)


def make(num_envs):
    import gymnasium
    return SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * num_envs)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *(path for path in sys.path if path)])
    (tmp_path / "my_vectors.py").write_text(OWN)
    return tmp_path


def test_vector_environments_are_found_by_module_names(folder):
    for name in ("my_vectors.py", "my_vectors:Mine", "my_vectors.py:Mine"):
        environment = load_environment(name)
        assert environment.only_vector and environment.spec.observation_shape == (2,)
        assert isinstance(environment.make(4, 0), BatchVectorEnv)
        with pytest.raises(UserError, match="leave out --env-workers synchronous"):
            replace(environment, workers="synchronous").make(4, 0)
    environment = load_environment("my_vectors:make")
    assert environment.only_vector and environment.spec.max_steps == 500
    plain = load_environment("CartPole-v1")
    assert not plain.only_vector and isinstance(plain.make(2, 0), GymVectorEnv)
    own = replace(plain, workers="vector").make(2, 0)._vector.unwrapped
    assert isinstance(own, type(gymnasium.make_vec("CartPole-v1").unwrapped))


def test_registered_id_with_only_a_vector_form():
    gymnasium.register("OnlyVectors-v0", vector_entry_point=lambda num_envs=1, **kwargs: Counters(num_envs))
    try:
        environment = load_environment("OnlyVectors-v0")
        assert environment.only_vector and environment.make(3, 0).num_envs == 3
    finally:
        del gymnasium.registry["OnlyVectors-v0"]


class First:
    def act(self, observation, legal_actions, state=None, starts=None):
        """Count the actions of each episode in the state, like a recurrent agent."""
        state = np.zeros((len(observation), 1), np.int64) if state is None else state
        state = np.where(starts[:, None], 0, state)
        assert np.array_equal(state[:, 0], observation[:, 0])
        return np.zeros(len(observation), np.int64), state + 1


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_in_a_vector_environment(mode):
    make = load_environment("CartPole-v1").maker.of(Counters)
    environment = Environment("counters", BatchVectorEnv(Counters, 1).spec,
                              maker=make.with_arguments(autoreset_mode=AutoresetMode[mode]), only_vector=True)
    result = play_episodes(environment, First(), 7)
    assert sorted(result.lengths.tolist()) == [2, 3, 4, 5, 6, 7, 8]
    assert np.array_equal(result.returns, result.lengths * (result.lengths + 1) / 2)
    assert result.truncated.tolist() == [length % 2 == 1 for length in result.lengths]
    cut = play_episodes(environment, First(), 4, most_steps=6)
    assert cut.lengths.sum() <= 8 and len(cut.lengths) == 4


def probe(name, num_envs=1, mode="NEXT_STEP"):
    return SyncVectorEnv([partial(gymnasium.make, f"myosu.envs.probes:myosu/Probe{name}-v0")] * num_envs,
                         autoreset_mode=AutoresetMode[mode])


class Wrapped(gymnasium.vector.VectorWrapper):
    """Hides that its environments can be reset alone."""


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
@pytest.mark.parametrize("algorithm", [ppo, dqn], ids=["ppo", "dqn"])
def test_learning_in_a_vector_env_gives_the_probes_values(algorithm, mode):
    """The probe's values are known. An algorithm that used the next episode's first observation as this episode's last,
    or learnt from the step of a reset, would learn other values."""
    def make(num_envs):
        return Wrapped(probe("Discount", num_envs, mode))

    env = BatchVectorEnv(make, 4)
    assert not env.exact
    settings = {"hidden": (32,), "num_envs": 4, "learning_rate": 1e-2, "discount": 0.5}
    if algorithm is ppo:
        config = ppo.Config(**settings, rollout_steps=16, batch_size=32)
    else:
        config = dqn.Config(**settings, learning_starts=64, batch_size=32, replay_capacity=2000, replay_ratio=8.0)
    loop = InTurn(algorithm, config, env).run(3000)
    assert {episode.length for episode in loop.episodes} == {2} and len(loop.episodes) >= 1490
    assert all(list(episode.returns) == [1.0] for episode in loop.episodes)
    agent = loop.agent()
    analysis = agent.analyze(np.array([[0.0], [1.0]], np.float32), np.ones((2, env.spec.num_actions), bool))
    assert np.allclose(analysis.value, [0.5, 1.0], atol=0.1)


def test_muzero_refuses_next_step_autoreset():
    config = muzero.Config(channels=8, blocks=0, simulations=2, num_envs=2, learning_starts=1000, batch_size=8,
                           device="cpu")
    with pytest.raises(UserError, match=r"NEXT_STEP.*SAME_STEP or DISABLED"):
        InTurn(muzero, config, BatchVectorEnv(Counters, 2)).run(20)


class Pool:
    """Stand-in for EnvPool's environments: seeded when it is made, with the spaces of one environment."""

    made: list = []  # noqa: RUF012

    def __init__(self, task_id, num_envs, seed, **kwargs):
        self.made.append((task_id, num_envs, seed, kwargs))
        self.inner, self.config = Counters(num_envs), {"max_episode_steps": 30}
        self.observation_space, self.action_space = Counters.single_observation_space, Counters.single_action_space

    def reset(self):
        return self.inner.reset()

    def step(self, actions):
        return self.inner.step(actions)

    def close(self):
        pass


def test_envpool_environments_are_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(UserError, match=r"envpool:Pong-v5 needs EnvPool .*: pip install envpool"):
        load_environment("envpool:Pong-v5")
    Pool.made.clear()
    monkeypatch.setitem(sys.modules, "envpool", SimpleNamespace(
        list_all_envs=lambda: ["Pong-v5", "CartPole-v1"], make_gymnasium=Pool))
    with pytest.raises(UserError, match=r"EnvPool has no 'Pong-v4'\. Did you mean 'Pong-v5'\?"):
        load_environment("envpool:Pong-v4")
    environment = load_environment("envpool:Pong-v5", {"stack_num": 2})
    assert environment.only_vector and environment.spec.max_steps == 30
    env = environment.make(3, seed=4)
    start(env)
    assert [act(env, [0] * 3).reward.tolist() for _ in range(2)] == [[1.0] * 3, [2.0] * 2]
    env_id, num_envs, seed, kwargs = Pool.made[-1]
    assert (env_id, num_envs, kwargs) == ("Pong-v5", 3, {"stack_num": 2}) and seed > 0
    env.close()


def test_training_in_a_custom_vector_environment(folder, capsys):
    """Train, resume and evaluate by the commands; resuming reports that episodes cannot be continued."""
    small = ["--num-envs", "3", "--rollout-steps", "8", "--batch-size", "8", "--evaluate-every", "0"]
    assert run(["train", "my_vectors:Mine", "--algorithm", "ppo", "--env-steps", "100", "--run", "run", *small]) == 0
    assert "cannot be restored" not in capsys.readouterr().err
    assert run(["train", "--resume", "run", "--env-steps", "200"]) == 0
    output = "".join(capsys.readouterr())
    assert "my_vectors:Mine cannot be restored" in " ".join(output.split())
    games = [json.loads(line) for line in (folder / "run" / "games.jsonl").read_text().splitlines()]
    whole = [game for game in games if game["returns"][0] == sum(range(1, game["length"] + 1))]
    assert {game["length"] for game in whole} >= {2, 3, 4}
    assert len(games) - len(whole) <= 3  # the episodes that resuming truncated
    assert run(["evaluate", "run", "--games", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mean_length"] >= 2
