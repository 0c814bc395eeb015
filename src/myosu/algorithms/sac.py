"""Soft actor-critic (Haarnoja et al. 2018) for continuous, discrete (Christodoulou 2019), multi-discrete and mixed
actions, with action masks, automatic temperature tuning and, optionally, an LSTM.

Read it from top to bottom: the configuration, the networks, the actor, the learner, the agent. ``soft_actions.py``
has the code that depends on the kind of actions.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from myosu.algorithms.checks import check_learning_starts, check_ranges
from myosu.algorithms.demonstrations import gail_signals, load_demonstrations
from myosu.algorithms.interface import AgentState, Analysis, Experience, state_before
from myosu.algorithms.off_policy import Sampler, StepActor, StepLearner
from myosu.algorithms.soft_actions import SoftActions, make_actions
from myosu.envs.vector import EnvSpec, Step, VectorEnv
from myosu.errors import NonFiniteLoss, UserError
from myosu.games.game import Symmetries
from myosu.losses.soft import choice_log_probs, temperature_loss
from myosu.nets.encoder import Encoder, Observation, acts_by_cell, has_images, layers, to_tensors
from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.nets.inference import device_for
from myosu.nets.memory import Memory
from myosu.nets.towers import CellTowers, TwinTowers
from myosu.replay.priorities import Priorities
from myosu.replay.replay import Columns, Replay, Rows, fitting_capacity
from myosu.replay.sequences import SequenceBatch, Sequences
from myosu.replay.transitions import Transitions, stored_columns, transition_columns
from myosu.rewards.actions import action_features
from myosu.rewards.curiosity import curiosity_signals, parse_curiosity
from myosu.rewards.environment import EnvironmentReward
from myosu.rewards.signals import RewardSignal, RewardSignals
from myosu.runs.state import State, Weights

SOURCE = "in turn"

#: Metrics are computed every METRICS_EVERY updates, because reading them back is slow.
METRICS_EVERY = 50

#: An encoder's outputs: features [n, F] and, for boards, features of each cell [n, C, H, W], else None.
Encoded = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Config:
    """SAC's settings. Presets for environments: ``myosu/presets/sac``."""

    hidden: tuple[int, ...] = (256, 256)
    """Units of the hidden layers of the policy and of each critic; for images, the last number is also the width of the
    layer after the convolutions. Where actions are the cells of a board, policy and critics have a layer of
    ``channels`` units for each cell."""
    channels: int = 32
    """Channels of the convolutions that read a board."""
    blocks: int = 1
    """Residual blocks of the convolutions that read a board."""
    lstm_size: int = 0
    """Units of the LSTM, for partially observable environments; 0: no LSTM."""
    sequence_length: int = 32
    """With an LSTM: successive steps that are trained on together."""
    burn_in: int = 8
    """With an LSTM: steps before each sequence that only refresh the stored recurrent state (Kapturowski et al.
    2019)."""

    discount: float = 0.99
    """Discount of rewards, in [0, 1]."""
    n_step: int = 1
    """Steps of the return before it bootstraps."""
    temperature: float | None = None
    """Weight α of the entropy; None: tuned so that the policy's entropy stays at its target."""
    temperature_initial: float = 1.0
    """Initial temperature if it is tuned."""
    target_entropy: float = -1.0
    """Target entropy (nats) of each component of a continuous action in (−1, 1)."""
    target_entropy_scale: float = 0.3
    """Target entropy of each branch of discrete actions, as a fraction of ln(number of legal choices). Near 1 only an
    almost uniform policy reaches it, and the temperature of any other grows without bound."""
    entropy_in_values: bool = True
    """Include the entropy bonus of future steps in the values, as in SAC. Otherwise it is only in the policy's loss
    (Asad et al. 2025), which suits discrete actions: the bonus can outweigh the rewards that depend on them."""

    num_envs: int = 1
    """Environments of each actor."""
    replay_capacity: int = 1_000_000
    """Steps that the replay buffer holds; the oldest are overwritten first."""
    learning_starts: int = 1000
    """Transitions collected with uniformly random actions before the first update."""
    replay_ratio: float = 256.0
    """Times each collected transition is sampled on average: one update every ``batch_size / replay_ratio`` steps."""
    batch_size: int = 256
    """Transitions in a minibatch."""
    prioritized: bool = False
    """Prioritised experience replay: sample in proportion to the TD error, with importance-sampling weights."""
    priority_exponent: float = 0.6
    """α of prioritised replay; its β is annealed from 0.4 to 1 over the run."""
    reward_scale: float = 1.0
    """Environment rewards are multiplied by this; 0: learn from GAIL and curiosity alone."""
    gail_weight: float = 0.0
    """Weight of the reward for imitating ``recordings`` (GAIL); 0: none."""
    gail_discount: float = 0.99
    """Discount of that reward, in [0, 1)."""
    recordings: tuple[str, ...] = ()
    """Folders of runs whose recorded games are imitated (gail_weight, cloning_weight, cloning_updates), or
    minari:DATASET."""
    curiosity: tuple[str, ...] = ()
    """Intrinsic rewards (docs/curiosity.md): rnd, icm, each with an optional weight and discount, as in
    rnd:0.5:0.99."""

    tau: float = 0.005
    """Polyak coefficient τ of the target critics' update."""
    symmetries: bool = True
    """Augment each sample with a random symmetry of the game; not with an LSTM."""
    cloning_weight: float = 0.0
    """Weight of the loss −log π(a|s) of the actions in ``recordings``; it falls linearly to 0 over the run."""
    cloning_updates: int = 0
    """Updates on the cloning loss alone before the critics' first one, so that the policy begins as a clone."""
    learning_rate: float = 3e-4
    """Adam's learning rate for policy, critics and temperature."""
    anneal_learning_rate: bool = False
    """Anneal the learning rate linearly to 0 over the run."""
    device: str = "auto"
    """cpu, cuda or mps; auto: an accelerator if there is one and observations contain images or boards."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            "channels": (1, 4096), "blocks": (0, 100), "discount": (0.0, 1.0), "n_step": (1, 1000),
            "temperature_initial": (1e-9, 1e9), "target_entropy": (-100.0, math.log(2.0)),
            "target_entropy_scale": (0.0, 1.0), "num_envs": (1, 1_000_000), "replay_capacity": (1, 10**9),
            "learning_starts": (1, 10**9), "replay_ratio": (1e-6, 1e6), "batch_size": (1, 10**6),
            "lstm_size": (0, 4096), "sequence_length": (1, 10_000), "burn_in": (0, 10_000),
            "priority_exponent": (0.0, 10.0), "reward_scale": (0.0, 1e9), "gail_weight": (0.0, 1e9),
            "cloning_weight": (0.0, 1e6), "cloning_updates": (0, 10**9), "tau": (1e-6, 1.0),
            "learning_rate": (0.0, 10.0),
        })
        if self.temperature is not None:
            check_ranges(self, {"temperature": (0.0, 1e9)})
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"hidden = {self.hidden} is impossible: it must be one layer or more, of 1 unit or more.")
        if self.lstm_size and self.prioritized:
            raise UserError("prioritized replay samples single steps, but an LSTM (lstm_size) needs sequences: choose "
                            "one of them.")
        if (self.cloning_weight or self.cloning_updates) and self.lstm_size:
            raise UserError("cloning and lstm_size cannot be combined, because recordings have no recurrent state. "
                            "Leave one of them out.")
        for text in self.curiosity:
            parse_curiosity(text, self.discount)
        check_learning_starts(self)


def resolve(config: Config, spec: EnvSpec, deterministic: bool) -> Config:
    """``config`` with a replay buffer that fits in this machine's memory. Raises UserError for environments that SAC
    does not support."""
    if spec.num_players != 1:
        raise UserError(f"SAC is for one player; this game has {spec.num_players}. Use muzero.")
    if not np.isfinite(spec.action_low + spec.action_high).all():
        raise UserError("SAC needs bounds of every component of an action; here some are infinite. Give the Box finite "
                        "bounds (gymnasium.wrappers.RescaleAction), or use ppo.")
    if config.lstm_size and config.sequence_length > spec.max_steps:
        raise UserError(f"sequence_length = {config.sequence_length} is longer than any episode, which ends after "
                        f"{spec.max_steps} steps: lower it.")
    stored = stored_columns(spec, position_columns(config, spec))
    return replace(config, replay_capacity=fitting_capacity(stored, config.replay_capacity))


def actions_of(config: Config, spec: EnvSpec) -> SoftActions:
    return make_actions(spec, config.target_entropy, config.target_entropy_scale)


def position_columns(config: Config, spec: EnvSpec) -> Columns:
    """The replay's columns, one row a step. Actions are stored as in ``soft_actions``; ``memory`` is the recurrent
    state before the step."""
    dtype = np.float32 if spec.components else np.int64
    columns = transition_columns(spec, (spec.action_shape or (1,), dtype))
    return columns | {"memory": ((2 * config.lstm_size,), np.float32)} if config.lstm_size else columns


def make_replay(config: Config, spec: EnvSpec) -> Replay:
    columns, once = position_columns(config, spec), spec.frame_stack > 1
    if config.lstm_size:
        return Sequences(columns, config.replay_capacity, config.n_step, once, config.burn_in, config.sequence_length)
    return Transitions(columns, config.replay_capacity, config.n_step, once)


def reward_signals(config: Config, spec: EnvSpec, seed: int) -> list[RewardSignal]:
    """The rewards to be maximised. Each distinct discount has its own values; entropy belongs to the first."""
    features = partial(action_features, spec)
    return [EnvironmentReward(config.discount, config.reward_scale),
            *gail_signals(config, spec, actions_of(config, spec).stored, features, 1, seed),
            *curiosity_signals(config.curiosity, spec, features, config.discount, 0,
                               max(1, round(config.replay_ratio)), seed)]


class Critics(nn.Module):
    """Twin critics.

    They share only the image ``encoder`` and, with ``lstm_size``, the ``memory`` (an LSTM), whose output replaces the
    observation. The policy uses these shared layers too, but they are trained by the critics' loss alone, as in DrQ
    (Yarats et al. 2021), so one network encodes an image instead of three.

    Values are float32 [2, n, D, A] for all choices, or [2, n, D] without choices, given the continuous components
    ``action`` [n, C]; D is the number of discounts. Where the choices are the cells of a board, there is a value for
    each cell.
    """

    def __init__(self, config: Config, spec: EnvSpec, discounts: int) -> None:
        super().__init__()
        self.memory = make_memory(config, spec)
        self.encoder = make_encoder(config, spec, self.memory)
        self.shape = (discounts, spec.num_actions) if spec.num_actions else (discounts,)
        self.by_cell, self.towers = cell_towers(config, spec, self.encoder, 2, discounts), None
        if self.by_cell is None:
            self.towers = TwinTowers(self.encoder.features + spec.components, config.hidden, nn.ReLU)
            # Small initial values, so that the twins agree where neither has learnt anything.
            self.weight = nn.Parameter(torch.randn(2, self.towers.features, math.prod(self.shape)) * 0.01)
            self.bias = nn.Parameter(torch.zeros(2, 1, math.prod(self.shape)))

    def values(self, encoded: Encoded, action: Tensor | None = None) -> Tensor:
        features, cells = encoded
        if self.by_cell is not None:
            return self.by_cell(features, cells)
        assert self.towers is not None
        found = self.towers(features if action is None else torch.cat([features, action], dim=1))
        return torch.baddbmm(self.bias, found, self.weight).view(2, len(features), *self.shape)

    def forward(self, observation: Observation, action: Tensor | None = None) -> Tensor:
        """``values`` of observations, or of outputs of ``memory``."""
        return self.values(self.encoder(observation), action)


def make_memory(config: Config, spec: EnvSpec) -> Memory | None:
    return Memory(spec, config.hidden, config.channels, config.blocks, config.lstm_size) if config.lstm_size else None


def make_encoder(config: Config, spec: EnvSpec, memory: Memory | None) -> Encoder:
    """The shared image encoder. It has no layers for vectors and for outputs of ``memory``."""
    inputs = memory.spec(spec) if memory else spec
    return Encoder(inputs, config.hidden if has_images(inputs) else (), config.channels, config.blocks)


def cell_towers(config: Config, spec: EnvSpec, encoder: Encoder, count: int, outputs: int) -> CellTowers | None:
    """``count`` networks with ``outputs`` outputs for each action if actions are cells of a board; else None."""
    if encoder.cells is None or spec.components or spec.action_branches or not acts_by_cell(
            spec.num_actions, encoder.cells):
        return None
    return CellTowers(encoder.features, encoder.cells, config.channels, count, outputs, spec.num_actions)


class Policy(nn.Module):
    """The policy network: ``SoftActions.outputs`` outputs from the features of ``encoder``."""

    def __init__(self, config: Config, spec: EnvSpec, encoder: Encoder) -> None:
        super().__init__()
        self.by_cell = cell_towers(config, spec, encoder, 1, 1)
        if self.by_cell is None:
            self.layers = layers(encoder.features, config.hidden, nn.ReLU, layer_norm=False)
            self.head = nn.Linear(config.hidden[-1], actions_of(config, spec).outputs)
            for parameter in self.head.parameters():  # the initial policy is nearly uniform
                nn.init.normal_(parameter, std=0.01)

    def forward(self, encoded: Encoded) -> Tensor:
        features, cells = encoded
        return self.head(self.layers(features)) if self.by_cell is None else self.by_cell(features, cells)[0, :, 0]


class SoftActorCritic(nn.Module):
    """Critics, policy and log-temperatures, one for each entropy."""

    def __init__(self, config: Config, spec: EnvSpec, discounts: int) -> None:
        super().__init__()
        self.critics = Critics(config, spec, discounts)
        self.policy = Policy(config, spec, self.critics.encoder)
        initial = config.temperature_initial if config.temperature is None else max(config.temperature, 1e-30)
        self.log_temperature = nn.Parameter(torch.full((actions_of(config, spec).temperatures,), math.log(initial)))


class ActingNetwork:
    """The network of actors and agents: maps observations to actions as the replay stores them.

    state: float32 [n, ``state_size``], the recurrent state before these observations; 0 where episodes begin.
    """

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        self.device, self.kind = device_for(config.device, spec), actions_of(config, spec)
        self.memory = make_memory(config, spec)
        self.encoder = make_encoder(config, spec, self.memory)
        self.net = Policy(config, spec, self.encoder)
        self.state_size = self.memory.state_size if self.memory else 0
        parts = {"policy": self.net, "critics.encoder": self.encoder, "critics.memory": self.memory}
        self.tensors = {f"{part}.{name}": value for part, module in parts.items() if module
                        for name, value in module.to(self.device).state_dict().items()}
        self.actions = self.kind.environment_actions

    def load_weights(self, weights: Weights) -> None:
        for name, tensor in self.tensors.items():
            tensor.copy_(weights[name])

    def encode(self, observation: np.ndarray, state: np.ndarray) -> tuple[Encoded, np.ndarray]:
        """The input of policy and critics, and the next recurrent state."""
        shown = to_tensors(observation, self.device)
        if self.memory is None:
            return self.encoder(shown), state
        shown, after = self.memory(shown, torch.from_numpy(state).to(self.device))
        return self.encoder(shown), after.cpu().numpy()

    @torch.inference_mode()
    def choose(self, observation: np.ndarray, legal_actions: np.ndarray, state: np.ndarray,
               rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Actions sampled from the policy, or the most likely ones without ``rng``; and the next recurrent state."""
        encoded, after = self.encode(observation, state)
        outputs, legal = self.net(encoded), torch.from_numpy(legal_actions).to(self.device)
        action = self.kind.mode(outputs, legal) if rng is None else self.kind.sample(outputs, legal, rng)
        return action.cpu().numpy(), after


