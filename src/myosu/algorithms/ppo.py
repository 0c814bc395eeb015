"""Proximal policy optimisation (Schulman et al. 2017) with generalised advantage estimation.

Read it from top to bottom: the configuration, the network, how the actor collects a rollout, the learner that makes
advantages of it and goes over it a few times, the agent. A rollout is ``num_envs · rollout_steps`` steps of the current
policy; it fills the replay, is learnt from in minibatches for ``epochs`` passes, and makes way for the next.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor, nn

from myosu import kernels
from myosu.algorithms.checks import check_not_mixed, check_ranges
from myosu.algorithms.demonstrations import gail_signals, load_demonstrations
from myosu.algorithms.interface import AgentState, Experience, Thoughts, state_before
from myosu.algorithms.recorder import EpisodeRecorder
from myosu.envs.vector import EnvSpec, Step, VectorEnv
from myosu.errors import NonFiniteLoss, UserError
from myosu.games.game import Symmetries
from myosu.losses import reference
from myosu.losses.advantage import generalized_advantages
from myosu.losses.distributions import Choices, Distribution, Gaussian
from myosu.losses.policy_gradient import approximate_kl, clip_fraction, clipped_surrogate, explained_variance
from myosu.nets.encoder import ActionHead, Encoder, Observation, default_hidden, has_pictures, to_tensors
from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.nets.inference import device_for
from myosu.nets.popart import PopArt
from myosu.nets.towers import TowersInNumPy, TwinTowers
from myosu.replay.replay import Columns, Replay, Rows, fitting_capacity, row_bytes
from myosu.replay.transitions import Rollout, View, transition_columns
from myosu.rewards.actions import action_features
from myosu.rewards.curiosity import curiosity_signals, parse_curiosity
from myosu.rewards.environment import EnvironmentReward
from myosu.rewards.signals import RewardSignal, RewardSignals
from myosu.runs.state import State, Weights, copied

#: Observations as the network reads them: tensors [n, ...] by name, or one array of vectors.
Inputs = dict[str, Any]

#: The data must come from the policy that learns.
SOURCE = "only in turn"


@dataclass(frozen=True)
class Config:
    """PPO's settings. Presets: ``myosu/presets/ppo``."""

    num_envs: int = 8
    """Environments that are played at once."""
    rollout_steps: int = 128
    """Steps in each environment between two rounds of learning."""
    epochs: int = 4
    """Passes over a rollout."""
    batch_size: int = 256
    """Steps a minibatch. Where it does not divide the rollout of num_envs * rollout_steps, the nearest number that does
    takes its place."""

    hidden: tuple[int, ...] = ()
    """Widths of the layers: of a policy and a value network of their own or, for pictures and with a memory, of one
    encoder for both. By default 64 64, of images 512."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Between these layers."""
    channels: int = 32
    """Channels of the convolutions over a board."""
    blocks: int = 1
    """Residual blocks over a board."""
    lstm_size: int = 0
    """Units of a memory (LSTM) for what one observation does not show; 0: none."""
    sequence_length: int = 32
    """With a memory: steps that its training goes back; it must divide the rollout."""
    normalize_observations: bool = False
    """Subtract the running mean of observations and divide by their deviation; pictures stay as they are."""
    normalize_rewards: bool = False
    """Divide rewards by the running deviation of the discounted return."""
    reward_clip: float | None = None
    """Clip rewards, normalised or not, to ± this; None: to ±10 where they are normalised, else not at all."""
    reward_scale: float = 1.0
    """Weight of the environment's rewards among all rewards; 0: the agent learns from the others alone."""
    gail_weight: float = 0.0
    """Weight of the reward for imitating ``recordings`` (GAIL); 0: none."""
    gail_discount: float = 0.99
    """Discount of that reward, in [0, 1)."""
    recordings: tuple[str, ...] = ()
    """Folders of the runs whose recorded games are imitated, minari:DATASET, or .demo files."""
    curiosity: tuple[str, ...] = ()
    """Rewards for what is new (docs/curiosity.md): rnd, icm, counts, each with a weight and a discount if you like, as
    in rnd:0.5:0.99."""

    discount: float = 0.99
    """Discount of rewards γ, in [0, 1]."""
    gae_lambda: float = 0.95
    """λ of generalised advantage estimation, in [0, 1]: 0 trusts the value one step on, 1 only the rewards."""
    clip_range: float = 0.2
    """How far the probability of an action may move in a round of learning, as a ratio."""
    anneal_clip_range: bool = False
    """Let the clip range fall to 0 over the run."""
    learning_rate: float = 3e-4
    """Adam's learning rate."""
    anneal_learning_rate: bool = False
    """Let the learning rate fall to 0 over the run."""
    normalize_advantages: bool = True
    """Give the advantages of each minibatch mean 0 and deviation 1."""
    normalize_values: bool = True
    """Predict values in units of their own running mean and deviation (PopArt), so that returns may be of any size."""
    value_loss_weight: float = 0.5
    """Weight of the squared error of the value."""
    entropy_weight: float = 0.0
    """Weight of the policy's entropy, which keeps it from settling too soon."""
    cloning_weight: float = 0.0
    """Weight of the loss −log π(a|s) of the actions in ``recordings``; it falls linearly to 0 over the run."""
    max_grad_norm: float = 0.5
    """Greatest norm of the gradient; of each of the two networks, where policy and value share nothing."""
    device: str = "auto"
    """cpu, cuda or mps; auto: an accelerator if there is one and observations have pictures."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            "num_envs": (1, 1_000_000), "rollout_steps": (1, 1_000_000), "epochs": (1, 1000), "batch_size": (1, 10**7),
            "channels": (1, 4096), "blocks": (0, 100), "lstm_size": (0, 4096), "sequence_length": (1, 10_000),
            "discount": (0.0, 1.0), "gae_lambda": (0.0, 1.0),
            "clip_range": (0.0, 10.0), "learning_rate": (0.0, 10.0), "value_loss_weight": (0.0, 1e6),
            "entropy_weight": (0.0, 1e6), "max_grad_norm": (1e-6, 1e9), "reward_scale": (0.0, 1e9),
            "gail_weight": (0.0, 1e9), "cloning_weight": (0.0, 1e6),
        })
        if self.cloning_weight and self.lstm_size:
            raise UserError("cloning_weight and lstm_size do not go together: what is remembered at a recorded step is "
                            "not known. Leave one of them out.")
        if self.recordings and not (self.cloning_weight or self.gail_weight):
            raise UserError("recordings are given, but nothing is to be made of them: set cloning_weight or "
                            "gail_weight.")
        if self.reward_clip is not None:
            check_ranges(self, {"reward_clip": (1e-9, 1e9)})
        for text in self.curiosity:
            parse_curiosity(text, self.discount)
        if min(self.hidden, default=1) < 1:
            raise UserError(f"hidden = {self.hidden} is impossible: a layer has 1 unit or more.")
        if self.batch_size == 1 and self.normalize_advantages:
            raise UserError("normalize_advantages has no meaning with batch_size = 1: raise batch_size.")

    @property
    def rollout_size(self) -> int:
        return self.num_envs * self.rollout_steps

    @property
    def unroll(self) -> int:
        """Rows that must stay together in a minibatch."""
        return self.sequence_length if self.lstm_size else 1

    # What the loop reads: a rollout fills the replay, and each of its steps is drawn ``epochs`` times.
    replay_capacity = learning_starts = rollout_size

    @property
    def replay_ratio(self) -> float:
        return float(self.epochs)


def resolve(config: Config, spec: EnvSpec, deterministic: bool) -> Config:
    if spec.num_players != 1:
        raise UserError("PPO is for environments with one player: train games for two with muzero, or with an opponent "
                        "inside them (--opponent alphabeta:2).")
    check_not_mixed("PPO", spec)
    fitting = [size for size in range(config.unroll, config.rollout_size + 1, config.unroll)
               if config.rollout_size % size == 0 and (size > 1 or not config.normalize_advantages)]
    if not fitting:
        raise UserError(f"sequence_length = {config.sequence_length} does not divide the rollout of num_envs * "
                        f"rollout_steps = {config.num_envs} * {config.rollout_steps} = {config.rollout_size} steps: "
                        "change one of them.")
    # The actor keeps as much as the replay.
    if fitting_capacity(rollout_columns(config, spec), rows := 4 * config.rollout_size, warn=False) < rows:
        raise UserError(f"A rollout of num_envs * rollout_steps = {config.num_envs} * {config.rollout_steps} steps "
                        f"takes {rows * row_bytes(rollout_columns(config, spec)) / 2**30:.1f} GiB, more than this "
                        "machine has to spare: lower one of them.")
    size = min(fitting, key=lambda size: abs(math.log(size / config.batch_size)))
    if size != config.batch_size:
        warnings.warn(f"batch_size = {size}, for {config.batch_size} does not divide the rollout of "
                      f"{config.num_envs} * {config.rollout_steps} = {config.rollout_size} steps.", stacklevel=1)
    return dataclasses.replace(config, batch_size=size)


def reward_signals(config: Config, spec: EnvSpec, seed: int) -> list[RewardSignal]:
    """What is to be maximised. Each kind of return among them has a value of its own."""
    features = partial(_action_features, spec)
    return [EnvironmentReward(config.discount, config.reward_scale, config.reward_clip, config.normalize_rewards,
                              config.num_envs),
            *gail_signals(config, spec, partial(policy_action, spec), features, config.epochs, seed),
            *curiosity_signals(config.curiosity, spec, features, config.discount, config.num_envs, 1, seed)]


def _action_features(spec: EnvSpec, action: np.ndarray) -> np.ndarray:
    """What reward signals read of a policy's actions [n, *action_shape]: continuous ones as the environment gets them,
    within its bounds, or a discriminator would tell a policy from its teachers by what lies outside."""
    if spec.action_low:
        action = policy_action(spec, environment_action(spec, action))
    else:  # as columns of the choices of all branches
        action = action.reshape(len(action), -1) + np.cumsum((0, *spec.action_branches[:-1]))
    return action_features(spec, action)


def returns(config: Config) -> list[tuple[float, bool]]:
    """``RewardSignals.returns`` of ``reward_signals``, known without the demonstrations, which actors and agents do not
    have."""
    found = [(config.discount, True)]
    if config.gail_weight:
        found.append((config.gail_discount, True))
    for text in config.curiosity:
        kind, _, discount = parse_curiosity(text, config.discount)
        found.append((discount, kind == "counts"))
    return list(dict.fromkeys(found))


class ActorCritic(nn.Module):
    """What the policy is made from, and the values of observations, one for each kind of return.

    Of vectors: two networks that share nothing. Of pictures, and with a memory: one encoder (and LSTM), two heads.
    ``forward`` says what is computed; actors and learners ``predict`` and go ``backward``, in NumPy where there are
    towers on the CPU.
    """

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        super().__init__()
        activation = {"tanh": nn.Tanh, "relu": nn.ReLU}[config.activation]
        self.shared = has_pictures(spec) or config.lstm_size > 0
        hidden = config.hidden or default_hidden(spec, (64, 64))
        self.encoder = Encoder(spec, hidden if self.shared else (), config.channels, config.blocks, activation,
                               config.normalize_observations)
        _orthogonal(self.encoder, math.sqrt(2))
        features = self.encoder.features
        self.cell = nn.LSTMCell(features, config.lstm_size) if config.lstm_size else None
        if self.cell is not None:
            _orthogonal(self.cell, 1.0)
            features = config.lstm_size
        self.towers = None if self.shared else TwinTowers(features, hidden, activation)
        features = self.towers.features if self.towers else features
        cells = None if self.cell else self.encoder.cells
        self.policy = ActionHead(features, len(spec.action_low) or spec.num_actions, cells)
        _orthogonal(self.policy, 0.01)
        self.value = PopArt(features, len(returns(config)))
        self.log_std = nn.Parameter(torch.zeros(len(spec.action_low))) if spec.action_low else None
        self.quick: TowersInNumPy | None = None

    def settle(self) -> ActorCritic:
        """The parameters have found their place in memory, and stay there from now on."""
        if self.towers and self.value.linear.weight.device.type == "cpu" and not kernels.PLAIN:
            assert isinstance(self.policy.out, nn.Linear)
            self.quick = TowersInNumPy(self.towers, self.policy.out, self.value.linear)
        return self

    def tower_of_parameters(self) -> list[Tensor]:
        """Of each parameter whether it belongs to the policy (0) or to the value (1); of one that both towers have a
        half of, that of each element."""
        found = []
        for name, parameter in self.named_parameters():
            tower = torch.full(parameter.shape, int(name.startswith("value.")))
            if name.startswith("towers."):
                tower[1] = 1
            found.append(tower)
        return found

    def forward(self, observation: Observation, memory: Tensor | None = None,
                continues: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The policy's outputs [n, P], values [n, returns] in ``PopArt``'s units and, with a memory, what is
        remembered after the last step, [B, 2 H].

        With a memory the n = B · T observations are B sequences of T steps. memory: [B, T, 2 H], what the actor
        remembered before each step. continues: bool [B, T], the step follows the one before it in the sequence, so
        that what is remembered comes from there; elsewhere it comes from ``memory``, which is 0 where episodes begin.
        """
        x, cells = self.encoder(observation)
        if self.cell is not None:
            assert memory is not None
            x, memory = self._remember(x.view(*memory.shape[:2], -1), memory, continues)
        for_policy, for_value = self.towers(x) if self.towers else (x, x)
        outputs = self.policy(for_policy, cells)
        if self.log_std is not None:
            outputs = torch.cat([outputs, self.log_std.expand_as(outputs)], dim=1)
        return outputs, self.value(for_value), memory

    def _remember(self, x: Tensor, memory: Tensor, continues: Tensor | None) -> tuple[Tensor, Tensor]:
        assert self.cell is not None
        state, outputs = memory[:, 0], []
        for t in range(x.shape[1]):
            if t > 0:
                assert continues is not None
                state = torch.where(continues[:, t, None], state, memory[:, t])
            hidden, cell = state.chunk(2, dim=1)
            hidden, cell = self.cell(x[:, t], (hidden, cell))
            state = torch.cat([hidden, cell], dim=1)
            outputs.append(hidden)
        return torch.stack(outputs, dim=1).flatten(0, 1), state

    def prepare(self, observation: np.ndarray) -> Inputs:
        """Observations [n, *shape] for ``predict``."""
        if self.quick:
            return {"": self.encoder.vectors(observation)}
        return to_tensors(observation, self.value.linear.weight.device)

    def predict(self, inputs: Inputs, memory: np.ndarray | None, continues: np.ndarray | None = None
                ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """``forward`` from arrays to arrays. Unless gradients are switched off, ``backward`` may follow."""
        if self.quick:
            outputs, value = self.quick.forward(inputs[""])
            if self.log_std is not None:
                log_std = np.broadcast_to(self.log_std.detach().numpy(), outputs.shape)
                outputs = np.concatenate([outputs, log_std], axis=1)
            return outputs, value, None
        device = self.value.linear.weight.device
        self.predicted = self(inputs, *(None if x is None else torch.from_numpy(x).to(device)
                                        for x in (memory, continues)))
        outputs, value, after = self.predicted
        return (outputs.detach().cpu().numpy(), value.detach().cpu().numpy(),
                None if after is None else after.detach().cpu().numpy())

    def backward(self, outputs: np.ndarray, value: np.ndarray) -> None:
        """Fill the parameters' gradients, until now 0: of a loss whose gradients in the last prediction are these."""
        if self.quick:
            if self.log_std is not None:
                assert self.log_std.grad is not None
                outputs, log_std = np.split(outputs, 2, axis=1)
                self.log_std.grad.numpy()[:] = log_std.sum(0)
            self.quick.backward(outputs, value)
        else:
            torch.autograd.backward(self.predicted[:2], [torch.from_numpy(x).to(self.predicted[0].device)
                                                         for x in (outputs, value)])

    @torch.inference_mode()
    def evaluate(self, observation: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The policy's outputs, values [n, returns] in units of the rewards and new memory [n, 2 H], of n
        environments."""
        outputs, value, after = self.predict(self.prepare(observation), memory[:, None] if self.cell else None)
        return outputs, self.value.to_rewards(value), memory if after is None else after


def _orthogonal(module: nn.Module, gain: float) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter) if parameter.dim() == 1 else nn.init.orthogonal_(parameter, gain)


def make_net(config: Config, spec: EnvSpec) -> ActorCritic:
    """On its device."""
    return ActorCritic(config, spec).to(device_for(config.device, spec))


def make_policy(spec: EnvSpec) -> Distribution:
    if spec.action_low:
        return Gaussian(len(spec.action_low))
    return Choices(spec.action_branches or (spec.num_actions,), several=bool(spec.action_branches))


def environment_action(spec: EnvSpec, action: np.ndarray) -> np.ndarray:
    """A policy's action as the environment has it: −1 and 1 are the bounds of a component that has two of them."""
    if not spec.action_low:
        return action
    low, high, half, bounded = _bounds(spec)
    scaled = np.where(bounded, low, -1.0) + np.where(bounded, half, 1.0) * (action + 1.0)
    return np.clip(scaled.astype(np.float32), low, high)


def policy_action(spec: EnvSpec, action: np.ndarray) -> np.ndarray:
    """The other way round."""
    if not spec.action_low:
        return action
    low, _, half, bounded = _bounds(spec)
    return np.where(bounded, (action - np.where(bounded, low, 0.0)) / np.where(bounded, half, 1.0) - 1.0,
                    action).astype(np.float32)


def _bounds(spec: EnvSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each component of an action the bounds, half their distance, and whether it has both."""
    low, high = np.array(spec.action_low, np.float32), np.array(spec.action_high, np.float32)
    half = (high - low) / 2
    return low, high, half, np.isfinite(half)


def rollout_columns(config: Config, spec: EnvSpec) -> Columns:
    """A row is a step and what was thought of it. ``value`` is in units of the rewards; ``memory`` is what was
    remembered before."""
    return transition_columns(spec, (spec.action_shape, spec.action_dtype)) | {
        "log_prob": ((), np.float32),
        "value": ((len(returns(config)),), np.float32),
        "memory": ((2 * config.lstm_size,), np.float32),
    }


def make_replay(config: Config, spec: EnvSpec) -> Replay:
    """There is room for a rollout whose episodes all end at once: each end, and where each environment stands after the
    rollout, takes a row as well. Memory that is never written is not taken."""
    return Rollout(rollout_columns(config, spec), 2 * config.rollout_size + config.num_envs)


class Actor:
    """Plays ``env`` with the newest policy and hands over a whole rollout at a time.

    Environments may answer in any number and order. A row of the rollout is begun when its action is sent and answered
    when the environment has answered; the last observation of an episode follows as a row in which nobody acted.
    """

    def __init__(self, config: Config, env: VectorEnv, seed: int) -> None:
        self.config, self.env, self.spec = config, env, env.spec
        self.net = make_net(config, env.spec).settle()
        self.policy = make_policy(env.spec)
        self.rng = np.random.default_rng([seed, 1])
        self.version = 0
        self.recorder = EpisodeRecorder(env.spec, env.num_envs)
        self.columns = rollout_columns(config, env.spec)
        kept = self.columns | {"entropy": ((), np.float32), "answered": ((), np.bool_), "after": ((), np.int64)}
        most = 2 * (config.rollout_size + 2 * env.num_envs)
        self.rollout: Rows = {name: np.zeros((most, *shape), dtype) for name, (shape, dtype) in kept.items()}
        #: Rows in use, how many of them are answered steps, and the latest of each environment. ``after``: of the last
        #: observation of an episode, the row of the last step.
        self.begun = self.complete = 0
        self.row = np.zeros(env.num_envs, np.int64)
        self.memory = np.zeros((env.num_envs, 2 * config.lstm_size), np.float32)
        env.reset()
        self.current = _all_first(env)
        self.recorder.start(self.current)

    def step(self) -> Experience:
        self._act(self.current)
        self.current = after = self.env.recv()
        rows = self.row[after.env_ids]
        self._answer(after, rows)
        episodes = self.recorder.record(after, environment_action(self.spec, self.rollout["action"][rows]),
                                        self.version, {"policy_entropy": self.rollout["entropy"][rows]})
        sequences = [self._full_rollout()] if self.complete >= self.config.rollout_size else []
        return Experience(self.version, steps=len(rows), sequences=sequences, episodes=episodes)

    def _act(self, now: Step) -> None:
        ids, rows = now.env_ids, slice(self.begun, self.begun + len(now.env_ids))
        memory = self.memory[ids]
        outputs, value, self.memory[ids] = self.net.evaluate(now.observation, memory)
        parameters = self.policy.normalize(outputs, now.legal_actions)
        action = self.policy.sample(parameters, self.rng)
        for name, values in {
            "observation": now.observation, "legal_actions": now.legal_actions, "action": action, "value": value,
            "log_prob": self.policy.log_prob(parameters, action), "entropy": self.policy.entropy(parameters),
            "memory": memory, "env_id": ids,
        }.items():
            self.rollout[name][rows] = values
        self.rollout["acted"][rows], self.rollout["answered"][rows] = True, False
        self.row[ids] = np.arange(rows.start, rows.stop)
        self.begun = rows.stop
        self.env.send(environment_action(self.spec, action), ids)

    def _answer(self, after: Step, rows: np.ndarray) -> None:
        for name in ("reward", "terminated", "truncated"):
            self.rollout[name][rows] = getattr(after, name)
        self.rollout["answered"][rows] = True
        self.complete += len(rows)
        if (ended := after.terminated | after.truncated).any():
            self._end(rows[ended], after.final_observation[ended], after.truncated[ended])

    def _end(self, rows: np.ndarray, observation: np.ndarray, cut: np.ndarray) -> None:
        """The steps in ``rows`` were the last of their episodes: rows for the last observations. The value of those at
        which an episode was cut counts."""
        ids, last = self.rollout["env_id"][rows], slice(self.begun, self.begun + len(rows))
        for column in self.rollout.values():
            column[last] = 0
        if cut.any():
            self.rollout["value"][last][cut] = self.net.evaluate(observation[cut], self.memory[ids[cut]])[1]
        for name, values in {
            "observation": observation, "legal_actions": self.rollout["legal_actions"][rows], "env_id": ids,
            "memory": self.memory[ids], "answered": True, "after": rows,
        }.items():
            self.rollout[name][last] = values
        self.begun = last.stop
        self.memory[ids] = 0.0

    def _full_rollout(self) -> Rows:
        """The first ``rollout_size`` answered steps, each environment's in their order, with the ends of their episodes
        and a last row that shows where the environment stands now, after an end too, for returns that go on across it;
        other rows stay for the next time."""
        begun = {name: column[: self.begun] for name, column in self.rollout.items()}
        acted = begun["acted"]
        rows, left = _complete_rows(acted, begun["answered"], begun["after"], self.config.rollout_size)
        env_id = begun["env_id"][rows]
        standing = self._standing(left[acted[left]], np.isin(np.arange(self.env.num_envs), env_id))
        full = {name: np.zeros((len(rows) + len(standing["env_id"]), *shape), dtype)
                for name, (shape, dtype) in self.columns.items()}
        for name, column in full.items():
            column[: len(rows)] = begun[name][rows]
        for name, values in standing.items():
            full[name][len(rows):] = values
        full["remaining"] = np.logical_or(full["terminated"], full["truncated"]).astype(np.int32)
        self._keep(left)
        return full

    def _standing(self, left: np.ndarray, played: np.ndarray) -> Rows:
        """Where those environments are which ``played`` bool [environments]: at steps in the rows ``left``, one an
        environment, or waiting for an action."""
        now = self.current
        value = self.net.evaluate(now.observation, self.memory[now.env_ids])[1]
        waiting = {"env_id": now.env_ids, "observation": now.observation, "legal_actions": now.legal_actions,
                   "memory": self.memory[now.env_ids], "value": value}
        waits = played[now.env_ids]
        if not len(left):
            return {name: values[waits] for name, values in waiting.items()}
        waits &= ~np.isin(now.env_ids, self.rollout["env_id"][left])
        left = left[played[self.rollout["env_id"][left]]]
        return {name: np.concatenate([self.rollout[name][left], values[waits]]) for name, values in waiting.items()}

    def _keep(self, rows: np.ndarray) -> None:
        """Forget all rows but these."""
        n = len(rows)
        for column in self.rollout.values():
            column[:n] = column[rows]
        acted = self.rollout["acted"][:n]
        self.begun, self.complete = n, int((acted & self.rollout["answered"][:n]).sum())
        self.rollout["after"][:n] = np.searchsorted(rows, self.rollout["after"][:n])
        self.row[self.rollout["env_id"][:n][acted]] = np.flatnonzero(acted)

    def load_weights(self, weights: Weights, version: int) -> None:
        self.net.load_state_dict(weights)
        self.version = version

    def state_dict(self) -> State:
        return copy.deepcopy({
            "env": self.env.state_dict(), "current": vars(self.current), "rng": self.rng.bit_generator.state,
            "weights": dict(self.net.state_dict()), "version": self.version, "recorder": self.recorder.state_dict(),
            "rollout": {name: column[: self.begun] for name, column in self.rollout.items()},
            "complete": self.complete, "row": self.row, "memory": self.memory,
        })

    def load_state_dict(self, state: State) -> None:
        state = copy.deepcopy(state)
        self.env.load_state_dict(state["env"])
        self.current = Step(**state["current"])
        self.rng.bit_generator.state = state["rng"]
        self.load_weights(state["weights"], state["version"])
        self.recorder.load_state_dict(state["recorder"])
        for name in ("complete", "row", "memory"):
            setattr(self, name, state[name])
        self.begun = len(state["rollout"]["reward"])
        for name, column in self.rollout.items():
            column[: self.begun] = state["rollout"][name]


@numba.njit(cache=True)
def _complete_rows(acted, answered, after, size):
    """The first ``size`` answered steps, the end of an episode right after its step; and all other rows."""
    end = np.full(len(acted), -1)
    for row in range(len(acted)):
        if not acted[row]:
            end[after[row]] = row
    complete, left = np.empty(len(acted), np.int64), np.ones(len(acted), np.bool_)
    steps = count = 0
    for step in range(len(acted)):
        if steps < size and acted[step] and answered[step]:
            steps += 1
            for row in (step, end[step]):
                if row >= 0:
                    complete[count], left[row] = row, False
                    count += 1
    return complete[:count], np.flatnonzero(left)


def _all_first(env: VectorEnv) -> Step:
    """The first observations of all environments, in however many parts they come."""
    steps = [env.recv()]
    while sum(len(step.env_ids) for step in steps) < env.num_envs:
        steps.append(env.recv())
    return Step(**{name: np.concatenate([getattr(step, name) for step in steps]) for name in vars(steps[0])})


@dataclass
class Batch:
    """Part of a rollout, shuffled: n steps, or B sequences of T where there is a memory.

    inputs: of the network, [n, ...] each. memory [B, T, 2 H], continues bool [B, T]: see ``ActorCritic.forward``.
    legal_actions: bool [n, A], or None where all are. action: [n, *action_shape].
    log_prob, advantage: float32 [n]. value_target: float32 [n, returns], in the value head's units.
    """

    inputs: Inputs
    memory: np.ndarray | None
    continues: np.ndarray | None
    legal_actions: np.ndarray | None
    action: np.ndarray
    log_prob: np.ndarray
    advantage: np.ndarray
    value_target: np.ndarray


class Lesson(NamedTuple):
    """What a rollout teaches of its n steps, which lie in the ``rows`` int64 [n] of the replay: with a memory one
    environment after the other.

    advantage: float32 [n], the sum over all returns. value_target: float32 [n, returns], in units of the rewards.
    continues: bool [n], the step follows the one before it here, in the same episode.
    """

    rows: np.ndarray
    advantage: np.ndarray
    value_target: np.ndarray
    continues: np.ndarray


class Learner:
    """Makes advantages of every rollout and goes over it ``epochs`` times, each time in another order. The losses'
    gradients in the network's outputs are known in closed form; only from there on does torch differentiate, unless
    ``kernels.PLAIN`` is set."""

    _COUNTS: ClassVar = ("updates", "rollouts", "seen_positions", "epoch", "position", "progress", "next_progress")

    def __init__(self, config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> None:
        self.config, self.symmetries = config, symmetries
        assert config.rollout_size % config.batch_size == config.batch_size % config.unroll == 0, "resolve() sees to it"
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.net = make_net(config, spec)
        self.device = next(self.net.parameters()).device
        self.policy = make_policy(spec)
        self.flat = FlatParameters(self.net)
        if not self.net.shared:  # or errors of large values would leave the policy nothing
            self.flat.set_parts(self.net.tower_of_parameters())
        self.net.settle()
        self.optimizer = FlatAdam(self.flat, epsilon=1e-5)
        self.signals = RewardSignals(reward_signals(config, spec, seed))
        assert self.signals.returns == returns(config)
        self.demonstrations = (load_demonstrations(config.recordings, spec, partial(policy_action, spec))
                               if config.cloning_weight else None)
        self.updates = self.rollouts = self.seen_positions = 0
        #: Of the run when this rollout and the next one were begun.
        self.progress = self.next_progress = 0.0
        self.lesson = Lesson(*np.zeros((4, 0)))
        #: Of the rollout: what signals and values were like when it came.
        self.report: dict[str, float] = {}
        #: Where in the rollout: passes done, minibatches done of this one, and the order of the rows.
        self.epoch = self.position = 0
        self.order = np.zeros(0, np.int64)
        self.batches: list[Batch] = []

    def update(self, replay: Replay, progress: float) -> dict[str, float]:
        """The losses come with the last pass over a rollout."""
        config = self.config
        assert isinstance(replay, Rollout)
        if replay.total_positions != self.seen_positions:
            self._begin_rollout(replay, progress)
        if self.position == 0 and (self.epoch == 0 or config.batch_size < config.rollout_size):
            self.order, self.batches = self.rng.permutation(config.rollout_size // config.unroll), []
        self.batches = self.batches or self._shuffled(replay)
        batch = self.batches[self.position]
        clip_range = config.clip_range * (1.0 - self.progress * config.anneal_clip_range)
        learning_rate = config.learning_rate * (1.0 - self.progress * config.anneal_learning_rate)

        outputs, values, _ = self.net.predict(batch.inputs, batch.memory, batch.continues)
        parameters = self.policy.normalize(outputs, batch.legal_actions)
        log_ratio = self.policy.log_prob(parameters, batch.action) - batch.log_prob
        surrogate, gradient = clipped_surrogate(log_ratio, batch.advantage, clip_range)
        value_error = values - batch.value_target
        # loss = mean(surrogate) + value_loss_weight · mean(Σ value_error²) − entropy_weight · mean(entropy)
        self.flat.zero_gradient()
        if kernels.PLAIN:
            self._loss(batch, clip_range).backward()
        else:
            n = config.batch_size
            policy_gradient = self.policy.gradient(parameters, batch.action, gradient / np.float32(n),
                                                   -config.entropy_weight / n)
            self.net.backward(policy_gradient, value_error * np.float32(2.0 * config.value_loss_weight / n))
        if cloning := config.cloning_weight * (1.0 - self.progress):
            self.report["cloning_loss"] = self._clone(cloning)
        norm = self.flat.clip_gradient(config.max_grad_norm)
        if not math.isfinite(norm):
            raise NonFiniteLoss(f"policy loss {surrogate.mean()}, value loss {_mean_square(value_error)}, gradient "
                                f"norm {norm} at update {self.updates}", _evidence(batch))
        self.optimizer.step(learning_rate)

        last_pass = self.epoch == config.epochs - 1
        self.updates += 1
        self.position = (self.position + 1) % len(self.batches)
        self.epoch += self.position == 0
        return {
            "policy_loss": float(surrogate.mean()), "value_loss": _mean_square(value_error),
            "entropy": float(self.policy.entropy(parameters).mean()),
            "approx_kl": approximate_kl(log_ratio), "clip_fraction": clip_fraction(log_ratio, clip_range),
            **self.report, "gradient_norm": norm, "learning_rate": learning_rate,
        } if last_pass else {}

    def _loss(self, batch: Batch, clip_range: float) -> Tensor:
        """The same loss of what the network has just predicted, in plain torch: the reference of the closed form."""
        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(self.device)

        outputs, values, _ = self.net.predicted
        legal = None if batch.legal_actions is None else tensor(batch.legal_actions)
        log_prob, entropy = reference.log_prob_and_entropy(self.policy, outputs, legal, tensor(batch.action))
        surrogate = reference.clipped_surrogate(log_prob - tensor(batch.log_prob), tensor(batch.advantage), clip_range)
        value_loss = (values - tensor(batch.value_target)).square().sum(1)
        return (surrogate + self.config.value_loss_weight * value_loss - self.config.entropy_weight * entropy).mean()

    def _clone(self, weight: float) -> float:
        """Add the gradient of ``weight`` · mean(−log π(a|s)) of recorded steps drawn at random, each under a symmetry
        of the game. Returns the mean."""
        assert self.demonstrations is not None
        columns = {name: self.demonstrations[name] for name in ("observation", "legal_actions", "action")}
        count = min(len(columns["action"]), self.config.batch_size)
        rows = self.rng.integers(len(columns["action"]), size=count)
        batch = {name: column[rows] for name, column in columns.items()}
        if self.symmetries is not None:
            drawn = self.rng.integers(len(self.symmetries.actions), size=count)
            batch = {"observation": self.symmetries.observations(batch["observation"], drawn),
                     "legal_actions": self.symmetries.by_action(batch["legal_actions"], drawn),
                     "action": self.symmetries.moved(batch["action"][:, None], drawn)[:, 0]}
        gradient = self.flat.gradient.clone()
        self.flat.zero_gradient()
        outputs, values, _ = self.net.predict(self.net.prepare(batch["observation"]), None)
        parameters = self.policy.normalize(outputs, batch["legal_actions"])
        log_prob = self.policy.log_prob(parameters, batch["action"])
        by_log_prob = np.full(count, -weight / count, np.float32)
        self.net.backward(self.policy.gradient(parameters, batch["action"], by_log_prob, 0.0), np.zeros_like(values))
        self.flat.gradient.add_(gradient)
        return -float(log_prob.mean())

    def _begin_rollout(self, replay: Rollout, progress: float) -> None:
        """Take in the statistics of a new rollout and make advantages of it."""
        config, columns = self.config, replay.columns
        steps = replay.view(np.flatnonzero(columns["acted"][: replay.filled]))
        if self.net.encoder.learns_scale:
            self.net.encoder.observe(to_tensors(steps["observation"], self.device))
        losses = self.signals.update(steps)
        self.lesson = self._make_lesson(replay, steps)
        if config.normalize_values and np.isfinite(self.lesson.value_target).all():  # else update() says so
            self.net.value.observe(self.lesson.value_target, share=0.1 if self.rollouts else 1.0)
        value = columns["value"][self.lesson.rows]
        self.report = losses | {"explained_variance": explained_variance(value, self.lesson.value_target)}
        # Schedules stand where the run was when the rollout was begun, so that the last one is not learnt from with 0.
        self.progress, self.next_progress = self.next_progress, progress
        self.seen_positions, self.rollouts = replay.total_positions, self.rollouts + 1
        self.epoch = self.position = 0

    def _make_lesson(self, replay: Rollout, steps: View) -> Lesson:
        """Advantages and value targets for each return, from the stored values and the rewards as they are now."""
        config = self.config
        names = ("value", "acted", "terminated", "env_id")
        value, acted, terminated, env_id = (replay.columns[name][: replay.filled] for name in names)
        reward = np.zeros_like(value)
        reward[steps.rows] = self.signals.rewards(steps)
        advantage = np.stack([
            generalized_advantages(reward[:, k], value[:, k], acted, terminated, env_id, discount, config.gae_lambda,
                                   episodic)
            for k, (discount, episodic) in enumerate(self.signals.returns)], axis=1)
        # A memory learns from sequences: one environment after the other.
        rows = steps.rows[np.argsort(env_id[steps.rows], kind="stable")] if config.lstm_size else steps.rows
        continues = np.append(False, replay.columns["next_row"][rows[:-1]] == rows[1:])
        return Lesson(rows, advantage[rows].sum(1), (advantage + value)[rows], continues)

    def _shuffled(self, replay: Replay) -> list[Batch]:
        """The minibatches of this pass."""
        config, size, lesson = self.config, self.config.batch_size, self.lesson
        order = (self.order[:, None] * config.unroll + np.arange(config.unroll)).ravel()
        rows = lesson.rows[order]
        names = ("observation", "legal_actions", "action", "log_prob", "memory")
        columns = {name: replay.columns[name].take(rows, axis=0) for name in names}
        advantage = lesson.advantage[order].reshape(-1, size)
        if config.normalize_advantages:
            deviation = advantage.std(axis=1, keepdims=True) + np.float32(1e-8)
            advantage = (advantage - advantage.mean(axis=1, keepdims=True)) / deviation
        value_target = self.net.value.from_rewards(lesson.value_target[order])
        inputs = self.net.prepare(columns["observation"])
        all_legal = columns["legal_actions"].all()
        memory = continues = None
        if config.lstm_size:
            shape = (-1, config.unroll)
            memory = columns["memory"].reshape(*shape, 2 * config.lstm_size)
            continues = lesson.continues[order].reshape(shape)
        batches = []
        for k in range(config.rollout_size // size):
            part = slice(k * size, (k + 1) * size)
            whole = slice(part.start // config.unroll, part.stop // config.unroll)
            batches.append(Batch(
                {name: value[part] for name, value in inputs.items()},
                None if memory is None else memory[whole], None if continues is None else continues[whole],
                None if all_legal else columns["legal_actions"][part], columns["action"][part],
                columns["log_prob"][part], advantage[k], value_target[part]))
        return batches

    def weights(self) -> Weights:
        return copied(self.net.state_dict())

    def state_dict(self) -> State:
        return copy.deepcopy({
            "net": self.weights(), "optimizer": self.optimizer.state_dict(), "rng": self.rng.bit_generator.state,
            "order": self.order, "lesson": self.lesson._asdict(), "report": self.report,
            "signals": self.signals.state_dict(), **{name: getattr(self, name) for name in self._COUNTS},
        })

    def load_state_dict(self, state: State) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self.order, self.batches = state["order"], []
        self.lesson, self.report = Lesson(**state["lesson"]), state["report"]
        self.signals.load_state_dict(state["signals"])
        for name in self._COUNTS:
            setattr(self, name, state[name])


def _mean_square(value_error: np.ndarray) -> float:
    return float(np.square(value_error).sum(1).mean())


def _evidence(batch: Batch) -> dict[str, Any]:
    arrays = {name: value for name, value in vars(batch).items() if name != "inputs" and value is not None}
    return arrays | {f"observation{name}": value for name, value in batch.inputs.items()}


class Agent:
    """Takes the likeliest action; of continuous ones, the mean."""

    def __init__(self, config: Config, spec: EnvSpec, weights: Weights) -> None:
        self.spec, self.policy = spec, make_policy(spec)
        self.net = make_net(config, spec).settle()
        self.net.load_state_dict(weights)
        self.has_memory, self.size = config.lstm_size > 0, 2 * config.lstm_size

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, AgentState | None]:
        outputs, _, after = self._evaluate(observation, state, starts)
        return environment_action(self.spec, self.policy.mode(self.policy.normalize(outputs, legal_actions))), after

    def think(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
              starts: np.ndarray | None = None, simulations: int | None = None) -> Thoughts:
        outputs, value, after = self._evaluate(observation, state, starts)
        log_policy = self.policy.normalize(outputs, legal_actions)
        action = self.policy.mode(log_policy)
        return Thoughts(action, np.exp(log_policy), value.sum(1), None, action[:, None].tolist(), after)

    def _evaluate(self, observation: np.ndarray, state: AgentState | None, starts: np.ndarray | None
                  ) -> tuple[np.ndarray, np.ndarray, AgentState | None]:
        memory = state_before(len(observation), self.size, state, starts)
        outputs, value, after = self.net.evaluate(observation, memory)
        return outputs, value, after if self.has_memory else None


def make_actor(config: Config, env: VectorEnv, seed: int) -> Actor:
    return Actor(config, env, seed)


def make_learner(config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner:
    return Learner(config, spec, symmetries, seed)


def make_agent(config: Config, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
               seed: int = 0) -> Agent:
    return Agent(config, spec, weights)
