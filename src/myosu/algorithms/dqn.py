"""Deep Q-learning (Mnih et al. 2015) with its usual extensions: double (van Hasselt et al. 2016) and dueling (Wang et
al. 2016) networks, n-step returns, prioritised replay (Schaul et al. 2016), action masks, and action branches
(Tavakoli et al. 2018).

Read it from top to bottom: the configuration, the network, the actor, the learner, the agent.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from myosu.algorithms.checks import check_learning_starts, check_not_mixed, check_ranges
from myosu.algorithms.interface import AgentState, Analysis
from myosu.algorithms.off_policy import Sampler, StepActor, StepLearner
from myosu.envs.vector import EnvSpec, Step, VectorEnv
from myosu.errors import NonFiniteLoss, UserError
from myosu.games.game import Symmetries
from myosu.games.playout import random_actions
from myosu.losses.q_learning import best_columns, bootstrapped, dueling, huber
from myosu.nets.encoder import ActionHead, Encoder, Observation, default_hidden, to_tensors
from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.nets.inference import device_for
from myosu.replay.priorities import Priorities
from myosu.replay.replay import Columns, Replay, Rows, fitting_capacity
from myosu.replay.transitions import Transitions, stored_columns, transition_columns
from myosu.rewards.actions import action_features
from myosu.rewards.curiosity import curiosity_signals, parse_curiosity
from myosu.rewards.environment import EnvironmentReward
from myosu.rewards.signals import RewardSignal, RewardSignals
from myosu.runs.state import Weights

SOURCE = "in turn"

#: Metrics are computed every METRICS_EVERY updates, because reading them back is slow.
METRICS_EVERY = 50


@dataclass(frozen=True)
class Config:
    """DQN's settings. Presets for environments: ``myosu/presets/dqn``."""

    hidden: tuple[int, ...] = ()
    """Units of the hidden layers; for images, of those after the convolutions. Default: 256 256, for images 512."""
    channels: int = 32
    """Channels of the convolutions that read a board."""
    blocks: int = 1
    """Residual blocks of the convolutions that read a board."""
    layer_norm: bool = True
    """Layer normalisation (Ba et al. 2016) after each hidden layer of vector observations. It bounds the values of
    rarely seen states, which keeps bootstrapped values from diverging (Gallici et al. 2025)."""
    dueling: bool = True
    """Dueling heads: a state value, and an advantage for each action."""
    double: bool = True
    """Double Q-learning: the online network selects the next action and the target network evaluates it, which reduces
    overestimation."""

    discount: float = 0.99
    """Discount of rewards, in [0, 1]."""
    n_step: int = 3
    """Steps of the return before it bootstraps. With 1, an action that changes nothing is worth less than the best one
    only by the fraction 1 − discount, so small errors hide the difference, and an agent that stands still because of
    them recovers slowly."""
    epsilon_initial: float = 1.0
    """Probability of a random action at the beginning."""
    epsilon_final: float = 0.05
    """Probability of a random action from ``exploration_fraction`` on."""
    exploration_fraction: float = 0.1
    """Fraction of the run over which epsilon is annealed linearly."""

    num_envs: int = 8
    """Environments of each actor."""
    replay_capacity: int = 100_000
    """Transitions that the replay buffer holds; the oldest are overwritten first."""
    learning_starts: int = 1000
    """Transitions collected before the first update."""
    replay_ratio: float = 32.0
    """Times each collected transition is sampled on average: one update every ``batch_size / replay_ratio`` steps."""
    batch_size: int = 64
    """Transitions in a minibatch."""
    prioritized: bool = False
    """Prioritised experience replay: sample in proportion to the TD error, with importance-sampling weights."""
    priority_exponent: float = 0.6
    """α of prioritised replay; its β is annealed from 0.4 to 1 over the run."""
    symmetries: bool = True
    """Augment each sample with a random symmetry of the game."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this. Where returns are in the hundreds, 0.01 brings TD errors near 1, where the Huber
    loss turns from quadratic to linear."""
    reward_clip: float | None = None
    """Clip rewards to ± this before they are scaled (Atari: 1); None: no clipping."""
    curiosity: tuple[str, ...] = ()
    """Intrinsic rewards (docs/curiosity.md): rnd, icm, each with an optional weight and discount, as in rnd:0.5:0.99.
    The discount must be that of all rewards."""

    advantage_learning: float = 0.8
    """α of advantage learning (Bellemare et al. 2016), in [0, 1): targets of actions other than the best are lowered by
    α times their gap to it, which widens the action gap by 1 / (1 − α) and slows learning down a little. With α = 0,
    actions that change nothing are so close to the best that approximation errors hide the difference."""

    target_every: int = 1
    """Updates between two updates of the target network."""
    tau: float = 0.01
    """Polyak coefficient τ of the target network's update; 1 copies the online network."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""
    anneal_learning_rate: bool = False
    """Anneal the learning rate linearly to 0 over the run."""
    max_grad_norm: float = 10.0
    """Clip the gradient to this norm."""
    device: str = "auto"
    """cpu, cuda or mps; auto: an accelerator if there is one and observations contain images or boards."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            "channels": (1, 4096), "blocks": (0, 100), "discount": (0.0, 1.0), "n_step": (1, 1000),
            "epsilon_initial": (0.0, 1.0), "epsilon_final": (0.0, 1.0), "exploration_fraction": (0.0, 1.0),
            "num_envs": (1, 1_000_000), "replay_capacity": (1, 10**9), "learning_starts": (1, 10**9),
            "replay_ratio": (1e-6, 1e6), "batch_size": (1, 10**6), "priority_exponent": (0.0, 10.0),
            "reward_scale": (1e-9, 1e9), "advantage_learning": (0.0, 0.99), "target_every": (1, 10**9),
            "tau": (1e-6, 1.0), "learning_rate": (0.0, 10.0), "max_grad_norm": (1e-6, 1e9),
        })
        if self.reward_clip is not None:
            check_ranges(self, {"reward_clip": (1e-9, 1e9)})
        if min(self.hidden, default=2) < 2:
            raise UserError(f"hidden = {self.hidden} is impossible: a layer has 2 units or more.")
        for text in self.curiosity:
            parse_curiosity(text, self.discount)
        check_learning_starts(self)


