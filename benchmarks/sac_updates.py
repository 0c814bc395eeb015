"""SAC updates per second of Myosu and Stable-Baselines3, with the same settings on the same machine.

    .venv/bin/python benchmarks/sac_updates.py myosu
    .venv-sb3/bin/python benchmarks/sac_updates.py sb3

Pendulum-v1, one thread, in processor seconds, which depend little on other programs. Run both at the same time.
"""

from __future__ import annotations

import sys
import time

import torch

HIDDEN, BATCH, STEPS = (256, 256), 256, 1000


def myosu(updates: int) -> None:
    import numpy as np

    from myosu.algorithms import sac
    from myosu.envs.gym_env import GymVectorEnv

    config = sac.Config(hidden=HIDDEN, batch_size=BATCH, replay_capacity=10_000, learning_starts=STEPS)
    env = GymVectorEnv("Pendulum-v1", 1, 0)
    replay, actor = sac.make_replay(config, env.spec), sac.make_actor(config, env, 0)
    learner = sac.make_learner(config, env.spec, None, 0)
    while replay.positions < STEPS:
        for rows in actor.step().sequences:
            replay.add(rows, 0)
    assert np.isfinite(replay.columns["reward"]).all()
    measure("myosu", lambda count: [learner.update(replay, 0.0) for _ in range(count)], updates)


def sb3(updates: int) -> None:
    from stable_baselines3 import SAC

    model = SAC("MlpPolicy", "Pendulum-v1", batch_size=BATCH, buffer_size=10_000, learning_starts=STEPS,
                policy_kwargs={"net_arch": list(HIDDEN)}, device="cpu", seed=0)
    model.learn(STEPS)
    measure("sb3", lambda count: model.train(gradient_steps=count, batch_size=BATCH), updates)


def measure(name: str, update, updates: int) -> None:
    update(50)
    rates = []
    for _ in range(5):
        start = time.process_time()
        update(updates)
        rates.append(updates / (time.process_time() - start))
    print(f"{name}: {sorted(rates)[2]:.0f} updates per processor second ({min(rates):.0f} to {max(rates):.0f})")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    {"myosu": myosu, "sb3": sb3}[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 200)
