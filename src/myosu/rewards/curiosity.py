"""Curiosity: intrinsic rewards for novelty, for environments with rare rewards. Parses the setting ``curiosity``, and
has the base class of the signals that are trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.nets.encoder import Observation, RunningNorm, to_tensors
from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.rewards.environment import running_returns
from myosu.rewards.signals import RewardSignal, Steps

KINDS = ("rnd", "icm", "counts")

#: Normalised observations are clipped to ± this (Burda et al. 2018).
OBSERVATION_CLIP = 5.0
#: Steps in a minibatch of a signal's training.
BATCH_SIZE = 64
#: Steps whose novelty is computed in one batch.
PART = 1024


def parse_curiosity(text: str, discount: float) -> tuple[str, float, float]:
    """Kind, weight and discount of ``KIND[:WEIGHT[:DISCOUNT]]``; the weight is 0.3 by default. Raises
    UserError."""
    kind, *numbers = text.split(":")
    try:
        weight, discount = (*map(float, numbers), *(0.3, discount)[len(numbers):])
    except ValueError:
        weight = math.nan
    if kind not in KINDS or not 0.0 <= weight < math.inf:
        raise UserError(f"curiosity = {text!r}: it must be {', '.join(KINDS[:-1])} or {KINDS[-1]}, optionally with "
                        "a weight and a discount, such as rnd, rnd:0.5 or rnd:0.5:0.99.")
    if not 0.0 <= discount < 1.0:
        raise UserError(f"curiosity = {text!r} with the discount {discount}: it must be from 0 to below 1, because "
                        f"novelty rewards may never end. Give it its own discount: {kind}:{weight:g}:0.99.")
    return kind, weight, discount


def curiosity_signals(curiosity: Sequence[str], spec: EnvSpec, action_features: Callable[[np.ndarray], np.ndarray],
                      discount: float, num_envs: int, every: int, seed: int) -> list[RewardSignal]:
    """The signals named by the setting, see ``parse_curiosity``. Raises UserError.

    action_features: maps actions as the algorithm stores them to float32 [n, A]: one-hot choices, or the components.
        discount: default for signals without their own. num_envs: see ``ReturnScale``. every: see ``LearntCuriosity``.
    """
    from myosu.rewards.counts import EpisodicCounts
    from myosu.rewards.icm import ICM
    from myosu.rewards.rnd import RND

    signals: list[RewardSignal] = []
    for text in curiosity:
        kind, weight, own_discount = parse_curiosity(text, discount)
        if kind == "counts":
            signals.append(EpisodicCounts(own_discount, weight, num_envs))
        elif kind == "rnd":
            signals.append(RND(spec, own_discount, weight, num_envs, every, seed=seed))
        else:
            signals.append(ICM(spec, action_features, own_discount, weight, num_envs, every, seed=seed))
    return signals


class ReturnScale:
    """σ, which normalises returns of intrinsic rewards to about 1 (Burda et al. 2018): the running standard deviation
    of their discounted return Σ_k γ^k r_{t−k}, which continues across episode boundaries.

    num_envs: number of environments, all of whose steps are passed to ``observe`` in chronological order, with env_ids
        from 0, as by on-policy learners. 0: steps are samples, whose returns are unknown; σ is then the standard
        deviation of the rewards times 1 / (1 − γ), which is that of the returns if rewards change slowly.
    """

    def __init__(self, discount: float, num_envs: int) -> None:
        self.discount, self.returns, self.norm = discount, np.zeros(num_envs), RunningNorm(())

    def observe(self, rewards: np.ndarray, steps: Steps) -> None:
        if len(self.returns):
            never = np.zeros(len(rewards), np.bool_)
            rewards = running_returns(rewards, never, steps["env_id"], self.returns, self.discount)
        self.norm.observe(torch.from_numpy(rewards))

    def __call__(self, rewards: np.ndarray) -> np.ndarray:
        """Rewards float32 [n] / σ."""
        deviation = math.sqrt(float(self.norm.variance) + 1e-8)
        return rewards / np.float32(deviation if len(self.returns) else deviation / (1.0 - self.discount))

    def state_dict(self) -> dict[str, Any]:
        return {"returns": self.returns.copy(), "norm": _copied(self.norm)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.returns = state["returns"].copy()
        self.norm.load_state_dict(state["norm"])


class NormalizedObservations(nn.Module):
    """(x − mean) / standard deviation, clipped to ±5, for each element, with the running statistics of ``observe``."""

    def __init__(self, spec: EnvSpec) -> None:
        super().__init__()
        self.names = list(spec.parts())
        self.norms = nn.ModuleList(RunningNorm(part.shape[1:]) for part in spec.parts().values())

    def observe(self, observation: np.ndarray) -> None:
        for x, norm in self._parts(observation):
            norm.observe(x)

    def forward(self, observation: np.ndarray) -> Observation:
        """Normalised observations: float32 tensors by the names of the parts of ``normalized_spec``."""
        found = (norm(x).clamp(-OBSERVATION_CLIP, OBSERVATION_CLIP) for x, norm in self._parts(observation))
        return dict(zip(self.names, found, strict=True))

    def _parts(self, observation: np.ndarray) -> Iterator[tuple[Tensor, Any]]:
        tensors = to_tensors(observation)
        return ((tensors[name].float(), norm) for name, norm in zip(self.names, self.norms, strict=True))


def normalized_spec(spec: EnvSpec) -> EnvSpec:
    """``spec`` for normalised observations: the same parts as float32, without bounds."""
    parts = spec.parts()
    if "" in parts:
        return replace(spec, observation_dtype=np.float32, observation_bounds=())
    fields = [(name.removeprefix("/"), np.float32, part.shape[1:]) for name, part in parts.items()]
    return replace(spec, observation_dtype=np.dtype(fields), observation_bounds=())


class LearntCuriosity:
    """Base class of RND and ICM: r = ``novelty`` / σ of ``ReturnScale``. Novelty is the error of a prediction that is
    trained on every step, so that familiar states earn nothing.

    With whole rollouts (``num_envs``) returns continue across episode boundaries, so that the end of an episode costs
    only the time to come back (Burda et al. 2018). Samples do not contain the steps after an end, so their returns end
    there.

    net: all networks, for checkpoints; ``learns`` is the part that is trained by ``loss``. every: train on one in
    ``every`` calls of ``update``. An off-policy learner sets it to its replay ratio, so that each step is trained on
    about once, as in on-policy learning; with more training, novelty would vanish before the policy learns from it.
    """

    name: str
    net: nn.Module

    def __init__(self, discount: float, weight: float, num_envs: int, every: int, learns: nn.Module,
                 learning_rate: float, seed: int) -> None:
        self.discount, self.weight, self.learning_rate = discount, weight, learning_rate
        self.episodic = not num_envs
        self.scale, self.every, self.calls = ReturnScale(discount, num_envs), every, 0
        self.rng, self.report = np.random.default_rng([seed, 3]), dict[str, float]()
        self.parameters = FlatParameters(learns)
        self.optimizer = FlatAdam(self.parameters)

    def observe(self, steps: Steps) -> None:
        """Update the statistics by which observations are normalised."""
        raise NotImplementedError

    def novelty(self, steps: Steps) -> Tensor:
        """The novelty of s_{t+1}, float32 [n], not yet divided by σ."""
        raise NotImplementedError

    def loss(self, steps: Steps) -> Tensor:
        raise NotImplementedError

    def rewards(self, steps: Steps) -> np.ndarray:
        return self.scale(self._novelties(steps))

    def update(self, steps: Steps) -> dict[str, float]:
        """Train on the steps in one pass of minibatches, in one of ``every`` calls. Returns the mean loss, and the mean
        novelty before training, of the latest pass."""
        self.calls += 1
        if (self.calls - 1) % self.every:
            return self.report
        self.observe(steps)
        novelty = self._novelties(steps)
        self.scale.observe(novelty, steps)
        order, losses = self.rng.permutation(len(novelty)), []
        for first in range(0, len(order), BATCH_SIZE):
            rows = order[first:first + BATCH_SIZE]
            loss = self.loss(_part(steps, rows))
            self.parameters.zero_gradient()
            loss.backward()
            self.optimizer.step(self.learning_rate)
            losses.append(float(loss.detach()))
        self.report = {"loss": float(np.mean(losses)), "novelty": float(novelty.mean())}
        return self.report

    @torch.no_grad()
    def _novelties(self, steps: Steps) -> np.ndarray:
        """``novelty`` in batches, because a whole rollout of images would take gigabytes."""
        count = len(steps["action"])
        parts = (np.arange(first, min(first + PART, count)) for first in range(0, count, PART))
        return np.concatenate([self.novelty(_part(steps, rows)).numpy() for rows in parts])

    def state_dict(self) -> dict[str, Any]:
        return {"net": _copied(self.net), "optimizer": {k: v.clone() for k, v in self.optimizer.state_dict().items()},
                "calls": self.calls, "report": dict(self.report), "scale": self.scale.state_dict(),
                "rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.calls, self.report = state["calls"], dict(state["report"])
        self.scale.load_state_dict(state["scale"])
        self.rng.bit_generator.state = state["rng"]


def _part(steps: Steps, rows: np.ndarray) -> Steps:
    return {name: steps[name][rows] for name in ("observation", "action", "next_observation")}


def _copied(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}