def resolve(config: Config, spec: EnvSpec, deterministic: bool) -> Config:
    """``config`` with a replay buffer that fits in this machine's memory. Raises UserError for environments that DQN
    cannot learn."""
    if spec.num_players != 1:
        raise UserError(f"DQN is for one player; this game has {spec.num_players}. Use muzero, or put an opponent into "
                        "the game (--opponent alphabeta:2).")
    check_not_mixed("DQN", spec)
    if not spec.num_actions:
        raise UserError("DQN needs discrete actions (Discrete or MultiDiscrete); here they are continuous "
                        "(Box). Use ppo.")
    stored = stored_columns(spec, position_columns(spec))
    return replace(config, replay_capacity=fitting_capacity(stored, config.replay_capacity))


def action_branches(spec: EnvSpec) -> tuple[int, ...]:
    return spec.action_branches or (spec.num_actions,)


def position_columns(spec: EnvSpec) -> Columns:
    """A row is a step. Its action is the index of each branch's choice among all columns, as in ``q_learning``."""
    return transition_columns(spec, ((len(action_branches(spec)),), np.int64))


def make_replay(config: Config, spec: EnvSpec) -> Replay:
    return Transitions(position_columns(spec), config.replay_capacity, config.n_step, spec.frame_stack > 1)


def reward_signals(config: Config, spec: EnvSpec, seed: int) -> list[RewardSignal]:
    """The rewards to be maximised, all with the same discount."""
    return [EnvironmentReward(config.discount, weight=config.reward_scale, clip=config.reward_clip),
            *curiosity_signals(config.curiosity, spec, partial(action_features, spec), config.discount, 0,
                               max(1, round(config.replay_ratio)), seed)]


