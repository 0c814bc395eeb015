"""PPO's values, bookkeeping and learning; with what a broken part would do."""

import dataclasses
import warnings
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gym_toys import Counter, Endless, Everything, Recall
from in_turn import InTurn, returns
from myosu import kernels
from myosu.algorithms import ppo
from myosu.envs import probes  # noqa: F401  (registers them)
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.registry import load_environment
from myosu.envs.vector import Step
from myosu.errors import NonFiniteLoss, UserError
from myosu.nets.popart import PopArt
from myosu.presets import load_preset
from myosu.rewards.environment import EnvironmentReward

SMALL = ppo.Config(num_envs=16, rollout_steps=8, batch_size=64, hidden=(16,), learning_rate=1e-2, discount=0.5)


def value_of(loop, observation):
    """The learner's value of one observation."""
    memory = np.zeros((1, 0), np.float32)
    return float(loop.learner.net.evaluate(np.array([observation], loop.env.spec.observation_dtype), memory)[1][0, 0])


# --- what is learnt


@pytest.mark.parametrize("probe, values, options", [
    ("Constant", {1.0: 1.0}, {}), ("Observation", {-1.0: -1.0, 1.0: 1.0}, {}), ("Discount", {0.0: 0.5, 1.0: 1.0}, {}),
    ("Action", {1.0: 1.0}, {}), ("Both", {-1.0: 1.0, 1.0: 1.0}, {}),
    ("Both", {-1.0: 1.0, 1.0: 1.0}, {"normalize_values": True, "hidden": (16, 16), "activation": "relu"}),
])
def test_probes_reach_their_exact_values(probe, values, options):
    config = dataclasses.replace(SMALL, anneal_learning_rate=True, **options)
    loop = InTurn(ppo, config, GymVectorEnv(f"myosu/Probe{probe}-v0", config.num_envs)).run(8000)
    for observation, value in values.items():
        assert value_of(loop, [observation]) == pytest.approx(value, abs=0.03)
        best, _ = loop.agent().act(np.array([[observation]], np.float32), np.ones((1, loop.env.spec.num_actions), bool))
        assert best[0] == (observation > 0) * (loop.env.spec.num_actions - 1)


def test_truncated_episodes_are_bootstrapped():
    """1 / (1 − γ) = 2, where a return that is cut with the episode has the mean 1.6."""
    loop = InTurn(ppo, SMALL, GymVectorEnv(partial(Endless, 5), SMALL.num_envs)).run(5000)
    assert value_of(loop, [1.0]) == pytest.approx(2.0, abs=0.05)


class NeverPays(gymnasium.Env):
    """Observations at random, four actions, no reward, ten steps."""

    observation_space, action_space = spaces.Box(-1, 1, (4,)), spaces.Discrete(4)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 10
        return self.np_random.uniform(-1, 1, 4).astype(np.float32), {}

    def step(self, action):
        self.left -= 1
        return self.np_random.uniform(-1, 1, 4).astype(np.float32), 0.0, self.left == 0, False, {}


@pytest.mark.parametrize("options", [{}, {"lstm_size": 8, "sequence_length": 8}], ids=["towers", "memory"])
def test_weights_stay_unchanged_before_the_first_reward(options):
    """An untrained value that is not 0 is noise, which normalised advantages turn into a policy."""
    config = dataclasses.replace(SMALL, entropy_weight=0.0, **options)
    loop = InTurn(ppo, config, GymVectorEnv(NeverPays, SMALL.num_envs))
    before = {name: value.clone() for name, value in loop.learner.net.named_parameters()}
    loop.run(1000)
    assert loop.learner.updates > 0
    for name, value in loop.learner.net.named_parameters():
        assert torch.equal(value, before[name]), name


class Forbidden(gymnasium.Env):
    """Action 2 pays most and is never legal; 0 is not at the first of two steps, and pays."""

    observation_space, action_space = spaces.Box(0, 1, (1,), np.float32), spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        self.second = False
        return np.zeros(1, np.float32), {"action_mask": np.array([0, 1, 0], np.int8)}

    def step(self, action):
        reward, ended, self.second = (0.0, 1.0, 100.0)[action] if action else 2.0, self.second, True
        return np.ones(1, np.float32), reward, ended, False, {"action_mask": np.array([1, 1, 0], np.int8)}


