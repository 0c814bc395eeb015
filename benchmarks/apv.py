"""Simulations per second of AlphaGo's search on 9×9 Go, for several batch sizes and combinations of parts.

    OMP_NUM_THREADS=1 python benchmarks/apv.py [--simulations 400] [--batches 1 8 16 32]

The network is that of AlphaZero's preset, untrained; rollouts are uniformly random without filling eyes. There are two
threads: one for the tree and the networks, and one for the rollouts.
"""

from __future__ import annotations

import argparse
import time

import torch

from myosu.algorithms import alphazero
from myosu.algorithms.muzero import make_net
from myosu.envs.registry import load_environment
from myosu.games.go.rollout import RolloutPolicy
from myosu.players.apv import APVPlayer, network_of
from myosu.players.rollouts import linear_rollouts
from myosu.presets import load_preset
from myosu.search.apv import APVConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 16, 32])
    options = parser.parse_args()
    torch.set_num_threads(1)
    environment = load_environment("go9")
    game = environment.rules
    config = alphazero.Config(**load_preset("alphazero", environment, alphazero.Config) | {"precision": "float32"})
    agent = alphazero.make_agent(config, environment.spec, make_net(config, environment.spec).state_dict())
    network, rollouts = network_of(agent, game), linear_rollouts(game, RolloutPolicy.zeros())
    print("lambda  batch  per second  per second of processor time")
    for weight in (0.0, 0.5, 1.0):
        for batch in options.batches:
            found = network if weight < 1 else None
            player = APVPlayer(game, found, found, rollouts if weight else None, APVConfig(
                options.simulations, rollout_weight=weight, batch_size=batch, c_puct=2.0))
            player.choose(game.new_states(1), [[]])  # compiles
            player.forget()
            begin, spent = time.perf_counter(), time.process_time()
            player.choose(game.new_states(1), [[]])
            seconds, spent = time.perf_counter() - begin, time.process_time() - spent
            print(f"{weight:6.1f} {batch:6d} {options.simulations / seconds:11.0f} {options.simulations / spent:11.0f}")
            player.close()


if __name__ == "__main__":
    main()
