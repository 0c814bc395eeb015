"""REINFORCE (Williams 1992) against earlier versions of itself, as AlphaGo's RL policy (Silver et al. 2016).

Read it from top to bottom: the configuration, the replay, the actor, the learner. The network and the agent are those
of behavioural cloning, and the policy may start from a run of it. In every iteration the newest policy plays
``batch_size`` games against one opponent that is sampled uniformly from a pool of its earlier versions, half of the
games from each seat. Then the policy takes one gradient step along

    1/n Σ_i Σ_t ∇ log π(a_t^i | s_t^i) (z^i − b^i),

with the outcome z of the game and, as its baseline b, the mean outcome of the other games from the same seat.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from myosu.algorithms import cloning
from myosu.algorithms.checks import check_ranges
from myosu.algorithms.cloning import Agent, Policy, make_policy
from myosu.algorithms.interface import Experience
from myosu.algorithms.recorder import EpisodeRecorder
from myosu.envs.vector import EnvSpec, Step, VectorEnv
from myosu.errors import NonFiniteLoss, UserError
from myosu.games.game import Symmetries
from myosu.losses.soft import choice_log_probs
from myosu.nets.encoder import to_tensors
from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.randomness import draw
from myosu.replay.games import GameReplay
from myosu.replay.replay import Rows
from myosu.runs.checkpoint import find_checkpoint
from myosu.runs.state import State, Weights, copied

SOURCE = "only in turn"


@dataclass(frozen=True)
class Config:
    """REINFORCE's settings."""

    start: str = ""
    """Cloning run (or its checkpoint) whose policy and network size to start from; "": a new network."""
    pool_every: int = 20
    """Updates between two additions of the current policy to the pool of opponents."""
    hidden: tuple[int, ...] = (256,)
    """Units of the hidden layers; images and boards have a single one, of the last size, after the convolutions. Taken
    from ``start`` if that is given."""
    channels: int = 32
    """Channels of the convolutions that read a board. Taken from ``start`` if that is given."""
    blocks: int = 3
    """Residual blocks of the convolutions that read a board. Taken from ``start`` if that is given."""

    num_envs: int = 64
    """Games played in parallel; batch_size is set to the same number."""
    replay_capacity: int = 20_000
    """Moves that the replay buffer holds, raised if needed to fit one iteration."""
    replay_ratio: float = 1.0
    """Always 1: each game is trained on once."""
    learning_starts: int = 64
    """Games before the first update; always num_envs."""
    batch_size: int = 64
    """Games per update; always num_envs."""
    learning_rate: float = 1e-4
    """Adam's learning rate."""
    max_grad_norm: float = 100.0
    """Clip the gradient to this norm."""
    device: str = "auto"
    """cpu, cuda or mps; auto: an accelerator if there is one and observations contain images or boards."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            "pool_every": (1, 10**9), "channels": (1, 4096), "blocks": (0, 100), "num_envs": (4, 100_000),
            "replay_capacity": (1, 10**9), "learning_rate": (0.0, 10.0), "max_grad_norm": (1e-9, 1e9),
        })
        if self.num_envs % 2:
            raise UserError(f"num_envs = {self.num_envs}: half of the games are played from each seat, so it must be "
                            "even.")


def resolve(config: Config, spec: EnvSpec, deterministic: bool) -> Config:
    if spec.num_players != 2 or spec.action_shape:
        raise UserError("reinforce plays against itself: it needs a two-player game with one action per move.")
    longest = config.num_envs * (spec.max_steps + 1) // 2
    config = replace(config, batch_size=config.num_envs, learning_starts=config.num_envs, replay_ratio=1.0,
                     replay_capacity=max(config.replay_capacity, longest))
    if not config.start:
        return config
    other = find_checkpoint(config.start).config
    if other.algorithm not in ("cloning", "reinforce"):
        raise UserError(f"start = {config.start} is a run of {other.algorithm}; it must be one of cloning.")
    if other.learner_spec != spec:
        raise UserError(f"start = {config.start} plays {other.game}, whose observations or actions are not those of "
                        "this run.")
    size = {name: other.algorithm_config[name] for name in ("channels", "blocks")}
    return replace(config, hidden=tuple(other.algorithm_config["hidden"]), **size)


def make_replay(config: Config, spec: EnvSpec) -> GameReplay:
    return GameReplay({"observation": (spec.observation_shape, spec.observation_dtype),
                       "legal_actions": ((spec.num_actions,), np.bool_), "action": ((), np.int64),
                       "outcome": ((), np.float32), "seat": ((), np.int8)}, config.replay_capacity)


class Actor:
    """Plays the newest policy against one of the pool; a step is a whole iteration of ``num_envs`` games.

    The pool begins with the first weights. Each game is an episode of an environment; environments whose game has ended
    wait until all games have.
    """

    def __init__(self, config: Config, env: VectorEnv, seed: int) -> None:
        self.config, self.env, self.spec = config, env, env.spec
        self.policy, self.opponent = make_policy(_policy_config(config), env.spec), make_policy(
            _policy_config(config), env.spec)
        self.pool: list[Weights] = []
        self.rng = np.random.default_rng([seed, 1])
        self.version = self.iteration = 0
        self.recorder = EpisodeRecorder(env.spec, env.num_envs)
        env.reset()
        self.first = env.recv()
        self.recorder.start(self.first)

    def step(self) -> Experience:
        count = self.env.num_envs
        self.opponent.load_state_dict(self.pool[self.rng.integers(len(self.pool))])
        seats = (np.arange(count) + self.iteration) % 2
        played = Experience(self.version)
        moves: list[list[tuple[np.ndarray, np.ndarray, int]]] = [[] for _ in range(count)]
        now, beginnings = self.first, []
        while len(ids := now.env_ids):
            own = now.to_play == seats[ids]
            actions = np.zeros(len(ids), np.int64)
            for policy, turn in ((self.policy, own), (self.opponent, ~own)):
                if turn.any():
                    chances = probabilities(policy, now.observation[turn], now.legal_actions[turn])
                    actions[turn] = draw(chances, 1.0, self.rng)
            for k in np.flatnonzero(own):
                moves[ids[k]].append((now.observation[k], now.legal_actions[k], int(actions[k])))
            self.env.send(actions, ids)
            now = self.env.recv()
            played.steps += len(ids)
            over = now.terminated | now.truncated
            for episode, i in zip(self.recorder.record(now, actions, self.version), ids[over], strict=True):
                played.episodes.append(episode)
                played.sequences += _rows(moves[i], episode.returns[seats[i]], int(seats[i]))
            beginnings.append(_part(now, over))
            now = _part(now, ~over)
        self.first = Step(**{name: np.concatenate([getattr(part, name) for part in beginnings])
                             for name in vars(self.first)})
        self.iteration += 1
        return played

    def load_weights(self, weights: Weights, version: int) -> None:
        self.policy.load_state_dict(weights)
        if not self.pool or version // self.config.pool_every > self.version // self.config.pool_every:
            self.pool.append({name: value.clone() for name, value in weights.items()})
        self.version = version

    def state_dict(self) -> State:
        return {"env": self.env.state_dict(), "rng": self.rng.bit_generator.state, "version": self.version,
                "iteration": self.iteration, "recorder": self.recorder.state_dict(),
                "first": {name: value.copy() for name, value in vars(self.first).items()},
                "policy": copy.deepcopy(self.policy.state_dict()), "pool": copy.deepcopy(self.pool)}

    def load_state_dict(self, state: State) -> None:
        self.env.load_state_dict(state["env"])
        self.rng.bit_generator.state = state["rng"]
        self.version, self.iteration = state["version"], state["iteration"]
        self.recorder.load_state_dict(state["recorder"])
        self.first, self.pool = Step(**state["first"]), list(state["pool"])
        self.policy.load_state_dict(state["policy"])


@torch.inference_mode()
def probabilities(policy: Policy, observation: np.ndarray, legal_actions: np.ndarray) -> np.ndarray:
    """π(a | s), float32 [n, A]; 0 where illegal."""
    device = next(policy.parameters()).device
    outputs = policy(to_tensors(observation, device))
    legal = torch.from_numpy(legal_actions).to(device)
    return F.softmax(outputs.masked_fill(~legal, -torch.inf), dim=1).cpu().numpy()


def _part(step: Step, where: np.ndarray) -> Step:
    return Step(**{name: values[where] for name, values in vars(step).items()})


def _rows(moves: list[tuple[np.ndarray, np.ndarray, int]], outcome: float, seat: int) -> list[Rows]:
    """The learner's moves of a finished game."""
    if not moves:
        return []
    observation, legal, action = map(np.array, zip(*moves, strict=True))
    return [{"observation": observation, "legal_actions": legal, "action": action,
             "outcome": np.full(len(moves), outcome, np.float32), "seat": np.full(len(moves), seat, np.int8)}]


