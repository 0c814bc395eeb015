"""Proximal policy optimisation (Schulman et al. 2017) with generalised advantage estimation.

Read it from top to bottom: the configuration, the network, the actor, which collects rollouts, the learner, which
computes advantages and trains on them, the agent. A rollout is ``num_envs · rollout_steps`` steps of the current
policy; it fills the replay, is trained on in minibatches for ``epochs`` passes, and is then replaced by the next.
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
from myosu.algorithms.interface import AgentState, Analysis, Experience, state_before
from myosu.algorithms.recorder import EpisodeRecorder
from myosu.envs.vector import EnvSpec, Step, VectorEnv
from myosu.errors import NonFiniteLoss, UserError
from myosu.games.game import Symmetries
from myosu.games.playout import random_actions
from myosu.losses import reference
from myosu.losses.advantage import generalized_advantages
from myosu.losses.distributions import Choices, Distribution, Gaussian
from myosu.losses.policy_gradient import approximate_kl, clip_fraction, clipped_surrogate, explained_variance
from myosu.nets.encoder import ActionHead, Encoder, Observation, default_hidden, has_images, to_tensors
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

#: On-policy: the data must come from the current policy.
SOURCE = "only in turn"


@dataclass(frozen=True)
class Config:
    """PPO's settings. Presets: ``myosu/presets/ppo``."""

    num_envs: int = 8
    """Environments stepped in parallel."""
    rollout_steps: int = 128
    """Steps in each environment per rollout."""
    epochs: int = 4
    """Passes over each rollout."""
    opening_plies: int = 0
    """In self-play, games begin with 0 to this many random plies, which are not trained on. Without them a nearly
    deterministic policy would play the same few games again and again."""
    batch_size: int = 256
    """Steps in a minibatch. If it does not divide the rollout of num_envs * rollout_steps, the nearest number that does
    is used."""

    hidden: tuple[int, ...] = ()
    """Units of the hidden layers, of separate policy and value networks or, for images, boards and with an LSTM, of one
    shared encoder. Default: 64 64, for images 512."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation function of these layers."""
    channels: int = 32
    """Channels of the convolutions that read a board."""
    blocks: int = 1
    """Residual blocks of the convolutions that read a board."""
    lstm_size: int = 0
    """Units of the LSTM, for partially observable environments; 0: no LSTM."""
    sequence_length: int = 32
    """With an LSTM: steps of truncated backpropagation through time; it must divide the rollout."""
    normalize_observations: bool = False
    """Subtract the running mean of observations and divide by their standard deviation; not for images and boards."""
    normalize_rewards: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""
    reward_clip: float | None = None
    """Clip rewards, after any normalisation, to ± this; None: to ±10 if they are normalised, else no clipping."""
    reward_scale: float = 1.0
    """Environment rewards are multiplied by this, after any clipping; 0: learn from GAIL and curiosity alone."""
    gail_weight: float = 0.0
    """Weight of the reward for imitating ``recordings`` (GAIL); 0: none."""
    gail_discount: float = 0.99
    """Discount of that reward, in [0, 1)."""
    recordings: tuple[str, ...] = ()
    """Folders of runs whose recorded games are imitated (gail_weight, cloning_weight), minari:DATASET, or .demo
    files."""
    curiosity: tuple[str, ...] = ()
    """Intrinsic rewards (docs/curiosity.md): rnd, icm, counts, each with an optional weight and discount, as in
    rnd:0.5:0.99."""

    discount: float = 0.99
    """Discount γ of rewards, in [0, 1]."""
    gae_lambda: float = 0.95
    """λ of generalised advantage estimation, in [0, 1]: 0 bootstraps after one step, 1 sums all rewards of the rollout.
    """
    clip_range: float = 0.2
    """ε of PPO's clipped objective: probability ratios to the old policy are clipped to 1 ± ε."""
    anneal_clip_range: bool = False
    """Anneal the clip range linearly to 0 over the run."""
    learning_rate: float = 7e-4
    """Adam's learning rate."""
    anneal_learning_rate: bool = False
    """Anneal the learning rate linearly to 0 over the run."""
    normalize_advantages: bool = True
    """Normalise the advantages of each minibatch to mean 0 and standard deviation 1."""
    normalize_values: bool = True
    """Normalise value targets by their running mean and standard deviation (PopArt), so that returns may be of any
    size."""
    value_loss_weight: float = 0.5
    """Weight of the value loss, the squared error."""
    entropy_weight: float | None = None
    """Weight of the entropy bonus, which prevents premature convergence. Default: 0.01 for discrete actions, 0 for
    continuous ones."""
    noise_correlation: float = 0.0
    """Correlation of the noise of continuous actions between one step and the next, in [0, 1). Independent noise (0)
    hardly moves an environment that sums many actions up, such as a car that must gather speed."""
    cloning_weight: float = 0.0
    """Weight of the loss −log π(a|s) of the actions in ``recordings``; it falls linearly to 0 over the run."""
    max_grad_norm: float = 0.5
    """Clip the gradient to this norm; separately for the policy and value networks if they are not shared."""
    device: str = "auto"
    """cpu, cuda or mps; auto: an accelerator if there is one and observations contain images or boards."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            "num_envs": (1, 1_000_000), "rollout_steps": (1, 1_000_000), "epochs": (1, 1000),
            "opening_plies": (0, 10_000), "batch_size": (1, 10**7),
            "channels": (1, 4096), "blocks": (0, 100), "lstm_size": (0, 4096), "sequence_length": (1, 10_000),
            "discount": (0.0, 1.0), "gae_lambda": (0.0, 1.0),
            "clip_range": (0.0, 10.0), "learning_rate": (0.0, 10.0), "value_loss_weight": (0.0, 1e6),
            "max_grad_norm": (1e-6, 1e9), "reward_scale": (0.0, 1e9),
            "gail_weight": (0.0, 1e9), "noise_correlation": (0.0, 0.9999), "cloning_weight": (0.0, 1e6),
        })
        if self.cloning_weight and self.lstm_size:
            raise UserError("cloning_weight and lstm_size cannot be combined, because recordings have no recurrent "
                            "state. Leave one of them out.")
        if self.recordings and not (self.cloning_weight or self.gail_weight):
            raise UserError("recordings have no effect: set cloning_weight or gail_weight.")
        if self.reward_clip is not None:
            check_ranges(self, {"reward_clip": (1e-9, 1e9)})
        if self.entropy_weight is not None:
            check_ranges(self, {"entropy_weight": (0.0, 1e6)})
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

    # Read by the training loop: a rollout fills the replay, and each of its steps is drawn ``epochs`` times.
    replay_capacity = learning_starts = rollout_size

    @property
    def replay_ratio(self) -> float:
        return float(self.epochs)


def resolve(config: Config, spec: EnvSpec, deterministic: bool) -> Config:
    if spec.num_players == 2:
        _check_self_play(config)
    check_not_mixed("PPO", spec)
    if config.noise_correlation and not spec.action_low:
        raise UserError(f"noise_correlation = {config.noise_correlation} has no meaning for discrete actions: leave it "
                        "out.")
    fitting = [size for size in range(config.unroll, config.rollout_size + 1, config.unroll)
               if config.rollout_size % size == 0 and (size > 1 or not config.normalize_advantages)]
    if not fitting:
        raise UserError(f"sequence_length = {config.sequence_length} does not divide the rollout of num_envs * "
                        f"rollout_steps = {config.num_envs} * {config.rollout_steps} = {config.rollout_size} steps: "
                        "change one of them.")
    # The actor's buffer is as large as the replay's.
    if fitting_capacity(rollout_columns(config, spec), rows := 4 * config.rollout_size, warn=False) < rows:
        raise UserError(f"A rollout of num_envs * rollout_steps = {config.num_envs} * {config.rollout_steps} steps "
                        f"takes {rows * row_bytes(rollout_columns(config, spec)) / 2**30:.1f} GiB, more than this "
                        "machine can spare: lower one of them.")
    size = min(fitting, key=lambda size: abs(math.log(size / config.batch_size)))
    if size != config.batch_size:
        warnings.warn(f"batch_size = {size}, because {config.batch_size} does not divide the rollout of "
                      f"{config.num_envs} * {config.rollout_steps} = {config.rollout_size} steps.", stacklevel=1)
    return dataclasses.replace(config, batch_size=size)


def _check_self_play(config: Config) -> None:
    """Raises UserError for settings that self-play does not support: rewards must be zero-sum, and a recurrent state
    would mix the observations of both seats."""
    for name in ("lstm_size", "curiosity", "gail_weight", "normalize_rewards"):
        if value := getattr(config, name):
            raise UserError(f"{name} = {value} has no meaning where PPO plays both seats of a game. Leave it out, or "
                            "put an opponent inside the game: --opponent pool.")


def reward_signals(config: Config, spec: EnvSpec, seed: int) -> list[RewardSignal]:
    """The rewards to be maximised. Each kind of return has its own value."""
    features = partial(_action_features, spec)
    return [EnvironmentReward(config.discount, config.reward_scale, config.reward_clip, config.normalize_rewards,
                              config.num_envs),
            *gail_signals(config, spec, partial(policy_action, spec), features, config.epochs, seed),
            *curiosity_signals(config.curiosity, spec, features, config.discount, config.num_envs, 1, seed)]


def _action_features(spec: EnvSpec, action: np.ndarray) -> np.ndarray:
    """Features of a policy's actions [n, *action_shape] for reward signals. Continuous actions are clipped to the
    environment's bounds, or a discriminator would recognise the policy by actions outside of them."""
    if spec.action_low:
        action = policy_action(spec, environment_action(spec, action))
    else:  # as columns of the choices of all branches
        action = action.reshape(len(action), -1) + np.cumsum((0, *spec.action_branches[:-1]))
    return action_features(spec, action)