def test_illegal_actions_are_never_taken():
    loop = InTurn(ppo, SMALL, GymVectorEnv(Forbidden, SMALL.num_envs)).run(4000)
    played = np.array([episode.actions for episode in loop.episodes])
    assert (played[:, 0] == 1).all() and (played != 2).all()
    assert returns(loop.agent(), GymVectorEnv(Forbidden, 2), 2).tolist() == [3.0, 3.0]
    assert loop.metrics[0]["entropy"] < 0.5 * np.log(2) + 0.01, "mean over states with 1 and with 2 legal actions"


class Matching(gymnasium.Env):
    """Two choices at once, each to be told by its part of the observation."""

    observation_space, action_space = spaces.MultiDiscrete([3, 2]), spaces.MultiDiscrete([3, 2])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown = self.np_random.integers(0, [3, 2])
        return self.shown, {}

    def step(self, action):
        return self.shown, float((action == self.shown).sum()), True, False, {}


class Nearby(gymnasium.Env):
    """One step, which pays the less the farther the action is from 10 + 5 × the observation; actions from 0 to 20."""

    observation_space, action_space = spaces.Box(-1, 1, (1,), np.float32), spaces.Box(0, 20, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown = self.np_random.choice([-1.0, 1.0], 1).astype(np.float32)
        return self.shown, {}

    def step(self, action):
        return self.shown, -float((action[0] - 10 - 5 * self.shown[0]) ** 2) / 25, True, False, {}


@pytest.mark.parametrize("make, steps, least", [(Matching, 8000, 2.0), (Nearby, 12_000, -0.02)])
def test_branches_and_continuous_actions_are_learnt(make, steps, least):
    loop = InTurn(ppo, SMALL, GymVectorEnv(make, SMALL.num_envs)).run(steps)
    assert returns(loop.agent(), GymVectorEnv(make, 4, seed=1), 20).min() >= least


@pytest.mark.parametrize("lstm_size, solved", [(16, True), (0, False)])
def test_recall_is_learnt_only_with_a_memory(lstm_size, solved):
    config = dataclasses.replace(SMALL, batch_size=128, discount=0.9, lstm_size=lstm_size,
                                 sequence_length=8)
    loop = InTurn(ppo, config, GymVectorEnv(Recall, config.num_envs)).run(8192)
    assert (returns(loop.agent(), GymVectorEnv(Recall, 4, seed=1), 40).mean() == 1.0) == solved


def test_it_learns_cartpole():
    config = ppo.Config(**load_preset("ppo", load_environment("CartPole-v1"), ppo.Config))
    loop = InTurn(ppo, config, GymVectorEnv("CartPole-v1", config.num_envs)).run(30_000, until=100_000)
    assert returns(loop.agent(), GymVectorEnv("CartPole-v1", 10, seed=1), 10).mean() > 300


def test_it_finds_a_rare_reward():
    """FrozenLake: a random policy reaches the goal in 1.4 % of the episodes, the best in 74 %."""
    config = ppo.Config(**load_preset("ppo", load_environment("FrozenLake-v1"), ppo.Config))
    loop = InTurn(ppo, config, GymVectorEnv("FrozenLake-v1", config.num_envs)).run(50_000)
    assert returns(loop.agent(), GymVectorEnv("FrozenLake-v1", 50, seed=1), 200).mean() > 0.45


@pytest.mark.parametrize("make", [Everything, lambda: Counter(action_space=spaces.Box(-1, np.inf, (2, 2), np.float32))])
@pytest.mark.parametrize("options", [{}, {"normalize_observations": True, "normalize_rewards": True},
                                     {"lstm_size": 8, "sequence_length": 4, "normalize_values": True}])
def test_every_kind_of_observation_and_action(make, options):
    config = dataclasses.replace(SMALL, **options)
    loop = InTurn(ppo, config, GymVectorEnv(make, config.num_envs)).run(300)
    assert loop.updates == 2 * 8 and all(np.isfinite(list(m.values())).all() for m in loop.metrics)
    assert {"policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "explained_variance",
            "learning_rate", "gradient_norm"} == set(loop.metrics[0])
    assert len(returns(loop.agent(), GymVectorEnv(make, 2), 2)) == 2


# --- the rollout


class WhoeverIsReady:
    """A VectorEnv around another that answers for some environments at a time, drawn at random."""

    def __init__(self, env, seed=0):
        self.env, self.spec, self.num_envs = env, env.spec, env.num_envs
        self.rng, self.answers = np.random.default_rng(seed), []

    def reset(self):
        self.env.reset()
        self._keep(self.env.recv())

    def send(self, actions, env_ids):
        self.env.send(actions, env_ids)
        self._keep(self.env.recv())

    def recv(self, min_ready=None):
        self.rng.shuffle(self.answers)
        now, self.answers = np.split(self.answers, [self.rng.integers(1, len(self.answers) + 1)])
        self.answers = list(self.answers)
        return Step(**{name: np.concatenate([vars(step)[name] for step in now]) for name in vars(now[0])})

    def _keep(self, step):
        self.answers += [Step(**{name: value[k:k + 1] for name, value in vars(step).items()})
                         for k in range(len(step.env_ids))]


class Walk(gymnasium.Env):
    """Shows its number, episode and step. An action pays itself; an episode has 3 or 5 steps and is cut or ends."""

    observation_space, action_space = spaces.Box(0, 1e6, (3,), np.float32), spaces.Discrete(4)
    made = 0

    def __init__(self):
        Walk.made += 1
        self.number, self.episode = Walk.made, 0

    def reset(self, *, seed=None, options=None):
        self.episode, self.steps = self.episode + 1, 0
        return self._shown(), {}

    def step(self, action):
        self.steps += 1
        terminated, truncated = self.episode % 2 and self.steps == 3, self.steps == 5
        return self._shown(), float(action), bool(terminated), truncated, {}

    def _shown(self):
        return np.array([self.number, self.episode, self.steps], np.float32)


@pytest.mark.parametrize("lstm_size", [0, 4])
@pytest.mark.parametrize("lockstep", [True, False])
def test_rollouts_hold_each_step_once_and_in_order(lockstep, lstm_size):
    """Every step once and in its order, whoever answers first, with the advantage along its own episode."""
    config = dataclasses.replace(SMALL, num_envs=4, rollout_steps=7, batch_size=28, lstm_size=lstm_size,
                                 sequence_length=4, discount=0.9, gae_lambda=0.7)
    env = GymVectorEnv(Walk, config.num_envs)
    actor = ppo.make_actor(config, env if lockstep else WhoeverIsReady(env), seed=0)
    replay, learner = ppo.make_replay(config, env.spec), ppo.make_learner(config, env.spec, None, 0)
    rollouts, episodes, steps = [], [], 0
    while len(rollouts) < 6:
        experience = actor.step()
        for sequence in experience.sequences:
            replay.add(sequence, 0)
            learner._begin_rollout(replay, 0.0)
            rollouts.append(dict(replay.view(learner.targets.rows)) | learner.targets._asdict())
            _last_rows_are_what_came_next(sequence)
        episodes += experience.episodes
        steps += experience.steps
    assert {len(rollout["action"]) for rollout in rollouts} == {28} and replay.total_positions == 6 * 28
    assert 0 <= steps - 168 < config.num_envs
    rows = {name: np.concatenate([rollout[name] for rollout in rollouts]) for name in rollouts[0]}
    rows["rollout"] = np.repeat(np.arange(6), 28)
    for number in np.unique(rows["observation"][:, 0]):
        mine = {name: column[rows["observation"][:, 0] == number] for name, column in rows.items()}
        shown = mine["observation"][:, 1:].astype(int).tolist()
        expected = [[episode, step] for episode in range(1, 99) for step in range(3 if episode % 2 else 5)]
        assert shown == expected[:len(shown)]
        assert mine["next_observation"].tolist() == [[number, episode, step + 1] for episode, step in shown]
        for t in range(len(shown) - 1):
            if shown[t + 1][1] == 0 and shown[t][0] % 2:
                assert mine["value_target"][t, 0] == pytest.approx(mine["action"][t], abs=1e-5), "terminated"
                assert mine["remaining"][t]
            elif shown[t + 1][1]:
                error = mine["action"][t] + 0.9 * mine["value"][t + 1, 0] - mine["value"][t, 0]
                goes_on = mine["rollout"][t] == mine["rollout"][t + 1]
                expected_advantage = error + 0.63 * mine["advantage"][t + 1] * goes_on
                assert mine["advantage"][t] == pytest.approx(expected_advantage, abs=1e-4)
    assert all(episode.returns == [sum(episode.actions)] for episode in episodes)
    if lstm_size:
        for rollout in rollouts:
            same = (np.diff(rollout["observation"][:, :2], axis=0) == 0).all(axis=1)
            assert rollout["continues"].tolist() == [False, *same.tolist()]
            assert not rollout["memory"][rollout["observation"][:, 2] == 0].any()


def _last_rows_are_what_came_next(sequence):
    """After every episode, and where each environment stands at the end of a rollout, and nowhere else."""
    for env in np.unique(sequence["env_id"]):
        rows = {name: column[sequence["env_id"] == env] for name, column in sequence.items()}
        ended = (rows["terminated"] | rows["truncated"])[rows["acted"]]
        expected = [acted for end in ended for acted in ((True, False) if end else (True,))]
        assert rows["acted"].tolist() == [*expected, False]
        if ended[-1]:
            number, episode, _ = rows["observation"][-2]
            assert rows["observation"][-1].tolist() == [number, episode + 1, 0]


class Pair(gymnasium.Env):
    """Observations of two parts, one of them in bytes, and two choices at once."""

    observation_space = spaces.Dict({"near": spaces.Box(0, 255, (2, 2), np.uint8), "far": spaces.Box(-1, 1, (3,))})
    action_space = spaces.MultiDiscrete([3, 2])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._shown(), {}

    def step(self, action):
        return self._shown(), float(action.sum()), bool(self.np_random.random() < 0.2), False, {}

    def _shown(self):
        return {"near": self.np_random.integers(0, 256, (2, 2), np.uint8),
                "far": self.np_random.uniform(-1, 1, 3).astype(np.float32)}


@pytest.mark.parametrize("make, given, weight", [
    ("CartPole-v1", None, 0.01), ("CartPole-v1", 0.0, 0.0), ("Pendulum-v1", None, 0.0), ("Pendulum-v1", 0.1, 0.1)])
def test_only_discrete_actions_have_an_entropy_bonus_by_default(make, given, weight):
    env = GymVectorEnv(make, SMALL.num_envs)
    learner = ppo.make_learner(dataclasses.replace(SMALL, entropy_weight=given), env.spec, None, 0)
    assert learner.entropy_weight == weight


@pytest.mark.parametrize("make, options", [
    ("CartPole-v1", {}), (Nearby, {"entropy_weight": 0.1, "activation": "relu"}),
    (Pair, {"normalize_observations": True, "normalize_values": True, "hidden": (8, 8)})])
def test_numpy_towers_learn_the_same_as_torch(make, options):
    config = dataclasses.replace(SMALL, **options)
    loop = InTurn(ppo, config, GymVectorEnv(make, config.num_envs)).run(127)
    while not (experience := loop.actor.step()).sequences:
        pass
    loop.replay.add(experience.sequences[0], 0)
    first, second = loop.learner, ppo.make_learner(config, loop.env.spec, None, 0)
    assert loop.actor.net.numpy_towers is not None and first.net.numpy_towers is not None
    second.net.numpy_towers = None
    for _ in range(8):
        second.load_state_dict(first.state_dict())
        losses = [learner.update(loop.replay, 0.0) for learner in (first, second)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3, abs=1e-5)
        assert torch.allclose(first.flat.gradient, second.flat.gradient, rtol=1e-3, atol=1e-6)
        assert first.flat.gradient.abs().max() > 1e-3
    assert losses[0]


class Masked(gymnasium.Env):
    """Of four actions two or three are legal, others at every step; they pay what is shown of them."""

    observation_space, action_space = spaces.Box(-1, 1, (4,), np.float32), spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown = self.np_random.uniform(-1, 1, 4).astype(np.float32)
        return self.shown, {"action_mask": np.array([1, self.shown[0] > 0, 1, 0], np.int8)}

    def step(self, action):
        reward, ended = float(self.shown[action]), bool(self.np_random.random() < 0.2)
        observation, info = self.reset()
        return observation, reward, ended, False, info


class Near(EnvironmentReward):
    name = "near"


@pytest.mark.parametrize("make, options", [
    (Masked, {}), (Matching, {"activation": "relu", "normalize_values": True}), (Nearby, {"hidden": (8, 8)}),
    (Masked, {"lstm_size": 8, "sequence_length": 4})])
def test_closed_form_gradients_equal_the_plain_reference(make, options, monkeypatch):
    """With two values, and ratios on both sides of the clip range."""
    monkeypatch.setattr(ppo, "reward_signals", lambda config, spec, seed: [
        EnvironmentReward(0.9), Near(0.5)])
    monkeypatch.setattr(ppo, "returns", lambda config: [(0.9, True), (0.5, True)])
    config = dataclasses.replace(SMALL, entropy_weight=0.1, max_grad_norm=1e9, **options)
    env = GymVectorEnv(make, config.num_envs)
    loop = InTurn(ppo, config, env).run(127)
    while not (experience := loop.actor.step()).sequences:
        pass
    loop.replay.add(experience.sequences[0], 0)
    moved = np.random.default_rng(0).normal(0.0, 0.3, loop.replay.capacity)
    loop.replay.columns["log_prob"] += moved.astype(np.float32)
    state, gradients = loop.learner.state_dict(), []
    for plain in (False, True):
        monkeypatch.setattr(kernels, "PLAIN", plain)
        learner = ppo.make_learner(config, env.spec, None, 0)
        assert (learner.net.numpy_towers is None) == (plain or config.lstm_size > 0)
        learner.load_state_dict(state)
        learner.epoch = 7  # a pass that tells its losses
        losses = learner.update(loop.replay, 0.0)
        gradients.append((learner.flat.gradient, losses))
    (closed, told), (reference, also) = gradients
    assert told == pytest.approx(also, rel=1e-3, abs=1e-5)
    assert torch.allclose(closed, reference, rtol=1e-3, atol=1e-6) and reference.abs().max() > 1e-2


def test_learns_with_the_plain_kernels(monkeypatch):
    monkeypatch.setattr(kernels, "PLAIN", True)
    monkeypatch.setattr(ppo.ActorCritic, "backward", None)  # nobody may ask for it
    loop = InTurn(ppo, dataclasses.replace(SMALL, anneal_learning_rate=True),
                  GymVectorEnv("myosu/ProbeBoth-v0", SMALL.num_envs)).run(8000)
    assert [value_of(loop, [shown]) for shown in (-1.0, 1.0)] == pytest.approx([1.0, 1.0], abs=0.03)
    best, _ = loop.agent().act(np.array([[-1.0], [1.0]], np.float32), np.ones((2, 2), bool))
    assert best.tolist() == [0, 1]


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_noise_of_continuous_actions_is_correlated_and_standard_normal(correlation):
    """Whatever the correlation, or ``log_prob`` would be wrong."""
    config = dataclasses.replace(SMALL, num_envs=200, noise_correlation=correlation)
    actor = ppo.make_actor(config, GymVectorEnv(Nearby, config.num_envs), seed=0)
    parameters, ids = np.tile(np.array([[2.0, np.log(0.5)]], np.float32), (200, 1)), np.arange(200)
    noise = np.concatenate([(actor._sample(parameters, ids) - 2.0) / 0.5 for _ in range(100)], axis=1)
    assert [noise.mean(), noise.std(), noise[:, 0].std()] == pytest.approx([0.0, 1.0, 1.0], abs=0.1)
    for lag in (1, 2):
        assert (noise[:, lag:] * noise[:, :-lag]).mean() == pytest.approx(correlation**lag, abs=0.05)
    again = ppo.make_actor(config, GymVectorEnv(Nearby, config.num_envs), seed=1)
    again.load_state_dict(actor.state_dict())
    assert np.array_equal(again._sample(parameters, ids), actor._sample(parameters, ids)), "part of a checkpoint"


def test_noise_of_discrete_actions_cannot_be_correlated():
    with pytest.raises(UserError, match=r"noise_correlation = 0\.8 has no meaning for discrete actions"):
        ppo.resolve(dataclasses.replace(SMALL, noise_correlation=0.8), GymVectorEnv("CartPole-v1", 1).spec, False)


def test_actor_uses_the_newest_weights():
    loop = InTurn(ppo, SMALL, GymVectorEnv("CartPole-v1", SMALL.num_envs)).run(128)
    loop.actor.load_weights({name: value * 2 for name, value in loop.learner.weights().items()}, 1)
    observation = loop.actor.current.observation
    with torch.inference_mode():
        expected = loop.actor.net({"": torch.from_numpy(observation)})[0].numpy()
    assert np.allclose(loop.actor.net.evaluate(observation, np.zeros((16, 0), np.float32))[0], expected, atol=1e-5)


def test_each_epoch_uses_every_step_once(monkeypatch):
    config = dataclasses.replace(SMALL, epochs=3)
    seen = []
    shuffled = ppo.Learner._shuffled

    def watched(self, replay):
        batches = shuffled(self, replay)
        seen.append(np.concatenate([batch.log_prob for batch in batches]))
        return batches

    monkeypatch.setattr(ppo.Learner, "_shuffled", watched)
    loop = InTurn(ppo, config, GymVectorEnv("CartPole-v1", config.num_envs)).run(128)
    assert loop.updates == 6 and len(seen) == 3
    for order in seen:
        assert np.array_equal(np.sort(order), np.sort(loop.replay.columns["log_prob"][loop.learner.targets.rows]))
        assert len({tuple(order.tolist()) for order in seen}) == 3


def test_popart_preserves_values_when_the_scale_changes():
    head, x = PopArt(4), torch.randn(5, 4)
    head.observe(np.array([[1.0], [3.0]]), beta=1.0)
    assert (float(head.mean), float(head.variance)) == (2, 1)
    before = head.to_rewards(head(x).detach().numpy())
    head.observe(np.array([[10.0], [14.0]]), beta=0.1)
    # mean 2 + 0.1 · 10, variance 0.9 · 1 + 0.1 · 4 + 0.1 · 0.9 · 10²
    assert float(head.mean) == pytest.approx(3) and float(head.variance) == pytest.approx(10.3)
    assert np.allclose(head.to_rewards(head(x).detach().numpy()), before, atol=1e-4)
    assert np.allclose(head.to_rewards(head.from_rewards(before)), before, atol=1e-4)


def test_popart_scales_each_value_separately():
    head, alone, x = PopArt(4, 2), PopArt(4), torch.randn(5, 4)
    alone.linear.load_state_dict({name: value[1:] for name, value in head.linear.state_dict().items()})
    for targets, share in (([[5.0, 1.0], [5.0, 3.0]], 1.0), ([[100.0, 10.0], [900.0, 14.0]], 0.1)):
        head.observe(np.array(targets), share)
        alone.observe(np.array(targets)[:, 1:], share)
    assert head.mean.tolist() == pytest.approx([54.5, 3]) and float(head.variance[1]) == pytest.approx(10.3)
    assert torch.allclose(head(x)[:, 1:], alone(x), atol=1e-6)
    value = head.to_rewards(head(x).detach().numpy())
    assert np.allclose(value[:, 1:], alone.to_rewards(alone(x).detach().numpy()), atol=1e-4)
    assert np.allclose(head.from_rewards(value), head(x).detach().numpy(), atol=1e-4)


def test_schedules_use_the_progress_at_rollout_start():
    """So that a run of one rollout, or the last of a run, is not learnt from with a rate of 0."""
    config = dataclasses.replace(SMALL, anneal_learning_rate=True)
    loop = InTurn(ppo, config, GymVectorEnv("CartPole-v1", config.num_envs)).run(512)
    rates = [metrics["learning_rate"] for metrics in loop.metrics]
    assert rates == pytest.approx(np.repeat([1e-2, 0.75e-2, 0.5e-2, 0.25e-2], 2))


# --- going on, and refusing


@pytest.mark.parametrize("options", [
    {}, {"normalize_observations": True, "normalize_rewards": True, "normalize_values": True},
    {"lstm_size": 8, "sequence_length": 8}])
def test_restored_run_continues_exactly(options):
    config = dataclasses.replace(SMALL, **options)
    first, second = (InTurn(ppo, config, GymVectorEnv("CartPole-v1", config.num_envs), seed) for seed in (0, 7))
    first.run(300, until=800)
    second.load_state_dict(first.state_dict())
    for loop in (first, second):
        loop.run(500, until=800)
    assert second.updates == first.updates and second.steps == first.steps
    for name, value in first.learner.weights().items():
        assert torch.equal(value, second.learner.weights()[name]), name
    since = len(second.episodes)
    assert since > 5
    assert [e.actions for e in first.episodes[-since:]] == [e.actions for e in second.episodes]


def test_restored_learner_continues_exactly_within_an_epoch():
    loop = InTurn(ppo, SMALL, GymVectorEnv("CartPole-v1", SMALL.num_envs)).run(127)
    while not (experience := loop.actor.step()).sequences:
        pass
    loop.replay.add(experience.sequences[0], 0)
    first = loop.learner
    for _ in range(3):
        first.update(loop.replay, 0.1)
    second = ppo.make_learner(SMALL, loop.env.spec, None, 99)
    second.load_state_dict(first.state_dict())
    assert [first.update(loop.replay, 0.2) for _ in range(5)] == [second.update(loop.replay, 0.2) for _ in range(5)]
    for name, value in first.weights().items():
        assert torch.equal(value, second.weights()[name])


def test_non_finite_loss_reports_its_batch():
    loop = InTurn(ppo, SMALL, GymVectorEnv("CartPole-v1", SMALL.num_envs)).run(128)
    before = loop.learner.weights()
    loop.replay.columns["reward"][3] = np.nan
    loop.learner.seen_positions = 0  # so that it makes advantages again
    with pytest.raises(NonFiniteLoss, match=r"policy loss .*nan") as caught:
        for _ in range(2):
            loop.learner.update(loop.replay, 0.0)
    assert np.isnan(caught.value.batch["advantage"]).any()
    assert caught.value.batch["observation"].shape == (64, 4)
    assert all(torch.isfinite(value).all() for value in loop.learner.weights().values()) and before


@pytest.mark.parametrize("field", [{"batch_size": 0}, {"discount": 1.5}, {"hidden": (0,)}, {"epochs": 0},
                                   {"lstm_size": 8, "sequence_length": 48}])
def test_invalid_settings_are_refused_by_name(field):
    with pytest.raises(UserError, match=list(field)[-1]):
        ppo.resolve(dataclasses.replace(SMALL, **field), GymVectorEnv("CartPole-v1", 1).spec, True)


@pytest.mark.parametrize(("num_envs", "rollout_steps", "asked", "taken"), [
    (6, 100, 256, 300), (6, 128, 256, 256), (7, 11, 256, 77), (8, 128, 300, 256)])
def test_minibatches_divide_any_rollout(num_envs, rollout_steps, asked, taken):
    config = ppo.Config(num_envs=num_envs, rollout_steps=rollout_steps, batch_size=asked)
    spec = GymVectorEnv("CartPole-v1", 1).spec
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert ppo.resolve(config, spec, True).batch_size == taken
    assert bool(caught) == (asked != taken) and all(f"batch_size = {taken}" in str(w.message) for w in caught)


@pytest.mark.parametrize("numpy_towers", [True, False])
def test_separate_networks_have_gradients_clipped_separately(numpy_towers):
    """A value loss of thousands must leave the policy its whole gradient."""
    config = dataclasses.replace(SMALL, normalize_values=False, max_grad_norm=0.5)
    learner = ppo.make_learner(config, GymVectorEnv("CartPole-v1", 1).spec, None, 0)
    learner.net.numpy_towers = learner.net.numpy_towers if numpy_towers else None
    rng = np.random.default_rng(0)
    learner.flat.zero_gradient()
    learner.net.predict(learner.net.prepare(rng.normal(size=(64, 4)).astype(np.float32)), None)
    learner.net.backward(rng.normal(size=(64, 2)).astype(np.float32) / 6400,
                         np.full((64, 1), 1000.0, np.float32))
    before = {name: p.grad.clone() for name, p in learner.net.named_parameters()}
    learner.flat.clip_gradient(config.max_grad_norm)
    towers = [[], []]
    for name, p in learner.net.named_parameters():
        if name.startswith("towers."):
            assert torch.equal(p.grad[0], before[name][0]), "a gradient below the limit must not be scaled"
            towers[0].append(p.grad[0].flatten())
            towers[1].append(p.grad[1].flatten())
        else:
            towers[name.startswith("value.")].append(p.grad.flatten())
    norms = [float(torch.cat(tower).norm()) for tower in towers]
    assert 0 < norms[0] < 0.1 and norms[1] == pytest.approx(0.5)


def test_last_rollout_is_completed_and_learnt_from(tmp_path):
    """Of 100 steps by 4 environments a rollout of 128 is made, and its four updates are done."""
    import myosu

    ended = myosu.train("CartPole-v1", "ppo", env_steps=100, num_envs=4, rollout_steps=32, epochs=2, batch_size=64,
                        evaluate_every=0, run=tmp_path / "run", quiet=True)
    assert (ended.env_steps, ended.updates) == (128, 4)
