"""Muesli (Hessel et al. 2021): policy optimisation with MuZero's model and no search. Equation numbers refer to the
paper.

Read it from top to bottom: the configuration, the network, the actor, the learner's targets, the learner, the agent.
The policy follows the policy gradient with Retrace returns and is regularised towards the clipped-MPO policy: the
policy of a slowly moving target network, improved by the model's one-step look-ahead. The same improved policy is the
target along the model's unroll. Rewards belong to the player who moved and values to the player to move, so for two
players the discount is negative and the rest of the code does not depend on whose turn it is.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from myosu import kernels
from myosu.algorithms.checks import check_model_fits, check_ranges
from myosu.algorithms.interface import AgentState, Analysis, Experience
from myosu.algorithms.recorder import EpisodeRecorder
from myosu.envs.vector import EnvSpec, Step, VectorEnv
from myosu.errors import NonFiniteLoss, UserError
from myosu.games.game import Symmetries
from myosu.losses.categorical import (
    Support,
    cross_entropy,
    negative_entropy,
    plane_loss,
    plane_loss_gradient,
)
from myosu.losses.cmpo import cmpo_policy, deviation, policy_gradient_weight, sampled_cmpo_policy
from myosu.losses.distributions import Choices, cross_entropy_gradient
from myosu.losses.policy_gradient import explained_variance
from myosu.losses.retrace import retrace_returns, retrace_trace
from myosu.nets.encoder import has_images
from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.nets.inference import InferenceModel, device_for, inference_model
from myosu.nets.muzero import HeadOutputs, MuZeroNet
from myosu.replay.replay import Columns, Replay, fitting_capacity
from myosu.replay.segments import ANSWER_COLUMNS, Segments
from myosu.runs.state import State, Weights, copied

SOURCE = "in turn"
#: Observations must be a single array; ``training.start`` wraps other environments.
READS_ONE_ARRAY = True

#: Metrics are computed every METRICS_EVERY updates, because computing them is slow.
METRICS_EVERY = 20


@dataclass(frozen=True)
class Config:
    """Muesli's settings. Presets for environments: ``myosu/presets/muesli``."""

    channels: int = 64
    """Channels of the residual towers; units of the layers for vector observations."""
    blocks: int = 1
    """Residual blocks of the representation tower and of the dynamics tower; layers for vector observations."""
    atoms: int = 41
    """Atoms of the categorical value and reward distributions, over the game's reward range."""
    value_range: tuple[float, float] | None = None
    """Lowest and highest value and reward; default: the game's reward range, or ±20,000 if that is unknown."""
    discount: float = 0.99
    """Discount of rewards, in (0, 1]. For two players the library makes it negative."""

    num_envs: int = 16
    """Environments per actor, stepped in parallel."""
    sequence_length: int = 32
    """Positions per stored sequence. Returns extend to the last position, which is only used to bootstrap."""
    replay_capacity: int = 100_000
    """Positions that the replay buffer holds, in whole sequences; the oldest are overwritten first."""
    learning_starts: int = 1000
    """Positions collected before the first update."""
    replay_ratio: float = 8.0
    """Times each collected position is sampled on average."""
    sequence_starts: int | None = None
    """Random positions of each sampled sequence to learn from; None: all. Positions of one board game share its
    outcome, so a few positions from many games are more informative than all positions of a few games."""
    batch_size: int = 128
    """Positions per update: ``sequence_starts`` of each sequence, or whole sequences."""
    fresh_fraction: float = 0.25
    """Fraction of a batch that is sampled from the newest ``num_envs`` sequences; the rest from the whole replay."""
    symmetries: bool = True
    """Augment each sampled sequence with a random symmetry of the game."""

    unroll_steps: int = 5
    """Steps K that the model is unrolled in training."""
    lookahead_actions: int = 16
    """Actions in the one-step look-ahead. If the environment has no more actions, the clipped-MPO policy is exact;
    otherwise it is estimated from this many samples of the target network's policy."""
    retrace: bool = True
    """Use Retrace's off-policy corrections; False: plain multi-step returns."""
    retrace_lambda: float = 0.95
    """λ of Retrace, in [0, 1]: 0 bootstraps after one step, 1 as late as the data are on-policy."""
    cmpo_clip: float = 1.0
    """Clip c of normalised advantages in the clipped-MPO policy."""
    advantage_decay: float = 0.99
    """Decay β of the moving variance that normalises advantages."""
    tau: float = 0.1
    """Polyak coefficient τ of the target network's update."""

    predict_rewards: bool = True
    """Predict rewards. False if rewards come only at the end (board games): the absorbing states after the end then
    keep the outcome as their value, which is learnt faster than a rare reward."""
    cmpo_loss_weight: float = 1.0
    """Weight of the loss that regularises the policy towards the clipped-MPO policy; 0: none."""
    model_loss_weight: float = 1.0
    """Weight of the policy loss of the unrolled model, whose targets are clipped-MPO policies; 0: none."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus, as in PPO; not in the paper."""
    anneal_entropy_weight: bool = False
    """Anneal the entropy weight linearly to 0 over the run."""
    value_loss_weight: float = 1.0
    """Weight of the value loss."""
    reward_loss_weight: float = 1.0
    """Weight of the reward loss."""
    reconstruction_loss_weight: float = 0.0
    """Weight of decoding the observation (binary planes) from every latent state, an auxiliary loss that teaches the
    model the rules of a board game."""
    learning_rate: float = 3e-3
    """Adam's learning rate."""
    anneal_learning_rate: bool = True
    """Anneal the learning rate linearly to 0 over the run."""
    max_grad_norm: float = 5.0
    """Clip the gradient to this norm."""
    device: str = "auto"
    """cpu, cuda or mps; auto: an accelerator if there is one and observations are images or boards, else cpu."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            "channels": (1, 4096), "blocks": (0, 100), "atoms": (2, 2001), "discount": (1e-6, 1.0),
            "num_envs": (1, 1_000_000), "sequence_length": (2, 10_000), "replay_capacity": (1, 10**9),
            "learning_starts": (1, 10**9), "replay_ratio": (1e-6, 1e6), "batch_size": (1, 10**7),
            "fresh_fraction": (0.0, 1.0), "unroll_steps": (1, 100), "lookahead_actions": (1, 100_000),
            "retrace_lambda": (0.0, 1.0), "cmpo_clip": (1e-6, 50.0), "advantage_decay": (0.0, 0.999999),
            "tau": (1e-6, 1.0), "cmpo_loss_weight": (0.0, 1e6), "model_loss_weight": (0.0, 1e6),
            "entropy_weight": (0.0, 1e6),
            "value_loss_weight": (0.0, 1e6), "reward_loss_weight": (0.0, 1e6), "reconstruction_loss_weight": (0.0, 1e6),
            "learning_rate": (0.0, 10.0),
            "max_grad_norm": (1e-6, 1e9),
        })
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise UserError(f"value_range = {self.value_range} is impossible: its first number must be smaller.")
        if self.sequence_starts is not None and not 1 <= self.sequence_starts < self.sequence_length:
            raise UserError(f"sequence_starts = {self.sequence_starts} must be 1 to {self.sequence_length - 1}, one "
                            "less than sequence_length.")
        if self.batch_size % self.sequence_positions:
            name = "sequence_starts" if self.sequence_starts else "sequence_length"
            raise UserError(f"batch_size = {self.batch_size} is not a multiple of {name} = {self.sequence_positions}: "
                            "change one of them.")
        if max(self.learning_starts, self.sequence_length) > self.stored_positions:
            raise UserError(f"learning_starts = {self.learning_starts} is more than a replay of replay_capacity = "
                            f"{self.replay_capacity} positions in sequences of {self.sequence_length} can hold: lower "
                            "learning_starts or raise replay_capacity.")

    @property
    def sequence_positions(self) -> int:
        """Positions that a sequence contributes to a batch."""
        return self.sequence_starts or self.sequence_length

    @property
    def stored_positions(self) -> int:
        return self.replay_capacity // self.sequence_length * self.sequence_length


def resolve(config: Config, spec: EnvSpec, deterministic: bool) -> Config:
    """``config`` with a replay buffer that fits in this machine's memory. Raises UserError for environments that Muesli
    does not support."""
    check_model_fits("Muesli", spec)
    if config.reconstruction_loss_weight and len(spec.observation_shape) != 3:
        raise UserError(f"reconstruction_loss_weight needs a board of planes; observations here have the shape "
                        f"{spec.observation_shape}: set it to 0.")
    return replace(config, replay_capacity=fitting_capacity(position_columns(spec), config.replay_capacity))


def value_support(config: Config, spec: EnvSpec) -> Support:
    return Support.of_returns(*(config.value_range or spec.reward_range), config.atoms, spec.num_players)


def make_net(config: Config, spec: EnvSpec) -> MuZeroNet:
    planes = spec.observation_shape[0] if config.reconstruction_loss_weight else 0
    net = MuZeroNet(spec.observation_shape, spec.num_actions, config.channels, config.blocks, config.atoms,
                    rewards=config.predict_rewards, decoded_planes=planes)
    net.start_at_zero(value_support(config, spec).points())
    return net


def position_columns(spec: EnvSpec) -> Columns:
    """The replay's columns; see ``Segments``. log_prob: log π_b(a|s) of the action taken."""
    return {
        "observation": (spec.observation_shape, spec.observation_dtype),
        "legal_actions": ((spec.num_actions,), np.bool_),
        "action": ((), np.int64),
        "log_prob": ((), np.float32),
        **ANSWER_COLUMNS,
    }


