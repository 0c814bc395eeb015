"""Soft actor-critic (Haarnoja et al. 2018) for continuous actions, for choices (Christodoulou 2019), one or several
branches of them, with masks, and for both at once; with a temperature that finds itself and, optionally, a memory.

Read it from top to bottom: the configuration, the network, how an actor plays, the learner, the agent. What depends on
the kind of actions is in ``soft_actions.py``.
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

from myosu.algorithms.checks import check_ranges
from myosu.algorithms.demonstrations import gail_signals
from myosu.algorithms.interface import AgentState, Experience, Thoughts, state_before
from myosu.algorithms.off_policy import Sampler, StepActor, StepLearner
from myosu.algorithms.soft_actions import SoftActions, make_actions
from myosu.envs.vector import EnvSpec, Step, VectorEnv
from myosu.errors import NonFiniteLoss, UserError
from myosu.games.game import Symmetries
from myosu.losses.soft import choice_log_probs, temperature_loss
from myosu.nets.encoder import ActionHead, Encoder, Observation, has_pictures, to_tensors
from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.nets.inference import device_for
from myosu.nets.memory import Memory
from myosu.nets.towers import TwinTowers
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

#: The metrics are those of one update in so many: reading them costs time.
METRICS_EVERY = 50


@dataclass(frozen=True)
class Config:
    """SAC's settings. Presets for environments: ``myosu/presets/sac``."""

    hidden: tuple[int, ...] = (256, 256)
    """Units of the layers, of the policy and of each critic; of pictures, the last one after the convolutions."""
    channels: int = 32
    """Channels of the convolutions that read a board."""
    blocks: int = 1
    """Residual blocks of the convolutions that read a board."""
    lstm_size: int = 0
    """Units of a memory (LSTM) for what one observation does not show; 0: none."""
    sequence_length: int = 32
    """With a memory: steps that follow each other and are learnt from together."""
    burn_in: int = 8
    """With a memory: steps before them that only bring up to date what the actor remembered."""

    discount: float = 0.99
    """Discount of rewards, in [0, 1]."""
    n_step: int = 1
    """Steps of the return before it bootstraps."""
    temperature: float | None = None
    """Weight of the entropy in what is maximised; None: the policy's entropy is kept at a target."""
    temperature_initial: float = 1.0
    """Where the temperature that finds itself begins."""
    entropy_target: float = -1.0
    """Entropy (nats) that is aimed at for each component of a continuous action in (−1, 1)."""
    entropy_share: float = 0.3
    """Entropy that is aimed at for each branch of choices, as a share of ln(number of legal choices). Near 1 it cannot
    be had by any policy that has learnt something, and the temperature grows without bound."""
    entropy_in_values: bool = True
    """Values count what entropy will be worth, as SAC has it. Without, it is in the policy's loss alone (as in Asad et
    al. 2025), which suits choices: what entropy is worth can be more than what the choices are."""

    num_envs: int = 1
    """Environments that one actor plays at once."""
    replay_capacity: int = 1_000_000
    """Observations kept, each with what was done and what came of it. The oldest go first."""
    learning_starts: int = 1000
    """Transitions collected, by actions drawn evenly, before the first update."""
    replay_ratio: float = 256.0
    """Samples drawn per transition collected: an update follows every ``batch_size / replay_ratio`` steps."""
    batch_size: int = 256
    """Transitions an update."""
    prioritized: bool = False
    """Draw transitions in proportion to their error, with importance weights (PER)."""
    priority_exponent: float = 0.6
    """PER's alpha; its beta goes from 0.4 to 1 over the run."""
    reward_scale: float = 1.0
    """Rewards of the environment are learnt from times this; 0: not at all, where there are others."""
    gail_weight: float = 0.0
    """Weight of the reward for doing what ``recordings`` do (GAIL); 0: there is none."""
    gail_discount: float = 0.99
    """Discount of that reward, in [0, 1)."""
    recordings: tuple[str, ...] = ()
    """Folders of the runs whose recorded games are imitated, or minari:DATASET."""
    curiosity: tuple[str, ...] = ()
    """Rewards for what is new (docs/curiosity.md): rnd, icm, each with a weight and a discount if you like, as in
    rnd:0.5:0.99."""

    tau: float = 0.005
    """How far the target critics go towards those that learn, each update."""
    learning_rate: float = 3e-4
    """Adam's learning rate, of policy, critics and temperature."""
    anneal_learning_rate: bool = False
    """Lower the learning rate in a line to 0 at the end of the run."""
    device: str = "auto"
    """cpu, cuda or mps; auto: an accelerator, if there is one and there are pictures to see."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            "channels": (1, 4096), "blocks": (0, 100), "discount": (0.0, 1.0), "n_step": (1, 1000),
            "temperature_initial": (1e-9, 1e9), "entropy_target": (-100.0, math.log(2.0)),
            "entropy_share": (0.0, 1.0), "num_envs": (1, 1_000_000), "replay_capacity": (1, 10**9),
            "learning_starts": (1, 10**9), "replay_ratio": (1e-6, 1e6), "batch_size": (1, 10**6),
            "lstm_size": (0, 4096), "sequence_length": (1, 10_000), "burn_in": (0, 10_000),
            "priority_exponent": (0.0, 10.0), "reward_scale": (0.0, 1e9), "gail_weight": (0.0, 1e9), "tau": (1e-6, 1.0),
            "learning_rate": (0.0, 10.0),
        })
        if self.temperature is not None:
            check_ranges(self, {"temperature": (0.0, 1e9)})
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"hidden = {self.hidden} is impossible: it must be one layer or more, of 1 unit or more.")
        if self.lstm_size and self.prioritized:
            raise UserError("prioritized replay is of single steps, and a memory (lstm_size) needs sequences: choose "
                            "one of them.")
        for text in self.curiosity:
            parse_curiosity(text, self.discount)
        if self.learning_starts > self.replay_capacity:
            raise UserError(f"learning_starts = {self.learning_starts} never come together in a replay of "
                            f"replay_capacity = {self.replay_capacity} positions: lower the one or raise the other.")


def resolve(config: Config, spec: EnvSpec, deterministic: bool) -> Config:
    """``config`` with a replay that this machine has memory for. Raises UserError where SAC does not fit."""
    if spec.num_players != 1:
        raise UserError(f"SAC is for one player; here are {spec.num_players}. Use muzero.")
    if not np.isfinite(spec.action_low + spec.action_high).all():
        raise UserError("SAC needs bounds of every component of an action; here some are infinite. Give the Box finite "
                        "bounds (gymnasium.wrappers.RescaleAction), or use ppo.")
    if config.lstm_size and config.sequence_length > spec.max_steps:
        raise UserError(f"sequence_length = {config.sequence_length} is longer than any episode, which ends after "
                        f"{spec.max_steps} steps: lower it.")
    stored = stored_columns(spec, position_columns(config, spec))
    return replace(config, replay_capacity=fitting_capacity(stored, config.replay_capacity))


def actions_of(config: Config, spec: EnvSpec) -> SoftActions:
    return make_actions(spec, config.entropy_target, config.entropy_share)


def position_columns(config: Config, spec: EnvSpec) -> Columns:
    """A row is a step; its action is stored as ``soft_actions`` describes, and ``memory`` is the state before it."""
    dtype = np.float32 if spec.components else np.int64
    columns = transition_columns(spec, (spec.action_shape or (1,), dtype))
    return columns | {"memory": ((2 * config.lstm_size,), np.float32)} if config.lstm_size else columns


def make_replay(config: Config, spec: EnvSpec) -> Replay:
    columns, once = position_columns(config, spec), spec.frame_stack > 1
    if config.lstm_size:
        return Sequences(columns, config.replay_capacity, config.n_step, once, config.burn_in, config.sequence_length)
    return Transitions(columns, config.replay_capacity, config.n_step, once)


def reward_signals(config: Config, spec: EnvSpec, seed: int) -> list[RewardSignal]:
    """What is to be maximised. Each discount among them has values of its own; entropy counts among the first's."""
    features = partial(action_features, spec)
    return [EnvironmentReward(config.discount, config.reward_scale),
            *gail_signals(config, spec, actions_of(config, spec).stored, features, 1, seed),
            *curiosity_signals(config.curiosity, spec, features, config.discount, 0,
                               max(1, round(config.replay_ratio)), seed)]