class Actor(StepActor):
    """Samples actions from the policy; before the first update, uniformly from the legal ones."""

    def __init__(self, config: Config, env: VectorEnv, seed: int) -> None:
        self.player = ActingNetwork(config, env.spec)
        self.memory = np.zeros((env.num_envs, self.player.state_size), np.float32)
        super().__init__(env, position_columns(config, env.spec), self.player, seed)

    def choose(self, step: Step) -> Rows:
        before = self.memory[step.env_ids]
        action, self.memory[step.env_ids] = self.player.choose(step.observation, step.legal_actions, before, self.rng)
        if self.version == 0:
            action = self.player.kind.random(step.legal_actions, self.rng)
        return {"action": action, "memory": before} if self.player.memory else {"action": action}

    def step(self) -> Experience:
        experience, now = super().step(), self.current
        self.memory[now.env_ids[now.terminated | now.truncated]] = 0.0
        return experience

    def state_dict(self) -> State:
        return super().state_dict() | {"memory": self.memory.copy()}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.memory = state["memory"].copy()


class EncodedBatch(NamedTuple):
    """Encoded observations of n transitions. now: the first observations, with gradients. after: the next observations.
    target_after: the next observations, encoded by the target's encoder and LSTM."""

    now: Encoded
    after: Encoded
    target_after: Encoded


