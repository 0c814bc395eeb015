"""A value network trained on recorded games, as AlphaGo's (Silver et al. 2016): it predicts the outcome of a position.

Read it from top to bottom: the configuration, the network, the replay rows of a game, the learner, the agent. There is
no actor. Successive positions of a game differ by one stone and share their outcome, so a network trained on whole
games memorises them; the paper used one position from each of 30 million games.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from myosu.algorithms.checks import check_ranges
from myosu.algorithms.interface import AgentState, Analysis
from myosu.algorithms.supervised import SupervisedLearner
from myosu.envs.playback import Move
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.games.game import Symmetries
from myosu.nets.encoder import Encoder, Observation, to_tensors
from myosu.nets.fused_board import inference_encoder
from myosu.nets.inference import device_for
from myosu.replay.replay import Replay, Rows
from myosu.runs.recordings import is_held_out
from myosu.runs.state import Weights

SOURCE = "recorded"
#: A value network chooses no moves, so there is nothing to evaluate in a match.
PLAYS = False


@dataclass(frozen=True)
class Config:
    """Settings of a value network."""

    recordings: tuple[str, ...] = ()
    """Folders of games: runs, recordings of myosu record, or SGF files (Go)."""
    positions_per_game: int = 1
    """Random positions kept of each game; 0: all of them, which overfits."""
    held_out: float = 0.1
    """Fraction of the games held out for testing. Games with the same opening stay together."""
    symmetries: bool = True
    """Augment each sample with a random symmetry of the game."""
    hidden: tuple[int, ...] = (256,)
    """Units of the hidden layers; images and boards have a single one, of the last size, after the convolutions."""
    channels: int = 32
    """Channels of the convolutions that read a board."""
    blocks: int = 3
    """Residual blocks of the convolutions that read a board."""

    num_envs: int = 1
    """Not used: there is no actor."""
    replay_capacity: int = 1_000_000
    """Positions that the replay buffer holds; the oldest are overwritten first."""
    learning_starts: int = 256
    """Positions read before the first update."""
    replay_ratio: float = 20.0
    """Times each position is sampled on average."""
    batch_size: int = 256
    """Positions in a minibatch."""
    learning_rate: float = 1e-3
    """Adam's learning rate, annealed linearly to 0 over the run."""
    device: str = "auto"
    """cpu, cuda or mps; auto: an accelerator if there is one and observations contain images or boards."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            "positions_per_game": (0, 10**6), "held_out": (0.0, 0.9), "channels": (1, 4096), "blocks": (0, 100),
            "num_envs": (1, 1_000_000), "replay_capacity": (1, 10**9), "learning_starts": (1, 10**9),
            "replay_ratio": (1e-6, 1e6), "batch_size": (1, 10**6), "learning_rate": (0.0, 10.0),
        })
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"hidden = {self.hidden} is impossible: it must be one layer or more, of 1 unit or more.")


def resolve(config: Config, spec: EnvSpec, deterministic: bool) -> Config:
    if not np.isfinite(spec.reward_range).all():
        raise UserError(f"A value network must know the range of outcomes; here it is {spec.reward_range}.")
    return config


class Value(nn.Module):
    """v(s), float32 [n], from the perspective of the player to move: tanh of a linear map, times max |reward|."""

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        super().__init__()
        self.encoder = Encoder(spec, config.hidden, config.channels, config.blocks)
        self.head = nn.Linear(self.encoder.features, 1)
        self.greatest = max(map(abs, spec.reward_range))

    def forward(self, observation: Observation) -> Tensor:
        return self.read(self.encoder(observation)[0])

    def read(self, features: Tensor) -> Tensor:
        """The values from the encoder's features."""
        return self.greatest * self.head(features).squeeze(1).tanh()


def make_value(config: Config, spec: EnvSpec) -> Value:
    """Build the value network on its device."""
    return Value(config, spec).to(device_for(config.device, spec))


