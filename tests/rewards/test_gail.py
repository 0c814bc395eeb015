"""Adversarial imitation: what it pays, and that neither living nor dying pays by itself."""

import dataclasses
import json
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn import functional as F

from in_turn import InTurn, returns
from myosu.algorithms import ppo, sac
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.players.agent import load_agent
from myosu.rewards.actions import action_features
from myosu.rewards.environment import EnvironmentReward
from myosu.rewards.gail import GAIL
from myosu.runs.config import RunConfig, TrainConfig
from myosu.training.start import create_run
from myosu.training.trainer import train


class Door(gymnasium.Env):
    """Action 1 leaves, which ends the episode; action 0 stays. After 20 steps it is cut. It pays nothing."""

    observation_space, action_space = spaces.Box(0, 1, (1,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        self.count += 1
        return np.ones(1, np.float32), 0.0, bool(action == 1), self.count == 20, {}


class OnlyPositive(GAIL):
    """−log(1 − D), and nothing after the end, as Ho & Ermon's code has it."""

    def rewards(self, steps):
        with torch.no_grad():
            return F.softplus(self.net(self._inputs(steps))).numpy()


class OnlyNegative(GAIL):
    """log D."""

    def rewards(self, steps):
        with torch.no_grad():
            return -F.softplus(-self.net(self._inputs(steps))).numpy()


class TwoSided(GAIL):
    """Gulrajani et al.'s penalty, which demands that every slope is 1."""

    def _gradient_penalty(self, teachers, agents, count):
        share = torch.from_numpy(self.rng.random((count, 1), np.float32))
        between = (share * teachers + (1.0 - share) * agents).requires_grad_()
        (gradient,) = torch.autograd.grad(self.net(between).sum(), between, create_graph=True)
        return ((gradient.square().sum(1) + 1e-12).sqrt() - 1.0).square().mean()


class Catch(gymnasium.Env):
    """Four balls fall, five steps each; 1 for each that the paddle is under at the end, −1 for each other one."""

    observation_space, action_space = spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.paddle, self.balls = 0.0, 0
        return self._drop(), {}

    def step(self, action):
        self.paddle, self.height = float(np.clip(self.paddle + 0.3 * (action - 1), -1, 1)), self.height - 0.25
        if self.height >= 0:
            return self._observe(), 0.0, False, False, {}
        reward = 1.0 if abs(self.ball - self.paddle) <= 0.2 else -1.0
        self.balls += 1
        return self._drop(), reward, self.balls == 4, False, {}

    def _drop(self):
        self.ball, self.height = self.np_random.uniform(-1, 1), 1.0
        return self._observe()

    def _observe(self):
        return np.array([self.paddle, self.ball, self.height], np.float32)


def catches(episodes):
    """A player who goes where the ball is: 3.9 of 4."""
    env, columns = Catch(), {"observation": [], "action": [], "terminated": []}
    for number in range(episodes):
        observation, ended = env.reset(seed=number)[0], False
        while not ended:
            action = 1 + int(np.sign(np.round((observation[1] - observation[0]) / 0.3)))
            after, _, ended, _, _ = env.step(action)
            for column, value in zip(columns.values(), (observation, [action], ended), strict=True):
                column.append(value)
            observation = after
    return {name: np.array(column) for name, column in columns.items()}


CONFIG = sac.Config(hidden=(32,), discount=0.9, num_envs=4, replay_capacity=2000, learning_starts=64, batch_size=64,
                    replay_ratio=32.0, learning_rate=5e-3, tau=0.1, temperature=0.02)
PPO = ppo.Config(num_envs=8, rollout_steps=32, batch_size=64, hidden=(32,), discount=0.9, learning_rate=3e-3)
SPEC = GymVectorEnv(Door, 1).spec


def teachers(leaves):
    """Those who leave at once, or never."""
    return {"observation": np.ones((40, 1), np.float32), "action": np.full((40, 1), int(leaves)),
            "terminated": np.full(40, leaves)}


def signal(kind, leaves, seed=0, features=action_features, epochs=1):
    return kind(SPEC, teachers(leaves), partial(features, SPEC), CONFIG.discount, learning_rate=3e-3, epochs=epochs,
                seed=seed)


BOTH_WAYS = pytest.mark.parametrize("kind, leaves, imitates", [
    (GAIL, True, True), (GAIL, False, True),
    (OnlyPositive, True, False), (OnlyPositive, False, True),
    (OnlyNegative, True, True), (OnlyNegative, False, False),
])


@pytest.mark.slow
@BOTH_WAYS
def test_gail_has_no_survival_or_termination_bias_with_sac(monkeypatch, kind, leaves, imitates):
    monkeypatch.setattr(sac, "reward_signals", lambda config, spec, seed: [signal(kind, leaves)])
    loop = InTurn(sac, CONFIG, GymVectorEnv(Door, 4, 0), 0).run(1500)
    lengths = np.mean([episode.length for episode in loop.episodes[-8:]])
    assert (lengths < 3 if leaves else lengths > 17) == imitates, lengths


@BOTH_WAYS
def test_gail_has_no_survival_or_termination_bias_with_ppo(monkeypatch, kind, leaves, imitates):
    monkeypatch.setattr(ppo, "reward_signals", lambda config, spec, seed: [
        signal(kind, leaves, features=ppo._action_features, epochs=4)])
    loop = InTurn(ppo, PPO, GymVectorEnv(Door, 8, 0), 0).run(8000)
    lengths = np.mean([episode.length for episode in loop.episodes[-8:]])
    assert (lengths < 3 if leaves else lengths > 17) == imitates, lengths


@pytest.mark.slow
@pytest.mark.parametrize("kind, learns", [(GAIL, True), (TwoSided, False)])
def test_imitation_helps_beside_environment_rewards(monkeypatch, kind, learns):
    """With the weight 1, which is far more than the game's own reward. Without imitation the return is about 0.4 after
    these 1,500 steps; a penalty that demands slopes pays for going in some direction, as far as −3."""
    config = sac.Config(hidden=(64, 64), n_step=5, entropy_in_values=False, num_envs=4, replay_capacity=10_000,
                        learning_starts=256, batch_size=128, replay_ratio=64.0, learning_rate=1e-3, tau=0.01)
    shown = catches(21)
    monkeypatch.setattr(sac, "reward_signals", lambda config, spec, seed: [
        EnvironmentReward(0.99), kind(spec, shown, partial(action_features, spec), 0.99, learning_rate=1e-3)])
    loop = InTurn(sac, config, GymVectorEnv(Catch, 4, 0), 0).run(1500)
    found = returns(loop.agent(), GymVectorEnv(Catch, 20, 999), 40).mean()
    assert found > 1.2 if learns else found < 0, found


@pytest.mark.parametrize("unit", [1.0, 1e-3])
@pytest.mark.parametrize("kind, fair", [(GAIL, True), (TwoSided, False)])
def test_indistinguishable_behaviour_gets_no_reward(kind, fair, unit):
    """... and in any unit of the observations something is where something does."""
    spec, rng = EnvSpec((4,), np.float32, 3, 1, (-1.0, 1.0), 100), np.random.default_rng(0)

    def steps(count, purpose):
        observation = rng.uniform(-1, 1, (count, 4)).astype(np.float32) * np.float32(unit)
        action = np.where(observation[:, :1] > 0, 2, 0) if purpose else rng.integers(3, size=(count, 1))
        return {"observation": observation, "action": action, "terminated": np.zeros(count, np.bool_)}

    def rewards(purpose):
        gail = kind(spec, steps(1000, purpose), partial(action_features, spec), 0.9, learning_rate=1e-3)
        for _ in range(200):
            gail.update(steps(256, False))
        return gail.rewards(steps(1000, purpose)), gail.rewards(steps(1000, False))

    assert (rewards(False)[0].std() < 0.15) == fair
    own, others = rewards(True)
    assert (own.mean() - others.mean() > 0.4) == fair


def test_cart_pole_is_imitated_without_its_reward(monkeypatch):
    """By PPO, from five episodes of a player who always gets 500; at random it is 22."""
    env, columns = gymnasium.make("CartPole-v1"), {"observation": [], "action": [], "terminated": []}
    for number in range(5):
        observation, over = env.reset(seed=number)[0], False
        while not over:
            action = int(3 * observation[2] + observation[3] + 0.05 * observation[0] + 0.1 * observation[1] > 0)
            after, _, ended, over, _ = env.step(action)
            for column, value in zip(columns.values(), (observation, action, ended), strict=True):
                column.append(value)
            observation = after
    shown = {name: np.array(column) for name, column in columns.items()}
    assert len(shown["action"]) == 2500
    monkeypatch.setattr(ppo, "reward_signals", lambda config, spec, seed: [
        GAIL(spec, shown, partial(ppo._action_features, spec), 0.99, learning_rate=1e-3, epochs=4)])
    config = ppo.Config(epochs=10, anneal_learning_rate=True, anneal_clip_range=True)
    loop = InTurn(ppo, config, GymVectorEnv("CartPole-v1", 8, 0), 0).run(40_960)
    found = returns(loop.agent(), GymVectorEnv("CartPole-v1", 10, 1), 10).mean()
    assert found >= 450, found


def test_rewards_have_both_signs_and_ends_include_absorption():
    gail = signal(GAIL, leaves=True)
    mixed = {"observation": np.ones((64, 1), np.float32), "action": np.arange(64)[:, None] % 2,
             "terminated": np.arange(64) % 2 == 1}
    for _ in range(200):
        losses = gail.update(mixed)
    stays, leaves = gail.rewards(mixed)[:2]
    assert stays < 0 < leaves and losses["accuracy"] > 0.5
    of_steps, absorbing = gail.occupancy_logits()
    with torch.no_grad():
        logit = gail.net(gail._inputs(mixed))[1].item() + of_steps + 9.0 * absorbing
    assert leaves == pytest.approx(logit, rel=1e-5)
    same = signal(GAIL, leaves=True)
    for _ in range(200):
        same.update(teachers(True))
    assert abs(same.rewards(teachers(True))).max() < 0.6, "identical behaviour cannot be distinguished"


def test_discriminator_sees_the_boards_cell_of_the_action():
    """Experts choose the cell that is lit, which is never the last one; what is learnt of the others holds there."""
    spec, rng = EnvSpec((1, 3, 4), np.float32, 12, 1, (0.0, 1.0), 10, planes_first=True), np.random.default_rng(0)
    boards = np.eye(12, dtype=np.float32).reshape(12, 1, 3, 4)

    def steps(lit, action):
        return {"observation": boards[lit], "action": action[:, None], "terminated": np.zeros(len(lit), np.bool_)}

    lit = rng.integers(11, size=200)
    gail = GAIL(spec, steps(lit, lit), partial(action_features, spec), 0.9, learning_rate=3e-3)
    for _ in range(60):
        gail.update(steps(rng.integers(11, size=64), rng.integers(12, size=64)))
    last = gail.rewards(steps(np.full(12, 11), np.arange(12)))
    assert last[11] - last[:11].max() > 0.3, last.round(2)


def test_discriminator_is_restored():
    first, second = signal(GAIL, True), signal(GAIL, True, seed=5)
    steps = teachers(False)
    first.update(steps)
    second.load_state_dict(first.state_dict())
    for gail in (first, second):
        gail.update(steps)
    assert np.array_equal(first.rewards(steps), second.rewards(steps))


def test_imitation_of_recorded_games_is_resumed(tmp_path):
    """From the folder of one run to the reward of another, with two discounts."""
    limits = TrainConfig(env_steps=400, deterministic=True, evaluate_every=0)
    small = sac.Config(hidden=(16,), num_envs=4, learning_starts=64, batch_size=32, replay_ratio=4.0,
                       replay_capacity=1000)
    teacher = create_run(RunConfig("CartPole-v1", "sac", small, limits), tmp_path / "teacher")
    train(teacher, quiet=True)
    imitates = dataclasses.replace(small, gail_weight=0.5, gail_discount=0.9, recordings=(str(teacher.folder),))
    run = create_run(RunConfig("CartPole-v1", "sac", imitates, limits), tmp_path / "pupil")
    train(run, quiet=True)
    agent = load_agent(run.folder)[0]
    spec = run.config.environment.spec
    learner = sac.make_learner(imitates, spec, None, 0)
    assert learner.signals.discounts == [0.99, 0.9] and learner.sampler.powers.shape == (2, 2)
    shown = learner.signals.signals[1].demonstrations
    records = [json.loads(line) for line in (teacher.folder / "games.jsonl").read_text().splitlines()]
    kept = [record for record in records if "actions" in record]
    assert len(shown["action"]) == sum(record["length"] for record in kept) > 50
    assert shown["terminated"].sum() == len(kept) and set(np.unique(shown["action"])) == {0, 1}
    assert agent.has_memory is False
    onpolicy = ppo.Config(num_envs=4, rollout_steps=16, batch_size=32, hidden=(16,), reward_scale=0.0, gail_weight=1.0,
                          gail_discount=0.9, recordings=(str(teacher.folder),))
    other = create_run(RunConfig("CartPole-v1", "ppo", onpolicy, limits), tmp_path / "other")
    train(other, quiet=True)
    (tmp_path / "teacher").rename(tmp_path / "away")
    assert load_agent(other.folder)[0].net.value.linear.out_features == 2, "its actors and agents need no recordings"
    with pytest.raises(UserError, match="recordings, which is empty"):
        sac.make_learner(dataclasses.replace(imitates, recordings=()), spec, None, 0)
    (tmp_path / "away").rename(tmp_path / "teacher")
    with pytest.raises(UserError, match="not those of this run"):
        sac.make_learner(imitates, GymVectorEnv("Pendulum-v1", 1).spec, None, 0)


def test_empty_demonstrations_and_discount_one_are_refused():
    nothing = {name: column[:0] for name, column in teachers(True).items()}
    with pytest.raises(UserError, match="no steps"):
        GAIL(SPEC, nothing, partial(action_features, SPEC), 0.9)
    with pytest.raises(UserError, match="below 1"):
        GAIL(SPEC, teachers(True), partial(action_features, SPEC), 1.0)
