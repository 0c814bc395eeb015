"""Trains an environment with Stable-Baselines3 and the settings of its zoo; prints one line of JSON.

    sh scripts/setup_sb3.sh
    .venv-sb3/bin/python benchmarks/sb3_run.py CartPole-v1 --algorithm ppo [--seed 0] [--threads 1 2]

Nothing is logged. Environments are stepped in process, which is the zoo's default and the fastest for these.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from learning import Clock, Greedy, arguments, make_env, quickest_threads, report


def linear(start: float) -> Callable[[float], float]:
    return lambda remaining: start * remaining


#: hyperparams/ppo.yml and dqn.yml of rl_zoo3 2.9.2; the number of steps is in ``learning.STEPS``.
ZOO: dict[tuple[str, str], dict[str, Any]] = {
    ("CartPole-v1", "ppo"): dict(
        n_envs=8, n_steps=32, batch_size=256, gae_lambda=0.8, gamma=0.98, n_epochs=20, ent_coef=0.0,
        learning_rate=linear(1e-3), clip_range=linear(0.2)),
    ("CartPole-v1", "dqn"): dict(
        n_envs=1, learning_rate=2.3e-3, batch_size=64, buffer_size=100_000, learning_starts=1000,
        gamma=0.99, target_update_interval=10, train_freq=256, gradient_steps=128, exploration_fraction=0.16,
        exploration_final_eps=0.04, policy_kwargs=dict(net_arch=[256, 256])),
    ("LunarLander-v3", "ppo"): dict(
        n_envs=16, n_steps=1024, batch_size=64, gae_lambda=0.98, gamma=0.999, n_epochs=4, ent_coef=0.01),
    ("LunarLander-v3", "dqn"): dict(
        n_envs=1, learning_rate=6.3e-4, batch_size=128, buffer_size=50_000, learning_starts=0,
        gamma=0.99, target_update_interval=250, train_freq=4, gradient_steps=-1, exploration_fraction=0.12,
        exploration_final_eps=0.1, policy_kwargs=dict(net_arch=[256, 256])),
    ("MiniGrid-Empty-Random-5x5-v0", "ppo"): dict(
        normalize=True, n_envs=8, n_steps=128, batch_size=64, gae_lambda=0.95, gamma=0.99, n_epochs=10, ent_coef=0.0,
        learning_rate=2.5e-4, clip_range=0.2),
    ("ALE/Pong-v5", "ppo"): dict(
        n_envs=8, n_steps=128, batch_size=256, n_epochs=4, ent_coef=0.01, vf_coef=0.5, learning_rate=linear(2.5e-4),
        clip_range=linear(0.1)),
}
#: Enough for a few updates with every setting above, but short compared with a run.
PROBE_STEPS = 2048


class Clipped(gymnasium.RewardWrapper):
    def reward(self, reward: Any) -> float:
        return float(max(-1.0, min(1.0, float(reward))))


class Ticks(BaseCallback):
    """A rollout starts after the update on the previous one."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def _on_rollout_start(self) -> None:
        self._clock.tick(self.num_timesteps)

    def _on_training_end(self) -> None:
        self._clock.tick(self.num_timesteps, last=True)

    def _on_step(self) -> bool:
        return True


def make_agent(environment: str, algorithm: str, seed: int) -> BaseAlgorithm:
    settings = dict(ZOO[environment, algorithm])
    atari = environment.startswith("ALE/")
    envs = make_vec_env(lambda: Clipped(make_env(environment)) if atari else make_env(environment),
                        settings.pop("n_envs"), seed=seed)
    if settings.pop("normalize", False):
        envs = VecNormalize(envs, gamma=settings["gamma"])
    policy = "CnnPolicy" if atari else "MlpPolicy"
    return {"ppo": PPO, "dqn": DQN}[algorithm](policy, envs, seed=seed, device="cpu", **settings)


def choose(agent: BaseAlgorithm, observations: np.ndarray) -> np.ndarray:
    """The agent's most probable actions for the environments' own observations."""
    envs = agent.get_vec_normalize_env()
    return agent.predict(envs.normalize_obs(observations) if envs else observations, deterministic=True)[0]


def main() -> None:
    args = arguments(__doc__, sorted({environment for environment, _ in ZOO}), ["ppo", "dqn"])
    threads = quickest_threads(args.threads,
                               lambda: make_agent(args.environment, args.algorithm, args.seed).learn(PROBE_STEPS))
    agent = make_agent(args.environment, args.algorithm, args.seed)
    greedy = Greedy(args.environment, args.episodes, args.seed, partial(choose, agent))
    clock = Clock(greedy.mean_return, args.evaluate_every)
    agent.learn(args.steps, callback=Ticks(clock))
    print(report(args, threads, clock.evaluations))


if __name__ == "__main__":
    main()