def returns(config: Config) -> list[tuple[float, bool]]:
    """``RewardSignals.returns`` of ``reward_signals``, without the demonstrations, which actors and agents do not have.
    """
    found = [(config.discount, True)]
    if config.gail_weight:
        found.append((config.gail_discount, True))
    for text in config.curiosity:
        kind, _, discount = parse_curiosity(text, config.discount)
        found.append((discount, kind == "counts"))
    return list(dict.fromkeys(found))


class ActorCritic(nn.Module):
    """The policy's outputs and the values of observations, one for each kind of return.

    Vector observations have separate policy and value networks. Images, boards and LSTMs have one shared encoder (and
    LSTM) with two heads. ``forward`` defines the computation; actors and learners call ``predict`` and ``backward``,
    which use NumPy for separate networks on the CPU.
    """

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        super().__init__()
        activation = {"tanh": nn.Tanh, "relu": nn.ReLU}[config.activation]
        self.shared = has_images(spec) or config.lstm_size > 0
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
        self.numpy_towers: TowersInNumPy | None = None

    def use_numpy_towers(self) -> ActorCritic:
        """Enable the NumPy path. Call it once the parameters are at their final place in memory."""
        if self.towers and self.value.linear.weight.device.type == "cpu" and not kernels.PLAIN:
            assert isinstance(self.policy.out, nn.Linear)
            self.numpy_towers = TowersInNumPy(self.towers, self.policy.out, self.value.linear)
        return self

    def tower_of_parameters(self) -> list[Tensor]:
        """For each element of each parameter, whether it belongs to the policy (0) or to the value (1). Parameters of
        ``towers`` hold both, one half each."""
        found = []
        for name, parameter in self.named_parameters():
            tower = torch.full(parameter.shape, int(name.startswith("value.")))
            if name.startswith("towers."):
                tower[1] = 1
            found.append(tower)
        return found

    def forward(self, observation: Observation, memory: Tensor | None = None,
                continues: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The policy's outputs [n, P], values [n, returns] in ``PopArt``'s units and, with an LSTM, the recurrent state
        after the last step, [B, 2 H].

        With an LSTM the n = B · T observations are B sequences of T steps. memory: [B, T, 2 H], the actor's recurrent
        state before each step. continues: bool [B, T], whether the step follows the previous one of the sequence, so
        that the recurrent state carries over; elsewhere it is taken from ``memory``, which is 0 where episodes begin.
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
        """Convert observations [n, *shape] to inputs of ``predict``."""
        if self.numpy_towers:
            return {"": self.encoder.vectors(observation)}
        return to_tensors(observation, self.value.linear.weight.device)

    def predict(self, inputs: Inputs, memory: np.ndarray | None, continues: np.ndarray | None = None
                ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """``forward`` from arrays to arrays. Unless gradients are disabled, ``backward`` may follow."""
        if self.numpy_towers:
            outputs, value = self.numpy_towers.forward(inputs[""])
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
        """Fill the parameters' gradients, which must be 0, given a loss's gradients with respect to the last
        prediction."""
        if self.numpy_towers:
            if self.log_std is not None:
                assert self.log_std.grad is not None
                outputs, log_std = np.split(outputs, 2, axis=1)
                self.log_std.grad.numpy()[:] = log_std.sum(0)
            self.numpy_towers.backward(outputs, value)
        else:
            torch.autograd.backward(self.predicted[:2], [torch.from_numpy(x).to(self.predicted[0].device)
                                                         for x in (outputs, value)])

    @torch.inference_mode()
    def evaluate(self, observation: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The policy's outputs, values [n, returns] in units of the rewards and next recurrent states [n, 2 H] of n
        environments."""
        outputs, value, after = self.predict(self.prepare(observation), memory[:, None] if self.cell else None)
        return outputs, self.value.to_rewards(value), memory if after is None else after


def _orthogonal(module: nn.Module, gain: float) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter) if parameter.dim() == 1 else nn.init.orthogonal_(parameter, gain)


def make_net(config: Config, spec: EnvSpec) -> ActorCritic:
    """Build the network on its device."""
    return ActorCritic(config, spec).to(device_for(config.device, spec))


def make_policy(spec: EnvSpec) -> Distribution:
    if spec.action_low:
        return Gaussian(len(spec.action_low))
    return Choices(spec.action_branches or (spec.num_actions,), several=bool(spec.action_branches))


def _entropy_weight(config: Config, spec: EnvSpec) -> float:
    if config.entropy_weight is not None:
        return config.entropy_weight
    return 0.0 if spec.action_low else 0.01


def environment_action(spec: EnvSpec, action: np.ndarray) -> np.ndarray:
    """The environment's action for a policy's action: components with two bounds are scaled from [−1, 1] to them, and
    all are clipped."""
    if not spec.action_low:
        return action
    low, high, half, bounded = _bounds(spec)
    scaled = np.where(bounded, low, -1.0) + np.where(bounded, half, 1.0) * (action + 1.0)
    return np.clip(scaled.astype(np.float32), low, high)


def policy_action(spec: EnvSpec, action: np.ndarray) -> np.ndarray:
    """Inverse of ``environment_action``, up to clipping."""
    if not spec.action_low:
        return action
    low, _, half, bounded = _bounds(spec)
    return np.where(bounded, (action - np.where(bounded, low, 0.0)) / np.where(bounded, half, 1.0) - 1.0,
                    action).astype(np.float32)


def _bounds(spec: EnvSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each component of an action: low, high, half their distance, and whether both are finite."""
    low, high = np.array(spec.action_low, np.float32), np.array(spec.action_high, np.float32)
    half = (high - low) / 2
    return low, high, half, np.isfinite(half)


def rollout_columns(config: Config, spec: EnvSpec) -> Columns:
    """The columns of a rollout, one row a step. ``value`` is in units of the rewards; ``memory`` is the recurrent state
    before the step."""
    return transition_columns(spec, (spec.action_shape, spec.action_dtype)) | {
        "log_prob": ((), np.float32),
        "value": ((len(returns(config)),), np.float32),
        "memory": ((2 * config.lstm_size,), np.float32),
    }


def make_replay(config: Config, spec: EnvSpec) -> Replay:
    """A replay with room for the longest rollout, in which every step ends an episode: final observations, and each
    environment's observation after the rollout, take a row as well. Unwritten memory is never allocated by the OS."""
    return Rollout(rollout_columns(config, spec), 2 * config.rollout_size + config.num_envs)


class Actor:
    """Plays in ``env`` with the newest policy and returns whole rollouts.

    Environments may answer in any number and order. A row of the rollout is begun when its action is sent, and answered
    when the environment has answered; the final observation of an episode follows as a row without an action.
    """

    def __init__(self, config: Config, env: VectorEnv, seed: int) -> None:
        self.config, self.env, self.spec = config, env, env.spec
        self.net = make_net(config, env.spec).use_numpy_towers()
        self.policy = make_policy(env.spec)
        self.rng = np.random.default_rng([seed, 1])
        self.version = 0
        self.recorder = EpisodeRecorder(env.spec, env.num_envs)
        self.columns = rollout_columns(config, env.spec)
        kept = self.columns | {"entropy": ((), np.float32), "answered": ((), np.bool_), "after": ((), np.int64)}
        most = 2 * (config.rollout_size + 2 * env.num_envs)
        self.rollout: Rows = {name: np.zeros((most, *shape), dtype) for name, (shape, dtype) in kept.items()}
        #: The number of rows in use, the number of answered steps among them, and the latest row of each environment.
        #: The column ``after`` of a final observation is the row of the episode's last step.
        self.begun = self.complete = 0
        self.row = np.zeros(env.num_envs, np.int64)
        self.memory = np.zeros((env.num_envs, 2 * config.lstm_size), np.float32)
        #: Each environment's standard normal noise of its latest continuous action.
        self.noise = np.random.default_rng([seed, 2]).standard_normal((env.num_envs, len(env.spec.action_low)),
                                                                      np.float32)
        env.reset()
        self.current = _all_first(env)
        self.recorder.start(self.current)
        self._play_openings(np.arange(env.num_envs))

    def step(self) -> Experience:
        self._send_actions(self.current)
        self.current = after = self.env.recv()
        rows = self.row[after.env_ids]
        self._store_results(after, rows)
        episodes = self.recorder.record(after, environment_action(self.spec, self.rollout["action"][rows]),
                                        self.version, {"policy_entropy": self.rollout["entropy"][rows]})
        self._play_openings(np.flatnonzero(after.terminated | after.truncated))
        sequences = [self._take_rollout()] if self.complete >= self.config.rollout_size else []
        return Experience(self.version, steps=len(rows), sequences=sequences, episodes=episodes)

    def _play_openings(self, rows: np.ndarray) -> None:
        """Play random plies at the beginning of the games in these rows of ``current``. If they end a game, the next
        one begins without random plies."""
        if self.spec.num_players == 1 or not self.config.opening_plies:
            return
        now, left = self.current, self.rng.integers(0, self.config.opening_plies + 1, len(rows))
        while left.any():
            rows, left = rows[left > 0], left[left > 0]
            actions = random_actions(now.legal_actions[rows], int(self.rng.integers(2**31)))
            self.env.send(actions, now.env_ids[rows])
            after = self.env.recv()
            self.recorder.record(after, actions, self.version, chosen=False)
            for name, values in vars(after).items():
                getattr(now, name)[rows] = values
            left = np.where(after.terminated | after.truncated, 0, left - 1)

    def _send_actions(self, now: Step) -> None:
        ids, rows = now.env_ids, slice(self.begun, self.begun + len(now.env_ids))
        memory = self.memory[ids]
        outputs, value, self.memory[ids] = self.net.evaluate(now.observation, memory)
        parameters = self.policy.normalize(outputs, now.legal_actions)
        action = self._sample(parameters, ids)
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

    def _sample(self, parameters: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Actions of the environments ``ids``. The noise of continuous actions is an autoregressive process,

            ε_t = ρ ε_{t−1} + √(1 − ρ²) ξ_t,  ξ_t standard normal,

        so that each ε_t is standard normal and ``log_prob`` is right for each step alone. Hollenstein et al. 2024 use
        correlated noise in PPO in the same way."""
        if not isinstance(self.policy, Gaussian):
            return self.policy.sample(parameters, self.rng)
        rho = np.float32(self.config.noise_correlation)
        fresh = self.rng.standard_normal((len(ids), self.policy.components), np.float32)
        self.noise[ids] = rho * self.noise[ids] + np.sqrt(1 - rho * rho) * fresh
        return self.policy.action(parameters, self.noise[ids])

    def _store_results(self, after: Step, rows: np.ndarray) -> None:
        for name in ("reward", "terminated", "truncated"):
            self.rollout[name][rows] = getattr(after, name)
        self.rollout["answered"][rows] = True
        self.complete += len(rows)
        if (ended := after.terminated | after.truncated).any():
            self._add_final_observations(rows[ended], after.final_observation[ended], after.truncated[ended])

    def _add_final_observations(self, rows: np.ndarray, observation: np.ndarray, cut: np.ndarray) -> None:
        """Append the final observations of the episodes whose last steps are in ``rows``. Their value is the network's
        where the episode was truncated (``cut``), else 0."""
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

    def _take_rollout(self) -> Rows:
        """A rollout: the first ``rollout_size`` answered steps, in order for each environment, with the final
        observations of episodes; then, for each environment, a row with its current observation to bootstrap from,
        also after an episode's end, because some returns continue across it. Other rows stay for the next rollout."""
        begun = {name: column[: self.begun] for name, column in self.rollout.items()}
        acted = begun["acted"]
        rows, left = _complete_rows(acted, begun["answered"], begun["after"], self.config.rollout_size)
        env_id = begun["env_id"][rows]
        bootstrap = self._bootstrap_rows(left[acted[left]], np.isin(np.arange(self.env.num_envs), env_id))
        full = {name: np.zeros((len(rows) + len(bootstrap["env_id"]), *shape), dtype)
                for name, (shape, dtype) in self.columns.items()}
        for name, column in full.items():
            column[: len(rows)] = begun[name][rows]
        for name, values in bootstrap.items():
            full[name][len(rows):] = values
        full["remaining"] = np.logical_or(full["terminated"], full["truncated"]).astype(np.int32)
        self._keep_rows(left)
        return full

    def _bootstrap_rows(self, left: np.ndarray, played: np.ndarray) -> Rows:
        """Rows to bootstrap from, for environments with ``played`` bool [environments]: their steps in the rows
        ``left`` (at most one each), or their current observations if they wait for an action."""
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

    def _keep_rows(self, rows: np.ndarray) -> None:
        """Drop all rows except these."""
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
            "complete": self.complete, "row": self.row, "memory": self.memory, "noise": self.noise,
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
        self.noise = state.get("noise", self.noise)  # runs of earlier versions have none
        self.begun = len(state["rollout"]["reward"])
        for name, column in self.rollout.items():
            column[: self.begun] = state["rollout"][name]


@numba.njit(cache=True)
def _complete_rows(acted, answered, after, size):
    """The rows of the first ``size`` answered steps, each followed by its final observation if any; and all other rows.
    """
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
    """The first observations of all environments, which may arrive in several batches."""
    steps = [env.recv()]
    while sum(len(step.env_ids) for step in steps) < env.num_envs:
        steps.append(env.recv())
    return Step(**{name: np.concatenate([getattr(step, name) for step in steps]) for name in vars(steps[0])})


@dataclass
class Batch:
    """A minibatch: n shuffled steps of a rollout, or B sequences of T steps with an LSTM.

    inputs: the network's inputs, [n, ...] each. memory [B, T, 2 H], continues bool [B, T]: see ``ActorCritic.forward``.
    legal_actions: bool [n, A], or None if all are legal. action: [n, *action_shape].
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


class RolloutTargets(NamedTuple):
    """Advantages and value targets of a rollout's n steps, which are in the ``rows`` int64 [n] of the replay; with an
    LSTM sorted by environment.

    advantage: float32 [n], the sum over all returns. value_target: float32 [n, returns], in units of the rewards.
    continues: bool [n], whether the step directly follows the previous entry, in the same episode.
    """

    rows: np.ndarray
    advantage: np.ndarray
    value_target: np.ndarray
    continues: np.ndarray


class Learner:
    """Computes the advantages of each rollout and trains on it for ``epochs`` passes, shuffled anew in each pass.

    The gradients of the losses with respect to the network's outputs are in closed form; autograd is used for the
    network only, unless ``kernels.PLAIN`` is set.
    """

    _COUNTS: ClassVar = ("updates", "rollouts", "seen_positions", "epoch", "position", "progress", "next_progress")

    def __init__(self, config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> None:
        self.config, self.symmetries = config, symmetries
        assert config.rollout_size % config.batch_size == config.batch_size % config.unroll == 0, "resolve() sees to it"
        self.rng = np.random.default_rng(seed)
        self.signed_discount = spec.signed_discount
        torch.manual_seed(seed)
        self.net = make_net(config, spec)
        self.device = next(self.net.parameters()).device
        self.policy = make_policy(spec)
        self.entropy_weight = _entropy_weight(config, spec)
        self.flat = FlatParameters(self.net)
        if not self.net.shared:  # or a large value gradient would scale the policy's down to nothing
            self.flat.set_parts(self.net.tower_of_parameters())
        self.net.use_numpy_towers()
        self.optimizer = FlatAdam(self.flat, epsilon=1e-5)
        self.signals = RewardSignals(reward_signals(config, spec, seed))
        assert self.signals.returns == returns(config)
        self.demonstrations = (load_demonstrations(config.recordings, spec, partial(policy_action, spec))
                               if config.cloning_weight else None)
        self.updates = self.rollouts = self.seen_positions = 0
        #: The run's progress when this rollout and the next one were begun.
        self.progress = self.next_progress = 0.0
        self.targets = RolloutTargets(*np.zeros((4, 0)))
        #: Metrics of the current rollout: the signals' losses and the explained variance.
        self.report: dict[str, float] = {}
        #: Passes done, minibatches done in this pass, and the order of the rows.
        self.epoch = self.position = 0
        self.order = np.zeros(0, np.int64)
        self.batches: list[Batch] = []

    def update(self, replay: Replay, progress: float) -> dict[str, float]:
        """One gradient step. Losses are returned in the last pass over a rollout only."""
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
                                                   -self.entropy_weight / n)
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
        """The loss of the network's last prediction in plain torch: the reference for the closed-form gradients."""
        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(self.device)

        outputs, values, _ = self.net.predicted
        legal = None if batch.legal_actions is None else tensor(batch.legal_actions)
        log_prob, entropy = reference.log_prob_and_entropy(self.policy, outputs, legal, tensor(batch.action))
        surrogate = reference.clipped_surrogate(log_prob - tensor(batch.log_prob), tensor(batch.advantage), clip_range)
        value_loss = (values - tensor(batch.value_target)).square().sum(1)
        return (surrogate + self.config.value_loss_weight * value_loss - self.entropy_weight * entropy).mean()

    def _clone(self, weight: float) -> float:
        """Add the gradient of ``weight`` · mean(−log π(a|s)) over random recorded steps, each augmented with a random
        symmetry of the game. Returns the mean."""
        assert self.demonstrations is not None
        columns = {name: self.demonstrations[name] for name in ("observation", "legal_actions", "action")}
        count = min(len(columns["action"]), self.config.batch_size)
        rows = self.rng.integers(len(columns["action"]), size=count)
        batch = {name: column[rows] for name, column in columns.items()}
        if self.symmetries is not None:
            batch = self.symmetries.augment(batch, self.rng)
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
        """Update the running statistics and reward signals with a new rollout, and compute its advantages."""
        config, columns = self.config, replay.columns
        steps = replay.view(np.flatnonzero(columns["acted"][: replay.filled]))
        if self.net.encoder.learns_scale:
            self.net.encoder.observe(to_tensors(steps["observation"], self.device))
        losses = self.signals.update(steps)
        self.targets = self._rollout_targets(replay, steps)
        if config.normalize_values and np.isfinite(self.targets.value_target).all():  # else update() raises
            self.net.value.observe(self.targets.value_target, beta=0.1 if self.rollouts else 1.0)
        value = columns["value"][self.targets.rows]
        self.report = losses | {"explained_variance": explained_variance(value, self.targets.value_target)}
        # Schedules use the progress at the beginning of the rollout, so that the last one is not trained on with 0.
        self.progress, self.next_progress = self.next_progress, progress
        self.seen_positions, self.rollouts = replay.total_positions, self.rollouts + 1
        self.epoch = self.position = 0

    def _rollout_targets(self, replay: Rollout, steps: View) -> RolloutTargets:
        """Advantages and value targets for each return, from the stored values and the signals' current rewards."""
        config = self.config
        names = ("value", "acted", "terminated", "env_id")
        value, acted, terminated, env_id = (replay.columns[name][: replay.filled] for name in names)
        reward = np.zeros_like(value)
        reward[steps.rows] = self.signals.rewards(steps)
        advantage = np.stack([
            generalized_advantages(reward[:, k], value[:, k], acted, terminated, env_id,
                                   self.signed_discount(discount), config.gae_lambda, episodic)
            for k, (discount, episodic) in enumerate(self.signals.returns)], axis=1)
        # LSTMs are trained on sequences, so rows are sorted by environment.
        rows = steps.rows[np.argsort(env_id[steps.rows], kind="stable")] if config.lstm_size else steps.rows
        continues = np.append(False, replay.columns["next_row"][rows[:-1]] == rows[1:])
        return RolloutTargets(rows, advantage[rows].sum(1), (advantage + value)[rows], continues)

    def _shuffled(self, replay: Replay) -> list[Batch]:
        """The minibatches of this pass."""
        config, size, targets = self.config, self.config.batch_size, self.targets
        order = (self.order[:, None] * config.unroll + np.arange(config.unroll)).ravel()
        rows = targets.rows[order]
        names = ("observation", "legal_actions", "action", "log_prob", "memory")
        columns = {name: replay.columns[name].take(rows, axis=0) for name in names}
        advantage = targets.advantage[order].reshape(-1, size)
        if config.normalize_advantages:
            deviation = advantage.std(axis=1, keepdims=True) + np.float32(1e-8)
            advantage = (advantage - advantage.mean(axis=1, keepdims=True)) / deviation
        value_target = self.net.value.from_rewards(targets.value_target[order])
        inputs = self.net.prepare(columns["observation"])
        all_legal = columns["legal_actions"].all()
        memory = continues = None
        if config.lstm_size:
            shape = (-1, config.unroll)
            memory = columns["memory"].reshape(*shape, 2 * config.lstm_size)
            continues = targets.continues[order].reshape(shape)
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
            "order": self.order, "lesson": self.targets._asdict(), "report": self.report,
            "signals": self.signals.state_dict(), **{name: getattr(self, name) for name in self._COUNTS},
        })

    def load_state_dict(self, state: State) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self.order, self.batches = state["order"], []
        self.targets, self.report = RolloutTargets(**state["lesson"]), state["report"]
        self.signals.load_state_dict(state["signals"])
        for name in self._COUNTS:
            setattr(self, name, state[name])


def _mean_square(value_error: np.ndarray) -> float:
    return float(np.square(value_error).sum(1).mean())


def _evidence(batch: Batch) -> dict[str, Any]:
    arrays = {name: value for name, value in vars(batch).items() if name != "inputs" and value is not None}
    return arrays | {f"observation{name}": value for name, value in batch.inputs.items()}


class Agent:
    """Takes the most likely action; for continuous actions, the mean."""

    def __init__(self, config: Config, spec: EnvSpec, weights: Weights) -> None:
        self.spec, self.policy = spec, make_policy(spec)
        self.net = make_net(config, spec).use_numpy_towers()
        self.net.load_state_dict(weights)
        self.has_memory, self.size = config.lstm_size > 0, 2 * config.lstm_size

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, AgentState | None]:
        outputs, _, after = self._evaluate(observation, state, starts)
        return environment_action(self.spec, self.policy.mode(self.policy.normalize(outputs, legal_actions))), after

    def analyze(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
                starts: np.ndarray | None = None, simulations: int | None = None) -> Analysis:
        outputs, value, after = self._evaluate(observation, state, starts)
        log_policy = self.policy.normalize(outputs, legal_actions)
        action = self.policy.mode(log_policy)
        return Analysis(action, np.exp(log_policy), value.sum(1), None, action[:, None].tolist(), after)

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
