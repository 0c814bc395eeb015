"""Soft actor-critic (Haarnoja et al. 2018) of continuous actions (a squashed normal distribution) and of choices
(Christodoulou 2019), one or several branches of them, with masks, and a temperature that finds itself.

Read it from top to bottom: the configuration, the network, the two kinds of policies and what each makes of the values,
how an actor plays, the learner, the agent.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from myosu.algorithms.checks import check_ranges
from myosu.algorithms.demonstrations import load_demonstrations
from myosu.algorithms.interface import AgentState, Thoughts
from myosu.algorithms.off_policy import Sampler, StepActor, StepLearner
from myosu.envs.vector import EnvSpec, Step, VectorEnv
from myosu.errors import NonFiniteLoss, UserError
from myosu.games.game import Symmetries
from myosu.games.playout import random_actions
from myosu.losses.q_learning import best_columns
from myosu.losses.soft import by_branch, choice_log_probs, entropies, entropy_targets, squashed, temperature_loss
from myosu.nets.encoder import ActionHead, Encoder, Observation, has_pictures, to_tensors
from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.nets.inference import device_for
from myosu.nets.towers import TwinTowers
from myosu.replay.priorities import Priorities
from myosu.replay.replay import Columns, Replay, fitting_capacity
from myosu.replay.transitions import Transitions, stored_columns, transition_columns
from myosu.rewards.actions import action_features
from myosu.rewards.curiosity import curiosity_signals, parse_curiosity
from myosu.rewards.environment import EnvironmentReward
from myosu.rewards.gail import GAIL
from myosu.rewards.signals import RewardSignal, RewardSignals
from myosu.runs.state import Weights

SOURCE = "in turn"

#: The metrics are those of one update in so many: reading them costs time.
METRICS_EVERY = 50

#: log σ of a continuous policy lies between these.
LOG_STD_RANGE = (-5.0, 2.0)


@dataclass(frozen=True)
class Config:
    """SAC's settings. Presets for environments: ``myosu/presets/sac``."""

    hidden: tuple[int, ...] = (256, 256)
    """Units of the layers, of the policy and of each critic; of pictures, the last one after the convolutions."""
    channels: int = 32
    """Channels of the convolutions that read a board."""
    blocks: int = 1
    """Residual blocks of the convolutions that read a board."""

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
            "priority_exponent": (0.0, 10.0), "reward_scale": (0.0, 1e9), "gail_weight": (0.0, 1e9), "tau": (1e-6, 1.0),
            "learning_rate": (0.0, 10.0),
        })
        if self.temperature is not None:
            check_ranges(self, {"temperature": (0.0, 1e9)})
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"hidden = {self.hidden} is impossible: it must be one layer or more, of 1 unit or more.")
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
    stored = stored_columns(spec, position_columns(spec))
    return replace(config, replay_capacity=fitting_capacity(stored, config.replay_capacity))


def action_branches(spec: EnvSpec) -> tuple[int, ...]:
    """Choices of each branch; of continuous actions none."""
    return () if spec.action_low else spec.action_branches or (spec.num_actions,)


def position_columns(spec: EnvSpec) -> Columns:
    """A row is a step; its action is float32 in [−1, 1], or the columns of the choices, as in ``q_learning``."""
    action = (spec.action_shape, np.float32) if spec.action_low else ((len(action_branches(spec)),), np.int64)
    return transition_columns(spec, action)


def make_replay(config: Config, spec: EnvSpec) -> Replay:
    return Transitions(position_columns(spec), config.replay_capacity, config.n_step, spec.frame_stack > 1)


def reward_signals(config: Config, spec: EnvSpec, seed: int) -> list[RewardSignal]:
    """What is to be maximised. Each discount among them has values of its own; entropy counts among the first's."""
    signals: list[RewardSignal] = [EnvironmentReward(config.discount, weight=config.reward_scale)]
    if config.gail_weight:
        demonstrations = load_demonstrations(config.recordings, spec, make_actions(config, spec).stored)
        signals.append(GAIL(spec, demonstrations, partial(action_features, spec), config.gail_discount,
                            config.gail_weight, seed=seed))
    return signals + curiosity_signals(config.curiosity, spec, partial(action_features, spec), config.discount, 0,
                               max(1, round(config.replay_ratio)), seed)


