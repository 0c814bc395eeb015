"""Batched tree search, MuZero's PUCT and Gumbel MuZero, independent of the game and the network.

Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned model" (2020);
Danihelka et al., "Policy improvement by planning with Gumbel" (2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from myosu.errors import UserError
from myosu.losses.categorical import scaled_softmax
from myosu.search import kernels
from myosu.search.kernels import EPSILON, TAKEN


class Expansion(NamedTuple):
    """The model's outputs for B new leaves: mctx's ``RecurrentFnOutput`` plus a mask of legal actions.

    reward: f32 [B], of the action that leads to the leaf, in the view of the player who took it.
    discount: f32 [B], signed: −γ if two players alternate, +γ for a single player, 0 if the game has ended.
    value: f32 [B], in the view of the player to move in the leaf.
    prior_logits: f32 [B, A].
    legal_actions: bool [B, A]; None: all. A leaf without legal actions is terminal.
    """

    reward: np.ndarray
    discount: np.ndarray
    value: np.ndarray
    prior_logits: np.ndarray
    legal_actions: np.ndarray | None = None


#: expand(parents int64 [B], actions int64 [B], slot) -> Expansion; see ``Search.run``.
Expand = Callable[[np.ndarray, np.ndarray, int], Expansion]
ALL_LEGAL = np.empty((0, 0), np.bool_)


@dataclass(frozen=True)
class GumbelConfig:
    """Gumbel MuZero: sequential halving at the root, deterministic selection below it."""

    num_simulations: int = 16
    """Simulations (model evaluations) per move, not counting the root's."""
    max_considered_actions: int = 8
    """Number of root actions with which sequential halving starts."""
    c_visit: float = 50.0
    """Visit offset of σ(Q) = (c_visit + max_b N(b)) · c_scale · Q, which is added to the prior's logits (Danihelka
    et al. 2022, equation 8)."""
    c_scale: float = 1.0
    """Scale of σ(Q), see ``c_visit``. Q is first rescaled to [0, 1] over the actions of each node."""
    least_q_range: float = EPSILON
    """Lower bound of the Q range that is rescaled to [0, 1]. It keeps differences within the value's error from looking
    like the difference between a win and a loss."""
    gumbel_scale: float = 1.0
    """Scale of the Gumbel noise at the root; 0: no exploration."""

    def __post_init__(self) -> None:
        _at_least(self, num_simulations=1, max_considered_actions=1, c_visit=0, c_scale=0, least_q_range=EPSILON,
                  gumbel_scale=0)


@dataclass(frozen=True)
class PUCTConfig:
    """MuZero's PUCT search with Dirichlet noise at the root."""
    num_simulations: int = 50
    """Simulations (model evaluations) per move, not counting the root's."""
    c_init: float = 1.25
    """Exploration weight after few visits, c₁ of MuZero's appendix B."""
    c_base: float = 19652.0
    """Number of visits over which the exploration weight grows, c₂ of MuZero's appendix B."""
    dirichlet_alpha: float = 0.3
    """Concentration of the Dirichlet noise over the root's legal actions; typically 10 / (number of legal actions)."""
    dirichlet_fraction: float = 0.25
    """Weight of the noise in the root's prior; 0: no exploration."""
    temperature: float = 1.0
    """Actions are sampled with probability ∝ visits ** (1 / temperature); 0: the most visited action."""

    def __post_init__(self) -> None:
        _at_least(self, num_simulations=1, c_init=0, c_base=1)
        _at_least(self, dirichlet_alpha=1e-6, dirichlet_fraction=0, temperature=0)
        if self.dirichlet_fraction > 1:
            raise UserError(f"dirichlet_fraction is {self.dirichlet_fraction}; choose one from 0 to 1.")


def _at_least(config: GumbelConfig | PUCTConfig, **least: float) -> None:
    for name, bound in least.items():
        if not getattr(config, name) >= bound:
            raise UserError(f"{name} is {getattr(config, name)}; choose one of at least {bound}.")


@dataclass
class SearchResult:
    """Results of a batch of B searches.

    action: int64 [B].
    policy: f32 [B, A], the training target: improved policy (Gumbel) or visit distribution (PUCT). 0 where illegal.
    value: f32 [B], the root's mean value over its visits, in the view of the player to move.
    visits: int32 [B, A], of the root's children.
    q: f32 [B, A], of the root's actions, in the view of the player to move. Untried actions have the mixed value
    (Gumbel) or the root's value (PUCT).
    """

    action: np.ndarray
    policy: np.ndarray
    value: np.ndarray
    visits: np.ndarray
    q: np.ndarray


