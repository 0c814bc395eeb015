"""A value network learnt from recorded games, as AlphaGo's (Silver et al. 2016): it predicts the outcome of a position.

Read it from top to bottom: the configuration, the network, what is kept of a game, the learner, the agent. Nobody acts.
Successive positions of a game differ by one stone and share their outcome, so that a network that sees whole games
learns them by heart; the paper learnt from one position of each of 30 million games.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from myosu.algorithms.checks import check_ranges
from myosu.algorithms.interface import AgentState, Thoughts
from myosu.algorithms.supervised import SupervisedLearner
from myosu.envs.playback import Move
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.games.game import Symmetries
from myosu.nets.encoder import Encoder, Observation, to_tensors
from myosu.nets.inference import device_for
from myosu.replay.replay import Replay, Rows
from myosu.runs.recordings import is_held_out
from myosu.runs.state import Weights

SOURCE = "recorded"
#: A value alone chooses no moves, so there is nothing to evaluate in a match.
PLAYS = False


@dataclass(frozen=True)
class Config:
    """Settings of a value network."""

    recordings: tuple[str, ...] = ()
    """Folders of the games: runs, what myosu record wrote, or SGF files (Go)."""
    positions_per_game: int = 1
    """Positions kept of each game, drawn at random; 0: all of them, which overfits."""
    held_out: float = 0.1
    """Share of the games that are not learnt from, but tested on; games with the same opening together."""
    symmetries: bool = True
    """Show every sample under a symmetry of the game drawn at random."""
    hidden: tuple[int, ...] = (256,)
    """Units of the layers; of pictures, the last one after the convolutions."""
    channels: int = 32
    """Channels of the convolutions that read a board."""
    blocks: int = 3
    """Residual blocks of the convolutions that read a board."""

    num_envs: int = 1
    """Of no meaning here: nobody acts."""
    replay_capacity: int = 1_000_000
    """Positions kept. The oldest go first."""
    learning_starts: int = 256
    """Positions read before the first update."""
    replay_ratio: float = 20.0
    """How often each position is learnt from, on average."""
    batch_size: int = 256
    """Positions an update."""
    learning_rate: float = 1e-3
    """Adam's learning rate; it falls in a line to 0 at the end of the run."""
    device: str = "auto"
    """cpu, cuda or mps; auto: an accelerator, if there is one and there are pictures to see."""

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
    """v(s), float32 [n], in the view of the player to move: tanh of a linear map, times the greatest reward."""

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        super().__init__()
        self.encoder = Encoder(spec, config.hidden, config.channels, config.blocks)
        self.head = nn.Linear(self.encoder.features, 1)
        self.greatest = max(map(abs, spec.reward_range))

    def forward(self, observation: Observation) -> Tensor:
        return self.greatest * self.head(self.encoder(observation)[0]).squeeze(1).tanh()


def make_value(config: Config, spec: EnvSpec) -> Value:
    """On its device."""
    return Value(config, spec).to(device_for(config.device, spec))


def make_replay(config: Config, spec: EnvSpec) -> Replay:
    return Replay({"observation": (spec.observation_shape, spec.observation_dtype), "outcome": ((), np.float32),
                   "held_out": ((), np.bool_)}, config.replay_capacity)


def kept_plies(config: Config, moves: list[Move]) -> np.ndarray:
    """The plies, int64 [n], of the positions of a game that are learnt from: of those in which a player chose a move,
    ``positions_per_game`` at random, the same ones whenever the game is read. None of a game that is not over: its
    outcome is not known."""
    over = bool(moves) and (moves[-1].terminated or moves[-1].truncated)
    plies = np.array([ply for ply, move in enumerate(moves) if move.chosen and over], np.int64)
    if not 0 < config.positions_per_game < len(plies):
        return plies
    played = np.array([move.action for move in moves], np.float32).tobytes()
    rng = np.random.default_rng(int.from_bytes(hashlib.blake2b(played, digest_size=8).digest(), "big"))
    return np.sort(rng.choice(plies, config.positions_per_game, replace=False))


def make_rows(config: Config, spec: EnvSpec, moves: list[Move]) -> list[Rows]:
    """Positions of a recorded game, with the outcome z: what the player to move gets from there to the end,
    undiscounted."""
    plies = kept_plies(config, moves)
    if not len(plies):
        return []
    to_go = np.cumsum([move.rewards for move in reversed(moves)], axis=0)[::-1]
    actions = [move.action for move in moves]
    return [{"observation": np.array([moves[ply].observation for ply in plies]),
             "outcome": np.array([to_go[ply, moves[ply].seat] for ply in plies], np.float32),
             "held_out": np.full(len(plies), is_held_out(actions, spec.num_players, config.held_out))}]


class Learner(SupervisedLearner):
    """Minimises ½ (z − v(s))², the error of the paper's figures (a network that knows nothing has ½)."""

    def __init__(self, config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> None:
        torch.manual_seed(seed)
        self.value = make_value(config, spec)
        self.device = next(self.value.parameters()).device
        super().__init__(config, self.value, self._measure, symmetries, seed)

    def _measure(self, batch: Rows) -> dict[str, Tensor]:
        outcome = torch.from_numpy(batch["outcome"]).to(self.device)
        return {"loss": 0.5 * (outcome - self.value(to_tensors(batch["observation"], self.device))).square()}


class Agent:
    """Knows the value of a position; its moves are drawn from the legal ones."""

    has_memory = False

    def __init__(self, config: Config, spec: EnvSpec, weights: Weights, seed: int) -> None:
        self.value = make_value(config, spec)
        self.value.load_state_dict(weights)
        self.device = next(self.value.parameters()).device
        self.rng = np.random.default_rng(seed)

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None) -> tuple[np.ndarray, None]:
        return np.argmax(self.rng.random(legal_actions.shape) * legal_actions, axis=1), None

    @torch.inference_mode()
    def think(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
              starts: np.ndarray | None = None, simulations: int | None = None) -> Thoughts:
        """Of moves it knows nothing: the policy is uniform."""
        value = self.value(to_tensors(observation, self.device)).cpu().numpy()
        action, _ = self.act(observation, legal_actions)
        policy = (legal_actions / legal_actions.sum(axis=1, keepdims=True)).astype(np.float32)
        return Thoughts(action, policy, value, None, action[:, None].tolist())


def make_learner(config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner:
    return Learner(config, spec, symmetries, seed)


def make_agent(config: Config, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
               seed: int = 0) -> Agent:
    return Agent(config, spec, weights, seed)