class Critics(nn.Module):
    """Two critics, which share no layer but those that look at pictures.

    Values float32 [2, n, D, A] of all choices, or [2, n, D] of the continuous ``action`` [n, C]; D are the discounts.
    """

    def __init__(self, config: Config, spec: EnvSpec, discounts: int) -> None:
        super().__init__()
        self.encoder = Encoder(spec, config.hidden if has_pictures(spec) else (), config.channels, config.blocks)
        self.towers = TwinTowers(self.encoder.features + len(spec.action_low), config.hidden, nn.ReLU)
        self.shape = (discounts, spec.num_actions) if spec.num_actions else (discounts,)
        # Small values at first, so that twins agree on what neither knows
        self.weight = nn.Parameter(torch.randn(2, self.towers.features, math.prod(self.shape)) * 0.01)
        self.bias = nn.Parameter(torch.zeros(2, 1, math.prod(self.shape)))

    def forward(self, observation: Observation, action: Tensor | None = None) -> Tensor:
        x, _ = self.encoder(observation)
        found = self.towers(x if action is None else torch.cat([x, action], dim=1))
        return torch.baddbmm(self.bias, found, self.weight).view(2, len(x), *self.shape)


class SoftActorCritic(nn.Module):
    """Critics, policy and the logarithms of the temperatures [B], one for each branch."""

    def __init__(self, config: Config, spec: EnvSpec, discounts: int) -> None:
        super().__init__()
        self.critics = Critics(config, spec, discounts)
        self.policy = Policy(config, spec)
        initial = config.temperature_initial if config.temperature is None else max(config.temperature, 1e-30)
        self.log_temperature = nn.Parameter(torch.full((len(action_branches(spec)) or 1,), math.log(initial)))


class Policy(nn.Module):
    """What a policy is made from: logits [n, A], or means and log σ [n, 2 C]."""

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        super().__init__()
        self.continuous = bool(spec.action_low)
        self.encoder = Encoder(spec, config.hidden, config.channels, config.blocks)
        self.head = ActionHead(self.encoder.features, 2 * len(spec.action_low) or spec.num_actions,
                               None if self.continuous else self.encoder.cells)
        for parameter in self.head.parameters():  # what can be done is equally likely at first
            nn.init.normal_(parameter, std=0.01)

    def forward(self, observation: Observation) -> Tensor:
        return self.head(*self.encoder(observation))


