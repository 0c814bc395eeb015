"""Time of the tree search alone, without a network: selection, expansion and backup, on one core.

    python benchmarks/search.py [--batch 256] [--actions 65]
"""

import argparse
import time

import numpy as np

from myosu.search import Expansion, GumbelConfig, PUCTConfig, Search


def microseconds_per_simulation(config: GumbelConfig | PUCTConfig, batch: int, num_actions: int, repeats: int) -> float:
    """Median time of a batched search over ``repeats`` repetitions, with random arrays as the network's outputs."""
    rng = np.random.default_rng(0)
    slots = config.num_simulations + 1
    rewards = 0.1 * rng.standard_normal((slots, batch), np.float32)
    values = rng.standard_normal((slots, batch), np.float32)
    logits = rng.standard_normal((slots, batch, num_actions), np.float32)
    legal = rng.random((batch, num_actions)) < 0.2
    legal[:, -1] = True
    search = Search(config, batch, num_actions, seed=0)
    discount = np.full(batch, -1.0, np.float32)

    def expand(parents, actions, slot):
        return Expansion(rewards[slot], discount, values[slot], logits[slot])

    times = []
    for _ in range(repeats + 1):  # the first one compiles, or loads from the cache
        start = time.perf_counter()
        search.run(logits[0], values[0], legal, expand)
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:])) * 1e6 / (batch * config.num_simulations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--actions", type=int, default=65)
    parser.add_argument("--repeats", type=int, default=40)
    arguments = parser.parse_args()
    for config in (GumbelConfig(16), GumbelConfig(50), PUCTConfig(16), PUCTConfig(50)):
        cost = microseconds_per_simulation(config, arguments.batch, arguments.actions, arguments.repeats)
        print(f"{type(config).__name__:13} {config.num_simulations:3} simulations: {cost:.2f} µs per simulation")


if __name__ == "__main__":
    main()
