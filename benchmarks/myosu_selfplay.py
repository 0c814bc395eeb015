"""Myosu's self-play, and self-play alternating with learning, on one thread; Myosu's side of ``side_by_side.py``.

    .venv/bin/python benchmarks/myosu_selfplay.py [--game othello] [--envs 256] [--simulations 16] [--learn]
"""

from __future__ import annotations

import argparse

from myosu.algorithms import muzero
from myosu.envs.native import NativeVectorEnv
from myosu.games import load_game
from myosu.processes import keep_freed_memory
from myosu.randomness import prepare_process
from worker import end_to_end, rate, serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="othello")
    parser.add_argument("--envs", type=int, default=256, help="parallel games")
    parser.add_argument("--simulations", type=int, default=16)
    parser.add_argument("--search", choices=["gumbel", "puct"], default="gumbel")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--learn", action="store_true", help="also measure self-play and training end to end")
    parser.add_argument("--batch-size", type=int, default=256, help="sequences per update")
    parser.add_argument("--updates-per-game", type=float, default=6.25)
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds per measurement")
    parser.add_argument("--serve", action="store_true", help="measure once for each line on stdin")
    args = parser.parse_args()
    prepare_process(0)
    keep_freed_memory()  # both as `myosu train` does
    game = load_game(args.game)
    config = muzero.Config(channels=args.channels, blocks=args.blocks, num_envs=args.envs, simulations=args.simulations,
                           search=args.search, batch_size=args.batch_size, device="cpu")
    env = NativeVectorEnv(game, args.envs, seed=0)
    replay = muzero.make_replay(config, env.spec)
    actor = muzero.make_actor(config, env, seed=0)
    learner = muzero.make_learner(config, env.spec, game.symmetries, seed=0)

    def play() -> int:
        for rows in actor.step().sequences:
            replay.add(rows, version=0)
        return args.envs

    def learn() -> int:
        learner.update(replay, progress=0.5)
        actor.load_weights(learner.weights(), learner.updates)  # after every update: more often than in a run
        return 1

    while replay.positions < args.batch_size:
        play()
    if args.learn:
        learn()

    def measure() -> dict[str, float]:
        collection = rate(play, args.seconds)
        rates = {"simulations_per_second": collection * args.simulations}
        if args.learn:
            game_length = replay.positions / replay.games
            updates_per_step = args.updates_per_game / game_length
            rates |= end_to_end(collection, rate(learn, args.seconds), updates_per_step)
        return rates

    serve(measure)


if __name__ == "__main__":
    main()
