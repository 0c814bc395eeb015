"""Trains a new network on the games of a finished run and reports its model's errors on held-out games.

    python scripts/fit_replay.py RUN --updates 1200 learning_rate=2e-3 batch_size=128

It takes minutes and needs no self-play, so settings or networks can be compared on the same data. Other settings are
those of the run. For MuZero runs of board games with ``reconstruction_loss_weight``.
"""

import argparse
import ast
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch

from myosu.algorithms import load_settings, muzero
from myosu.losses.categorical import cross_entropy
from myosu.replay.replay import Replay
from myosu.replay.unroll import UnrollSettings, sample_unrolled
from myosu.runs.checkpoint import find_checkpoint

STEPS = 5
PLIES_LEFT = ((1, 2), (3, 5), (6, 10), (11, 20), (21, 40), (41, 1000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("settings", nargs="*", metavar="name=value")
    parser.add_argument("--updates", type=int, default=1200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    checkpoint = find_checkpoint(arguments.run)
    run = checkpoint.config
    given = {name: ast.literal_eval(value) for name, value in (s.split("=", 1) for s in arguments.settings)}
    config = dataclasses.replace(load_settings(run), **given)
    environment = run.environment
    spec = environment.spec
    replay = muzero.make_replay(config, spec)
    replay.load(arguments.run / "replay", checkpoint.manifest["replay"])
    # The last tenth is held out, with a gap of one game's length: the learner samples only the first ``positions``
    # rows.
    stored, replay.positions = replay.positions, int(0.9 * replay.positions)
    held_out = np.random.default_rng(0).integers(replay.positions + spec.max_steps, stored - spec.max_steps, 4000)

    learner = muzero.make_learner(config, spec, environment.symmetries, seed=1)
    start = time.process_time()
    for update in range(arguments.updates):
        learner.update(replay, update / arguments.updates)
    print(f"{arguments.updates} updates in {time.process_time() - start:.0f} s of one core", given or "")
    report(learner, replay, held_out)


@torch.inference_mode()
def report(learner: muzero.Learner, replay: Replay, rows: np.ndarray) -> None:
    config, net, support = learner.config, learner.net.eval(), learner.support
    settings = UnrollSettings(STEPS, learner.discount, predict_rewards=config.predict_rewards, next_observations=True)
    batch = sample_unrolled(replay, rows, settings, np.random.default_rng(0))
    assert batch.next_observations is not None
    planes = muzero.decoded_planes(config, learner.spec)[0]
    latent, value, policy = net.initial(torch.from_numpy(batch.observation))
    error = np.abs(support.mean(value).numpy() - batch.value[:, 0])
    left = replay.columns["remaining"][rows]
    print("|value − outcome| by plies left:", "  ".join(
        f"{low}–{min(high, left.max())}: {error[(left >= low) & (left <= high)].mean():.2f}" for low, high in PLIES_LEFT
        if ((left >= low) & (left <= high)).any()))
    print(f"step 0: policy cross-entropy {_mean(cross_entropy(policy, torch.from_numpy(batch.policy[:, 0]))):.3f}")
    for k in range(STEPS):
        out = net.recurrent(latent, torch.from_numpy(batch.action[:, k]))
        latent, there = out.latent, batch.valid[:, k + 1]
        ended = batch.valid[:, k] & ~there
        cost = cross_entropy(out.policy_logits, torch.from_numpy(batch.policy[:, k + 1]))[torch.from_numpy(there)]
        line = f"step {k + 1}: policy cross-entropy {_mean(cost):.3f}"
        if net.decoder is not None and planes:
            seen = (net.decoder(latent)[:, :planes] > 0).numpy()
            exact = (seen == batch.next_observations[:, k]).all((1, 2, 3))[there].mean()
            line += f", observation exact in {exact:.1%}"
        value_error = np.abs(support.mean(out.value_logits).numpy() - batch.value[:, k + 1])[ended]
        print(f"{line}, |value error| where the game has just ended {value_error.mean():.2f}")


def _mean(x: torch.Tensor) -> float:
    return float(x.mean())


if __name__ == "__main__":
    main()
