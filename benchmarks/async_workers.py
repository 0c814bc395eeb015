"""Throughput of synchronous and asynchronous workers in environments with widely varying step times.

A step sleeps for a log-normal time with a mean of 20 ms; one in a thousand is longer than 200 ms. The reward is that
time, so the ideal throughput, of workers that never wait, is known.
"""

from __future__ import annotations

import argparse
import json
import time

import gymnasium
import numpy as np
from gymnasium import spaces

from myosu.envs.workers import WorkerVectorEnv

#: ln(200 / 20) = 3.09 σ − σ²/2, as 3.09 standard deviations leave out one in a thousand.
SIGMA = 0.867
MEAN_SECONDS = 0.02


class LongTailed(gymnasium.Env):
    observation_space = spaces.Box(0, 1, (64,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(64, np.float32), {}

    def step(self, action):
        seconds = self.np_random.lognormal(np.log(MEAN_SECONDS) - SIGMA**2 / 2, SIGMA)
        time.sleep(seconds)
        return np.ones(64, np.float32), seconds, False, False, {}


def measure(num_envs: int, seconds: float, min_ready: int | None) -> dict[str, float]:
    """Steps/s, and its fraction of the ideal throughput of workers that never wait."""
    env = WorkerVectorEnv(LongTailed, num_envs)
    try:
        env.reset()
        now = env.recv()
        steps, slept, start = 0, 0.0, time.monotonic()
        while time.monotonic() - start < seconds:
            env.send(np.zeros(len(now.env_ids), np.int64), now.env_ids)
            now = env.recv(min_ready)
            steps += len(now.env_ids)
            slept += float(now.reward.sum())
        rate = steps / (time.monotonic() - start)
    finally:
        env.close()
    return {"steps_per_second": rate, "mean_step_ms": 1000 * slept / steps,
            "share_of_ideal": rate / (num_envs * steps / slept)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    args = parser.parse_args()
    found = {"synchronous": measure(args.envs, args.seconds, None),
             "asynchronous": measure(args.envs, args.seconds, 1)}
    ratio = found["asynchronous"]["steps_per_second"] / found["synchronous"]["steps_per_second"]
    print(json.dumps(found | {"asynchronous_over_synchronous": ratio}, indent=2))


if __name__ == "__main__":
    main()
