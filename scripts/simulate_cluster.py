"""Simulates the samples/s of one learner with actors on 1 to 64 hosts, by discrete events with measured rates.

    python scripts/simulate_cluster.py [--game othello] [--hosts 1 2 4 8 16 32 64] [--cores 8] [--plot cluster.png]

An actor plays the episodes of a report, sends it through the link of the learner's machine, waits until the relay (one
process) has received it, and begins the next one. There is one call in flight per actor, as in sources/relay.py.
Weights are sent through the same link every two seconds, once to each host. The learner consumes the received data, at
most at its own rate. The bottleneck is printed for each size: the actors, the link, the relay or the learner.
"""

from __future__ import annotations

import argparse
import heapq
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Game:
    """steps: environment steps/s of an actor on one core. episode_steps, episode_bytes: length and size of an episode.
    weights: bytes. learner: samples/s of a learner on one core. replay_ratio: samples drawn per step."""

    steps: float
    episode_steps: float
    episode_bytes: float
    weights: float
    learner: float
    replay_ratio: float


#: Othello's preset, with the figures of docs/results.md: 150 k evaluations/s per core and 32 per move; an update of 64
#: samples in 22.6 ms; 529 bytes per position. "slow" is assumed: an environment of 100 steps/s, 30 kB per episode, and
#: DQN.
GAMES = {
    "othello": Game(4_700, 60, 60 * 529, 0.51e6, 2_830, 0.8),
    "slow": Game(100, 200, 30e3, 5e6, 20_000, 8.0),
}
#: Measured with Ray 2.60 on two crowded cores: a call with one report takes the relay 2.7 ms; a link between two
#: network namespaces carried 40 MB/s.
CALL_SECONDS, LINK_BYTES = 2.7e-3, 40e6
WEIGHTS_SECONDS, REPORT_EPISODES, REPORT_SECONDS = 2.0, 32, 1.0


@dataclass(frozen=True)
class Outcome:
    """steps: environment steps/s that reach the learner. samples: samples/s that it trains on. busy: fraction of the
    time for which link and relay are busy; for the learner, the fraction that it would need to train on every step
    (above 1, the actors have to wait for it)."""

    steps: float
    samples: float
    busy: dict[str, float]

    @property
    def limit(self) -> str:
        """The bottleneck of the received steps: the link, the relay or the actors."""
        name = max(("link", "relay"), key=lambda name: self.busy[name])
        return name if self.busy[name] > 0.9 else "actors"


def simulate(game: Game, hosts: int, cores: int, seconds: float = 60.0) -> Outcome:
    """The learner's machine is one of the hosts; one of its cores learns."""
    actors = hosts * cores - 1
    episodes = max(1.0, min(REPORT_EPISODES, REPORT_SECONDS * game.steps / game.episode_steps))
    play, report = episodes * game.episode_steps / game.steps, episodes * game.episode_bytes
    # Weights and reports share the link; weights that would take more than half of it are sent less often.
    weights_share = min(0.5, (hosts - 1) * game.weights / WEIGHTS_SECONDS / LINK_BYTES)
    sending = report / (LINK_BYTES * (1 - weights_share))
    link_free = relay_free = link_busy = relay_busy = steps = 0.0
    ends = [(play * (actor + 1) / actors, actor) for actor in range(actors)]  # staggered over the time of one report
    heapq.heapify(ends)
    while ends[0][0] < seconds:
        now, actor = heapq.heappop(ends)
        if actor >= cores - 1:  # on another host
            link_free, link_busy = max(link_free, now) + sending, link_busy + sending
            now = link_free
        relay_free, relay_busy = max(relay_free, now) + CALL_SECONDS, relay_busy + CALL_SECONDS
        if relay_free < seconds:
            steps += episodes * game.episode_steps
        heapq.heappush(ends, (relay_free + play, actor))
    made = steps / seconds * game.replay_ratio
    busy = {"link": link_busy / seconds, "relay": relay_busy / seconds, "learner": made / game.learner}
    return Outcome(steps / seconds, min(made, game.learner), busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", choices=list(GAMES), nargs="+", default=list(GAMES))
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--cores", type=int, default=8, help="cores of each host")
    parser.add_argument("--plot", type=Path, help="file for a plot of the curves")
    options = parser.parse_args()
    curves = {}
    for name in options.game:
        print(f"{name}\n{'hosts':>8}{'steps/s':>12}{'samples/s':>12}  limited by")
        curves[name] = [simulate(GAMES[name], hosts, options.cores) for hosts in options.hosts]
        for hosts, outcome in zip(options.hosts, curves[name], strict=True):
            print(f"{hosts:>8}{outcome.steps:>12,.0f}{outcome.samples:>12,.0f}  {outcome.limit}"
                  f"{', learner' if outcome.busy['learner'] >= 1 else ''}")
    if options.plot:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(6, 4))
        for name, curve in curves.items():
            axes.plot(options.hosts, [outcome.steps for outcome in curve], marker="o", label=name)
        axes.set(xscale="log", yscale="log", xlabel=f"hosts of {options.cores} cores",
                 ylabel="environment steps/s that arrive")
        axes.legend()
        figure.savefig(options.plot, dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main()