def leave_one_out(outcomes: np.ndarray, seats: np.ndarray) -> np.ndarray:
    """Advantages z − b, float64 [n], where b is the mean outcome of the other games from the same seat. So b does not
    depend on the game's own moves and the gradient stays unbiased. A seat's only game has b = 0."""
    advantages = np.asarray(outcomes, np.float64).copy()
    for seat in (0, 1):
        same = seats == seat
        if (n := int(same.sum())) > 1:
            advantages[same] -= (outcomes[same].sum() - outcomes[same]) / (n - 1)
    return advantages


class Learner:
    def __init__(self, config: Config, spec: EnvSpec, seed: int) -> None:
        self.config, self.spec = config, spec
        torch.manual_seed(seed)
        self.policy = make_policy(_policy_config(config), spec)
        self.device = next(self.policy.parameters()).device
        if config.start:
            checkpoint = find_checkpoint(config.start)
            with checkpoint.being_loaded():
                self.policy.load_state_dict(checkpoint.weights())
        self.parameters = FlatParameters(self.policy)
        self.optimizer = FlatAdam(self.parameters)

    def update(self, replay: GameReplay, progress: float) -> dict[str, float]:
        games = replay.last_games(self.config.batch_size)
        ends = np.cumsum([len(rows) for rows in games]) - 1
        batch = {name: column.take(np.concatenate(games), axis=0) for name, column in replay.columns.items()}
        outcomes, seats = batch["outcome"][ends], batch["seat"][ends]
        advantages = np.repeat(leave_one_out(outcomes, seats), [len(rows) for rows in games])
        self.parameters.zero_gradient()
        loss = entropy = 0.0
        for part in np.array_split(np.arange(len(advantages)), math.ceil(len(advantages) / 1024)):  # to limit memory
            legal = torch.from_numpy(batch["legal_actions"][part]).to(self.device)
            action = torch.from_numpy(batch["action"][part])[:, None].to(self.device)
            advantage = torch.from_numpy(advantages[part].astype(np.float32)).to(self.device)
            log_probs = choice_log_probs(self.policy(to_tensors(batch["observation"][part], self.device)), legal,
                                         self.policy.branches)
            part_loss = -(log_probs.gather(1, action)[:, 0] * advantage).sum() / len(games)
            part_loss.backward()
            loss += float(part_loss.detach())
            entropy -= float((log_probs.detach().exp() * log_probs.detach()).sum()) / len(advantages)
        norm = self.parameters.clip_gradient(self.config.max_grad_norm)
        if not math.isfinite(loss + norm):
            raise NonFiniteLoss(f"loss {loss}, gradient {norm}", batch)
        self.optimizer.step(self.config.learning_rate)
        return {"loss": loss, "grad_norm": norm, "policy_entropy": entropy,
                "outcome": float(outcomes.mean()), "moves": len(advantages) / len(games)}

    def weights(self) -> Weights:
        return copied(self.policy.state_dict())

    def state_dict(self) -> State:
        return copy.deepcopy({"policy": self.policy.state_dict(), "optimizer": self.optimizer.state_dict()})

    def load_state_dict(self, state: State) -> None:
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])


def _policy_config(config: Config) -> cloning.Config:
    return cloning.Config(hidden=config.hidden, channels=config.channels, blocks=config.blocks, device=config.device)


def make_actor(config: Config, env: VectorEnv, seed: int) -> Actor:
    return Actor(config, env, seed)


def make_learner(config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner:
    return Learner(config, spec, seed)


def make_agent(config: Config, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
               seed: int = 0) -> Agent:
    return Agent(_policy_config(config), spec, weights)