class QNet(nn.Module):
    """Q-values float32 [n, A]. The buffer ``epsilon`` is the probability of a random action, which reaches the actors
    together with the weights."""

    epsilon: Tensor

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        super().__init__()
        self.branches = action_branches(spec)
        hidden = config.hidden or default_hidden(spec, (256, 256))
        self.encoder = Encoder(spec, hidden, config.channels, config.blocks, layer_norm=config.layer_norm)
        features = self.encoder.features
        self.value = nn.Linear(features - features // 2, 1) if config.dueling else None
        self.advantage = ActionHead(features // 2 if config.dueling else features, spec.num_actions, self.encoder.cells)
        self.register_buffer("epsilon", torch.tensor(config.epsilon_initial))

    def forward(self, observation: Observation) -> Tensor:
        features, cells = self.encoder(observation)
        if self.value is None:
            return self.advantage(features, cells)
        # Even units feed the value, odd ones the advantages: both streams see every part of the observation.
        return dueling(self.value(features[:, ::2]), self.advantage(features[:, 1::2], cells), self.branches)


def make_net(config: Config, spec: EnvSpec) -> QNet:
    """Build the network on its device."""
    return QNet(config, spec).to(device_for(config.device, spec))


class ActingNetwork:
    """The network of actors and agents: maps observations to actions."""

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        self.spec, self.branches = spec, action_branches(spec)
        self.starts = np.cumsum((0, *self.branches[:-1]))
        self.net = make_net(config, spec)
        self.device = self.net.epsilon.device
        self.tensors = self.net.state_dict()

    def load_weights(self, weights: Weights) -> None:
        for name, tensor in self.tensors.items():
            tensor.copy_(weights[name])

    @torch.inference_mode()
    def best(self, observation: np.ndarray, legal_actions: np.ndarray) -> np.ndarray:
        """Columns int64 [n, B] of the legal actions with the highest value."""
        q = self.net(to_tensors(observation, self.device))
        return best_columns(q, torch.from_numpy(legal_actions).to(self.device), self.branches).cpu().numpy()

    @torch.inference_mode()
    def values(self, observation: np.ndarray) -> np.ndarray:
        """Q-values float32 [n, A]."""
        return self.net(to_tensors(observation, self.device)).float().cpu().numpy()

    def random(self, legal_actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Columns int64 [n, B] of uniformly random legal actions."""
        drawn = [random_actions(mask, int(rng.integers(2**63))) for mask in self.spec.branch_masks(legal_actions)]
        return np.stack(drawn, axis=1) + self.starts

    def actions(self, columns: np.ndarray) -> np.ndarray:
        """Actions of the environment, [n, *action_shape], from columns int64 [n, B]."""
        return (columns - self.starts).reshape(len(columns), *self.spec.action_shape)


class Actor(StepActor):
    """Plays ε-greedily."""

    def __init__(self, config: Config, env: VectorEnv, seed: int) -> None:
        self.player = ActingNetwork(config, env.spec)
        super().__init__(env, position_columns(env.spec), self.player, seed)
        self.epsilon = config.epsilon_initial

    def choose(self, step: Step) -> Rows:
        return {"action": self._actions(step)}

    def _actions(self, step: Step) -> np.ndarray:
        explores = self.rng.random(len(step.env_ids)) < self.epsilon
        if explores.all():
            return self.player.random(step.legal_actions, self.rng)
        best = self.player.best(step.observation, step.legal_actions)
        if not explores.any():
            return best
        return np.where(explores[:, None], self.player.random(step.legal_actions, self.rng), best)

    def load_weights(self, weights: Weights, version: int) -> None:
        super().load_weights(weights, version)
        self.epsilon = float(weights["epsilon"])


class Learner(StepLearner):
    """Minimises the Huber loss of the Q-values' TD errors."""

    net: QNet
    target: QNet

    def __init__(self, config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> None:
        self.config, self.branches = config, action_branches(spec)
        self.symmetries = symmetries if config.symmetries else None
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.net = make_net(config, spec)
        self.device = self.net.epsilon.device
        self.target = copy.deepcopy(self.net)
        self.parameters, self.target_parameters = FlatParameters(self.net), FlatParameters(self.target)
        self.optimizer = FlatAdam(self.parameters)
        self.signals = RewardSignals(reward_signals(config, spec, seed))
        if set(self.signals.discounts) != {config.discount}:
            raise UserError(f"DQN learns one value of one discount ({config.discount}); here reward signals have "
                            f"others ({self.signals.discounts}). PPO and SAC learn a value for each.")
        self.sampler = Sampler(self.signals, config.n_step, Priorities(
            config.replay_capacity, config.priority_exponent, least=1e-3) if config.prioritized else None)
        self.updates = 0

    def update(self, replay: Replay, progress: float) -> dict[str, float]:
        config = self.config
        assert isinstance(replay, Transitions)
        windows, importance = self.sampler.draw(replay, config.batch_size, progress, self.rng)
        signal_losses = self.signals.update(replay.view(windows.rows))
        batch = self._augmented(self.sampler.transitions(replay, windows))
        observation = to_tensors(batch["observation"], self.device)
        for net in (self.net, self.target):
            if net.encoder.learns_scale:
                net.encoder.observe(observation)
        q = self.net(observation)
        error = q.gather(1, self._tensor(batch["action"])) - self._targets(batch)[:, None]
        losses = huber(error).mean(1)
        total = losses.mean() if importance is None else (losses * self._tensor(importance)).mean()
        self.parameters.zero_gradient()
        total.backward()
        norm, loss = self.parameters.clip_gradient(config.max_grad_norm), float(total.detach())
        if not (math.isfinite(norm) and math.isfinite(loss)):
            raise NonFiniteLoss(f"loss {loss}, gradient norm {norm} at update {self.updates}", batch)
        rate = config.learning_rate * (1.0 - progress if config.anneal_learning_rate else 1.0)
        self.optimizer.step(rate)
        self.updates += 1
        if self.updates % config.target_every == 0:
            self.target_parameters.approach(self.parameters, config.tau)
        self.net.epsilon.fill_(epsilon := exploration(config, progress))
        td_error = error.detach().abs().mean(1)
        self.sampler.set_errors(windows, td_error.cpu().numpy())
        if (self.updates - 1) % METRICS_EVERY:
            return {}
        return {"loss": loss, "q_mean": float(q.detach().mean()), "td_error": float(td_error.mean()),
                **signal_losses, "epsilon": epsilon, "gradient_norm": norm, "learning_rate": rate}

    @torch.no_grad()
    def _targets(self, batch: dict[str, np.ndarray]) -> Tensor:
        """y = R + γᵐ Q'(s_{t+m}, a*) − α (max_b Q'(s_t, b) − Q'(s_t, a_t)), float32 [n]."""
        after, legal = to_tensors(batch["next_observation"], self.device), self._tensor(batch["next_legal_actions"])
        next_q = self.target(after)
        columns = best_columns(self.net(after) if self.config.double else next_q, legal, self.branches)
        targets = bootstrapped(self._tensor(batch["reward"][:, 0]), self._tensor(batch["discount"][:, 0]), next_q,
                               columns)
        if self.config.advantage_learning:
            q, legal = self.target(to_tensors(batch["observation"], self.device)), self._tensor(batch["legal_actions"])
            best = q.gather(1, best_columns(q, legal, self.branches)).mean(1)
            gap = best - q.gather(1, self._tensor(batch["action"])).mean(1)
            targets = targets - self.config.advantage_learning * gap
        return targets


class Agent:
    """Takes the greedy action."""

    has_memory = False

    def __init__(self, config: Config, spec: EnvSpec, weights: Weights) -> None:
        self.player = ActingNetwork(config, spec)
        self.player.load_weights(weights)

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, None]:
        return self.player.actions(self.player.best(observation, legal_actions)), None

    def analyze(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
                starts: np.ndarray | None = None, simulations: int | None = None) -> Analysis:
        """The policy is 1 for the greedy action; the value is that action's."""
        q = self.player.values(observation)
        action = np.where(legal_actions, q, -np.inf).argmax(axis=1)
        rows = np.arange(len(q))
        policy = np.zeros(q.shape, np.float32)
        policy[rows, action] = 1
        return Analysis(action, policy, q[rows, action], None, action[:, None].tolist())


def make_actor(config: Config, env: VectorEnv, seed: int) -> Actor:
    return Actor(config, env, seed)


def make_learner(config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner:
    return Learner(config, spec, symmetries, seed)


def make_agent(config: Config, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
               seed: int = 0) -> Agent:
    return Agent(config, spec, weights)


def exploration(config: Config, progress: float) -> float:
    """ε at this point of the run. The learner computes it and sends it with the weights, because a run may end by time,
    and an actor does not know how many steps the other actors have taken."""
    share = 1.0 if config.exploration_fraction == 0 else min(1.0, progress / config.exploration_fraction)
    return config.epsilon_initial + share * (config.epsilon_final - config.epsilon_initial)