class Critics(nn.Module):
    """Two critics, which share no layer but those that look at pictures and, with ``lstm_size``, the memory. They then
    see its output in place of the observation, and it learns from their loss alone.

    Values float32 [2, n, D, A] of all choices, or [2, n, D] without choices, for the continuous components ``action``
    [n, C]; D are the discounts.
    """

    def __init__(self, config: Config, spec: EnvSpec, discounts: int) -> None:
        super().__init__()
        self.memory = make_memory(config, spec)
        seen = self.memory.spec(spec) if self.memory else spec
        self.encoder = Encoder(seen, config.hidden if has_pictures(seen) else (), config.channels, config.blocks)
        self.towers = TwinTowers(self.encoder.features + spec.components, config.hidden, nn.ReLU)
        self.shape = (discounts, spec.num_actions) if spec.num_actions else (discounts,)
        # Small values at first, so that twins agree on what neither knows
        self.weight = nn.Parameter(torch.randn(2, self.towers.features, math.prod(self.shape)) * 0.01)
        self.bias = nn.Parameter(torch.zeros(2, 1, math.prod(self.shape)))

    def forward(self, observation: Observation, action: Tensor | None = None) -> Tensor:
        x, _ = self.encoder(observation)
        found = self.towers(x if action is None else torch.cat([x, action], dim=1))
        return torch.baddbmm(self.bias, found, self.weight).view(2, len(x), *self.shape)


