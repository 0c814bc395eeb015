"""The hidden set of runs: other variants of the listed kinds, measured before anything was changed for them."""

from __future__ import annotations

import numpy as np

from faults.run_faults import RunFault, _rising, _timed, alone, curve, muzero

_rng = np.random.default_rng


def _diary(seed):
    """The diary's collector: the first player's score from -2 to 19, 9 on average."""
    rng = _rng(seed)
    first = np.clip(rng.normal(9, 4.5, 2400), -2, 19)
    first[:200] = np.clip(rng.normal(3, 8, 200), -20, 20)
    return muzero(seed, returns=first, win_rates=(0.9, 0.75))


def _overfit_late(seed):
    rng = _rng(seed)
    return muzero(seed, "connect_four", returns=np.sign(rng.normal(size=2400)), curves={
        "loss/value_loss": curve(3.0, 0.8, 60, rng, 0.02),
        "selfplay/value_error": 0.9 * np.r_[np.linspace(0.8, 0.5, 25), np.linspace(0.5, 0.85, 35)]})


OTHER_RUN_FAULTS = [
    RunFault("support too wide", "21 atoms for −1, 0, 1, as in the diary", lambda: muzero(
        11, "connect_four", {"value_range": (-10.0, 10.0), "atoms": 21}), ("support",)),
    RunFault("support too wide", "Othello in hundreds", lambda: muzero(12, settings={"value_range": (-500.0, 500.0)}),
             ("support",)),
    RunFault("replay too small", "two thousand steps of DQN", lambda: alone(11, settings={"replay_capacity": 2000}),
             ("replay-size",)),
    RunFault("replay too small", "a dozen games of Othello", lambda: muzero(12, settings={"replay_capacity": 720}),
             ("replay-size",)),
    RunFault("learning rate × 100", "PPO, 0.03", lambda: alone(11, "ppo", {"learning_rate": 0.03}, curves={
        "loss/approx_kl": 0.8 + 0.3 * _rng(0).random(60)}), ("learning-rate",)),
    RunFault("learning rate × 100", "DQN, 0.05", lambda: alone(12, settings={"learning_rate": 0.05}, curves={
        "loss/td_error": _rising(0.5, 40)}), ("learning-rate", "value-explosion")),
    RunFault("learning rate ÷ 100", "PPO, 1e-5", lambda: alone(11, "ppo", {"learning_rate": 1e-5}),
             ("learning-rate",)),
    RunFault("learning rate ÷ 100", "Connect Four, 2e-4", lambda: muzero(12, "connect_four", {"learning_rate": 2e-4}),
             ("learning-rate",)),
    RunFault("seats unequal", "the diary's collector", lambda: _diary(11), ("seats",)),
    RunFault("seats unequal", "the first seat is worse", lambda: muzero(12, win_rates=(0.45, 0.97)), ("seats",)),
    RunFault("seats unequal", "0.9 against 0.55", lambda: muzero(13, "connect_four", win_rates=(0.9, 0.55)),
             ("seats",)),
    RunFault("entropy collapse", "within a tenth of the run", lambda: alone(11, "ppo", curves={
        "episodes/policy_entropy": np.r_[np.geomspace(0.69, 0.003, 6), np.full(54, 0.002)]}), ("entropy",)),
    RunFault("entropy collapse", "of a search, to nothing", lambda: muzero(12, curves={"selfplay/policy_entropy": np.r_[
        np.geomspace(1.9, 0.01, 25), np.geomspace(0.01, 0.004, 35)]}), ("entropy",)),
    RunFault("stale weights", "two fifths of the run", lambda: muzero(11, age=1300), ("stale-weights",)),
    RunFault("stale weights", "from the start on, in DQN", lambda: alone(12, age=1e9), ("stale-weights",)),
    RunFault("values explode", "four times what is possible", lambda: alone(11, curves={
        "loss/q_mean": np.r_[curve(5, 60, 20, _rng(1)), np.geomspace(60, 2500, 40)]}), ("value-explosion",)),
    RunFault("values explode", "below every return", lambda: alone(12, curves={"loss/q_mean": -_rising(10, 4000)}),
             ("value-explosion",)),
    RunFault("reward without information", "coin flips", lambda: alone(11, "ppo", curves={
        "loss/explained_variance": 0.002 * _rng(2).normal(size=60)}, returns=_rng(3).choice([-1.0, 1.0], 600),
        lengths=_rng(4).integers(20, 60, 600), evaluations=0.1 * _rng(5).normal(size=10)),
        ("reward-information", "evaluation-flat")),
    RunFault("reward without information", "all are paid 100", lambda: alone(
        12, returns=np.full(600, 100.0), lengths=_rng(6).integers(5, 90, 600)), ("reward-information",)),
    RunFault("overfitting", "from the middle on", lambda: _overfit_late(11), ("overfitting",)),
    RunFault("overfitting", "of the score", lambda: muzero(12, curves={
        "loss/value_loss": np.linspace(3.4, 0.6, 60), "selfplay/value_error": np.r_[
            np.linspace(7, 4.5, 20), np.linspace(4.5, 8.5, 40)]}), ("overfitting",)),
    RunFault("too few simulations", "three", lambda: muzero(11, settings={"simulations": 3}), ("simulations",)),
    RunFault("too few simulations", "PUCT, 8 for 65", lambda: muzero(12, settings={"search": "puct", "simulations": 8}),
             ("simulations",)),
    RunFault("absurd replay ratio", "DQN, 640", lambda: alone(11, settings={"replay_ratio": 640.0}),
             ("replay-ratio",)),
    RunFault("absurd replay ratio", "MuZero, one in thirty", lambda: muzero(12, settings={"replay_ratio": 0.03}),
             ("replay-ratio",)),
    RunFault("truncation as termination", "a thousand steps, late in the run", lambda: _timed(11, 1000, 0.12),
             ("time-limit",)),
    RunFault("truncation as termination", "fifty", lambda: _timed(12, 50, 0.2), ("time-limit",)),
    RunFault("not finite", "for a while", lambda: muzero(11, curves={"loss/policy_loss": np.r_[
        np.ones(30), np.full(5, np.nan), np.ones(25)]}), ("not-finite",)),
    RunFault("flat evaluation", "noise around 20", lambda: alone(11, returns=20 + 5 * _rng(7).normal(size=600),
                                                                 evaluations=20 + 3 * _rng(18).normal(size=12)),
             ("evaluation-flat",)),
    RunFault("flat evaluation", "collapses in the middle", lambda: alone(12, evaluations=np.array(
        [30.0, 90, 210, 350, 420, 60, 40, 35, 30, 25])), ("evaluation-fell",)),
    RunFault("gradient always cut", "pixels of 255", lambda: alone(11, settings={"max_grad_norm": 0.5}, curves={
        "loss/gradient_norm": 90 * (1 + 0.3 * _rng(9).random(60))}), ("gradient",)),
    RunFault("gradient always cut", "returns of ten thousand", lambda: alone(12, "ppo", curves={
        "loss/gradient_norm": _rising(40, 4000)}), ("gradient",)),
    RunFault("values of the wrong player", "Othello", lambda: muzero(11, curves={
        "selfplay/value_error": np.full(60, 13.0)}), ("value-error",)),
    RunFault("values of the wrong player", "PPO explains less than nothing", lambda: alone(12, "ppo", curves={
        "loss/explained_variance": -0.1 + 0.05 * _rng(10).normal(size=60)}), ("value",)),
]

