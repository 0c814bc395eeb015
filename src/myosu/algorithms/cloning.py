"""Behavioural cloning (Pomerleau 1991): a policy trained by supervised learning on the actions of recorded games, such
as AlphaGo's supervised policy (Silver et al. 2016).

Read it from top to bottom: the configuration, the policy, the replay rows of a game, the learner, the agent. There is
no actor: recorded games are replayed from their seeds and actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from myosu.algorithms.checks import check_not_mixed, check_ranges
from myosu.algorithms.interface import AgentState, Analysis
from myosu.algorithms.supervised import SupervisedLearner
from myosu.envs.playback import Move
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.games.game import Symmetries
from myosu.losses.q_learning import best_columns
from myosu.losses.soft import choice_log_probs
from myosu.nets.encoder import ActionHead, Encoder, Observation, to_tensors
from myosu.nets.fused_board import inference_encoder
from myosu.nets.inference import device_for
from myosu.replay.replay import Replay, Rows
from myosu.runs.recordings import is_held_out
from myosu.runs.state import Weights

SOURCE = "recorded"


@dataclass(frozen=True)
class Config:
    """Behavioural cloning's settings."""

    recordings: tuple[str, ...] = ()
    """Folders of games to imitate: runs, recordings of myosu record, or SGF files (Go); or minari:DATASET."""
    held_out: float = 0.1
    """Fraction of the games held out for testing. Games with the same opening stay together."""
    symmetries: bool = True
    """Augment each sample with a random symmetry of the game."""
    hidden: tuple[int, ...] = (256, 256)
    """Units of the hidden layers; images and boards have a single one, of the last size, after the convolutions."""
    channels: int = 32
    """Channels of the convolutions that read a board."""
    blocks: int = 1
    """Residual blocks of the convolutions that read a board."""

    clean_up: bool = False
    """Also imitate the moves that remove dead stones before the last two passes (docs/decisions/64-clean-up.md)."""
    num_envs: int = 1
    """Not used: there is no actor."""
    replay_capacity: int = 1_000_000
    """Steps that the replay buffer holds; the oldest are overwritten first."""
    learning_starts: int = 256
    """Steps read before the first update."""
    replay_ratio: float = 20.0
    """Times each step is sampled on average."""
    batch_size: int = 256
    """Steps in a minibatch."""
    learning_rate: float = 1e-3
    """Adam's learning rate, annealed linearly to 0 over the run."""
    device: str = "auto"
    """cpu, cuda or mps; auto: an accelerator if there is one and observations contain images or boards."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            "channels": (1, 4096), "blocks": (0, 100), "num_envs": (1, 1_000_000), "replay_capacity": (1, 10**9),
            "held_out": (0.0, 0.9), "learning_starts": (1, 10**9), "replay_ratio": (1e-6, 1e6),
            "batch_size": (1, 10**6), "learning_rate": (0.0, 10.0),
        })
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"hidden = {self.hidden} is impossible: it must be one layer or more, of 1 unit or more.")


def resolve(config: Config, spec: EnvSpec, deterministic: bool) -> Config:
    check_not_mixed("Cloning", spec)
    if not np.isfinite(spec.action_low + spec.action_high).all():
        raise UserError("Cloning needs bounds of every component of an action; here some are infinite. Give the Box "
                        "finite bounds (gymnasium.wrappers.RescaleAction).")
    return config


class Policy(nn.Module):
    """Policy network: logits [n, A] of all choices, or continuous actions [n, C] in (−1, 1), scaled to their bounds."""

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        super().__init__()
        self.spec, self.branches = spec, spec.action_branches or (spec.num_actions,)
        self.starts = np.cumsum((0, *self.branches[:-1]))
        self.low, self.high = np.array(spec.action_low, np.float32), np.array(spec.action_high, np.float32)
        self.encoder = Encoder(spec, config.hidden, config.channels, config.blocks)
        passes = spec.pass_action is not None and spec.pass_action == spec.num_actions - 1
        self.head = ActionHead(self.encoder.features, len(spec.action_low) or spec.num_actions,
                               None if spec.action_low else self.encoder.cells, beside=int(passes))

    def forward(self, observation: Observation) -> Tensor:
        return self.read(*self.encoder(observation))

    def read(self, features: Tensor, cells: Tensor | None) -> Tensor:
        """The outputs from those of the encoder."""
        outputs = self.head(features, cells)
        return outputs.tanh() if self.spec.action_low else outputs

    def losses(self, outputs: Tensor, legal: Tensor, action: Tensor) -> Tensor:
        """Losses float32 [n]: −Σ_b log π_b(a_b) over the legal choices, or Σ_c (a_c − π_c)² of continuous actions."""
        if self.spec.action_low:
            return (outputs - action).square().sum(1)
        return -choice_log_probs(outputs, legal, self.branches).gather(1, action).sum(1)

    def stored(self, actions: np.ndarray) -> np.ndarray:
        """Convert the environment's actions [n, *action_shape] to the format of ``losses``: columns of choices, or
        continuous actions scaled to [−1, 1]."""
        if self.spec.action_low:
            return 2.0 * (actions - self.low) / (self.high - self.low) - 1.0
        return actions.reshape(len(actions), -1) + self.starts

    def actions(self, outputs: Tensor, legal: Tensor) -> np.ndarray:
        """The most likely actions, in the environment's format."""
        if self.spec.action_low:
            action = self.low + (self.high - self.low) * 0.5 * (outputs.cpu().numpy() + 1.0)
            return np.clip(action, self.low, self.high)
        columns = best_columns(outputs, legal, self.branches).cpu().numpy()
        return (columns - self.starts).reshape(len(columns), *self.spec.action_shape)