def make_memory(config: Config, spec: EnvSpec) -> Memory | None:
    return Memory(spec, config.hidden, config.channels, config.blocks, config.lstm_size) if config.lstm_size else None


class Policy(nn.Module):
    """What a policy is made from: ``SoftActions.outputs`` of an observation, or of what the memory makes of it."""

    def __init__(self, config: Config, spec: EnvSpec, memory: Memory | None) -> None:
        super().__init__()
        seen = memory.spec(spec) if memory else spec
        self.encoder = Encoder(seen, config.hidden, config.channels, config.blocks)
        self.head = ActionHead(self.encoder.features, actions_of(config, spec).outputs,
                               None if spec.components else self.encoder.cells)
        for parameter in self.head.parameters():  # what can be done is equally likely at first
            nn.init.normal_(parameter, std=0.01)

    def forward(self, observation: Observation) -> Tensor:
        return self.head(*self.encoder(observation))


class SoftActorCritic(nn.Module):
    """Critics, policy and the logarithms of the temperatures, one for each entropy."""

    def __init__(self, config: Config, spec: EnvSpec, discounts: int) -> None:
        super().__init__()
        self.critics = Critics(config, spec, discounts)
        self.policy = Policy(config, spec, self.critics.memory)
        initial = config.temperature_initial if config.temperature is None else max(config.temperature, 1e-30)
        self.log_temperature = nn.Parameter(torch.full((actions_of(config, spec).temperatures,), math.log(initial)))


