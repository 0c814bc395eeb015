"""Random games of Go per second on one core: Myosu, OpenSpiel (C++) and, in a separate process, pgx (XLA).

    sh scripts/setup_mctx.sh    # for pgx
    taskset -c 0 .venv/bin/python benchmarks/go_playouts.py [--size 9] [--rounds 5] [--policy rollout.npz]

Figures are medians over rounds in which all programs take turns, in CPU seconds. Myosu's playouts do not fill eyes.
Games with the full rules, in Myosu and the others, choose among all legal moves (passing only if there is no other
move, except in OpenSpiel). They end after two passes or, as in OpenSpiel, after twice as many moves as the board has
points; compare moves per second for them. ``--policy`` adds rollouts of a policy from ``scripts/learn_rollout.py``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from myosu.games.game import compiled
from myosu.games.go import make_game
from myosu.games.go.board import copy_board
from myosu.games.go.playout import list_empties, playout_dtype, random_playout
from myosu.games.go.rollout import RolloutPolicy, rollout, rollout_dtype, start_rollout
from myosu.games.playout import random_actions

PGX = ".venv-mctx/bin/python"


@compiled
def run_playouts(start, scratch, count):
    moves = 0
    for _ in range(count):
        copy_board(start[0], scratch[0])
        list_empties(scratch[0])
        moves += random_playout(scratch[0], 1)[1]
    return moves


@compiled
def run_rollouts(start, scratch, weights, count):
    moves = 0
    for _ in range(count):
        start_rollout(start[0], 0, scratch[0], weights)
        moves += rollout(scratch[0], 1, weights)[1]
    return moves


def our_playouts(size: int) -> Callable[[int], int]:
    start, scratch = make_game(size).new_states(1), np.zeros(1, playout_dtype(size))
    return lambda games: run_playouts(start, scratch, games)


def our_rollouts(size: int, policy: Path) -> Callable[[int], int]:
    start, scratch = make_game(size).new_states(1), np.zeros(1, rollout_dtype(size))
    weights = RolloutPolicy.load(policy).weights()
    return lambda games: run_rollouts(start, scratch, weights, games)


def our_true_games(size: int) -> Callable[[int], int]:
    """Games with the full rules, including positional superko, as in self-play and search."""
    game = make_game(size, max_plies=2 * size * size)

    def play(games: int) -> int:
        states, moves = game.new_states(games), 0
        mask, over = np.zeros((games, game.num_actions), np.bool_), np.zeros(games, np.bool_)
        rewards, ended = np.zeros(games, np.float32), np.zeros(games, np.bool_)
        while not over.all():
            game.batch.legal_actions(states, mask)
            mask[:, -1] = ~mask[:, :-1].any(1)
            moves += int((~over).sum())
            game.batch.step(states, random_actions(mask, moves), rewards, ended)
            over |= ended
        return moves

    return play


def openspiel_rollouts(size: int) -> Callable[[int], int]:
    import pyspiel

    game = pyspiel.load_game("go", {"board_size": size, "komi": 7.5})
    random, state, lengths = np.random.default_rng(0), None, []
    for _ in range(20):
        state = game.new_initial_state()
        while not state.is_terminal():
            state.apply_action(int(random.choice(state.legal_actions())))
        lengths.append(state.move_number())

    def play(games: int) -> int:
        evaluator = pyspiel.RandomRolloutEvaluator(n_rollouts=games, seed=1)
        bot = pyspiel.MCTSBot(game, evaluator, 1.0, 1, 100, False, 1, False)
        bot.mcts_search(game.new_initial_state())  # one simulation is one evaluation: ``games`` rollouts
        return int(games * np.mean(lengths))

    return play


def measure(play: Callable[[int], int], games: int) -> tuple[float, float]:
    start = time.process_time()
    moves = play(games)
    seconds = time.process_time() - start
    return games / seconds, moves / seconds


def pgx_moves_per_second(size: int) -> float:
    code = f"""
import jax, pgx, time
env = pgx.make("go_{size}x{size}")
step = jax.vmap(env.step)
def one(state, key):
    mask = state.legal_action_mask.at[:, -1].set(False)
    mask = mask.at[:, -1].set(~mask.any(1))
    logits = jax.numpy.where(mask, 0.0, -1e9)
    return step(state, jax.random.categorical(key, logits, axis=1)), None
@jax.jit
def run(key):
    first, second = jax.random.split(key)
    state = jax.vmap(env.init)(jax.random.split(first, 64))
    return jax.lax.scan(one, state, jax.random.split(second, 100))[0].rewards.sum()
run(jax.random.PRNGKey(0)).block_until_ready()
start = time.process_time()
run(jax.random.PRNGKey(1)).block_until_ready()
print(6400 / (time.process_time() - start))
"""
    environment = {**os.environ, "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
    return float(subprocess.run([PGX, "-c", code], capture_output=True, text=True, check=True, env=environment).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--policy", type=Path)
    options = parser.parse_args()
    size, scale = options.size, 81 / options.size**2
    players = {"our playouts": (our_playouts(size), 20_000), "OpenSpiel's rollouts": (openspiel_rollouts(size), 300),
               "our games by the true rules": (our_true_games(size), 2000)}
    if options.policy:
        players["our rollouts by the policy"] = (our_rollouts(size, options.policy), 2000)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in players}
    pgx = []
    for play, _ in players.values():
        play(1)
    for _ in range(options.rounds):
        for name, (play, games) in players.items():
            rates[name].append(measure(play, max(1, int(games * scale))))
        if Path(PGX).exists():
            pgx.append(pgx_moves_per_second(size))
    for name, found in rates.items():
        games, moves = (median(values) for values in zip(*found, strict=True))
        print(f"{name:>28}: {games:9.0f} games/s  {moves / 1e6:6.3f} M moves/s  {1e9 / moves:7.0f} ns per move")
    if pgx:
        print(f"{'pgx, 64 parallel games':>28}: {'':>9}          {median(pgx) / 1e6:6.3f} M moves/s")


if __name__ == "__main__":
    main()
