"""Runs with one mistake each, as their records would be; and healthy ones. Numbers follow those of real short runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from myosu.doctor.finding import Finding
from myosu.doctor.run_view import RunView

_X_AXES = {"minutes": ("seconds", "training_seconds"), "updates": ("update", "update"),
            "env_steps": ("env_steps", "env_steps")}


class Rows:
    """Curves of lists of records and evaluations, in the order of training."""

    def __init__(self, records: list[dict[str, Any]], evaluations: list[dict[str, Any]] = ()) -> None:  # type: ignore
        self.records, self.evaluations, self.damaged = records, list(evaluations), 0
        self.latest = records[-1] if records else {}

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for record in self.records for name, value in record.items()
                                  if type(value) in (int, float)))

    def values(self, name: str) -> np.ndarray:
        return np.array([record[name] for record in self.records if name in record], np.float64)

    def at(self, name: str, x_axis: str) -> np.ndarray:
        key = _X_AXES[x_axis][0]
        scale = 60 if x_axis == "minutes" else 1
        return np.array([record[key] / scale for record in self.records if name in record], np.float64)


MUZERO = {"atoms": 41, "value_range": None, "search": "gumbel", "simulations": 32, "considered_actions": 16,
          "replay_capacity": 100_000, "replay_ratio": 2.0, "batch_size": 128, "learning_rate": 1e-2,
          "max_grad_norm": 5.0, "learning_starts": 5000}
DQN = {"replay_capacity": 100_000, "replay_ratio": 32.0, "batch_size": 64, "learning_rate": 1e-3, "discount": 0.99,
       "max_grad_norm": 10.0, "reward_scale": 1.0, "learning_starts": 1000}
PPO = {"learning_rate": 3e-4, "max_grad_norm": 0.5, "batch_size": 256, "discount": 0.99, "epochs": 4}


def curve(start: float, end: float, count: int, rng: np.random.Generator, noise: float = 0.1) -> np.ndarray:
    """From ``start`` to ``end`` by an exponential, with noise in proportion."""
    share = 1 - np.exp(-4 * np.linspace(0, 1, count))
    return (start + (end - start) * share) * (1 + noise * rng.normal(size=count))


def muzero(seed: int = 0, game: str = "othello", settings: dict[str, Any] | None = None, records: int = 60,
           curves: dict[str, np.ndarray] | None = None, returns: np.ndarray | None = None, age: float = 20.0,
           win_rates: tuple[float, float] = (0.97, 0.95), evaluations: np.ndarray | None = None) -> RunView:
    """A healthy run of a board game, with what is given in place of its own."""
    rng = np.random.default_rng(seed)
    scale = 10.0 if game == "othello" else 0.9
    games, updates = 40 * records, 50 * records
    columns = {
        "loss/value_loss": curve(3.5, 2.2, records, rng, 0.02), "loss/policy_loss": curve(2.0, 1.2, records, rng, 0.02),
        "loss/gradient_norm": curve(4.0, 1.5, records, rng, 0.2),
        "selfplay/policy_entropy": curve(1.9, 0.8, records, rng),
        "selfplay/search_kl": curve(0.05, 0.3, records, rng),
        "selfplay/value_error": curve(0.75 * scale, 0.5 * scale, records, rng),
        "selfplay/reward_first_mean": 0.2 * scale * rng.normal(size=records),
        "selfplay/reward_first_std": scale * (1 + 0.1 * rng.normal(size=records)),
    } | (curves or {})
    rows = [{"kind": "training", "update": 50 * k, "seconds": 5.0 * k, "games": 40 * k, "env_steps": 2400 * k,
             "samples": 50 * 128 * k, "replay_positions": min(2400 * k, 100_000), "phase": "training",
             **{name: float(column[k]) for name, column in columns.items()}} for k in range(records)]
    first = np.clip(scale * rng.normal(size=games), -3 * scale, 3 * scale) if returns is None else returns
    if game != "othello":
        first = np.sign(first)
    lines = [{"index": i, "returns": [float(value), -float(value)], "length": int(rng.integers(55, 61)),
              "truncated": False, "env_steps": 60 * i, "weights_version": max(0, int(updates * i / games - age))}
             for i, value in enumerate(first)]
    better = curve(0.1 * scale, scale, 8, rng, 0.02) if evaluations is None else evaluations
    matches = [{"kind": "evaluation", "update": 350 * (k + 1), "mean_reward": float(mean), "win_rate": 0.5 + 0.055 * k,
                "mean_reward_ci95": [float(mean) - 0.1 * scale, float(mean) + 0.1 * scale],
                "first_seat": {"win_rate": win_rates[0]}, "second_seat": {"win_rate": win_rates[1]}}
               for k, mean in enumerate(better)]
    width = 32.0 if game == "othello" else 1.0
    return RunView("muzero", MUZERO | (settings or {}), Rows(rows, matches), lines, MUZERO, 2,
                   65 if game == "othello" else 7, (-width, width))


def alone(seed: int = 0, algorithm: str = "dqn", settings: dict[str, Any] | None = None, records: int = 60,
          curves: dict[str, np.ndarray] | None = None, returns: np.ndarray | None = None,
          lengths: np.ndarray | None = None, truncated: np.ndarray | None = None, age: float = 20.0,
          evaluations: np.ndarray | None = None) -> RunView:
    """A healthy run in an environment for one, such as CartPole: returns grow from 20 to 200."""
    rng = np.random.default_rng(seed)
    good = DQN if algorithm == "dqn" else PPO
    games, updates = 10 * records, 400 * records
    own = {"loss/q_mean": curve(5, 60, records, rng), "loss/td_error": curve(0.5, 0.8, records, rng),
           "loss/loss": curve(0.5, 0.4, records, rng)} if algorithm == "dqn" else {
        "loss/approx_kl": np.abs(curve(0.01, 0.008, records, rng)),
        "loss/clip_fraction": curve(0.1, 0.08, records, rng),
        "loss/explained_variance": curve(0.1, 0.8, records, rng), "loss/value_loss": curve(20, 60, records, rng),
        "episodes/policy_entropy": curve(0.69, 0.4, records, rng)}
    columns = own | {"loss/gradient_norm": np.abs(curve(3, 5, records, rng, 0.3))} | (curves or {})
    rows = [{"kind": "training", "update": 400 * k, "seconds": 5.0 * k, "games": 10 * k, "env_steps": 800 * k,
             "samples": 25_600 * k, "phase": "training", **{name: float(column[k]) for name, column in columns.items()}}
            for k in range(records)]
    earned = np.clip(curve(20, 200, games, rng, 0.4), 8, 500).round() if returns is None else returns
    steps = earned.copy() if lengths is None else lengths
    cut = steps >= 500 if truncated is None else truncated
    lines = [{"index": i, "returns": [float(earned[i])], "length": int(steps[i]), "truncated": bool(cut[i]),
              "env_steps": 80 * i, "weights_version": max(0, int(updates * i / games - age))} for i in range(games)]
    better = curve(40, 400, 10, rng, 0.05) if evaluations is None else evaluations
    matches = [{"kind": "evaluation", "update": 2000 * (k + 1), "mean_reward": float(mean), "mean_length": 100.0,
                "mean_reward_ci95": [float(mean) - 20, float(mean) + 20]} for k, mean in enumerate(better)]
    return RunView(algorithm, good | (settings or {}), Rows(rows, matches), lines, good, 1, 2)


@dataclass(frozen=True)
class RunFault:
    kind: str
    variant: str
    make: Callable[[], RunView]
    checks: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}: {self.variant}"

    def verdict(self, findings: list[Finding]) -> str:
        loud = [finding.check for finding in findings if finding.severity != "info"]
        return "found" if set(loud) & set(self.checks) else "misnamed" if loud else "silent"


def _rising(start: float, end: float, records: int = 60) -> np.ndarray:
    return np.geomspace(start, end, records)


def _overfit(seed: int, high: float) -> RunView:
    rng = np.random.default_rng(seed)
    return muzero(seed, curves={"loss/value_loss": curve(3.5, 0.4, 60, rng, 0.02) * np.linspace(1, 0.5, 60),
                                "selfplay/value_error": np.linspace(5, high, 60)})


def _random_reward(seed: int, algorithm: str, count: int = 600) -> RunView:
    rng = np.random.default_rng(seed)
    return alone(seed, algorithm, curves={"loss/explained_variance": 0.003 * rng.normal(size=60)},
                 returns=50 + 10 * rng.normal(size=count), lengths=np.full(count, 100),
                 evaluations=50 + rng.normal(size=10))


def _timed(seed: int, limit: int, share: float) -> RunView:
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.geometric(0.04, 600), 5, limit - 1)
    lengths[rng.random(600) < share * np.linspace(0, 2, 600)] = limit
    return alone(seed, "ppo", returns=lengths.astype(float), lengths=lengths, truncated=np.zeros(600, bool))


RUN_FAULTS = [
    RunFault("support too wide", "Othello at ±300", lambda: muzero(1, settings={"value_range": (-300.0, 300.0)}),
             ("support",)),
    RunFault("support too wide", "Connect Four at ±32", lambda: muzero(
        2, "connect_four", {"value_range": (-32.0, 32.0)}),
             ("support",)),
    RunFault("support too wide", "too narrow", lambda: muzero(3, settings={"value_range": (-5.0, 5.0)}), ("support",)),
    RunFault("replay too small", "a batch and a half", lambda: muzero(1, settings={"replay_capacity": 200}),
             ("replay-size",)),
    RunFault("replay too small", "DQN, 500", lambda: alone(2, settings={"replay_capacity": 500}), ("replay-size",)),
    RunFault("replay too small", "ten games", lambda: muzero(3, settings={"replay_capacity": 600, "batch_size": 32}),
             ("replay-size",)),
    RunFault("learning rate × 100", "MuZero", lambda: muzero(1, settings={"learning_rate": 1.0}), ("learning-rate",)),
    RunFault("learning rate × 100", "DQN", lambda: alone(2, settings={"learning_rate": 0.1}), ("learning-rate",)),
    RunFault("learning rate × 100", "PPO, known by its KL", lambda: alone(
        3, "ppo", {"learning_rate": 5e-3}, curves={"loss/approx_kl": _rising(0.5, 4)}), ("learning-rate",)),
    RunFault("learning rate ÷ 100", "MuZero", lambda: muzero(1, settings={"learning_rate": 1e-4}), ("learning-rate",)),
    RunFault("learning rate ÷ 100", "DQN", lambda: alone(2, settings={"learning_rate": 1e-5}), ("learning-rate",)),
    RunFault("learning rate ÷ 100", "PPO", lambda: alone(3, "ppo", {"learning_rate": 3e-6}), ("learning-rate",)),
    RunFault("seats unequal", "second player's moves broken", lambda: muzero(1, win_rates=(0.95, 0.4)), ("seats",)),
    RunFault("seats unequal", "first player loses", lambda: muzero(
        2, "connect_four", returns=np.where(np.arange(2400) % 12, -1.0, 1.0)), ("seats",)),
    RunFault("seats unequal", "from the first game on", lambda: muzero(
        3, "connect_four", returns=np.where(np.arange(2400) % 40, 1.0, -1.0)), ("seats",)),
    RunFault("entropy collapse", "MuZero", lambda: muzero(1, curves={"selfplay/policy_entropy": np.r_[
        np.geomspace(1.9, 0.002, 15), np.full(45, 0.001)]}), ("entropy",)),
    RunFault("entropy collapse", "PPO", lambda: alone(2, "ppo", curves={"episodes/policy_entropy": np.r_[
        np.full(8, 0.69), np.full(52, 0.0005)]}), ("entropy",)),
    RunFault("entropy collapse", "slowly", lambda: alone(3, "ppo", curves={"episodes/policy_entropy": _rising(
        0.69, 1e-6)}), ("entropy",)),
    RunFault("stale weights", "never sent", lambda: muzero(1, age=1e9), ("stale-weights",)),
    RunFault("stale weights", "a third of the run old", lambda: muzero(2, age=1200), ("stale-weights",)),
    RunFault("stale weights", "DQN", lambda: alone(3, age=12_000), ("stale-weights",)),
    RunFault("values explode", "to 5e7", lambda: alone(1, curves={"loss/q_mean": _rising(5, 5e7)}),
             ("value-explosion",)),
    RunFault("values explode", "to 2,000", lambda: alone(2, curves={"loss/q_mean": _rising(5, 20_000)}),
             ("value-explosion",)),
    RunFault("values explode", "downwards", lambda: alone(3, curves={"loss/q_mean": -_rising(5, 1e6)}),
             ("value-explosion",)),
    RunFault("reward without information", "random, PPO", lambda: _random_reward(1, "ppo"),
             ("reward-information", "evaluation-flat")),
    RunFault("reward without information", "random, DQN", lambda: _random_reward(2, "dqn"),
             ("reward-information", "evaluation-flat")),
    RunFault("reward without information", "always the same", lambda: alone(
        3, returns=np.full(600, 7.0), lengths=np.arange(600) % 50 + 3), ("reward-information",)),
    RunFault("overfitting", "value error doubles", lambda: _overfit(1, 10), ("overfitting",)),
    RunFault("overfitting", "by half", lambda: _overfit(2, 8), ("overfitting",)),
    RunFault("overfitting", "far", lambda: _overfit(3, 20), ("overfitting",)),
    RunFault("too few simulations", "two", lambda: muzero(1, settings={"simulations": 2}), ("simulations",)),
    RunFault("too few simulations", "PUCT, 16 of 65 actions", lambda: muzero(2, settings={
        "simulations": 16, "search": "puct"}), ("simulations",)),
    RunFault("too few simulations", "one", lambda: muzero(3, "connect_four", {"simulations": 1}), ("simulations",)),
    RunFault("absurd replay ratio", "500", lambda: alone(1, settings={"replay_ratio": 1000.0}), ("replay-ratio",)),
    RunFault("absurd replay ratio", "MuZero, 64", lambda: muzero(2, settings={"replay_ratio": 64.0}),
             ("replay-ratio",)),
    RunFault("absurd replay ratio", "a hundredth", lambda: muzero(3, settings={"replay_ratio": 0.01}),
             ("replay-ratio",)),
    RunFault("truncation as termination", "200 steps", lambda: _timed(1, 200, 0.3), ("time-limit",)),
    RunFault("truncation as termination", "seldom", lambda: _timed(2, 500, 0.08), ("time-limit",)),
    RunFault("truncation as termination", "often", lambda: _timed(3, 100, 0.45), ("time-limit",)),
    RunFault("not finite", "a loss", lambda: muzero(1, curves={"loss/value_loss": np.r_[np.ones(40), np.full(
        20, np.nan)]}), ("not-finite",)),
    RunFault("not finite", "the gradient", lambda: alone(2, curves={"loss/gradient_norm": np.r_[np.ones(40), np.full(
        20, np.inf)]}), ("not-finite",)),
    RunFault("not finite", "Q", lambda: alone(3, curves={"loss/q_mean": np.r_[np.ones(40), np.full(20, np.nan)]}),
             ("not-finite",)),
    RunFault("flat evaluation", "of a board game", lambda: muzero(1, evaluations=np.array(
        [0.1, -0.3, 0.2, 0.4, -0.2, 0.1, 0.3, 0.0])), ("evaluation-flat",)),
    RunFault("flat evaluation", "alone", lambda: alone(2, returns=np.full(600, 60.0) + np.random.default_rng(0).normal(
        size=600), evaluations=np.array([60.0, 55, 62, 58, 61, 57, 60, 59, 61, 58])), ("evaluation-flat",)),
    RunFault("flat evaluation", "falls", lambda: alone(3, evaluations=np.array(
        [40.0, 120, 260, 380, 390, 300, 180, 90, 60, 50])), ("evaluation-fell",)),
    RunFault("gradient always cut", "rewards of thousands", lambda: alone(1, "ppo", curves={
        "loss/gradient_norm": np.full(60, 900.0)}), ("gradient",)),
    RunFault("gradient always cut", "DQN", lambda: alone(2, curves={"loss/gradient_norm": np.full(60, 4e4)}),
             ("gradient",)),
    RunFault("gradient always cut", "MuZero", lambda: muzero(3, curves={"loss/gradient_norm": np.full(60, 2e3)}),
             ("gradient",)),
    RunFault("values of the wrong player", "miss by more than a mean would", lambda: muzero(
        1, curves={"selfplay/value_error": np.full(60, 15.0)}), ("value-error",)),
    RunFault("values of the wrong player", "Connect Four", lambda: muzero(
        2, "connect_four", curves={"selfplay/value_error": np.full(60, 1.4)}), ("value-error",)),
    RunFault("values of the wrong player", "in PPO: they explain nothing", lambda: alone(
        3, "ppo", curves={"loss/explained_variance": np.full(60, -0.4)}), ("value",)),
]

HEALTHY_RUNS = {
    **{f"othello {seed}": (lambda seed=seed: muzero(seed)) for seed in range(10, 30)},
    **{f"connect four {seed}": (lambda seed=seed: muzero(seed, "connect_four", returns=np.sign(
        np.random.default_rng(seed).normal(size=2400) + np.linspace(0, 1.5, 2400)))) for seed in range(10, 30)},
    **{f"dqn {seed}": (lambda seed=seed: alone(seed)) for seed in range(10, 30)},
    **{f"ppo {seed}": (lambda seed=seed: alone(seed, "ppo")) for seed in range(10, 30)},
    **{f"solved at once {seed}": (lambda seed=seed: alone(seed, evaluations=np.full(10, 500.0), returns=np.r_[
        np.clip(np.random.default_rng(seed).normal(25, 8, 60), 8, 100), np.full(540, 500.0)])) for seed in range(5)},
}