def make_replay(config: Config, spec: EnvSpec) -> Replay:
    """A replay of whole sequences, each at a multiple of ``sequence_length``."""
    return Replay(position_columns(spec), config.stored_positions)


class ActingNetwork:
    """The network of actors and agents: maps observations to policies and values."""

    def __init__(self, config: Config, spec: EnvSpec, capacity: int) -> None:
        self.device, self.capacity = device_for(config.device, spec), capacity
        self.net = make_net(config, spec).eval().to(self.device)
        self.model: InferenceModel = self.net
        self.boards = has_images(spec)  # only these have a faster inference form
        self.policy = Choices((spec.num_actions,), several=False)

    def load_weights(self, weights: Weights) -> None:
        self.net.load_state_dict(weights)
        if self.boards:
            self.model = inference_model(self.net, "float32", self.device, min(self.capacity, 256))

    @torch.inference_mode()
    def evaluate(self, observation: np.ndarray, legal_actions: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Log-probabilities float32 [n, A], −∞ where illegal, and value logits [n, atoms]."""
        _, value, logits = self.model.initial(torch.from_numpy(observation).to(self.device))
        return self.policy.normalize(logits.cpu().numpy(), legal_actions), value


class Actor:
    """Samples actions from the target network's policy and returns each sequence as soon as it is full."""

    def __init__(self, config: Config, env: VectorEnv, seed: int) -> None:
        self.env, self.rng = env, np.random.default_rng([seed, 1])
        self.player = ActingNetwork(config, env.spec, env.num_envs)
        self.segments = Segments(position_columns(env.spec), env.num_envs, config.sequence_length)
        self.recorder = EpisodeRecorder(env.spec, env.num_envs)
        self.version, self.predict_rewards = 0, config.predict_rewards
        self.actions, self.entropy = np.zeros(env.num_envs, np.int64), np.zeros(env.num_envs, np.float32)
        env.reset()
        self.current: Step = env.recv(env.num_envs)
        self.recorder.start(self.current)

    def step(self) -> Experience:
        now, policy = self.current, self.player.policy
        log_probs, _ = self.player.evaluate(now.observation, now.legal_actions)
        action = policy.sample(log_probs, self.rng)
        self.segments.act(now.env_ids, observation=now.observation, legal_actions=now.legal_actions, action=action,
                          log_prob=policy.log_prob(log_probs, action))
        self.actions[now.env_ids], self.entropy[now.env_ids] = action, policy.entropy(log_probs)
        self.env.send(action, now.env_ids)
        self.current = after = self.env.recv()
        ids = after.env_ids
        if not self.predict_rewards and (early := after.reward[~(after.terminated | after.truncated)]).any():
            raise UserError(f"A reward of {early[early.nonzero()][0]:g} came before the end of a game: "
                            "predict_rewards = false is for rewards that come only with the end. Set it to true.")
        sequences = self.segments.answer(after)
        episodes = self.recorder.record(after, self.actions[ids], self.version, {"policy_entropy": self.entropy[ids]})
        return Experience(self.version, len(ids), sequences, episodes)

    def load_weights(self, weights: Weights, version: int) -> None:
        self.player.load_weights(weights)
        self.version = version

    def state_dict(self) -> State:
        return copy.deepcopy({
            "env": self.env.state_dict(), "current": vars(self.current), "rng": self.rng.bit_generator.state,
            "weights": dict(self.player.net.state_dict()), "version": self.version, "actions": self.actions,
            "entropy": self.entropy, "segments": self.segments.state_dict(), "recorder": self.recorder.state_dict(),
        })

    def load_state_dict(self, state: State) -> None:
        self.env.load_state_dict(state["env"])
        self.current = Step(**state["current"])
        self.rng.bit_generator.state = state["rng"]
        self.load_weights(state["weights"], state["version"])
        self.actions, self.entropy = state["actions"].copy(), state["entropy"].copy()
        self.segments.load_state_dict(state["segments"])
        self.recorder.load_state_dict(state["recorder"])


class Targets(NamedTuple):
    """The target network's targets for B sequences of L positions.

    returns: float32 [B, L], the Retrace return of each action; 0 in the last row. value: float32 [N], v_prior where
    unrolls start. advantage: float32 [N], returns − v_prior where unrolls start, centred and normalised. policy:
    float32 [B, L, A], π_CMPO.
    """

    returns: np.ndarray
    value: np.ndarray
    advantage: np.ndarray
    policy: np.ndarray


class LossTargets(NamedTuple):
    """Loss targets and weights for N K-step unrolls, time-major; the weights make each loss a mean.

    log_policy: float32 [(K + 1) N, A], log π of the online network; −∞ where an action is illegal in the first step.
    action: int64 [N]. advantage: float32 [N], importance-weighted: the factor of −log π(action) in the policy-gradient
    loss. learns: bool [N], whether an action was taken there. entropy_weight: for each position with ``learns``.
    policy: float32 [(K + 1) N, A], π_CMPO times its loss's weight. value, value_weight: float32 [(K + 1) N]. reward,
    reward_weight: float32 [K N]. planes_weight: float32 [(K + 1) N].
    """

    log_policy: np.ndarray
    action: np.ndarray
    advantage: np.ndarray
    learns: np.ndarray
    entropy_weight: float
    policy: np.ndarray
    value: np.ndarray
    value_weight: np.ndarray
    reward: np.ndarray
    reward_weight: np.ndarray
    planes_weight: np.ndarray


class Learner:
    """Trains the model and its policy on sequences from the replay.

    Torch runs the networks on their device. Targets and closed-form gradients are small arrays, so NumPy and Numba
    compute them on the CPU, where the batch is.
    """

    def __init__(self, config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> None:
        self.config, self.spec, self.num_actions = config, spec, spec.num_actions
        self.symmetries = symmetries if config.symmetries else None
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.device = device_for(config.device, spec)
        self.net = make_net(config, spec).to(self.device)
        self.target = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.parameters, self.target_parameters = FlatParameters(self.net), FlatParameters(self.target)
        #: Statistics of batch normalisation. They are copied, because they are moving averages already.
        self.statistics = list(zip(self.target.buffers(), self.net.buffers(), strict=True))
        self.optimizer = FlatAdam(self.parameters)
        self.policy = Choices((self.num_actions,), several=False)
        self.support = value_support(config, spec)
        self.discount = spec.signed_discount(config.discount)
        self.columns = list(position_columns(spec))
        sequences = config.batch_size // config.sequence_positions
        self.ahead = self._ahead(sequences)
        if self.num_actions <= config.lookahead_actions:
            self.every_action = np.tile(np.arange(self.num_actions), (sequences * config.sequence_length, 1))
        self.updates = 0
        K = config.unroll_steps
        first = np.eye(1, K + 1, dtype=np.float32)[0]
        later = (1 - first) / np.float32(K)
        #: float32 [4, K + 1]: loss weights of policy, value, reward and planes at step k. The K unrolled steps share
        #: one weight. Rewards belong to the previous step.
        self.weights_along = np.stack([
            first * config.cmpo_loss_weight + later * config.model_loss_weight,
            (first + later) * config.value_loss_weight, np.roll(later, -1) * config.reward_loss_weight,
            (first + later) * config.reconstruction_loss_weight])
        #: Moving average of the squared advantages.
        self.variance = 0.0

    def update(self, replay: Replay, progress: float) -> dict[str, float]:
        config = self.config
        batch = self._draw(replay)
        targets = self._targets(batch)
        outputs = self._unroll(batch)
        entropy_weight = config.entropy_weight * (1.0 - progress * config.anneal_entropy_weight)
        loss_targets = self._loss_targets(batch, targets, outputs.policy_logits, entropy_weight)
        self.parameters.zero_gradient()
        if kernels.PLAIN:
            self._losses(outputs, batch, loss_targets)["loss"].backward()
        else:
            heads = [output for output in outputs if output is not None]
            torch.autograd.backward(heads, self._gradients(outputs, batch, loss_targets))
        norm = self.parameters.clip_gradient(config.max_grad_norm)
        if not math.isfinite(norm):
            raise NonFiniteLoss(f"gradient norm {norm} at update {self.updates}", batch)
        rate = config.learning_rate * (1.0 - progress * config.anneal_learning_rate)
        self.optimizer.step(rate)
        self.target_parameters.approach(self.parameters, config.tau)
        for theirs, ours in self.statistics:
            theirs.copy_(ours)
        self.updates += 1
        if (self.updates - 1) % METRICS_EVERY:
            return {}
        losses = self._losses(outputs, batch, loss_targets)
        acted, returns = (_at(batch["ahead"][0], rows) for rows in (batch["acted"], targets.returns))
        return {name: float(value.detach()) for name, value in losses.items()} | {
            "gradient_norm": norm, "learning_rate": rate, "return_mean": float(returns[acted].mean()),
            "explained_variance": explained_variance(targets.value[acted], returns[acted]),
            "advantage_deviation": deviation(self.variance, config.advantage_decay, self.updates)}

    def _draw(self, replay: Replay) -> dict[str, np.ndarray]:
        """Sample a batch of sequences: every column [B, L, ...], and "ahead", see ``_ahead``."""
        config, length = self.config, self.config.sequence_length
        count, stored = config.batch_size // config.sequence_positions, replay.positions // length
        fresh, newest = round(config.fresh_fraction * count), min(config.num_envs, stored)
        uniform = self.rng.random(newest + count - fresh).tolist()
        ago = sorted(range(newest), key=uniform.__getitem__)
        drawn = np.array([(replay.cursor // length - 1 - ago[i % newest]) % (replay.capacity // length)
                          for i in range(fresh)] + [int(u * stored) for u in uniform[newest:]])
        columns = {name: replay.columns[name] for name in self.columns}
        batch = {name: rows.reshape(-1, length, *rows.shape[1:]).take(drawn, 0) for name, rows in columns.items()}
        if self.symmetries is not None:
            batch = self.symmetries.augment(batch, self.rng)
        batch["ahead"] = self.ahead if config.sequence_starts is None else self._ahead(count)
        return batch

    def _ahead(self, sequences: int) -> np.ndarray:
        """Row indices of the unrolls in the flattened sequences, int64 [K + 1, N]: k = 0 … K steps after each of the N
        starting positions, clamped to the last row of the sequence."""
        length, starts = self.config.sequence_length, self.config.sequence_starts
        rows = np.arange(sequences * length).reshape(sequences, length)
        first, last = rows[:, :-1], rows[:, -1:]
        if starts is not None:
            first = self.rng.permuted(first, axis=1)[:, :starts]
        ahead = np.minimum(first + np.arange(self.config.unroll_steps + 1)[:, None, None], last)
        return ahead.reshape(len(ahead), -1)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _target_rows(self, batch: dict[str, np.ndarray]) -> np.ndarray | slice:
        """Rows of the flattened sequences that the target network evaluates: with Retrace all rows, otherwise those of
        unrolls and those where a sequence or an episode is truncated."""
        if self.config.retrace:
            return slice(None)
        return np.union1d(batch["ahead"], np.flatnonzero(~batch["acted"]))

    @torch.no_grad()
    def _targets(self, batch: dict[str, np.ndarray]) -> Targets:
        """Compute targets from the target network's values and its model's one-step look-ahead."""
        config, net, acted, ahead = self.config, self.target, batch["acted"], batch["ahead"]
        rows = self._target_rows(batch)

        def scatter(values: np.ndarray) -> np.ndarray:
            """Scatter the values [n, ...] of ``rows`` to sequences [B, L, ...], 0 elsewhere."""
            scattered = values
            if not config.retrace:
                scattered = np.zeros((acted.size, *values.shape[1:]), np.float32)
                scattered[rows] = values
            return scattered.reshape(*acted.shape, *values.shape[1:])

        latent = net.represent(self._tensor(_at(rows, batch["observation"])))
        log_prior = self.policy.normalize(net.policy(latent).cpu().numpy(), _at(rows, batch["legal_actions"]))
        taken = _at(rows, batch["action"])
        exact = self.num_actions <= config.lookahead_actions
        if exact:
            q = self._q(latent, self.every_action[:len(taken)])
            v, q_taken, advantages = action_advantages(log_prior, q, taken)
        else:
            drawn = self.policy.sample(log_prior.repeat(config.lookahead_actions, 0), self.rng).reshape(len(taken), -1)
            v = self.support.mean(net.value(latent)).cpu().numpy()
            q = self._q(latent, np.column_stack([drawn, taken]) if config.retrace else drawn)
            advantages, q_taken = q[:, :drawn.shape[1]] - v[:, None], q[:, -1]  # q_taken is used only by Retrace

        v_prior = scatter(v)
        if config.retrace:
            q_prior, log_prob = scatter(q_taken), scatter(self.policy.log_prob(log_prior, taken))
            trace = retrace_trace(log_prob, batch["log_prob"], np.float32(config.retrace_lambda))
        else:
            q_prior, trace = v_prior, np.ones_like(v_prior)
        returns, value, advantage, mean, mean_square = start_advantages(
            ahead[0], batch["reward"], acted, batch["terminated"], v_prior, q_prior, trace, np.float32(self.discount))
        self.variance += (1.0 - config.advantage_decay) * (mean_square - self.variance)
        scale = np.float32(deviation(self.variance, config.advantage_decay, self.updates + 1))
        # Centred, because values lag behind an improving policy: otherwise all advantages would be positive and
        # reinforce every action.
        centred = (advantage - mean) / scale
        if exact:
            policy = cmpo_policy(log_prior, advantages / scale, np.float32(config.cmpo_clip))
        else:
            policy = sampled_cmpo_policy(drawn, advantages / scale, self.num_actions, np.float32(config.cmpo_clip))
        return Targets(returns, value, centred, scatter(policy))

    def _q(self, latent: Tensor, actions: np.ndarray) -> np.ndarray:
        """q_prior(s, a) = r + d v(s') by one step of the target network's model (equation 14); latent states [n, ...]
        and actions [n, a] → [n, a]."""
        imagined = self.target.imagine(latent.repeat_interleave(actions.shape[1], 0), self._tensor(actions.ravel()))
        q = self.discount * self.support.mean(self.target.value(imagined)).cpu().numpy()
        if self.target.reward is not None:
            q += self.support.mean(self.target.reward(imagined)).cpu().numpy()
        return q.reshape(actions.shape)

    def _unroll(self, batch: dict[str, np.ndarray]) -> HeadOutputs:
        """The heads' outputs for the unrolls of N positions."""
        ahead = batch["ahead"]
        latent = self.net.represent(self._tensor(_at(ahead[0], batch["observation"])))
        return self.net.read(self.net.unroll(latent, self._tensor(_at(ahead[:-1], batch["action"]))))

    def _loss_targets(self, batch: dict[str, np.ndarray], targets: Targets, policy_logits: Tensor,
                      entropy_weight: float) -> LossTargets:
        """L = L_PG + λ L_CMPO + L_m + L_v + L_r (equations 9 to 13): each is a mean over the N positions; losses of the
        model are the first step's plus the mean over the K unrolled steps."""
        start = batch["ahead"][0]
        learns, share, legal, *fitted = unroll_targets(
            batch["ahead"], batch["legal_actions"], batch["reward"], batch["acted"], batch["terminated"],
            targets.returns, targets.policy, self.weights_along, self.discount, not self.config.predict_rewards)
        self.support.warn_if_outside(targets.returns)
        self.support.warn_if_outside(batch["reward"])
        log_policy = self.policy.normalize(policy_logits.detach().cpu().numpy(), legal)
        action = _at(start, batch["action"])
        advantage = policy_gradient_weight(self.policy.log_prob(log_policy[:len(start)], action),
                                        _at(start, batch["log_prob"]), targets.advantage)
        return LossTargets(log_policy, action, learns * advantage * share, learns, entropy_weight * share, *fitted)

    @torch.no_grad()
    def _gradients(self, outputs: HeadOutputs, batch: dict[str, np.ndarray], targets: LossTargets) -> list[Tensor]:
        """Closed-form gradients of the sum of ``_losses`` with respect to each of ``outputs``."""
        policy, first = cross_entropy_gradient(targets.log_policy, targets.policy), slice(len(targets.action))
        policy[first] += targets.learns[:, None] * self.policy.gradient(
            targets.log_policy[first], targets.action, -targets.advantage, -targets.entropy_weight)
        gradients = [self._tensor(policy),
                  self.support.cross_entropy_gradient(outputs.value_logits, targets.value, targets.value_weight)]
        if outputs.reward_logits is not None:
            gradients.append(self.support.cross_entropy_gradient(outputs.reward_logits, targets.reward,
                                                                 targets.reward_weight))
        if outputs.planes is not None:
            gradient = plane_loss_gradient(outputs.planes, self._planes(batch))
            gradients.append(gradient.mul_(self._tensor(targets.planes_weight)[:, None, None, None]))
        return gradients

    def _losses(self, outputs: HeadOutputs, batch: dict[str, np.ndarray], targets: LossTargets) -> dict[str, Tensor]:
        """Weighted losses by name and their sum "loss", in plain torch: the reference for ``_gradients``."""
        tensor, first = self._tensor, slice(len(targets.action))
        # Illegal logits are finite, but so low that the probability is 0: with −∞, 0 · −∞ would be NaN.
        policy = outputs.policy_logits[first].masked_fill(tensor(np.isneginf(targets.log_policy[first])), -1e9)
        log_prob = policy.log_softmax(-1).gather(-1, tensor(targets.action)[:, None])[:, 0]

        def scalar_loss(logits: Tensor, scalar: np.ndarray, weight: np.ndarray) -> Tensor:
            return cross_entropy(logits, self.support.two_hot(tensor(scalar))) * tensor(weight)

        losses = {
            "policy_loss": -log_prob * tensor(targets.advantage),
            "cmpo_loss": cross_entropy(policy, tensor(targets.policy[first])),
            "model_loss": cross_entropy(outputs.policy_logits[first.stop:], tensor(targets.policy[first.stop:])),
            "value_loss": scalar_loss(outputs.value_logits, targets.value, targets.value_weight),
        }
        if self.config.entropy_weight:
            losses["entropy_loss"] = negative_entropy(policy) * tensor(targets.learns) * targets.entropy_weight
        if outputs.reward_logits is not None:
            losses["reward_loss"] = scalar_loss(outputs.reward_logits, targets.reward, targets.reward_weight)
        if outputs.planes is not None:
            losses["reconstruction_loss"] = (plane_loss(outputs.planes, self._planes(batch))
                                             * tensor(targets.planes_weight))
        losses = {name: loss.sum() for name, loss in losses.items()}
        return losses | {"loss": torch.stack(list(losses.values())).sum()}

    def _planes(self, batch: dict[str, np.ndarray]) -> Tensor:
        """The planes to decode from the latent states."""
        return self._tensor(_at(batch["ahead"].ravel(), batch["observation"]))

    def weights(self) -> Weights:
        return copied(self.target.state_dict())

    def state_dict(self) -> State:
        return copy.deepcopy({
            "net": self.net.state_dict(), "target": self.target.state_dict(), "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state, "updates": self.updates, "variance": self.variance,
        })

    def load_state_dict(self, state: State) -> None:
        self.net.load_state_dict(state["net"])
        self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self.updates, self.variance = state["updates"], float(state["variance"])


@numba.njit(cache=True)
def action_advantages(log_prior, q, taken):
    """v(s) = Σ_a π_prior(a|s) q(s, a) and q(s, taken), float32 [n] each; advantages q − v, float32 [n, A]. log_prior,
    q: float32 [n, A]. taken: int64 [n]."""
    value, q_taken = np.zeros(len(q), np.float32), np.empty(len(q), np.float32)
    advantages = np.empty(q.shape, np.float32)
    for i in range(len(q)):
        for a in range(q.shape[1]):
            value[i] += math.exp(log_prior[i, a]) * q[i, a]
        q_taken[i] = q[i, taken[i]]
        for a in range(q.shape[1]):
            advantages[i, a] = q[i, a] - value[i]
    return value, q_taken, advantages


@numba.njit(cache=True)
def start_advantages(start, reward, acted, terminated, value, q, trace, discount):
    """(returns, value, advantage, mean, mean square) of sequences and of the N rows where unrolls start.

    returns: float32 [B, L], by Retrace; 0 in the last row. value: float32 [N], at the starts. advantage: float32 [N],
    returns − value at the starts, 0 where no action was taken; then its mean and its mean square over the starts with
    an action. start: int64 [N], rows of the flattened sequences. The other arguments: [B, L], see ``Targets`` and
    ``retrace_returns``; trace is ignored where no action was taken.
    """
    returns, discounts = np.zeros(value.shape, np.float32), np.zeros(value.shape, np.float32)
    for b in range(len(value)):
        for t in range(value.shape[1] - 1):
            discounts[b, t] = 0.0 if terminated[b, t] else discount
    full_returns = retrace_returns(reward, discounts, value, q, trace * acted)
    for b in range(len(value)):
        for t in range(value.shape[1] - 1):
            returns[b, t] = full_returns[b, t]
    start_value, advantage = np.zeros(len(start), np.float32), np.zeros(len(start), np.float32)
    count, total, squares = 0, 0.0, 0.0
    for i in range(len(start)):
        b, t = start[i] // value.shape[1], start[i] % value.shape[1]
        start_value[i] = value[b, t]
        if acted[b, t]:
            advantage[i] = returns[b, t] - value[b, t]
            count += 1
            total += advantage[i]
            squares += advantage[i] ** 2
    return returns, start_value, advantage, np.float32(total / max(1, count)), squares / max(1, count)


@numba.njit(cache=True)
def unroll_targets(ahead, legal_actions, reward, acted, terminated, returns, policy, weights, discount, keep_outcome):
    """Targets along the unrolls: learns bool [N] of the first steps; 1 / the number of those; the action mask bool
    [(K + 1) N, A] (all true after the first step, so that the model learns which actions are legal); and the fields of
    ``LossTargets`` from ``policy`` on.

    ahead: int64 [K + 1, N]. weights: float32 [4, K + 1], of policy, value, reward and planes. keep_outcome: whether the
    absorbing states keep the outcome as their value. The other arguments: [B, L, ...], see ``Targets``.
    """
    learns, over = unrolled_steps(acted, terminated, ahead)
    share, (steps, starts) = np.float32(1.0 / max(1, learns[0].sum())), ahead.shape
    num_actions, all_rewards, all_returns = policy.shape[2], reward.ravel(), returns.ravel()
    all_legal, all_policies = legal_actions.reshape(-1, num_actions), policy.reshape(-1, num_actions)
    legal = np.ones((steps * starts, num_actions), np.bool_)
    for i in range(starts):
        for a in range(num_actions):
            legal[i, a] = all_legal[ahead[0, i], a]
    policies = np.zeros((steps * starts, num_actions), np.float32)
    # After the end of an episode rewards and values are 0, unless absorbing states keep the outcome.
    values, rewards = np.zeros((steps, starts), np.float32), np.zeros((steps, starts), np.float32)
    scales = np.zeros((3, steps, starts), np.float32)
    for k in range(steps):
        for i in range(starts):
            if learns[k, i]:
                row, scale = ahead[k, i], share * weights[0, k]
                values[k, i], rewards[k, i], scales[2, k, i] = all_returns[row], all_rewards[row], share * weights[3, k]
                for a in range(num_actions):
                    policies[k * starts + i, a] = all_policies[row, a] * scale
            if learns[k, i] or over[k, i]:
                scales[0, k, i], scales[1, k, i] = share * weights[1, k], share * weights[2, k]
    if keep_outcome:
        outcomes = absorbing_values(rewards, over, discount)
        for k in range(steps):
            for i in range(starts):
                values[k, i] += outcomes[k, i]
    return (learns[0], share, legal, policies, values.ravel(), scales[0].ravel(), rewards[:-1].ravel(),
            scales[1, :-1].ravel(), scales[2].ravel())


@numba.njit(cache=True)
def unrolled_steps(acted, terminated, ahead):
    """Find the steps k = 0 … K of the unrolls that have targets.

    acted, terminated: bool [B, L], see ``Segments``. ahead: int64 [K + 1, N], rows of the flattened sequences, see
    ``Learner``. Returns learns: bool [K + 1, N], whether step k belongs to the same episode and has an action; over:
    bool [K + 1, N], whether the episode terminated before step k.
    """
    acted, terminated = acted.ravel(), terminated.ravel()
    learns, over = np.zeros(ahead.shape, np.bool_), np.zeros(ahead.shape, np.bool_)
    for i in range(ahead.shape[1]):
        ended = False
        for k in range(len(ahead)):
            row = ahead[k, i]
            if not ended and not acted[row]:
                break  # truncated, or the last row of the sequence
            learns[k, i], over[k, i] = not ended, ended
            ended |= terminated[row]
    return learns, over


@numba.njit(cache=True)
def absorbing_values(reward, over, discount):
    """Values of the absorbing states after the end, which keep the outcome: r / d, r / d², … for the last reward r, so
    that v_k = d · v_{k+1}; 0 where ``over`` is false. reward: float32, over: bool, both [K + 1, N]."""
    value = np.zeros_like(reward)
    for k in range(1, len(reward)):
        for i in range(reward.shape[1]):
            if over[k, i]:
                value[k, i] = (value[k - 1, i] if over[k - 1, i] else reward[k - 1, i]) / discount
    return value


def _at(index: np.ndarray | slice, sequences: np.ndarray) -> np.ndarray:
    """Rows of the flattened sequences [B, L, ...] at ``index``: [*index.shape, ...]."""
    rows = sequences.reshape(-1, *sequences.shape[2:])
    return rows[index] if isinstance(index, slice) else rows.take(index, 0)


class Agent:
    """Takes the most likely action."""

    has_memory = False

    def __init__(self, config: Config, spec: EnvSpec, weights: Weights) -> None:
        self.player, self.support = ActingNetwork(config, spec, capacity=128), value_support(config, spec)
        self.player.load_weights(weights)

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, None]:
        return self.player.policy.mode(self.player.evaluate(observation, legal_actions)[0]), None

    def analyze(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
                starts: np.ndarray | None = None, simulations: int | None = None) -> Analysis:
        log_policy, value = self.player.evaluate(observation, legal_actions)
        action = self.player.policy.mode(log_policy)
        return Analysis(action, np.exp(log_policy), self.support.mean(value).cpu().numpy(), None,
                        action[:, None].tolist())


def make_actor(config: Config, env: VectorEnv, seed: int) -> Actor:
    return Actor(config, env, seed)


def make_learner(config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner:
    return Learner(config, spec, symmetries, seed)


def make_agent(config: Config, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
               seed: int = 0) -> Agent:
    return Agent(config, spec, weights)