class Learner(StepLearner):
    """Trains critics, policy and temperatures on the same minibatch, with one gradient and one step of Adam."""

    net: SoftActorCritic
    target: Critics

    def __init__(self, config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> None:
        self.config, self.kind = config, actions_of(config, spec)
        self.symmetries = symmetries if config.symmetries and not config.lstm_size else None
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.device = device_for(config.device, spec)
        self.signals = RewardSignals(reward_signals(config, spec, seed))
        self.net = SoftActorCritic(config, spec, len(self.signals.discounts)).to(self.device)
        self.target = copy.deepcopy(self.net.critics)
        self.parameters = FlatParameters(self.net)
        #: The parameters of the critics and of the target critics, each a contiguous vector.
        self.of_critics, self.of_target = self.parameters.part(self.net.critics), FlatParameters(self.target).vector
        self.optimizer = FlatAdam(self.parameters)
        #: The critics for the policy's loss: they share the parameters' memory, but get no gradients.
        self.judges = copy.deepcopy(self.net.critics).requires_grad_(False)
        for judge, critic in zip(self.judges.parameters(), self.net.critics.parameters(), strict=True):
            judge.data = critic.data
        self.target.requires_grad_(False)
        self.sampler = Sampler(self.signals, config.n_step, Priorities(
            config.replay_capacity, config.priority_exponent, least=1e-3) if config.prioritized else None)
        self.demonstrations = (load_demonstrations(config.recordings, spec, self.kind.stored)
                               if config.cloning_weight or config.cloning_updates else None)
        self.updates = 0

    def update(self, replay: Replay, progress: float) -> dict[str, float]:
        config, net, kind = self.config, self.net, self.kind
        assert isinstance(replay, Transitions)
        if self.updates == 0:
            self._clone()
        remembered = None
        if isinstance(replay, Sequences):
            sequences = replay.sample_sequences(max(1, config.batch_size // config.sequence_length), self.rng)
            windows, importance, remembered = sequences.windows, None, self._remember(replay, sequences)
        else:
            windows, importance = self.sampler.draw(replay, config.batch_size, progress, self.rng)
        signal_losses = self.signals.update(replay.view(windows.rows))
        batch = self._augmented(self.sampler.transitions(replay, windows))
        encoded = remembered or self._encode_batch(batch)
        legal = self._tensor(batch["legal_actions"])
        temperature = net.log_temperature.detach().exp()

        target = self._targets(batch, encoded, temperature)
        error = kind.q_of_actions(net.critics.values, encoded.now, self._tensor(batch["action"])) - target
        losses = 0.5 * error.square().mean(-1).sum((0, 2))
        critic_loss = losses.mean() if importance is None else (losses * self._tensor(importance)).mean()

        now = detached(encoded.now)
        value, entropy = kind.expected(self.judges.values, now, net.policy(now), legal, self.rng)
        policy_loss = -(value.sum((1, 2)) + (temperature * entropy).sum(1)).mean()

        loss = critic_loss + policy_loss
        if config.temperature is None:
            loss = loss + temperature_loss(net.log_temperature, entropy, kind.entropy_targets(legal))
        if cloning := config.cloning_weight * (1.0 - progress):
            cloning_loss = self._cloning_loss()
            loss, signal_losses["cloning_loss"] = loss + cloning * cloning_loss, float(cloning_loss.detach())
        self.parameters.zero_gradient()
        loss.backward()
        norm = float(torch.linalg.vector_norm(self.parameters.gradient))
        if not math.isfinite(norm):
            raise NonFiniteLoss(f"critic loss {float(critic_loss.detach())}, policy loss "
                                f"{float(policy_loss.detach())}, gradient norm {norm} at update {self.updates}", batch)
        rate = config.learning_rate * (1.0 - progress if config.anneal_learning_rate else 1.0)
        self.optimizer.step(rate)
        self.of_target.data.lerp_(self.of_critics, config.tau)
        self.updates += 1
        if config.prioritized:
            self.sampler.set_errors(windows, error.detach().abs().mean((0, 2, 3)).cpu().numpy())
        if (self.updates - 1) % METRICS_EVERY:
            return {}
        return {"critic_loss": float(critic_loss.detach()), "policy_loss": float(policy_loss.detach()),
                "q_mean": float(value.detach().sum(1).mean()), "entropy": float(entropy.detach().sum(1).mean()),
                "temperature": float(temperature.mean()), **signal_losses, "gradient_norm": norm, "learning_rate": rate}

    def _encode_batch(self, batch: dict[str, np.ndarray]) -> EncodedBatch:
        now, after = (to_tensors(batch[name], self.device) for name in ("observation", "next_observation"))
        for critics in (self.net.critics, self.target):
            if critics.encoder.learns_scale:
                critics.encoder.observe(now)
        with torch.no_grad():
            of_after = [critics.encoder(after) for critics in (self.net.critics, self.target)]
        return EncodedBatch(self.net.critics.encoder(now), *of_after)

    def _remember(self, replay: Sequences, sequences: SequenceBatch) -> EncodedBatch:
        """Run both LSTMs over the sequences, from the recurrent states that the actor stored."""
        assert self.net.critics.memory and self.target.memory
        rows, first, after = sequences.rows, *map(self._tensor, (sequences.first, sequences.after))
        observation = to_tensors(replay.columns["observation"].take(rows.ravel(), axis=0), self.device)
        state = self._tensor(replay.columns["memory"][rows[:, 0]])
        own, target = (memory(observation, state)[0][""] for memory in (self.net.critics.memory, self.target.memory))
        return EncodedBatch((own[first], None), (own[after].detach(), None), (target[after], None))

    def _cloning_loss(self) -> Tensor:
        """Mean of ``SoftActions.imitation_losses`` over a random minibatch of recorded steps."""
        assert self.demonstrations is not None
        rows = self.rng.integers(len(self.demonstrations["action"]), size=self.config.batch_size)
        batch = self._augmented({name: self.demonstrations[name][rows]
                                 for name in ("observation", "legal_actions", "action")})
        outputs = self.net.policy(self.net.critics.encoder(to_tensors(batch["observation"], self.device)))
        legal, action = self._tensor(batch["legal_actions"]), self._tensor(batch["action"])
        return self.kind.imitation_losses(outputs, legal, action).mean()

    def _clone(self) -> None:
        """Train the policy on the recordings alone, before the first update."""
        for _ in range(self.config.cloning_updates):
            self.parameters.zero_gradient()
            self._cloning_loss().backward()
            self.optimizer.step(self.config.learning_rate)
        self.of_target.data.copy_(self.of_critics)

    @torch.no_grad()
    def _targets(self, batch: dict[str, np.ndarray], encoded: EncodedBatch, temperature: Tensor) -> Tensor:
        """y = R + d · (E_π Q'(s', a') + Σ_b α_b H_b), float32 [n, D, 1]. Values are averaged over branches, as in
        Tavakoli et al. 2018, equation 6. The entropy bonus belongs to the first discount."""
        outputs, legal = self.net.policy(encoded.after), self._tensor(batch["next_legal_actions"])
        value, entropy = self.kind.expected(self.target.values, encoded.target_after, outputs, legal, self.rng)
        value = value.mean(2)
        if self.config.entropy_in_values:
            value[:, 0] += (temperature * entropy).sum(1)
        return torch.addcmul(self._tensor(batch["reward"]), self._tensor(batch["discount"]), value)[..., None]


def detached(encoded: Encoded) -> Encoded:
    features, cells = encoded
    return features.detach(), None if cells is None else cells.detach()


class Agent:
    """Takes the most likely action."""

    def __init__(self, config: Config, spec: EnvSpec, weights: Weights) -> None:
        self.player = ActingNetwork(config, spec)
        self.player.load_weights(weights)
        of_critics = {name.removeprefix("critics."): value for name, value in weights.items()
                      if name.startswith("critics.")}
        last = "bias" if "bias" in of_critics else "by_cell.out_bias"
        discounts = of_critics[last].numel() // Critics(config, spec, 1).state_dict()[last].numel()
        self.critics = Critics(config, spec, discounts).to(self.player.device)
        self.critics.load_state_dict(of_critics)
        self.has_memory = config.lstm_size > 0

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, AgentState | None]:
        before = state_before(len(observation), self.player.state_size, state, starts)
        action, after = self.player.choose(observation, legal_actions, before, None)
        return self.player.actions(action), after if self.has_memory else None

    @torch.inference_mode()
    def analyze(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
                starts: np.ndarray | None = None, simulations: int | None = None) -> Analysis:
        """The policy, and the critics' value of its most likely action."""
        before = state_before(len(observation), self.player.state_size, state, starts)
        encoded, after = self.player.encode(observation, before)
        logits = self.player.net(encoded)
        legal = torch.from_numpy(legal_actions).to(logits.device)
        policy = choice_log_probs(logits, legal, (logits.shape[1],)).exp().cpu().numpy()
        q = self.critics.values(encoded).mean(0).sum(1).cpu().numpy()
        action = policy.argmax(axis=1)
        return Analysis(action, policy, q[np.arange(len(q)), action], None, action[:, None].tolist(),
                        after if self.has_memory else None)


def make_actor(config: Config, env: VectorEnv, seed: int) -> Actor:
    return Actor(config, env, seed)


def make_learner(config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner:
    return Learner(config, spec, symmetries, seed)


def make_agent(config: Config, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
               seed: int = 0) -> Agent:
    return Agent(config, spec, weights)
