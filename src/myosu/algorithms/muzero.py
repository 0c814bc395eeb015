"""MuZero (Schrittwieser et al. 2020) with the Gumbel search of Danihelka et al. 2022.

Read it from top to bottom: the configuration, the planner (model and search), the actor, the learner, the agent.
Rewards belong to the player who moved and values to the player to move, so for two players the discount is negative and
the rest of the code does not depend on whose turn it is.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from myosu.algorithms.checks import check_learning_starts, check_model_fits, check_ranges
from myosu.algorithms.interface import AgentState, Analysis, Experience
from myosu.envs.vector import EnvSpec, Step, VectorEnv
from myosu.errors import NonFiniteLoss, UserError
from myosu.games.game import Symmetries
from myosu.games.playout import random_actions
from myosu.kernels.ptx import is_nvidia_gpu
from myosu.losses.categorical import Support, cross_entropy, negative_cosine, plane_loss
from myosu.nets.captured_update import CapturedUpdate
from myosu.nets.cuda_graph import GraphedMuZero
from myosu.nets.inference import (
    LATENT_DTYPES,
    InferenceModel,
    Precision,
    choose_device,
    choose_precision,
    inference_model,
)
from myosu.nets.int8 import Int8MuZero, int8_fits
from myosu.nets.muzero import MuZeroNet, Prediction
from myosu.replay.priorities import Priorities
from myosu.replay.replay import Columns, Replay, Rows, fitting_capacity
from myosu.replay.unroll import UnrolledBatch, UnrollSettings, lambda_returns, sample_unrolled, value_targets
from myosu.runs.games import GameRecord
from myosu.runs.state import State, Weights, copied
from myosu.search import Expansion, GumbelConfig, PUCTConfig, Search, SearchResult, kl_from_prior, policy_entropy
from myosu.search.gpu import GPUSearch
from myosu.search.kernels import EPSILON

SOURCE = "processes"
#: Observations must be a single array; ``training.start`` wraps other environments.
READS_ONE_ARRAY = True
#: Initial capacity for the positions of a game; it grows.
INITIAL_CAPACITY = 512

#: Positions that an agent searches in one batch.
AGENT_CAPACITY = 128
#: Length of a principal variation.
LINE_LENGTH = 8


@dataclass(frozen=True)
class Config:
    """MuZero's settings. Presets for games: ``myosu/presets/muzero``."""

    channels: int = 32
    """Channels of the residual towers; units of the layers for vector observations."""
    blocks: int = 2
    """Residual blocks of the representation tower and of the dynamics tower."""
    atoms: int = 41
    """Atoms of the categorical value and reward distributions, over the game's reward range."""
    value_range: tuple[float, float] | None = None
    """Lowest and highest value and reward; default: the game's reward range, or ±20,000 if that is unknown."""
    discount: float = 1.0
    """Discount of rewards, in (0, 1]. For two players the library makes it negative."""

    search: Literal["gumbel", "puct"] = "gumbel"
    """Gumbel MuZero, or MuZero's original PUCT with Dirichlet noise at the root."""
    simulations: int = 16
    """Simulations per move in self-play."""
    considered_actions: int = 8
    """Gumbel: actions at the root with which sequential halving starts."""
    c_visit: float = 50.0
    """Gumbel: c_visit of σ(Q) = (c_visit + max_b N(b)) · c_scale · Q, which is added to the prior's logits."""
    c_scale: float = 1.0
    """Gumbel: c_scale, see ``c_visit``."""
    least_q_range: float = 0.0
    """Gumbel: lower bound of a node's Q range when it is rescaled to [0, 1], as a fraction of the value range, so that
    value errors are not magnified into differences between moves."""
    play_least_q_range: float = 0.0
    """``least_q_range`` of the trained agent. Moves chosen by value errors may help self-play explore, but weaken play.
    """
    dirichlet_alpha: float = 0.3
    """PUCT: concentration of the noise at the root; about 10 / the typical number of legal actions."""
    temperature: float = 1.0
    """PUCT: self-play samples moves in proportion to visits ** (1 / temperature)."""

    opening_plies: int = 0
    """Self-play games begin with 0 to ``opening_plies`` random plies, which are not stored."""
    num_envs: int = 128
    """Games per actor, played in parallel."""
    replay_capacity: int = 500_000
    """Positions that the replay buffer holds; the oldest are overwritten first."""
    replay_ratio: float = 2.0
    """Times each collected position is sampled on average; actors or the learner wait to maintain it."""
    learning_starts: int = 10_000
    """Positions collected before the first update."""
    prioritized: bool = False
    """Prioritised experience replay: sample positions in proportion to their value error, with importance-sampling
    weights."""
    priority_exponent: float = 0.6
    """α of prioritised replay; its β is annealed from 0.4 to 1 over the run."""
    symmetries: bool = True
    """Augment each sample with a random symmetry of the game."""

    batch_size: int = 256
    """Unrolls in a minibatch."""
    unroll_steps: int = 5
    """Steps K that the model is unrolled in training."""
    td_steps: int = 0
    """Steps n of the n-step return in the value target; 0: the return to the end of the game."""
    td_lambda: float = 1.0
    """λ of the λ-return in the value target if ``td_steps`` is 0. Below 1 it bootstraps from the search's values of
    later positions, so that a late mistake does not devalue all earlier positions."""
    search_value_weight: float = 0.5
    """Weight of the search's value in the value target; the rest is the return."""
    predict_rewards: bool = True
    """Predict rewards. False if rewards come only at the end (board games): the absorbing states after the end then
    keep the outcome as their value, as in MuZero's board games, which is learnt faster than a rare reward."""
    value_loss_weight: float = 1.0
    """Weight of the value loss."""
    reward_loss_weight: float = 1.0
    """Weight of the reward loss."""
    ssl_loss_weight: float = 0.0
    """Weight of the self-supervised consistency loss: imagined latent states match encoded ones."""
    reconstruction_loss_weight: float = 0.0
    """Weight of decoding the observation (binary planes) from every latent state, a cheap auxiliary loss that teaches
    the dynamics the rules."""
    ownership_loss_weight: float = 0.0
    """Weight of predicting which player owns each cell at the end (KataGo's ownership target). The first two planes of
    the observation must be the pieces of the player to move and of the opponent."""
    reanalyze_fraction: float = 0.0
    """Reanalyse: fraction of sampled positions that are searched again with a recent network before the update."""
    learning_rate: float = 2e-3
    """AdamW's peak learning rate: linear warm-up over 100 updates, then cosine decay to a twentieth over the run."""
    weight_decay: float = 1e-4
    """AdamW's weight decay."""
    max_grad_norm: float = 5.0
    """Clip the gradient to this norm."""

    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """Precision of inference and training. int8: only for inference in self-play, the rest is float32. auto: bfloat16
    or int8 if a short benchmark finds it faster than float32 (always float32 in deterministic runs)."""
    device: str = "auto"
    """cpu, cuda or mps; auto: an accelerator if there is one."""

    def __post_init__(self) -> None:
        ranges = {
            "channels": (1, 4096), "blocks": (0, 100), "atoms": (2, 2001), "discount": (1e-6, 1.0),
            "simulations": (1, 100_000), "considered_actions": (1, 10_000), "num_envs": (1, 1_000_000),
            "opening_plies": (0, 10_000),
            "replay_capacity": (1, 10**9), "replay_ratio": (1e-6, 1e6), "batch_size": (1, 10**6),
            "unroll_steps": (1, 100), "td_steps": (0, 10_000), "td_lambda": (0.0, 1.0),
            "search_value_weight": (0.0, 1.0),
            "reanalyze_fraction": (0.0, 1.0), "learning_rate": (0.0, 10.0), "learning_starts": (1, 10**9),
            "ssl_loss_weight": (0.0, 1e6), "reconstruction_loss_weight": (0.0, 1e6),
            "ownership_loss_weight": (0.0, 1e6),
            "value_loss_weight": (0.0, 1e6), "reward_loss_weight": (0.0, 1e6),
            "temperature": (0.0, 100.0), "dirichlet_alpha": (1e-6, 1e6), "priority_exponent": (0.0, 10.0),
            "weight_decay": (0.0, 10.0), "max_grad_norm": (1e-6, 1e9), "c_visit": (0.0, 1e6), "c_scale": (0.0, 1e6),
            "least_q_range": (0.0, 1.0), "play_least_q_range": (0.0, 1.0),
        }
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise UserError(f"value_range = {self.value_range} is impossible: its first number must be smaller.")
        check_ranges(self, ranges)
        if self.td_steps and self.td_lambda < 1:
            raise UserError(f"td_steps = {self.td_steps} and td_lambda = {self.td_lambda:g} are two kinds of return: "
                            "set td_steps to 0 or td_lambda to 1.")
        check_learning_starts(self)


