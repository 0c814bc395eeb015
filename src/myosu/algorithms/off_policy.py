"""Shared parts of the off-policy algorithms (DQN, SAC): an actor that returns every step, n-step sampling, and the
learner's state."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from myosu.algorithms.interface import Experience
from myosu.algorithms.recorder import EpisodeRecorder
from myosu.envs.vector import Step, VectorEnv
from myosu.games.game import Symmetries
from myosu.nets.flat import FlatAdam
from myosu.replay.priorities import Priorities
from myosu.replay.replay import Columns, Rows
from myosu.replay.transitions import RunningSteps, Transitions, Windows
from myosu.rewards.signals import RewardSignals
from myosu.runs.state import State, Weights, copied


class Player(Protocol):
    """The acting network. tensors: its parameters and buffers by name."""

    tensors: Weights

    def load_weights(self, weights: Weights) -> None: ...

    def actions(self, stored: np.ndarray) -> np.ndarray:
        """The environment's actions [n, *action_shape] for stored actions."""


class StepActor:
    """Plays in ``env`` and returns every step as soon as the environment has answered. Algorithms implement ``choose``.
    """

    def __init__(self, env: VectorEnv, columns: Columns, player: Player, seed: int) -> None:
        self.env, self.network, self.rng = env, player, np.random.default_rng(seed)
        # Random, so that the env_ids of different actors do not collide.
        first_id = int(np.random.default_rng([seed, 1]).integers(2**42)) << 20
        self.running = RunningSteps(columns, env.num_envs, first_id)
        self.recorder = EpisodeRecorder(env.spec, env.num_envs)
        self.version = 0
        env.reset()
        self.current: Step = env.recv(env.num_envs)
        self.recorder.start(self.current)

    def choose(self, step: Step) -> Rows:
        """The column ``action``, in the replay's format, and other columns that are known before the step."""
        raise NotImplementedError

    def step(self) -> Experience:
        now = self.current
        chosen = self.choose(now)
        self.running.act(now.env_ids, observation=now.observation, legal_actions=now.legal_actions, **chosen)
        self.env.send(self.network.actions(chosen["action"]), now.env_ids)
        self.current = after = self.env.recv()
        rows = self.running.answer(after)
        actions = self.network.actions(rows["action"][: len(after.env_ids)])
        episodes = self.recorder.record(after, actions, self.version)
        return Experience(self.version, len(after.env_ids), [rows], episodes)

    def load_weights(self, weights: Weights, version: int) -> None:
        self.network.load_weights(weights)
        self.version = version

    def state_dict(self) -> State:
        return {
            "env": self.env.state_dict(), "current": dict(vars(self.current)), "rng": self.rng.bit_generator.state,
            "weights": dict(self.network.tensors), "version": self.version, "running": self.running.state_dict(),
            "recorder": self.recorder.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        self.env.load_state_dict(state["env"])
        self.current = Step(**state["current"])
        self.rng.bit_generator.state = state["rng"]
        self.load_weights(state["weights"], state["version"])
        self.running.load_state_dict(state["running"])
        self.recorder.load_state_dict(state["recorder"])


class Sampler:
    """Samples n-step transitions, uniformly or by priority. Rewards are computed when sampling, by the current signals.

    priorities: of the rows; None: sample uniformly.
    """

    def __init__(self, signals: RewardSignals, n_step: int, priorities: Priorities | None) -> None:
        assert all(episodic for _, episodic in signals.returns), "a replay does not show what came after an end"
        self.signals, self.n_step, self.priorities = signals, n_step, priorities
        discounts = np.array(signals.discounts, np.float32)
        #: γ^k, float32 [n_step + 1, discounts].
        self.powers = discounts ** np.arange(n_step + 1, dtype=np.float32)[:, None]
        #: Rows whose n-step window is not complete yet; they get a priority when it is.
        self.waiting = np.zeros(0, np.int64)

    def draw(self, replay: Transitions, count: int, progress: float, rng: np.random.Generator
             ) -> tuple[Windows, np.ndarray | None]:
        """Windows from ``count`` sampled rows, and their importance-sampling weights; None if sampling is uniform."""
        if self.priorities is None:
            return replay.sample_windows(count, rng), None
        rows = np.union1d(self.waiting, self.priorities.new_rows(replay))
        rows = rows[replay.columns["acted"][rows]]
        complete = replay.windows(rows).complete
        self.priorities.set_greatest(rows[complete])
        self.waiting = rows[~complete]
        rows, importance = self.priorities.draw(count, replay.positions, progress, rng)
        return replay.windows(rows), importance

    def transitions(self, replay: Transitions, windows: Windows) -> dict[str, np.ndarray]:
        """Transitions from s_t to s_{t+m}, where m = n or fewer steps to the end of the episode.

        reward: Σ_{j<m} γ^j r_{t+j}, float32 [n, discounts]. discount: γ^m, or 0 where the episode terminated; the same
        shape. next_observation: s_{t+m}, the final observation where the episode ended. next_legal_actions: its mask.
        """
        n, columns = self.n_step, replay.columns
        rewards = self.signals.rewards(replay.view(windows.steps.ravel()))
        rewards = rewards.reshape(len(windows.rows), n, self.powers.shape[1])
        counts = (np.arange(n) < windows.length[:, None])[..., None]
        return {
            "observation": columns["observation"].take(windows.rows, axis=0),
            "legal_actions": columns["legal_actions"].take(windows.rows, axis=0),
            "action": columns["action"].take(windows.rows, axis=0),
            "reward": (np.where(counts, rewards, np.float32(0.0)) * self.powers[:n]).sum(axis=1),
            "discount": np.where(windows.terminated[:, None], np.float32(0.0), self.powers[windows.length]),
            "next_observation": columns["observation"].take(windows.after, axis=0),
            "next_legal_actions": columns["legal_actions"].take(windows.after, axis=0),
        }

    def set_errors(self, windows: Windows, errors: np.ndarray) -> None:
        """Update priorities with the TD errors float32 [n] of the windows' first steps."""
        if self.priorities is not None:
            self.priorities.set_errors(windows.rows, errors)

    def state_dict(self) -> State:
        state: State = {"signals": self.signals.state_dict(), "waiting": self.waiting.copy()}
        return state if self.priorities is None else state | {"priorities": self.priorities.state_dict()}

    def load_state_dict(self, state: State) -> None:
        self.signals.load_state_dict(state["signals"])
        self.waiting = state["waiting"].copy()
        if self.priorities is not None:
            self.priorities.load_state_dict(state["priorities"])


class StepLearner:
    """Weights and checkpoint state of a learner with an online network, a target network and a ``Sampler``. Algorithms
    set the fields and implement ``update``."""

    net: nn.Module
    target: nn.Module
    optimizer: FlatAdam
    sampler: Sampler
    symmetries: Symmetries | None
    rng: np.random.Generator
    device: torch.device
    updates: int

    @cached_property
    def _tensors(self) -> Weights:
        """The network's parameters and buffers. Cached, because collecting them takes as long as copying them; they are
        updated in place."""
        return self.net.state_dict()

    def weights(self) -> Weights:
        return copied(self._tensors)

    def state_dict(self) -> State:
        return copy.deepcopy({"net": self.net.state_dict(), "target": self.target.state_dict(),
                              "optimizer": self.optimizer.state_dict(), "rng": self.rng.bit_generator.state,
                              "updates": self.updates, "sampler": self.sampler.state_dict()})

    def load_state_dict(self, state: State) -> None:
        self.net.load_state_dict(state["net"])
        self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self.updates = state["updates"]
        self.sampler.load_state_dict(state["sampler"])

    def _augmented(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Augment each transition with a random symmetry of the game."""
        return batch if self.symmetries is None else self.symmetries.augment(batch, self.rng)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)