#: Healthy runs of other kinds than those of ``run_faults``.
OTHER_HEALTHY_RUNS = {
    **{f"a first player who wins more and more {seed}": (lambda seed=seed: muzero(
        seed, "connect_four", returns=np.where(_rng(seed).random(2400) < np.linspace(0.55, 0.96, 2400), 1.0, -1.0)))
       for seed in range(30, 35)},
    **{f"Othello, where the second player is a little better {seed}": (lambda seed=seed: muzero(
        seed, returns=np.clip(_rng(seed).normal(-3, 10, 2400), -32, 32))) for seed in range(30, 35)},
    **{f"a slow start {seed}": (lambda seed=seed: alone(seed, evaluations=np.r_[np.full(
        5, 22.0) + _rng(seed).normal(size=5), np.linspace(60, 450, 6)])) for seed in range(30, 35)},
    **{f"noisy evaluations that rise {seed}": (lambda seed=seed: alone(
        seed, "ppo", evaluations=np.linspace(30, 300, 14) * (1 + 0.3 * _rng(seed).normal(size=14))))
       for seed in range(30, 35)},
    **{f"a value that learns late {seed}": (lambda seed=seed: alone(seed, "ppo", curves={
        "loss/explained_variance": np.r_[np.full(15, -0.02), np.linspace(0, 0.6, 45)]})) for seed in range(30, 35)},
    **{f"a policy that grows sure {seed}": (lambda seed=seed: muzero(seed, curves={
        "selfplay/policy_entropy": np.geomspace(1.9, 0.05, 60)})) for seed in range(30, 35)},
    **{f"Pendulum {seed}": (lambda seed=seed: alone(
        seed, "ppo", returns=np.linspace(-1300, -180, 600) + 120 * _rng(seed).normal(size=600),
        lengths=np.full(600, 200), truncated=np.ones(600, bool), evaluations=np.linspace(-1250, -170, 10)
        + 40 * _rng(seed).normal(size=10))) for seed in range(30, 35)},
}