def resolve(config: Config, spec: EnvSpec, deterministic: bool) -> Config:
    """``config`` with its precision chosen; float32 in deterministic runs, because benchmarks are not reproducible."""
    check_model_fits("MuZero", spec)
    config = replace(config, replay_capacity=fitting_capacity(position_columns(config, spec), config.replay_capacity))
    if config.precision == "auto" and deterministic:
        return replace(config, precision="float32")
    return replace(config, precision=_precision(make_net(config, spec), config, self_play=True))


def _precision(net: MuZeroNet, config: Config, self_play: bool) -> Precision:
    """The precision to use. int8 is only for self-play: learning, full-strength play and single positions gain nothing
    from it."""
    precision, device = config.precision, choose_device(config.device)
    if precision == "auto":
        batch = config.num_envs if device.type == "cuda" else min(config.num_envs, 256)
        precision = choose_precision(net.eval(), device, batch)
    elif precision == "int8" and self_play and not int8_fits(net, device):
        precision = "float32"
    return "float32" if precision == "int8" and not self_play else precision


def signed_discount(config: Config, spec: EnvSpec) -> float:
    return spec.signed_discount(config.discount)


def value_support(config: Config, spec: EnvSpec) -> Support:
    return Support.of_returns(*(config.value_range or spec.reward_range), config.atoms, spec.num_players)


