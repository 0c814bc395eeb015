"""The smallest algorithm that has all the parts: a linear policy and value trained on outcomes. A test double."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from myosu.algorithms.interface import Experience
from myosu.envs.vector import EnvSpec
from myosu.errors import NonFiniteLoss
from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.replay.replay import Replay
from myosu.runs.games import GameRecord

SOURCE = "processes"


@dataclass(frozen=True)
class Config:
    num_envs: int = 8
    replay_capacity: int = 2000
    replay_ratio: float = 2.0
    learning_starts: int = 100
    batch_size: int = 16
    learning_rate: float = 0.05
    broken_at: int = 0
    """The update at which the loss becomes NaN; 0 for never."""
    pause: float = 0.0
    """Seconds for which an actor sleeps before each step, so that actors of many processes do not use all cores."""


def resolve(config, spec, deterministic):
    return config


def make_replay(config, spec: EnvSpec) -> Replay:
    return Replay({"observation": (spec.observation_shape, spec.observation_dtype), "action": ((), np.int16),
                   "outcome": ((), np.float32)}, config.replay_capacity)


def make_model(spec: EnvSpec, seed: int) -> torch.nn.Linear:
    model = torch.nn.Linear(int(np.prod(spec.observation_shape)), spec.num_actions + 1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    return model


class Actor:
    def __init__(self, config, env, seed):
        self.config = config
        self.env, self.spec, self.rng, self.version = env, env.spec, np.random.default_rng(seed), 0
        self.model = make_model(env.spec, seed)
        env.reset()
        step = env.recv()
        self.observation, self.legal, self.to_play = step.observation, step.legal_actions, step.to_play
        self.seeds = step.seed
        self.games = [[] for _ in range(env.num_envs)]

    def step(self):
        time.sleep(self.config.pause)
        n = self.env.num_envs
        with torch.no_grad():
            logits = self.model(torch.from_numpy(self.observation.reshape(n, -1)).float())[:, :-1].numpy()
        scores = np.where(self.legal, logits + self.rng.gumbel(size=logits.shape), -np.inf)
        actions = scores.argmax(axis=1)
        before, seats, seeds = self.observation, self.to_play, self.seeds
        self.env.send(actions, np.arange(n))
        step = self.env.recv()
        self.observation, self.legal, self.to_play = step.observation, step.legal_actions, step.to_play
        self.seeds = step.seed
        experience = Experience(self.version, steps=n)
        for i in range(n):
            self.games[i].append((before[i], int(actions[i]), int(seats[i]), float(step.reward[i])))
            if step.terminated[i] or step.truncated[i]:
                rows, episode = self._episode(self.games[i], bool(step.truncated[i]), int(seeds[i]))
                experience.sequences.append(rows)
                experience.episodes.append(episode)
                self.games[i] = []
        return experience

    def _episode(self, rows, truncated, seed):
        observation, actions, seats, rewards = (np.array(column) for column in zip(*rows, strict=True))
        first = float(np.sum(np.where(seats == 0, rewards, -rewards)))
        outcome = np.where(seats == 0, first, -first).astype(np.float32)
        columns = {"observation": observation, "action": actions.astype(np.int16), "outcome": outcome}
        return columns, GameRecord(seed, actions.tolist(), [first, -first], not truncated, truncated,
                                   weights_version=self.version, stats={"policy_entropy": 1.0})

    def load_weights(self, weights, version):
        self.model.load_state_dict(weights)
        self.version = version

    def state_dict(self):
        return {"env": self.env.state_dict(), "observation": self.observation, "legal": self.legal,
                "to_play": self.to_play, "seeds": self.seeds, "rng": self.rng.bit_generator.state,
                "games": [[list(row) for row in game] for game in self.games]}

    def load_state_dict(self, state):
        self.env.load_state_dict(state["env"])
        self.observation, self.legal, self.to_play = state["observation"], state["legal"], state["to_play"]
        self.seeds = state["seeds"]
        self.rng.bit_generator.state = state["rng"]
        self.games = [[tuple(row) for row in game] for game in state["games"]]


class Learner:
    def __init__(self, config, spec, seed):
        self.config, self.updates = config, 0
        self.model = make_model(spec, seed)
        self.parameters = FlatParameters(self.model)
        self.optimiser = FlatAdam(self.parameters)
        self.rng = np.random.default_rng(seed)

    def update(self, replay, progress):
        self.updates += 1
        rows = replay.sample_rows(self.config.batch_size, self.rng)
        observation = torch.from_numpy(replay.columns["observation"][rows].reshape(len(rows), -1)).float()
        outcome = torch.from_numpy(replay.columns["outcome"][rows])
        # Dropout draws from torch's own generator, which a resumed run must restore too.
        output = self.model(torch.nn.functional.dropout(observation, 0.1))
        action = torch.from_numpy(replay.columns["action"][rows].astype(np.int64))
        value = (output[:, -1] - outcome).square().mean()
        policy = -(output[:, :-1].log_softmax(1).gather(1, action[:, None])[:, 0] * outcome).mean()
        loss = value + policy
        if self.updates == self.config.broken_at:
            loss = loss * float("nan")
        if not torch.isfinite(loss):
            raise NonFiniteLoss(f"the loss is {loss.item()}", {"observation": observation, "outcome": outcome})
        self.parameters.zero_gradient()
        loss.backward()
        self.optimiser.step(self.config.learning_rate * (1 - progress))
        return {"value": value.item(), "policy": policy.item(), "progress": progress}

    def weights(self):
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def state_dict(self):
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(),
                "rng": self.rng.bit_generator.state, "updates": self.updates}

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.bit_generator.state = state["rng"]
        self.updates = state["updates"]


class Agent:
    has_memory = False

    def __init__(self, spec, weights):
        self.model = make_model(spec, 0)
        self.model.load_state_dict(weights)

    def act(self, observation, legal_actions, state=None, starts=None):
        with torch.no_grad():
            logits = self.model(torch.from_numpy(observation.reshape(len(observation), -1)).float())[:, :-1].numpy()
        return np.where(legal_actions, logits, -np.inf).argmax(axis=1), None


def make_actor(config, env, seed):
    return Actor(config, env, seed)


def make_learner(config, spec, symmetries, seed):
    return Learner(config, spec, seed)


def make_agent(config, spec, weights, *, simulations=None, seed=0):
    return Agent(spec, weights)