def make_replay(config: Config, spec: EnvSpec) -> Replay:
    return Replay({"observation": (spec.observation_shape, spec.observation_dtype), "outcome": ((), np.float32),
                   "held_out": ((), np.bool_)}, config.replay_capacity)


def kept_plies(config: Config, moves: list[Move]) -> np.ndarray:
    """The plies, int64 [n], of the positions of a game to learn from: ``positions_per_game`` random plies in which a
    player chose the move, the same ones whenever the game is read. A game that is not over has none, because its
    outcome is unknown."""
    over = bool(moves) and (moves[-1].terminated or moves[-1].truncated)
    plies = np.array([ply for ply, move in enumerate(moves) if move.chosen and over], np.int64)
    if not 0 < config.positions_per_game < len(plies):
        return plies
    played = np.array([move.action for move in moves], np.float32).tobytes()
    rng = np.random.default_rng(int.from_bytes(hashlib.blake2b(played, digest_size=8).digest(), "big"))
    return np.sort(rng.choice(plies, config.positions_per_game, replace=False))


def make_rows(config: Config, spec: EnvSpec, moves: list[Move]) -> list[Rows]:
    """Positions of a recorded game, with the outcome z: the undiscounted return of the player to move."""
    plies = kept_plies(config, moves)
    if not len(plies):
        return []
    to_go = np.cumsum([move.rewards for move in reversed(moves)], axis=0)[::-1]
    actions = [move.action for move in moves]
    return [{"observation": np.array([moves[ply].observation for ply in plies]),
             "outcome": np.array([to_go[ply, moves[ply].seat] for ply in plies], np.float32),
             "held_out": np.full(len(plies), is_held_out(actions, spec.num_players, config.held_out))}]


class Learner(SupervisedLearner):
    """Minimises ½ (z − v(s))², the error in the paper's figures. It is ½ for v = 0 and z = ±1."""

    def __init__(self, config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> None:
        torch.manual_seed(seed)
        self.value = make_value(config, spec)
        self.device = next(self.value.parameters()).device
        super().__init__(config, self.value, self._measure, symmetries, seed)

    def _measure(self, batch: Rows) -> dict[str, Tensor]:
        outcome = torch.from_numpy(batch["outcome"]).to(self.device)
        return {"loss": 0.5 * (outcome - self.value(to_tensors(batch["observation"], self.device))).square()}


class Agent:
    """Evaluates positions; its moves are uniformly random legal moves."""

    has_memory = False

    def __init__(self, config: Config, spec: EnvSpec, weights: Weights, seed: int) -> None:
        self.value = make_value(config, spec)
        self.value.load_state_dict(weights)
        self.device = next(self.value.parameters()).device
        self.encode = inference_encoder(self.value.encoder)
        self.rng = np.random.default_rng(seed)

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, None]:
        return np.argmax(self.rng.random(legal_actions.shape) * legal_actions, axis=1), None

    @torch.inference_mode()
    def analyze(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
                starts: np.ndarray | None = None, simulations: int | None = None) -> Analysis:
        """There is no policy network: the policy is uniform over legal moves."""
        value, _ = self.evaluate(observation, legal_actions)
        action, _ = self.act(observation, legal_actions)
        policy = (legal_actions / legal_actions.sum(axis=1, keepdims=True)).astype(np.float32)
        return Analysis(action, policy, value, None, action[:, None].tolist())

    @torch.inference_mode()
    def evaluate(self, observation: np.ndarray, legal_actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For searches that use this network as one of their parts (``players.apv``): the values, f32 [n], and logits
        of 0, f32 [n, A]."""
        features, _ = self.encode(to_tensors(observation, self.device))
        return self.value.read(features).cpu().numpy(), np.zeros(legal_actions.shape, np.float32)


def make_learner(config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner:
    return Learner(config, spec, symmetries, seed)


def make_agent(config: Config, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
               seed: int = 0) -> Agent:
    return Agent(config, spec, weights, seed)