def make_net(config: Config, spec: EnvSpec) -> MuZeroNet:
    check_model_fits("MuZero", spec)
    planes = sum(decoded_planes(config, spec))
    if planes and len(spec.observation_shape) != 3:
        raise UserError(f"reconstruction_loss_weight and ownership_loss_weight need a board of planes; observations "
                        f"here have the shape {spec.observation_shape}.")
    imagines = config.unroll_steps > 0  # AlphaZero's network does not
    net = MuZeroNet(spec.observation_shape, spec.num_actions, config.channels, config.blocks, config.atoms,
                    rewards=config.predict_rewards and imagines, consistency=config.ssl_loss_weight > 0,
                    decoded_planes=planes, dynamics=imagines)
    net.start_at_zero(value_support(config, spec).points())
    return net


def decoded_planes(config: Config, spec: EnvSpec) -> tuple[int, int]:
    """Numbers of planes that the auxiliary losses decode from a latent state: (of the observation, of the final
    pieces)."""
    return (spec.observation_shape[0] if config.reconstruction_loss_weight else 0,
            2 if config.ownership_loss_weight else 0)


def make_replay(config: Config, spec: EnvSpec) -> Replay:
    return Replay(position_columns(config, spec), config.replay_capacity)


def position_columns(config: Config, spec: EnvSpec) -> Columns:
    """The replay's columns, from the perspective of the player to move. value_after: in the last row of a truncated
    game, the network's value of the final observation; else 0. final_pieces: the owner of each cell at the end."""
    final = {"final_pieces": ((2, *spec.observation_shape[1:]), np.uint8)} if config.ownership_loss_weight else {}
    return final | {
        "observation": (spec.observation_shape, spec.observation_dtype),
        "legal_actions": ((spec.num_actions,), np.bool_),
        "action": ((), action_dtype(spec)),
        "reward": ((), np.float32),
        "policy": ((spec.num_actions,), np.float16),
        "search_value": ((), np.float32),
        "value_after": ((), np.float32),
    }


def action_dtype(spec: EnvSpec) -> Any:
    """Dtype of stored actions."""
    return np.int16 if spec.num_actions <= 2**15 else np.int32


def _doubled(column: np.ndarray) -> np.ndarray:
    return np.concatenate([column, np.zeros_like(column)], axis=1)


