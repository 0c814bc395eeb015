"""The third set of runs: records of other shapes, lengths and sizes, measured before anything was changed for them."""

from __future__ import annotations

import numpy as np

from faults.run_faults import RunFault, alone, curve, muzero

_rng = np.random.default_rng
_RAMP = np.linspace(0, 1, 60)

THIRD_RUN_FAULTS = [
    RunFault("support too wide", "values of a score, for a game that is won or lost", lambda: muzero(
        21, "connect_four", {"value_range": (-42.0, 42.0)}), ("support",)),
    RunFault("support too wide", "a range of one side", lambda: muzero(22, settings={"value_range": (0.0, 200.0)}),
             ("support",)),
    RunFault("replay too small", "twenty batches of few games", lambda: muzero(
        21, settings={"replay_capacity": 1500, "batch_size": 64}), ("replay-size",)),
    RunFault("learning rate × 100", "MuZero, 0.4", lambda: muzero(21, settings={"learning_rate": 0.4}, curves={
        "loss/value_loss": 3.5 + 0.3 * _rng(0).normal(size=60)}), ("learning-rate",)),
    RunFault("learning rate × 100", "PPO, in bursts", lambda: alone(22, "ppo", {"learning_rate": 1e-2}, curves={
        "loss/approx_kl": np.where(_rng(1).random(60) < 0.7, 1.5, 0.02)}), ("learning-rate",)),
    RunFault("learning rate ÷ 100", "DQN, 2e-5", lambda: alone(21, settings={"learning_rate": 2e-5}, evaluations=
             20 + _rng(2).normal(size=10)), ("learning-rate",)),
    RunFault("seats unequal", "half the games, against a policy that moves at random", lambda: muzero(
        21, win_rates=(0.98, 0.5)), ("seats",)),
    RunFault("seats unequal", "the second player wins by eight discs", lambda: muzero(
        22, returns=np.clip(_rng(3).normal(-8, 4, 2400), -32, 32)), ("seats",)),
    RunFault("entropy collapse", "in PPO, at once", lambda: alone(21, "ppo", curves={
        "episodes/policy_entropy": np.r_[0.6, np.full(59, 0.001)]}), ("entropy",)),
    RunFault("stale weights", "half the run behind", lambda: muzero(21, age=1500), ("stale-weights",)),
    RunFault("values explode", "late", lambda: alone(21, curves={
        "loss/q_mean": np.r_[curve(5, 60, 45, _rng(4)), np.geomspace(80, 9e5, 15)]}), ("value-explosion",)),
    RunFault("reward without information", "noise about a hundred", lambda: alone(21, "ppo", curves={
        "loss/explained_variance": 0.004 * _rng(5).normal(size=60)}, returns=100 + 30 * _rng(6).normal(size=600),
        lengths=_rng(7).integers(40, 90, 600), evaluations=100 + 4 * _rng(19).normal(size=10)),
             ("reward-information", "evaluation-flat")),
    RunFault("overfitting", "Connect Four, by a half", lambda: muzero(
        21, "connect_four", returns=np.sign(_rng(9).normal(size=2400)), curves={
            "loss/value_loss": curve(2.5, 0.3, 60, _rng(10), 0.03),
            "selfplay/value_error": np.interp(_RAMP, [0, 0.3, 1], [0.8, 0.55, 0.95])}), ("overfitting",)),
    RunFault("too few simulations", "PUCT, 3 for 7", lambda: muzero(
        21, "connect_four", {"search": "puct", "simulations": 3}), ("simulations",)),
    RunFault("absurd replay ratio", "DQN, a third of a sample a step", lambda: alone(
        21, settings={"replay_ratio": 0.3}), ("replay-ratio",)),
    RunFault("truncation as termination", "250 steps, more and more often", lambda: alone(
        21, "ppo", returns=np.minimum(np.r_[_rng(11).integers(10, 240, 400), np.full(200, 250)], 250).astype(float),
        truncated=np.zeros(600, bool)), ("time-limit",)),
    RunFault("not finite", "from the start", lambda: alone(21, curves={"loss/loss": np.full(60, np.nan)}),
             ("not-finite",)),
    RunFault("flat evaluation", "of Pendulum, as bad as at random", lambda: alone(
        21, "ppo", returns=-1200 + 150 * _rng(12).normal(size=600), lengths=np.full(600, 200),
        truncated=np.ones(600, bool), evaluations=-1200 + 40 * _rng(13).normal(size=12)), ("evaluation-flat",)),
    RunFault("flat evaluation", "climbs, and forgets it all", lambda: alone(22, evaluations=np.array(
        [20.0, 60, 150, 260, 330, 340, 200, 90, 40, 30, 25, 22])), ("evaluation-fell",)),
    RunFault("gradient always cut", "MuZero, tens of thousands", lambda: muzero(21, curves={
        "loss/gradient_norm": 3e4 * (1 + 0.2 * _rng(14).random(60))}), ("gradient",)),
    RunFault("values of the wrong player", "Connect Four, a sign", lambda: muzero(
        21, "connect_four", curves={"selfplay/value_error": 1.6 + 0.05 * _rng(15).normal(size=60)}), ("value-error",)),
]

THIRD_HEALTHY_RUNS = {
    **{f"long plateau, then a rise {seed}": (lambda seed=seed: alone(
        seed, "ppo", evaluations=np.r_[np.full(8, 25.0), np.linspace(40, 400, 8)] + 5 * _rng(seed).normal(size=16)))
       for seed in range(40, 45)},
    **{f"learns early and stays {seed}": (lambda seed=seed: alone(
        seed, evaluations=np.r_[30, 200, 420, np.full(9, 480)] + 15 * _rng(seed).normal(size=12)))
       for seed in range(40, 45)},
    **{f"Connect Four, both seats win {seed}": (lambda seed=seed: muzero(
        seed, "connect_four", returns=np.sign(_rng(seed).normal(0.3, 1, 2400)), win_rates=(0.98, 0.85)))
       for seed in range(40, 45)},
    **{f"an ending of few lengths {seed}": (lambda seed=seed: alone(
        seed, "ppo", returns=_rng(seed).choice([-1.0, 1.0], 600, p=[0.4, 0.6]),
        lengths=_rng(seed).choice([9, 18, 27, 36], 600), truncated=np.zeros(600, bool),
        evaluations=np.linspace(-0.6, 0.8, 10))) for seed in range(40, 45)},
    **{f"a gradient cut now and then {seed}": (lambda seed=seed: muzero(seed, curves={
        "loss/gradient_norm": np.where(_rng(seed).random(60) < 0.2, 60.0, 4.0)})) for seed in range(40, 45)},
    **{f"Q above the returns for a while {seed}": (lambda seed=seed: alone(seed, curves={
        "loss/q_mean": np.r_[np.linspace(5, 130, 20), np.linspace(130, 70, 40)]})) for seed in range(40, 45)},
}
