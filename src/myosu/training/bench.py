"""Measures how fast this machine plays, searches and learns a game with MuZero, on one thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

from myosu.algorithms import muzero
from myosu.envs.native import NativeVectorEnv
from myosu.games.game import Game
from myosu.games.playout import random_games


def run_bench(game: Game, config: muzero.Config, rounds: int = 11, seconds: float = 0.4) -> dict[str, Any]:
    """Run the benchmark. Returns its figures by name.

    An evaluation is one network evaluation of a position: a search needs one for the root and one per simulation.
    Self-play and the bare network do the same evaluations in turn, ``rounds`` times for about ``seconds`` each.
    ``search_efficiency`` is the median over the rounds of the ratio of the two rates, so that other load on the machine
    slows both alike.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        env = NativeVectorEnv(game, config.num_envs, seed=0)
        actor = muzero.Actor(config, env, seed=0)
        replay = muzero.make_replay(config, env.spec)
        learner = muzero.make_learner(config, env.spec, game.symmetries, seed=0)

        def play() -> None:
            for rows in actor.step().sequences:
                replay.add(rows, version=0)

        while replay.positions < config.batch_size:
            play()
        evaluate = _bare_network(actor, config)
        evaluations = config.num_envs * (config.simulations + 1)
        network, self_play = [], []
        for _ in range(rounds):
            network.append(evaluations * _rate(evaluate, seconds))
            self_play.append(evaluations * _rate(play, seconds))
        learning = [config.batch_size * _rate(lambda: learner.update(replay, 0.5), seconds) for _ in range(rounds)]
    finally:
        torch.set_num_threads(before)
    return {
        "rules_steps_per_second_per_core": rules_rate(game),
        "network_evaluations_per_second": median(network),
        "selfplay_evaluations_per_second": median(self_play),
        "search_efficiency": median(b / a for a, b in zip(network, self_play, strict=True)),
        "learner_samples_per_second": median(learning),
        "dtype": actor.planner.precision,
        "device": str(actor.planner.device),
        "cores": os.cpu_count(),
    }


def _bare_network(actor: muzero.Actor, config: muzero.Config) -> Callable[[], None]:
    """A function that does the network evaluations of one search, without the search."""
    spec, planner, n = actor.spec, actor.planner, config.num_envs
    device = planner.device
    observation = torch.from_numpy(np.zeros((n, *spec.observation_shape), spec.observation_dtype)).to(device)
    action = torch.arange(n, device=device) % spec.num_actions

    @torch.inference_mode()
    def evaluate() -> None:
        latent, _, policy = planner.model.initial(observation)
        for _ in range(config.simulations):
            policy = planner.model.recurrent(latent, action).policy_logits
        float(policy.float().sum())  # waits until a GPU has finished

    return evaluate


def _rate(call: Callable[[], Any], seconds: float) -> float:
    """Calls per second, measured over about ``seconds`` after a warm-up call."""
    call()
    count, start = 0, time.perf_counter()
    while True:
        call()
        count += 1
        if (passed := time.perf_counter() - start) >= seconds:
            return count / passed


def rules_rate(game: Game, runs: int = 200, seconds: float = 0.005) -> float:
    """Steps per second with action mask, observation and a random choice. The best of many short runs, because other
    processes can only make a run slower."""
    random_games(game, 10)  # compiles
    start = time.perf_counter()
    random_games(game, 1000)
    games = max(1, int(1000 * seconds / (time.perf_counter() - start)))
    best = 0.0
    for seed in range(runs):
        start = time.perf_counter()
        steps = random_games(game, games, seed).lengths.sum()
        best = max(best, steps / (time.perf_counter() - start))
    return best