def make_policy(config: Config, spec: EnvSpec) -> Policy:
    """Build the policy on its device."""
    return Policy(config, spec).to(device_for(config.device, spec))


def make_replay(config: Config, spec: EnvSpec) -> Replay:
    return Replay({"observation": (spec.observation_shape, spec.observation_dtype),
                   "legal_actions": ((spec.num_actions,), np.bool_),
                   "action": (spec.action_shape, spec.action_dtype), "held_out": ((), np.bool_)},
                  config.replay_capacity)


def make_rows(config: Config, spec: EnvSpec, moves: list[Move]) -> list[Rows]:
    """The moves of a recorded game to imitate, as one sequence; in two-player games those of both players."""
    held_out = is_held_out([move.action for move in moves], spec.num_players, config.held_out)
    learnt = moves_to_clone(moves, spec.pass_action if config.clean_up else None)
    if not learnt:
        return []
    columns = {name: np.array([getattr(move, name) for move in learnt])
               for name in ("observation", "legal_actions", "action")}
    return [columns | {"held_out": np.full(len(learnt), held_out)}]


def moves_to_clone(moves: list[Move], pass_action: int | None) -> list[Move]:
    """The moves that their players chose. With a ``pass_action``, in a game that ends by two passes, also the captures
    of dead stones before them: a policy trained without these captures passes while dead stones are on the board, and
    loses games that it has won."""
    end = len(moves)
    if pass_action is not None and [int(move.action) for move in moves[-2:]] == [pass_action] * 2:
        while end and (not moves[end - 1].chosen or moves[end - 1].action == pass_action):
            end -= 1
    return [move for k, move in enumerate(moves) if move.chosen or k >= end]


class Learner(SupervisedLearner):
    """Maximises the likelihood of the recorded actions. accuracy: fraction of them that are the most likely ones."""

    def __init__(self, config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> None:
        torch.manual_seed(seed)
        self.policy = make_policy(config, spec)
        self.device = next(self.policy.parameters()).device
        super().__init__(config, self.policy, self._measure, symmetries, seed)

    def _measure(self, batch: Rows) -> dict[str, Tensor]:
        legal = torch.from_numpy(batch["legal_actions"]).to(self.device)
        action = torch.from_numpy(self.policy.stored(batch["action"])).to(self.device)
        outputs = self.policy(to_tensors(batch["observation"], self.device))
        measures = {"loss": self.policy.losses(outputs, legal, action)}
        if self.policy.spec.num_actions:
            likeliest = best_columns(outputs.detach(), legal, self.policy.branches)
            measures["accuracy"] = (likeliest == action).all(1).float()
        return measures


class Agent:
    """Takes the most likely action."""

    has_memory = False

    def __init__(self, config: Config, spec: EnvSpec, weights: Weights) -> None:
        self.policy = make_policy(config, spec)
        self.policy.load_state_dict(weights)
        self.device = next(self.policy.parameters()).device
        self.encode = inference_encoder(self.policy.encoder)

    def _outputs(self, observation: np.ndarray) -> Tensor:
        return self.policy.read(*self.encode(to_tensors(observation, self.device)))

    @torch.inference_mode()
    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, None]:
        legal = torch.from_numpy(legal_actions).to(self.device)
        return self.policy.actions(self._outputs(observation), legal), None

    @torch.inference_mode()
    def analyze(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
                starts: np.ndarray | None = None, simulations: int | None = None) -> Analysis:
        """There is no value network: values are 0."""
        legal = torch.from_numpy(legal_actions).to(self.device)
        policy = F.softmax(self._outputs(observation).masked_fill(~legal, -torch.inf), dim=1).cpu().numpy()
        action = policy.argmax(axis=1)
        return Analysis(action, policy, np.zeros(len(policy), np.float32), None, action[:, None].tolist())

    @torch.inference_mode()
    def evaluate(self, observation: np.ndarray, legal_actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For searches that use this policy as one of their parts (``players.apv``): values of 0, f32 [n], and the
        logits of all actions, f32 [n, A]."""
        return np.zeros(len(observation), np.float32), self._outputs(observation).cpu().numpy()


def make_learner(config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner:
    return Learner(config, spec, symmetries, seed)


def make_agent(config: Config, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
               seed: int = 0) -> Agent:
    return Agent(config, spec, weights)
