"""The fraction of Muesli's update time that its networks take: samples per second of whole updates and of the bare
network passes, measured alternately. The bare passes are: target network and look-ahead forward; unrolled model forward
and backward on the same positions; gradient norm and optimiser step. Times are CPU seconds.

    python benchmarks/muesli_learner.py [CartPole-v1] [--rounds 30]
"""

import argparse
import statistics
import time

import torch

from myosu.algorithms import muesli
from myosu.envs.registry import load_environment
from myosu.presets import load_preset
from myosu.processes import keep_freed_memory


def bare_passes(learner, batch):
    """A function that runs the bare passes for ``batch``, with arbitrary output gradients; everything else is
    prepared."""
    net, target, config = learner.net, learner.target, learner.config
    exact = learner.num_actions <= config.lookahead_actions
    looked = learner.num_actions if exact else config.lookahead_actions + config.retrace
    observation, action = (batch[name].reshape(-1, *batch[name].shape[2:]) for name in ("observation", "action"))
    rows, ahead = learner._looked_at(batch), batch["ahead"]
    seen, first, along = (learner._tensor(part) for part in (observation[rows], observation[ahead[0]],
                                                             action[ahead[:-1]]))
    chosen = torch.zeros(len(seen) * looked, dtype=torch.int64, device=learner.device)
    slopes = [torch.full_like(output, 1e-9) for output in learner._unroll(batch) if output is not None]

    def run():
        with torch.no_grad():
            latent = target.represent(seen)
            target.policy(latent)
            if not exact:
                target.value(latent)
            imagined = target.imagine(latent.repeat_interleave(looked, 0), chosen)
            target.value(imagined)
            if target.reward is not None:
                target.reward(imagined)
        outputs = [output for output in net.read(net.unroll(net.represent(first), along)) if output is not None]
        learner.parameters.zero_gradient()
        torch.autograd.backward(outputs, slopes)
        learner.parameters.clip_gradient(config.max_grad_norm)
        learner.optimizer.step(0.0)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", nargs="?", default="CartPole-v1")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as `myosu train` does
    torch.set_flush_denormal(True)
    environment = load_environment(options.env, {}, "score")
    config = muesli.Config(**load_preset("muesli", environment, muesli.Config))
    env = environment.make(config.num_envs, 0, "none")
    actor, replay = muesli.make_actor(config, env, 0), muesli.make_replay(config, env.spec)
    learner = muesli.make_learner(config, env.spec, environment.symmetries, 0)
    actor.load_weights(learner.weights(), 0)
    while replay.positions < config.batch_size * 2:
        for rows in actor.step().sequences:
            replay.add(rows, 0)
    bare = bare_passes(learner, learner._draw(replay))
    seconds = {"update": [], "bare": []}
    for _ in range(options.rounds + 3):
        for name, run in (("update", lambda: learner.update(replay, 0.0)), ("bare", bare)):
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    whole, least = (statistics.median(seconds[name][3:]) for name in ("update", "bare"))
    print(f"{options.env}: an update of {config.batch_size} positions {whole * 1e3:.2f} ms "
          f"({config.batch_size / whole:,.0f} samples/s), bare passes {least * 1e3:.2f} ms "
          f"({config.batch_size / least:,.0f}), ratio {least / whole:.2f}")
    quick = {name: min(found) for name, found in seconds.items()}
    print(f"minima: {quick['update'] * 1e3:.2f} and {quick['bare'] * 1e3:.2f} ms, "
          f"ratio {quick['bare'] / quick['update']:.2f}")


if __name__ == "__main__":
    main()