class Search:
    """Batched search from up to ``capacity`` root positions."""

    def __init__(self, config: GumbelConfig | PUCTConfig, capacity: int, num_actions: int, seed: int) -> None:
        self.config, self.capacity, self.num_actions = config, capacity, num_actions
        self._rng = np.random.default_rng(seed)
        self._parents = np.empty(capacity, np.int64)
        self._actions = np.empty(capacity, np.int64)
        self._allocate(config.num_simulations + 1)

    def run(
        self,
        prior_logits: np.ndarray,
        value: np.ndarray,
        legal: np.ndarray,
        expand: Expand,
        num_simulations: int | None = None,
    ) -> SearchResult:
        """Search from B <= capacity roots with prior_logits f32 [B, A], value f32 [B] and legal bool [B, A].

        ``expand(parents, actions, slot)`` evaluates the model. Node 0 is the root; simulation s creates node ``slot`` =
        s + 1 in every tree; the model stores its latent states by node. ``parents`` and ``actions`` (int64 [B]) are
        overwritten by the next simulation. Where ``actions`` is −1 the parent is terminal and the row of the result is
        ignored.
        """
        shape = (len(value), self.num_actions)
        if len(value) > self.capacity or not prior_logits.shape == legal.shape == shape:
            raise ValueError(
                f"prior_logits {prior_logits.shape}, value {value.shape} and legal {legal.shape} for a search of up to "
                f"{self.capacity} positions with {self.num_actions} actions"
            )
        if not legal.any(axis=1).all():
            raise ValueError(f"no legal action in row {int(legal.any(axis=1).argmin())} of {len(legal)}")
        _require_finite("at the root", float(value.sum()) + float(prior_logits.sum()))
        config = self.config
        if isinstance(config, GumbelConfig):
            noise = self._gumbel(shape) * np.float32(config.gumbel_scale) if config.gumbel_scale else None
        else:
            noise = self._dirichlet(legal, config.dirichlet_alpha) if config.dirichlet_fraction else None
        return self._run(prior_logits, value, legal, expand, num_simulations or config.num_simulations, noise)

    def lines(self, actions: np.ndarray, length: int) -> np.ndarray:
        """Principal variations int32 [B, length] of the latest ``run``: ``actions`` [B], then the most visited ones,
        padded with −1. Only the first action is guaranteed to be legal."""
        lines = np.empty((len(actions), length), np.int32)
        kernels.follow_lines(self._nodes, actions, lines)
        return lines

    def state_dict(self) -> dict[str, Any]:
        """The state of the random number generator, as JSON-serialisable values."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]

    def _allocate(self, num_nodes: int) -> None:
        self._nodes = np.zeros((self.capacity, num_nodes), kernels.Node)
        self._open_scores = np.empty((self.capacity, num_nodes, self.num_actions), np.float32)
        self._scratch = np.empty(num_nodes, np.float64)

    def _run(
        self,
        prior_logits: np.ndarray,
        value: np.ndarray,
        legal: np.ndarray,
        expand: Expand,
        num_simulations: int,
        noise: np.ndarray | None,
    ) -> SearchResult:
        """``run`` with given noise [B, A]: scaled Gumbel, or Dirichlet over the legal actions."""
        size, config = len(value), self.config
        if num_simulations >= self._nodes.shape[1]:
            self._allocate(num_simulations + 1)
        logits = log_softmax(prior_logits, legal)
        priors = np.exp(logits)
        if isinstance(config, GumbelConfig):
            scores = logits if noise is None else np.where(legal, logits + noise, TAKEN)
            table = considered_visits(config.max_considered_actions, num_simulations)
            schedule = table[:, np.minimum(legal.sum(axis=1), config.max_considered_actions)]
        else:
            if noise is not None:
                priors = (1 - config.dirichlet_fraction) * priors + config.dirichlet_fraction * noise
                priors = priors.astype(np.float32)
            scores = np.where(legal, priors, TAKEN)
            visits = np.arange(num_simulations + 2)
            schedule = np.sqrt(visits) * (config.c_init + np.log((visits + config.c_base + 1) / config.c_base))
        self._simulate(priors, scores, schedule, np.ascontiguousarray(value, np.float32), expand, num_simulations)
        if isinstance(config, GumbelConfig):
            return self._gumbel_result(self._nodes[:size], logits, scores, legal, config)
        return self._puct_result(self._nodes[:size], config.temperature)

    def _simulate(self, priors: np.ndarray, scores: np.ndarray, schedule: np.ndarray, value: np.ndarray,
                  expand: Expand, num_simulations: int) -> None:
        """Run all simulations. priors, scores: f32 [B, A], of the root's actions; scores rank the untried ones.
        schedule: for Gumbel int32 [simulations, B], the visits that a root action must have to be considered; for PUCT
        float64 [visits], the exploration weight by number of visits."""
        size, config = len(value), self.config
        nodes, open_scores = self._nodes[:size], self._open_scores[:size]
        parents, actions = self._parents[:size], self._actions[:size]
        kernels.make_roots(nodes, open_scores, scores, value)
        for simulation in range(num_simulations):
            if isinstance(config, GumbelConfig):
                kernels.select_gumbel(nodes, open_scores, scores, schedule[simulation], self._scratch,
                                      config.c_visit, config.c_scale, config.least_q_range, parents, actions)
            else:
                kernels.select_puct(nodes, open_scores, schedule, parents, actions)
            slot = simulation + 1
            leaf = expand(parents, actions, slot)
            legal_there, leaf_logits = leaf.legal_actions, leaf.prior_logits
            if legal_there is not None:  # the softmax must subtract the maximum legal logit
                leaf_logits = np.where(legal_there, leaf_logits, np.float32(-1e9))
            weights = scaled_softmax(np.ascontiguousarray(leaf_logits, np.float32))
            seen = kernels.expand_and_back_up(
                nodes, open_scores, priors, parents, actions, slot, weights,
                ALL_LEGAL if legal_there is None else legal_there,
                *(np.ascontiguousarray(x, np.float32) for x in (leaf.reward, leaf.discount, leaf.value)))
            _require_finite("below the root", seen)

    def _gumbel_result(
        self, nodes: np.ndarray, logits: np.ndarray, scores: np.ndarray, legal: np.ndarray, config: GumbelConfig
    ) -> SearchResult:
        visits = np.zeros(logits.shape, np.int32)
        q, scaled_q = np.empty_like(logits), np.empty_like(logits)
        kernels.root_children(nodes, visits, q)
        kernels.gumbel_root_q(nodes, q, scaled_q, config.c_visit, config.c_scale, config.least_q_range)
        most_visited = visits == visits.max(axis=1, keepdims=True)
        action = np.where(most_visited & legal, scores + scaled_q, -np.inf).argmax(axis=1)
        policy = np.exp(log_softmax(logits + scaled_q, legal))
        return SearchResult(action, policy, nodes["value"][:, 0].copy(), visits, q)

    def _puct_result(self, nodes: np.ndarray, temperature: float) -> SearchResult:
        value = nodes["value"][:, 0].copy()
        visits = np.zeros((len(nodes), self.num_actions), np.int32)
        q = np.repeat(value[:, None], self.num_actions, axis=1)
        kernels.root_children(nodes, visits, q)
        share = visits / visits.max(axis=1, keepdims=True)
        if temperature > 0:
            cumulative = np.cumsum(share ** (1 / temperature), axis=1)
            drawn = self._rng.random((len(nodes), 1)) * cumulative[:, -1:]
            action = (cumulative > drawn).argmax(axis=1)
        else:
            action = share.argmax(axis=1)
        policy = (visits / visits.sum(axis=1, keepdims=True)).astype(np.float32)
        return SearchResult(action, policy, value, visits, q)

    def _gumbel(self, shape: tuple[int, int]) -> np.ndarray:
        exponential = self._rng.standard_exponential(shape, np.float32)
        return -np.log(np.maximum(exponential, np.float32(kernels.TINY)))

    def _dirichlet(self, legal: np.ndarray, alpha: float) -> np.ndarray:
        # The constant matters only if all draws underflow, which a small alpha can cause.
        draws = np.where(legal, self._rng.standard_gamma(alpha, legal.shape) + 1e-300, 0.0)
        return draws / draws.sum(axis=1, keepdims=True)


def _require_finite(where: str, output_sum: float) -> None:
    """Raise FloatingPointError if ``output_sum``, a sum of model outputs, is not finite."""
    if not math.isfinite(output_sum):
        raise FloatingPointError(f"the model's reward, value or policy {where} of a search is not finite")


def log_softmax(logits: np.ndarray, legal: np.ndarray) -> np.ndarray:
    """Log-probabilities f32 [B, A] over the legal actions; ``TAKEN``, whose exponential is 0, where illegal."""
    shifted = np.where(legal, logits, TAKEN)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.where(legal, shifted, TAKEN).astype(np.float32, copy=False)


def policy_entropy(policy: np.ndarray) -> np.ndarray:
    """Entropy f32 [B] in nats of policy f32 [B, A]."""
    return -(policy * np.log(np.maximum(policy, kernels.TINY))).sum(axis=1)


def kl_from_prior(policy: np.ndarray, prior_logits: np.ndarray, legal: np.ndarray) -> np.ndarray:
    """KL(policy ‖ prior), f32 [B] in nats, with the prior normalised over the legal actions: how much the
    search changed the policy."""
    prior = log_softmax(prior_logits, legal)
    gain = policy * (np.log(np.maximum(policy, kernels.TINY)) - prior)
    return np.where(policy > 0, gain, 0).sum(axis=1)


@cache
def considered_visits(max_considered_actions: int, num_simulations: int) -> np.ndarray:
    """Schedule of sequential halving, int32 [num_simulations, max_considered_actions + 1]: at simulation s, a root with
    m considered actions selects among those with ``[s, m]`` visits."""
    columns = [_halving_schedule(m, num_simulations) for m in range(max_considered_actions + 1)]
    return np.ascontiguousarray(np.array(columns, np.int32).T)


def _halving_schedule(num_actions: int, num_simulations: int) -> list[int]:
    if num_actions <= 1:
        return list(range(num_simulations))
    phases = math.ceil(math.log2(num_actions))
    schedule: list[int] = []
    visits, remaining = 0, num_actions
    while len(schedule) < num_simulations:
        # Every phase has the same number of simulations, spread over its remaining actions.
        for _ in range(max(1, num_simulations // (phases * remaining))):
            schedule += [visits] * remaining
            visits += 1
        remaining = max(2, remaining // 2)
    return schedule[:num_simulations]