class Planner:
    """Model and search: maps observations to actions. Stores the latent states of the trees' nodes."""

    def __init__(self, config: Config, spec: EnvSpec, capacity: int, simulations: int, explore: bool,
                 seed: int, trees_on_gpu: bool | None = None) -> None:
        """trees_on_gpu: keep the trees on the GPU; None: if it is an NVIDIA GPU."""
        self.capacity = capacity
        self.device = choose_device(config.device)
        self.net = make_net(config, spec).eval()
        self.precision = _precision(self.net, config, self_play=explore)
        self.support = value_support(config, spec)
        searched = (_search_config(config, spec, simulations, explore), capacity, spec.num_actions, seed)
        self.trees_on_gpu = is_nvidia_gpu(self.device) if trees_on_gpu is None else trees_on_gpu
        self.search = GPUSearch(*searched, self.device) if self.trees_on_gpu else Search(*searched)
        self.discounts = np.full(capacity, signed_discount(config, spec), np.float32)
        self._store_nodes(simulations + 1)
        #: One position of each of the latest moves, to calibrate int8's activation scales on.
        self.seen: deque[np.ndarray] = deque(maxlen=64)
        self.moves = 0
        self._model: InferenceModel | None = None
        #: The model for searches on a GPU. Otherwise, and always on a CPU, ``model`` is used.
        self._graphed: GraphedMuZero | None = None

    def _store_nodes(self, nodes: int) -> None:
        """Allocate the storage of the trees' nodes: here their latent states."""
        shape = self.net.latent_shape
        # Channels-last, the layout in which the convolutions read boards.
        stored = (*shape[1:], shape[0]) if len(shape) == 3 else shape
        rows = 0 if self.device.type == "cuda" else nodes  # on a GPU the graphed model stores them
        self.latents = torch.empty(rows, self.capacity, *stored, dtype=LATENT_DTYPES[self.precision],
                                   device=self.device)

    def load_weights(self, weights: Weights) -> None:
        self.net.load_state_dict(weights)
        self._model = None
        if self._graphed is not None:
            self._graphed.load(self.net)

    @property
    def model(self) -> InferenceModel:
        """The network in its fastest form for inference."""
        if self._model is None:
            seen = torch.from_numpy(np.concatenate(self.seen)).to(self.device) if self.seen else None
            self._model = inference_model(self.net, self.precision, self.device, min(self.capacity, 256), seen)
        return self._model

    def _notice(self, observation: np.ndarray) -> None:
        if self.precision == "int8":
            self.moves += 1
            self.seen.append(observation[self.moves % len(observation)][None].copy())

    @torch.inference_mode()
    def plan(self, observation: np.ndarray, legal_actions: np.ndarray,
             simulations: int | None = None) -> tuple[SearchResult, np.ndarray]:
        """Search from observations [n, *shape], n ≤ capacity; the result and the root's prior logits f32 [n, A]."""
        if self.device.type == "cuda":
            return self._plan_on_gpu(observation, legal_actions, simulations)
        n = len(observation)
        self._notice(observation)
        if simulations is not None and simulations >= len(self.latents):
            self._store_nodes(simulations + 1)
        rows, no_reward = np.arange(n), np.zeros(n, np.float32)
        latent, value, policy = self.model.initial(torch.from_numpy(observation).to(self.device))
        self._store(0, latent)

        latents, model = self.latents.flatten(0, 1), self.model

        def imagine(parents: np.ndarray, actions: np.ndarray, slot: int) -> Prediction:
            if isinstance(model, Int8MuZero):
                return model.imagine(latents, parents, actions, self.latents[slot, :n])
            # index_select copies whole rows; indexing by two tensors copies element by element, ten times as slowly.
            latent = latents.index_select(0, torch.from_numpy(parents).to(self.device))
            out = model.recurrent(latent.permute(0, 3, 1, 2) if latent.dim() == 4 else latent,
                                  torch.from_numpy(actions).to(self.device))
            self._store(slot, out.latent)
            return out

        def expand(parents: np.ndarray, actions: np.ndarray, slot: int) -> Expansion:
            out = imagine(parents * self.capacity + rows, actions, slot)
            reward = no_reward if out.reward_logits is None else self._scalar(out.reward_logits)
            return Expansion(reward, self.discounts[:n], self._scalar(out.value_logits), self._numpy(out.policy_logits))

        logits = self._numpy(policy)
        return self.search.run(logits, self._scalar(value), legal_actions, expand, simulations), logits

    @torch.inference_mode()
    def evaluate(self, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The network alone, without search: value f32 [n] and policy logits f32 [n, A] of observations [n, *shape]."""
        _, value, policy = self.model.initial(torch.from_numpy(observation).to(self.device))
        return self._scalar(value), self._numpy(policy)

    def _plan_on_gpu(self, observation: np.ndarray, legal_actions: np.ndarray,
                     simulations: int | None) -> tuple[SearchResult, np.ndarray]:
        model = self._graphed_model(simulations or self.search.config.num_simulations)
        value, logits = (x.copy() for x in model.roots(observation))
        if self.trees_on_gpu:
            discounts = torch.from_numpy(self.discounts).to(self.device)

            def expand(parents: Any, actions: Any, slot: int) -> Any:
                reward, value, logits = model.expand_on_gpu(parents, actions, slot)
                return Expansion(reward, discounts, value, logits)  # type: ignore[arg-type]
        else:
            def expand(parents: Any, actions: Any, slot: int) -> Any:
                reward, value, logits = model.expand(parents, actions, slot)
                return Expansion(reward, self.discounts[:len(value)], value, logits)
        return self.search.run(logits, value, legal_actions, expand, simulations), logits

    def _graphed_model(self, simulations: int) -> GraphedMuZero:
        if self._graphed is None or self._graphed.simulations < simulations:
            self._graphed = GraphedMuZero(self.net, self.support, self.capacity, simulations,
                                          LATENT_DTYPES[self.precision], self.device)
        return self._graphed

    def _store(self, slot: int, latent: Tensor) -> None:
        self.latents[slot, : len(latent)] = latent.permute(0, 2, 3, 1) if latent.dim() == 4 else latent

    def _scalar(self, logits: Tensor) -> np.ndarray:
        return self.support.means(self._numpy(logits))

    @staticmethod
    def _numpy(x: Tensor) -> np.ndarray:
        return x.float().cpu().numpy()


def improved_value(result: SearchResult) -> np.ndarray:
    """The value f32 [B] of the improved policy, Σ_a π'(a) q(a). The root's mean value would be biased downwards,
    because sequential halving visits bad actions as often as good ones before it drops them."""
    return (result.policy * result.q).sum(axis=1)


class Actor:
    """Self-play in ``env``: all games in lockstep, one batched search per move.

    Up to ``opening_plies`` random plies at the beginning of a game are not stored; they make the games differ and show
    the agent positions that good play would never reach.
    """

    def __init__(self, config: Config, env: VectorEnv, seed: int) -> None:
        self.config, self.env, self.spec = config, env, env.spec
        self.planner = self._make_planner(seed)
        self.rng = np.random.default_rng([seed, 1])
        self.version = 0
        self.discount = signed_discount(config, env.spec)
        n, capacity = env.num_envs, min(env.spec.max_steps, INITIAL_CAPACITY)
        columns = position_columns(config, env.spec)
        #: The positions of every running game, [n, capacity, ...]; the capacity grows with the games.
        self.columns = {name: np.zeros((n, capacity, *shape), dtype) for name, (shape, dtype) in columns.items()}
        self.moves = np.zeros((n, capacity), action_dtype(env.spec))
        #: Per game: plies played, plies stored, random plies left to play, and the first seat's return (with wrappers,
        #: and the environment's own).
        self.plies, self.lengths = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.openings, self.totals, self.raw_totals = self._draw_openings(n), np.zeros(n), np.zeros(n)
        self.sums = {name: np.zeros(n, np.float64) for name in ("policy_entropy", "search_kl", "forced_moves")}
        self.ids = np.arange(n)
        env.reset()
        self.current: Step = env.recv(n)

    def _make_planner(self, seed: int) -> Planner:
        return Planner(self.config, self.spec, self.env.num_envs, self.config.simulations, explore=True, seed=seed)

    def _roots(self) -> np.ndarray:
        """The planner's input at the roots of the searches, [n, ...]."""
        return self.current.observation

    def step(self) -> Experience:
        now = self.current
        if self.plies.max() == self.moves.shape[1]:
            self.columns = {name: _doubled(column) for name, column in self.columns.items()}
            self.moves = _doubled(self.moves)
        result, logits = self.planner.plan(self._roots(), now.legal_actions)
        action = result.action
        opening = self.openings > 0
        if opening.any():
            action = np.where(opening, random_actions(now.legal_actions, int(self.rng.integers(2**31))), action)
        i = self.ids[~opening]
        t = self.lengths[i]
        for name, values in {
            "observation": now.observation, "legal_actions": now.legal_actions, "action": action,
            "policy": result.policy, "search_value": improved_value(result),
        }.items():
            self.columns[name][i, t] = values[i]
        for name, values in {
            "policy_entropy": policy_entropy(result.policy),
            "search_kl": kl_from_prior(result.policy, logits, now.legal_actions),
            "forced_moves": now.legal_actions.sum(axis=1) == 1,
        }.items():
            self.sums[name][i] += values[i]
        self.moves[self.ids, self.plies] = action

        self.env.send(action, self.ids)
        self.current = after = self.env.recv(len(self.ids))
        self.columns["reward"][i, t] = after.reward[i]
        self.totals += np.where(now.to_play == 0, after.reward, -after.reward)
        self.raw_totals += np.where(now.to_play == 0, after.raw_reward, -after.raw_reward)
        self.plies += 1
        self.lengths[i] += 1
        self.openings[opening] -= 1
        ended = np.flatnonzero(after.terminated | after.truncated)
        values_after = self._values_after(after, ended)
        experience = Experience(self.version, steps=len(self.ids))
        for k, value in zip(ended.tolist(), values_after, strict=True):
            if self.lengths[k] > 0:
                rows = self._rows(k, value)
                experience.sequences.append(rows)
                experience.episodes.append(self._episode(k, rows, int(now.seed[k])))
        for counter in (self.plies, self.lengths, self.totals, self.raw_totals, *self.sums.values()):
            counter[ended] = 0
        self.openings[ended] = self._draw_openings(len(ended))
        return experience

    def _draw_openings(self, games: int) -> np.ndarray:
        return self.rng.integers(0, self.config.opening_plies + 1, games)

    def _values_after(self, step: Step, ended: np.ndarray) -> np.ndarray:
        """Bootstrap values of the final observations: 0 where the game terminated, the network's where it was
        truncated."""
        values = np.zeros(len(ended), np.float32)
        cut = step.truncated[ended]
        if cut.any():
            values[cut] = self.planner.evaluate(step.final_observation[ended[cut]])[0]
        return values

    def _rows(self, i: int, value_after: np.float32) -> Rows:
        """The replay rows of the finished game ``i``."""
        length = int(self.lengths[i])
        columns = {name: column[i, :length].copy() for name, column in self.columns.items()}
        if not self.config.predict_rewards and (early := columns["reward"][:-1]).any():
            raise UserError(f"A reward of {early[early != 0][0]:g} came before the end of a game: "
                            "predict_rewards = false is for rewards that come only with the end. Set it to true.")
        columns["value_after"][-1] = value_after
        if "final_pieces" in columns:
            pieces = self.current.final_observation[i, :2]
            same_player = (length - np.arange(length)) % 2 == 0
            columns["final_pieces"][:] = np.where(same_player[:, None, None, None], pieces, pieces[::-1])
        return columns

    def _episode(self, i: int, rows: Rows, seed: int) -> GameRecord:
        plies = int(self.plies[i])
        length = len(rows["reward"])
        numbered = rows | {"remaining": np.arange(length, 0, -1, dtype=np.int32)}
        error = rows["search_value"] - lambda_returns(numbered, np.arange(length), self.discount)
        stats = {name: float(total[i] / length) for name, total in self.sums.items()}
        stats |= {"value_error": float(np.abs(error).mean()), "value_bias": float(error.mean())}
        if self.spec.pass_action is not None:
            stats["passes"] = float(np.count_nonzero(self.moves[i, :plies] == self.spec.pass_action))

        truncated = bool(self.current.truncated[i])
        return GameRecord(seed, self.moves[i, :plies].tolist(), self.spec.by_seat(self.totals[i]), not truncated,
                          truncated, raw_returns=self.spec.by_seat(self.raw_totals[i]), weights_version=self.version,
                          stats=stats)

    def load_weights(self, weights: Weights, version: int) -> None:
        self.planner.load_weights(weights)
        self.version = version

    def state_dict(self) -> State:
        return {
            "env": self.env.state_dict(),
            "current": {name: getattr(self.current, name) for name in Step.__dataclass_fields__},
            "search": self.planner.search.state_dict(), "rng": self.rng.bit_generator.state,
            "weights": dict(self.planner.net.state_dict()), "version": self.version,
            "columns": {name: column.copy() for name, column in self.columns.items()},
            "sums": {name: total.copy() for name, total in self.sums.items()},
            "games": {name: getattr(self, name).copy() for name in self._GAMES},
        }

    def load_state_dict(self, state: State) -> None:
        self.env.load_state_dict(state["env"])
        self.current = Step(**state["current"])
        self.planner.search.load_state_dict(state["search"])
        self.rng.bit_generator.state = state["rng"]
        self.load_weights(state["weights"], state["version"])
        self.columns, self.sums = state["columns"], state["sums"]
        for name in self._GAMES:
            setattr(self, name, state["games"][name])

    _GAMES = ("plies", "lengths", "openings", "totals", "raw_totals", "moves")


class Learner:
    """Trains the model on sampled unrolls."""

    def __init__(self, config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> None:
        self.config, self.spec = config, spec
        self.symmetries = symmetries if config.symmetries else None
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.device = choose_device(config.device)
        self.net = make_net(config, spec).to(self.device)
        self.support = value_support(config, spec)
        self.discount = signed_discount(config, spec)
        self.unroll_settings = UnrollSettings(
            config.unroll_steps, self.discount, config.td_steps, config.td_lambda, config.search_value_weight,
            config.predict_rewards,
            next_observations=config.ssl_loss_weight > 0 or config.reconstruction_loss_weight > 0)
        # A tensor, because a captured update on a GPU reads it there.
        self.rate = torch.tensor(config.learning_rate, device=self.device)
        self.optimizer = torch.optim.AdamW(_decayed_groups(self.net, config.weight_decay), lr=self.rate, fused=True,
                                           capturable=self.device.type == "cuda")
        self.captured = (CapturedUpdate(self._step, self.net, self.optimizer, self.device)
                         if self.device.type == "cuda" else None)
        #: Rows and batch of the update that is running on the GPU.
        self._pending: tuple[np.ndarray, UnrolledBatch] | None = None
        self.updates = 0
        # No autocast on a GPU, which multiplies float32 on its tensor cores anyway (TF32).
        self.autocast = self.device.type != "cuda" and _precision(self.net, config, self_play=False) == "bfloat16"
        least = 1e-3 * (self.support.high - self.support.low)
        self.priorities = (Priorities(config.replay_capacity, config.priority_exponent, least)
                           if config.prioritized else None)
        self._planner: Planner | None = None

    def update(self, replay: Replay, progress: float) -> dict[str, float]:
        config = self.config
        rows, weights = self._draw(replay, progress)
        if config.reanalyze_fraction:
            self._reanalyze(replay, rows[: round(config.reanalyze_fraction * len(rows))])
        batch = sample_unrolled(replay, rows, self.unroll_settings, self.rng, self.symmetries)
        if not (np.isfinite(batch.value).all() and np.isfinite(batch.reward).all()):
            raise NonFiniteLoss(f"a target is NaN or infinite at update {self.updates}", _arrays(batch))
        self.support.warn_if_outside(batch.value)
        if config.unroll_steps:
            self.support.warn_if_outside(batch.reward)
        if config.reconstruction_loss_weight and batch.observation.max() > 1:
            raise UserError(f"Observations hold {batch.observation.max()}, but reconstruction_loss_weight needs "
                            "binary planes: set it to 0, or give each kind of piece its own plane.")
        inputs = {name: array for name, array in _arrays(batch).items() if name != "rows"}
        rate = config.learning_rate * _schedule(progress, self.updates)
        inputs |= {"weights": weights, "rate": np.full(1, rate, np.float32)}
        self.net.train()
        if self.captured is None:
            outputs = self._step({name: self._tensor(array) for name, array in inputs.items()})
            return self._metrics({name: value.numpy() for name, value in outputs.items()}, rows, batch, replay)
        # The GPU trains while the next batch is sampled; its metrics are returned by the next call.
        metrics = self._finish(replay)
        self.captured.start(inputs)
        self._pending = rows, batch
        return metrics

    def _finish(self, replay: Replay) -> dict[str, float]:
        if self.captured is None or self._pending is None:
            return {}
        rows, batch = self._pending
        self._pending = None
        return self._metrics(self.captured.finish(), rows, batch, replay)

    def _step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update. batch: the arrays of an ``UnrolledBatch``, importance weights [B] and the learning rate [1].
        Returns the losses, and the first step's value error [B]. If the loss or the gradient is not finite, the
        parameters stay as they are."""
        self.rate.copy_(batch["rate"][0])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            losses, value_error = self._losses(batch)
        loss = (losses.pop("weighted") * batch["weights"]).mean()
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.config.max_grad_norm)
        # The fused optimiser skips the step if found_inf is 1.
        self.optimizer.found_inf = (~torch.isfinite(loss + norm)).float().detach()  # type: ignore[attr-defined]
        self.optimizer.step()
        numbers = {name: value.mean() for name, value in losses.items()} | {"loss": loss, "gradient_norm": norm}
        return {name: value.detach() for name, value in numbers.items()} | {"value_error": value_error.detach()}

    def _metrics(self, outputs: dict[str, np.ndarray], rows: np.ndarray, batch: UnrolledBatch,
                 replay: Replay) -> dict[str, float]:
        value_error = outputs.pop("value_error")
        numbers = {name: float(value) for name, value in outputs.items()}
        if not (math.isfinite(numbers["loss"]) and math.isfinite(numbers["gradient_norm"])):
            raise NonFiniteLoss(f"loss {numbers['loss']}, gradient norm {numbers['gradient_norm']} at update "
                                f"{self.updates}", _arrays(batch))
        self.updates += 1
        if self.priorities is not None:
            self.priorities.set_errors(rows, value_error)
        age = self.updates - 1 - replay.columns["version"][rows].mean()
        return numbers | {"learning_rate": float(self.rate), "replay_age_updates": float(age)}

    def _losses(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """The losses [B] by name, their weighted sum as "weighted", and the first step's value error [B].

        L = L_0 + (1/K) Σ_k L_k over the K unrolled steps (MuZero, appendix G), each L_k = policy + value + reward.
        The heads read all K + 1 latent states at once: their outputs are time-major, [K + 1, B, ...].
        """
        config, net, K = self.config, self.net, self.config.unroll_steps
        action, reward, value, policy, valid = (
            batch[name].transpose(0, 1).contiguous() for name in ("action", "reward", "value", "policy", "valid"))
        share = torch.full((K + 1, 1), 1 / max(K, 1), device=self.device)
        share[0] = 1

        latents = net.unroll(net.represent(batch["observation"]), action)
        read = net.read(latents)

        def along(outputs: Tensor) -> Tensor:
            return outputs.unflatten(0, (-1, len(latents[0])))

        value_logits = along(read.value_logits)
        losses = {
            "policy_loss": (share * cross_entropy(along(read.policy_logits), policy.float())).sum(0),
            "value_loss": (share * cross_entropy(value_logits, self.support.two_hot(value))).sum(0),
        }
        if read.reward_logits is not None:
            losses["reward_loss"] = cross_entropy(along(read.reward_logits), self.support.two_hot(reward)).mean(0)
        if net.projector is not None and net.predictor is not None:
            predicted = along(net.predictor(net.projector(torch.cat(latents[1:]).flatten(1))))
            losses["ssl_loss"] = (valid[1:] * negative_cosine(predicted, self._projected_targets(batch))).mean(0)
        if read.planes is not None:
            for name, loss in self._plane_losses(along(read.planes), batch).items():
                losses[name] = (share * valid * loss).sum(0)
        weighted = losses["policy_loss"] + sum(
            getattr(config, f"{name}_weight") * loss for name, loss in losses.items() if name != "policy_loss")
        return losses | {"weighted": weighted}, self.support.mean(value_logits[0]) - value[0]

    def _plane_losses(self, planes: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The auxiliary losses [K + 1, B] by name. planes: logits decoded from the latent states, [K + 1, B, planes, H,
        W]."""
        losses = {}
        observed, _ = decoded_planes(self.config, self.spec)
        if observed:
            shown = torch.cat([batch["observation"][None], batch["next_observations"].transpose(0, 1)])
            losses["reconstruction_loss"] = plane_loss(planes[:, :, :observed], shown)
        if "final_pieces" in batch:
            final = batch["final_pieces"].transpose(0, 1).contiguous()
            losses["ownership_loss"] = plane_loss(planes[:, :, observed:], final)
        return losses

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _projected_targets(self, batch: dict[str, Tensor]) -> Tensor:
        """Targets of the consistency loss, [K, B, D]: projections of the encoded later observations, without
        gradient."""
        assert self.net.projector is not None
        with torch.no_grad():
            later = batch["next_observations"].transpose(0, 1).contiguous()
            latent = self.net.represent(later.flatten(0, 1))
            return self.net.projector(latent.flatten(1)).view(*later.shape[:2], -1)

    def _draw(self, replay: Replay, progress: float) -> tuple[np.ndarray, np.ndarray]:
        """Sampled rows int64 [B] and their importance-sampling weights f32 [B], at most 1."""
        size = self.config.batch_size
        if self.priorities is None:
            return replay.sample_rows(size, self.rng), np.ones(size, np.float32)
        rows = self.priorities.new_rows(replay)[::-1]  # in chronological order
        targets = value_targets(replay, rows, self.discount, self.config.td_steps, 0.0, self.config.td_lambda)
        self.priorities.set_errors(rows, replay.columns["search_value"][rows] - targets)
        return self.priorities.draw(size, replay.positions, progress, self.rng)

    def _reanalyze(self, replay: Replay, rows: np.ndarray) -> None:
        """Search the positions again with a recent network and store the new policies and search values."""
        if self._planner is None:
            self._planner = Planner(self.config, self.spec, max(1, len(rows)), self.config.simulations, explore=True,
                                    seed=int(self.rng.integers(2**31)))
        if self.updates % 100 == 0:
            self._planner.load_weights(self.net.state_dict())
        result, _ = self._planner.plan(replay.columns["observation"][rows], replay.columns["legal_actions"][rows])
        replay.columns["policy"][rows] = result.policy
        replay.columns["search_value"][rows] = improved_value(result)
        replay.mark_changed(rows)

    def weights(self) -> Weights:
        self._wait()
        return copied(self.net.state_dict())

    def _wait(self) -> None:
        if self._pending is not None:
            torch.cuda.synchronize(self.device)

    def state_dict(self) -> State:
        self._wait()
        state: State = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "updates": self.updates,
                        "rng": self.rng.bit_generator.state}
        if self.priorities is not None:
            state["priorities"] = self.priorities.state_dict()
        if self._planner is not None:
            state["planner"] = {"search": self._planner.search.state_dict(), "net": self._planner.net.state_dict(),
                                "capacity": self._planner.capacity}
        return copy.deepcopy(state)

    def load_state_dict(self, state: State) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group.update(lr=self.rate, capturable=self.captured is not None)
        if self.captured is not None:
            self.captured.forget()
        self.updates = state["updates"]
        self.rng.bit_generator.state = state["rng"]
        if self.priorities is not None:
            self.priorities.load_state_dict(state["priorities"])
        if "planner" in state:
            saved = state["planner"]
            self._planner = Planner(self.config, self.spec, saved["capacity"], self.config.simulations, explore=True,
                                    seed=0)
            self._planner.load_weights(saved["net"])
            self._planner.search.load_state_dict(saved["search"])


class Agent:
    """Plays the search's best action, without exploration noise."""

    has_memory = False

    def __init__(self, planner: Planner, weights: Weights) -> None:
        self.planner = planner
        planner.load_weights(weights)

    def act(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
            starts: np.ndarray | None = None, simulations: int | None = None) -> tuple[np.ndarray, None]:
        size = self.planner.capacity
        parts = [self.planner.plan(observation[k:k + size], legal_actions[k:k + size], simulations)[0].action
                 for k in range(0, len(observation), size)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64), None

    def analyze(self, observation: np.ndarray, legal_actions: np.ndarray, state: AgentState | None = None,
                starts: np.ndarray | None = None, simulations: int | None = None) -> Analysis:
        """At most ``capacity`` positions at once."""
        result, _ = self.planner.plan(observation, legal_actions, simulations)
        lines = self.planner.search.lines(result.action, LINE_LENGTH)
        return Analysis(result.action, result.policy, improved_value(result), result.visits,
                        [line[line >= 0].tolist() for line in lines])

    def evaluate(self, observation: np.ndarray, legal_actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``Planner.evaluate``, for searches that use this network as one of their parts (``players.apv``)."""
        return self.planner.evaluate(observation)


def make_actor(config: Config, env: VectorEnv, seed: int) -> Actor:
    return Actor(config, env, seed)


def make_learner(config: Config, spec: EnvSpec, symmetries: Symmetries | None, seed: int) -> Learner:
    return Learner(config, spec, symmetries, seed)


def make_agent(config: Config, spec: EnvSpec, weights: Weights, *, simulations: int | None = None,
               seed: int = 0) -> Agent:
    return Agent(Planner(config, spec, AGENT_CAPACITY, simulations or config.simulations, explore=False, seed=seed),
                 weights)


def _arrays(batch: UnrolledBatch) -> dict[str, np.ndarray]:
    return {name: value for name, value in vars(batch).items() if value is not None}


def _search_config(config: Config, spec: EnvSpec, simulations: int, explore: bool) -> GumbelConfig | PUCTConfig:
    if config.search == "gumbel":
        support = value_support(config, spec)
        share = config.least_q_range if explore else config.play_least_q_range
        return GumbelConfig(simulations, config.considered_actions, config.c_visit, config.c_scale,
                            max(EPSILON, share * (support.high - support.low)), gumbel_scale=1.0 if explore else 0.0)
    return PUCTConfig(simulations, dirichlet_alpha=config.dirichlet_alpha,
                      dirichlet_fraction=0.25 if explore else 0.0, temperature=config.temperature if explore else 0.0)


def _schedule(progress: float, updates: int) -> float:
    """Factor of the learning rate: linear warm-up over 100 updates, and cosine decay from 1 to 0.05 over the run."""
    return min(1.0, (updates + 1) / 100) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def _decayed_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: weight decay for weight matrices, none for biases and normalisations."""
    decayed = [p for p in net.parameters() if p.dim() > 1]
    rest = [p for p in net.parameters() if p.dim() <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