class ContinuousActions:
    """How SAC acts and learns where actions are squashed normal variables; in place of their entropy stands −log π of
    one that is drawn."""

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        self.components = len(spec.action_low)
        self.low, self.high = np.array(spec.action_low, np.float32), np.array(spec.action_high, np.float32)
        self.entropy_target = config.entropy_target * self.components

    def mode(self, outputs: Tensor, legal: Tensor) -> Tensor:
        return outputs.chunk(2, dim=1)[0].tanh()

    def sample(self, outputs: Tensor, legal: Tensor, rng: np.random.Generator) -> Tensor:
        return self._drawn(outputs, rng)[0]

    def random(self, legal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(-1.0, 1.0, (len(legal), self.components)).astype(np.float32)

    def environment_actions(self, stored: np.ndarray) -> np.ndarray:
        """−1 and 1 are the bounds."""
        return np.clip(self.low + (self.high - self.low) * 0.5 * (stored + 1.0), self.low, self.high)

    def stored(self, actions: np.ndarray) -> np.ndarray:
        """The other way round."""
        return np.clip(2.0 * (actions - self.low) / (self.high - self.low) - 1.0, -1.0, 1.0)

    def chosen(self, critics: Critics, observation: Observation, action: Tensor) -> Tensor:
        """Q of what was done: float32 [2, n, D, 1]."""
        return critics(observation, action)[..., None]

    def expected(self, critics: Critics, observation: Observation, outputs: Tensor, legal: Tensor,
                 rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Q of what the policy does, [n, D, 1], and its entropy [n, 1]."""
        action, log_prob = self._drawn(outputs, rng)
        return least(critics(observation, action))[..., None], -log_prob[:, None]

    def entropy_targets(self, legal: Tensor) -> Tensor:
        return torch.full((1, 1), self.entropy_target, device=legal.device)

    def _drawn(self, outputs: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        mean, log_std = outputs.chunk(2, dim=1)
        low, high = LOG_STD_RANGE
        noise = torch.from_numpy(rng.standard_normal(mean.shape, np.float32)).to(mean.device)
        return squashed(mean, low + 0.5 * (high - low) * (log_std.tanh() + 1.0), noise)


class Choices:
    """How SAC acts and learns where there is one choice, or several branches of them: expectations are exact."""

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        self.spec, self.share = spec, config.entropy_share
        self.branches = action_branches(spec)
        self.starts = np.cumsum((0, *self.branches[:-1]))

    def mode(self, outputs: Tensor, legal: Tensor) -> Tensor:
        return best_columns(outputs, legal, self.branches)

    def sample(self, outputs: Tensor, legal: Tensor, rng: np.random.Generator) -> Tensor:
        """The greatest logit with Gumbel's noise is a draw from the policy."""
        gumbel = torch.from_numpy(rng.gumbel(size=outputs.shape).astype(np.float32)).to(outputs.device)
        return best_columns(outputs + gumbel, legal, self.branches)

    def random(self, legal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        drawn = [random_actions(mask, int(rng.integers(2**63))) for mask in self.spec.branch_masks(legal)]
        return np.stack(drawn, axis=1) + self.starts

    def environment_actions(self, stored: np.ndarray) -> np.ndarray:
        return (stored - self.starts).reshape(len(stored), *self.spec.action_shape)

    def stored(self, actions: np.ndarray) -> np.ndarray:
        return actions.reshape(len(actions), -1) + self.starts

    def chosen(self, critics: Critics, observation: Observation, action: Tensor) -> Tensor:
        """Q of what was done, by each branch: float32 [2, n, D, B]."""
        q = critics(observation)
        return q.gather(-1, action[None, :, None].expand(2, -1, q.shape[2], -1))

    def expected(self, critics: Critics, observation: Observation, outputs: Tensor, legal: Tensor,
                 rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Σ_a π_b(a) Q_b(a) of each branch, [n, D, B], and the entropies [n, B]."""
        log_probs = choice_log_probs(outputs, legal, self.branches)
        q = least(critics(observation))
        return by_branch(log_probs.exp()[:, None] * q, self.branches), entropies(log_probs, self.branches)

    def entropy_targets(self, legal: Tensor) -> Tensor:
        return entropy_targets(legal, self.branches, self.share)


def least(q: Tensor) -> Tensor:
    """What both critics [2, ...] vouch for, which is overestimated less (Fujimoto et al. 2018)."""
    return torch.minimum(q[0], q[1])


def make_actions(config: Config, spec: EnvSpec) -> ContinuousActions | Choices:
    return ContinuousActions(config, spec) if spec.action_low else Choices(config, spec)


class ActingNetwork:
    """The policy as actors use it: from observations to actions as the replay stores them."""

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        self.device = device_for(config.device, spec)
        self.net, self.kind = Policy(config, spec).to(self.device), make_actions(config, spec)
        self.tensors = {f"policy.{name}": value for name, value in self.net.state_dict().items()}
        self.actions = self.kind.environment_actions

    def load_weights(self, weights: Weights) -> None:
        for name, tensor in self.tensors.items():
            tensor.copy_(weights[name])

    @torch.inference_mode()
    def choose(self, observation: np.ndarray, legal_actions: np.ndarray, rng: np.random.Generator | None
               ) -> np.ndarray:
        """Drawn from the policy; without ``rng`` the likeliest actions."""
        outputs = self.net(to_tensors(observation, self.device))
        legal = torch.from_numpy(legal_actions).to(self.device)
        action = self.kind.mode(outputs, legal) if rng is None else self.kind.sample(outputs, legal, rng)
        return action.cpu().numpy()


class Actor(StepActor):
    """Draws from the policy; before there is one, from all that can be done, evenly."""

    def __init__(self, config: Config, env: VectorEnv, seed: int) -> None:
        self.player = ActingNetwork(config, env.spec)
        super().__init__(env, position_columns(env.spec), self.player, seed)

    def choose(self, step: Step) -> np.ndarray:
        if self.version == 0:
            return self.player.kind.random(step.legal_actions, self.rng)
        return self.player.choose(step.observation, step.legal_actions, self.rng)


class Learner(StepLearner):
    """Critics, policy and temperatures learn from the same sample at once: one gradient, one step of Adam."""

    net: SoftActorCritic
    target: Critics

    def __init__(self, config: Config, spec: EnvSpec, seed: int) -> None:
        self.config, self.kind = config, make_actions(config, spec)
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
        windows, importance = self.sampler.draw(replay, config.batch_size, progress, self.rng)
        signal_losses = self.signals.update(replay.view(windows.rows))
        batch = self.sampler.transitions(replay, windows)
        observation, legal = to_tensors(batch["observation"], self.device), self._tensor(batch["legal_actions"])
        temperature = net.log_temperature.detach().exp()

        error = kind.chosen(net.critics, observation, self._tensor(batch["action"])) - self._targets(batch, temperature)
        losses = 0.5 * error.square().mean(-1).sum((0, 2))
        critic_loss = losses.mean() if importance is None else (losses * self._tensor(importance)).mean()

        value, entropy = kind.expected(self.judges, observation, net.policy(observation), legal, self.rng)
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

    @torch.no_grad()
    def _targets(self, batch: dict[str, np.ndarray], temperature: Tensor) -> Tensor:
        """y = R + d · (E_π Q'(s', a') + Σ_b α_b H_b), float32 [n, D, 1]; of branches the mean of their values, as in
        Tavakoli et al. 2018, equation 6. What the entropies are worth counts among the first discount's rewards."""
        after, legal = to_tensors(batch["next_observation"], self.device), self._tensor(batch["next_legal_actions"])
        value, entropy = self.kind.expected(self.target, after, self.net.policy(after), legal, self.rng)
        value = value.mean(2)
        if self.config.entropy_in_values:
            value[:, 0] += (temperature * entropy).sum(1)
        return torch.addcmul(self._tensor(batch["reward"]), self._tensor(batch["discount"]), value)[..., None]


class Agent:
    """Takes the likeliest action."""

    has_memory = False

    def __init__(self, config: Config, spec: EnvSpec, weights: Weights) -> None:
        self.player = ActingNetwork(config, spec)
        self.player.load_weights(weights)
        of_critics = {name.removeprefix("critics."): value for name, value in weights.items()
                      if name.startswith("critics.")}
        discounts = of_critics["bias"].shape[-1] // (spec.num_actions or 1)
        self.critics = Critics(config, spec, discounts).to(self.player.device)
        self.critics.load_state_dict(of_critics)

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, None]:
        return self.player.actions(self.player.choose(observation, legal_actions, None)), None

    @torch.inference_mode()
    def think(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
              starts: np.ndarray | None = None, simulations: int | None = None) -> Thoughts:
        """The policy, and what the critics say of its likeliest action."""
        inputs, legal = to_tensors(observation, self.player.device), torch.from_numpy(legal_actions)
        logits = self.player.net(inputs)
        policy = choice_log_probs(logits, legal.to(logits.device), (logits.shape[1],)).exp().cpu().numpy()
        q = self.critics(inputs).mean(0).sum(1).cpu().numpy()
        action = policy.argmax(axis=1)
        return Thoughts(action, policy, q[np.arange(len(q)), action], None, action[:, None].tolist())


def make_actor(config: Config, env: VectorEnv, seed: int) -> Actor:
    return Actor(config, env, seed)


def make_learner(config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner:
    return Learner(config, spec, seed)


def make_agent(config: Config, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
               seed: int = 0) -> Agent:
    return Agent(config, spec, weights)