class ActingNetwork:
    """The policy as actors use it: from observations to actions as the replay stores them.

    state: float32 [n, ``state_size``], what is remembered before these observations; 0 where episodes begin.
    """

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        self.device, self.kind = device_for(config.device, spec), actions_of(config, spec)
        memory = make_memory(config, spec)
        self.net, self.memory = Policy(config, spec, memory).to(self.device), memory and memory.to(self.device)
        self.state_size = memory.state_size if memory else 0
        self.tensors = {f"policy.{name}": value for name, value in self.net.state_dict().items()}
        if memory:
            self.tensors |= {f"critics.memory.{name}": value for name, value in memory.state_dict().items()}
        self.actions = self.kind.environment_actions

    def load_weights(self, weights: Weights) -> None:
        for name, tensor in self.tensors.items():
            tensor.copy_(weights[name])

    def see(self, observation: np.ndarray, state: np.ndarray) -> tuple[Observation, np.ndarray]:
        """What the policy and the critics see, and the state after it."""
        seen = to_tensors(observation, self.device)
        if self.memory is None:
            return seen, state
        seen, after = self.memory(seen, torch.from_numpy(state).to(self.device))
        return seen, after.cpu().numpy()

    @torch.inference_mode()
    def choose(self, observation: np.ndarray, legal_actions: np.ndarray, state: np.ndarray,
               rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Actions drawn from the policy, or without ``rng`` the likeliest ones; and the state after."""
        seen, after = self.see(observation, state)
        outputs, legal = self.net(seen), torch.from_numpy(legal_actions).to(self.device)
        action = self.kind.mode(outputs, legal) if rng is None else self.kind.sample(outputs, legal, rng)
        return action.cpu().numpy(), after


class Actor(StepActor):
    """Draws from the policy; before there is one, from all that can be done, evenly."""

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


class Seen(NamedTuple):
    """What networks see of n transitions: observations, or what a memory makes of them. now: where they begin. after:
    where they lead to, and ``target_after`` the same by the target's memory."""

    now: Observation
    after: Observation
    target_after: Observation


class Learner(StepLearner):
    """Critics, policy and temperatures learn from the same sample at once: one gradient, one step of Adam."""

    net: SoftActorCritic
    target: Critics

    def __init__(self, config: Config, spec: EnvSpec, seed: int) -> None:
        self.config, self.kind = config, actions_of(config, spec)
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.device = device_for(config.device, spec)
        self.signals = RewardSignals(reward_signals(config, spec, seed))
        self.net = SoftActorCritic(config, spec, len(self.signals.discounts)).to(self.device)
        self.target = copy.deepcopy(self.net.critics)
        self.parameters = FlatParameters(self.net)
        #: The critics' own parameters and the targets', each one stretch of memory.
        self.of_critics, self.of_target = self.parameters.part(self.net.critics), FlatParameters(self.target).vector
        self.optimizer = FlatAdam(self.parameters)
        #: The critics as the policy's loss sees them: the same memory, but no gradients go there.
        self.judges = copy.deepcopy(self.net.critics).requires_grad_(False)
        for judge, critic in zip(self.judges.parameters(), self.net.critics.parameters(), strict=True):
            judge.data = critic.data
        self.target.requires_grad_(False)
        self.sampler = Sampler(self.signals, config.n_step, Priorities(
            config.replay_capacity, config.priority_exponent, least=1e-3) if config.prioritized else None)
        self.updates = 0

    def update(self, replay: Replay, progress: float) -> dict[str, float]:
        config, net, kind = self.config, self.net, self.kind
        assert isinstance(replay, Transitions)
        remembered = None
        if isinstance(replay, Sequences):
            sequences = replay.sample_sequences(max(1, config.batch_size // config.sequence_length), self.rng)
            windows, importance, remembered = sequences.windows, None, self._remember(replay, sequences)
        else:
            windows, importance = self.sampler.draw(replay, config.batch_size, progress, self.rng)
        signal_losses = self.signals.update(replay.view(windows.rows))
        batch = self.sampler.transitions(replay, windows)
        seen = remembered or self._observed(batch)
        legal = self._tensor(batch["legal_actions"])
        temperature = net.log_temperature.detach().exp()

        target = self._targets(batch, seen, temperature)
        error = kind.chosen(net.critics, seen.now, self._tensor(batch["action"])) - target
        losses = 0.5 * error.square().mean(-1).sum((0, 2))
        critic_loss = losses.mean() if importance is None else (losses * self._tensor(importance)).mean()

        now = {name: x.detach() for name, x in seen.now.items()}
        value, entropy = kind.expected(self.judges, now, net.policy(now), legal, self.rng)
        policy_loss = -(value.sum((1, 2)) + (temperature * entropy).sum(1)).mean()

        loss = critic_loss + policy_loss
        if config.temperature is None:
            loss = loss + temperature_loss(net.log_temperature, entropy, kind.entropy_targets(legal))
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

    def _observed(self, batch: dict[str, np.ndarray]) -> Seen:
        after = to_tensors(batch["next_observation"], self.device)
        return Seen(to_tensors(batch["observation"], self.device), after, after)

    def _remember(self, replay: Sequences, sequences: SequenceBatch) -> Seen:
        """Both memories go over the sequences, from the state that the actor had at their beginning."""
        assert self.net.critics.memory and self.target.memory
        rows, first, after = sequences.rows, *map(self._tensor, (sequences.first, sequences.after))
        observation = to_tensors(replay.columns["observation"].take(rows.ravel(), axis=0), self.device)
        state = self._tensor(replay.columns["memory"][rows[:, 0]])
        own, target = (memory(observation, state)[0][""] for memory in (self.net.critics.memory, self.target.memory))
        return Seen({"": own[first]}, {"": own[after].detach()}, {"": target[after]})

    @torch.no_grad()
    def _targets(self, batch: dict[str, np.ndarray], seen: Seen, temperature: Tensor) -> Tensor:
        """y = R + d · (E_π Q'(s', a') + Σ_b α_b H_b), float32 [n, D, 1]; of branches the mean of their values, as in
        Tavakoli et al. 2018, equation 6. What the entropies are worth counts among the first discount's rewards."""
        outputs, legal = self.net.policy(seen.after), self._tensor(batch["next_legal_actions"])
        value, entropy = self.kind.expected(self.target, seen.target_after, outputs, legal, self.rng)
        value = value.mean(2)
        if self.config.entropy_in_values:
            value[:, 0] += (temperature * entropy).sum(1)
        return torch.addcmul(self._tensor(batch["reward"]), self._tensor(batch["discount"]), value)[..., None]


class Agent:
    """Takes the likeliest action."""

    def __init__(self, config: Config, spec: EnvSpec, weights: Weights) -> None:
        self.player = ActingNetwork(config, spec)
        self.player.load_weights(weights)
        of_critics = {name.removeprefix("critics."): value for name, value in weights.items()
                      if name.startswith("critics.")}
        discounts = of_critics["bias"].shape[-1] // (spec.num_actions or 1)
        self.critics = Critics(config, spec, discounts).to(self.player.device)
        self.critics.load_state_dict(of_critics)
        self.has_memory = config.lstm_size > 0

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, AgentState | None]:
        before = state_before(len(observation), self.player.state_size, state, starts)
        action, after = self.player.choose(observation, legal_actions, before, None)
        return self.player.actions(action), after if self.has_memory else None

    @torch.inference_mode()
    def think(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
              starts: np.ndarray | None = None, simulations: int | None = None) -> Thoughts:
        """The policy, and what the critics say of its likeliest action."""
        before = state_before(len(observation), self.player.state_size, state, starts)
        seen, after = self.player.see(observation, before)
        logits = self.player.net(seen)
        legal = torch.from_numpy(legal_actions).to(logits.device)
        policy = choice_log_probs(logits, legal, (logits.shape[1],)).exp().cpu().numpy()
        q = self.critics(seen).mean(0).sum(1).cpu().numpy()
        action = policy.argmax(axis=1)
        return Thoughts(action, policy, q[np.arange(len(q)), action], None, action[:, None].tolist(),
                        after if self.has_memory else None)


def make_actor(config: Config, env: VectorEnv, seed: int) -> Actor:
    return Actor(config, env, seed)


def make_learner(config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner:
    return Learner(config, spec, seed)


def make_agent(config: Config, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
               seed: int = 0) -> Agent:
    return Agent(config, spec, weights)
