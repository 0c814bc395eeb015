"""Processor time of AlphaGo's search on 9×9 Go, for several batch sizes.

    OMP_NUM_THREADS=1 python benchmarks/apv.py [--channels 32] [--batches 1 8 16 32] [--parts] [--plain]

The parts are those of the recipe alphago9 (with --quick: --channels 32): a policy and a value network on hand-made
features, untrained, and rollouts by a linear policy. Two threads work: one for the tree and the networks, one for the
rollouts. Times are processor seconds of each thread, least of several searches, so that other processes matter little.
With a core for each thread, a second has 1,000,000 / max(tree and networks, rollouts) simulations.

--parts: how the time of the first thread is divided. --plain: networks as torch's modules, without fused convolutions.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from myosu.algorithms import cloning, value
from myosu.envs.registry import load_environment
from myosu.games.go.rollout import RolloutPolicy
from myosu.players import apv
from myosu.players.apv import APVPlayer, network_of
from myosu.players.rollouts import linear_rollouts
from myosu.search.apv import APVConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=800)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 16, 32])
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    environment = load_environment("go9-features")
    game, size = environment.rules, {"channels": options.channels, "blocks": options.blocks}
    policy_config, value_config = cloning.Config(**size), value.Config(**size)
    policy = cloning.make_agent(policy_config, environment.spec,
                                cloning.make_policy(policy_config, environment.spec).state_dict())
    values = value.make_agent(value_config, environment.spec,
                              value.make_value(value_config, environment.spec).state_dict())
    if options.plain:
        policy.encode, values.encode = policy.policy.encoder, values.value.encoder
    spent: Counter[str] = Counter()
    if options.parts:
        policy.encode = timed(spent, "policy network", policy.encode)
        values.encode = timed(spent, "value network", values.encode)
        apv.legal_mask = timed(spent, "legal moves", apv.legal_mask)
        for name in ("select", "to_expand", "describe", "expand", "back_up"):
            setattr(apv.GameTree, name, timed(spent, "tree", getattr(apv.GameTree, name)))
        APVPlayer._play = timed(spent, "rules", APVPlayer._play)  # type: ignore[method-assign]
    network, rollouts = network_of(policy, game, values), linear_rollouts(game, RolloutPolicy.zeros())
    print("microseconds per simulation\nbatch  tree and networks  rollouts  by the clock")
    for batch in options.batches:
        searches = [measure(APVPlayer(game, network, network, rollouts, APVConfig(
            options.simulations, rollout_weight=0.5, batch_size=batch)), spent) for _ in range(options.rounds)][1:]
        own, others, clock, parts = min(searches, key=lambda found: found[0])
        print(f"{batch:5d} {own:18.0f} {others:9.0f} {clock:13.0f}   "
              + ", ".join(f"{name} {microseconds:.0f}" for name, microseconds in parts.items()))


def timed(spent: Counter[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any, **named: Any) -> Any:
        begin = time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            spent[name] += time.thread_time() - begin  # type: ignore[assignment]

    return run


def measure(player: APVPlayer, spent: Counter[str]) -> tuple[float, float, float, dict[str, float]]:
    """Microseconds per simulation of this thread, of the others and by the clock, and of this thread's parts."""
    spent.clear()
    own, everything, clock = time.thread_time(), time.process_time(), time.perf_counter()
    player.choose(player.game.new_states(1), [[]])
    own, everything, clock = (time.thread_time() - own, time.process_time() - everything, time.perf_counter() - clock)
    player.close()
    scale = 1e6 / player.config.simulations
    return scale * own, scale * (everything - own), scale * clock, {name: scale * s for name, s in spent.items()}


if __name__ == "__main__":
    main()
