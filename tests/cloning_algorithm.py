"""A linear policy that imitates recorded games: the smallest algorithm that learns without an actor. A test double."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from myosu.replay.replay import Replay
from toy_algorithm import Agent, make_model

SOURCE = "recorded"


@dataclass(frozen=True)
class Config:
    recordings: tuple[str, ...] = ()
    num_envs: int = 1
    replay_capacity: int = 5000
    replay_ratio: float = 8.0
    learning_starts: int = 32
    batch_size: int = 32
    learning_rate: float = 0.02


def resolve(config, spec, deterministic):
    return config


def make_replay(config, spec):
    return Replay({"observation": (spec.observation_shape, spec.observation_dtype), "action": ((), np.int16)},
                  config.replay_capacity)


def make_rows(config, spec, moves):
    return [{"observation": np.array([move.observation for move in moves]),
             "action": np.array([move.action for move in moves], np.int16)}]


class Learner:
    def __init__(self, config, spec, seed):
        self.config, self.model = config, make_model(spec, seed)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        self.rng = np.random.default_rng(seed)

    def update(self, replay, progress):
        rows = replay.sample_rows(self.config.batch_size, self.rng)
        observation = torch.from_numpy(replay.columns["observation"][rows].reshape(len(rows), -1)).float()
        action = torch.from_numpy(replay.columns["action"][rows].astype(np.int64))
        loss = torch.nn.functional.cross_entropy(self.model(observation)[:, :-1], action)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return {"imitation": loss.item()}

    def weights(self):
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def state_dict(self):
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(),
                "rng": self.rng.bit_generator.state}

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.bit_generator.state = state["rng"]


def make_learner(config, spec, symmetries, seed):
    return Learner(config, spec, seed)


def make_agent(config, spec, weights, *, simulations=None, seed=0):
    return Agent(spec, weights)
