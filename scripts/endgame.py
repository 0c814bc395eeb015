"""Measures an agent's errors in Othello endgames, in discs: endgame.py RUN [--simulations S] [--games N]

The agent plays itself after eight random plies. In positions with few empty squares its move is compared with the best
one by exhaustive search, to find out whether the model and the search fail.
"""

import argparse

import numpy as np
import torch

from myosu.games.game import Game
from myosu.games.playout import random_actions
from myosu.players.agent import AgentPlayer, load_agent
from myosu.players.alphabeta import compile_alphabeta
from myosu.players.player import legal_mask

MOST_EMPTY = 10
OPENING_PLIES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--simulations", type=int, default=64)
    parser.add_argument("--games", type=int, default=150)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    agent, environment, _ = load_agent(arguments.run, simulations=arguments.simulations, game="othello")
    game = environment.rules
    lost: list[list[float]] = [[] for _ in range(MOST_EMPTY + 1)]
    player = AgentPlayer(game, agent, arguments.run)
    states, ply = game.new_states(arguments.games), 0
    while len(states):
        legal = legal_mask(game, states)
        action = random_actions(legal, ply) if ply < OPENING_PLIES else player.choose(states, [])
        empty = 64 - np.bitwise_count(states["own"] | states["opponent"]).astype(np.int64)
        for i in np.flatnonzero((empty <= MOST_EMPTY) & (legal.sum(axis=1) > 1)):
            lost[empty[i]].append(regret(game, states[i:i + 1], action[i:i + 1], 2 * int(empty[i]) + 2))
        states = states[~step(game, states, action)[1]]
        ply += 1
    print("empty squares   discs lost a move   best moves   positions with a choice")
    for empty_squares, regrets in enumerate(lost):
        if regrets:
            print(f"{empty_squares:13}   {np.mean(regrets):17.2f}   {np.mean(np.array(regrets) < 0.01):10.0%}   "
                  f"{len(regrets):24}")


def step(game: Game, states: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Step ``states`` in place; rewards and whether the games are over."""
    reward, over = np.zeros(len(states), np.float32), np.zeros(len(states), np.bool_)
    game.batch.step(states, action.astype(np.int64), reward, over)
    return reward, over


def regret(game: Game, state: np.ndarray, action: np.ndarray, depth: int) -> float:
    """The regret of ``action`` in ``state`` [1] compared with the best move; ``depth`` plies must reach the end of the
    game."""
    best = compile_alphabeta(game)(state, depth)
    return outcome(game, state, best, depth) - outcome(game, state, action, depth)


def outcome(game: Game, state: np.ndarray, action: np.ndarray, depth: int) -> float:
    """The mover's reward at the end after ``action`` and perfect play by both."""
    state, sign = state.copy(), 1.0
    while True:
        reward, over = step(game, state, action)
        if over[0]:
            return sign * float(reward[0])
        sign, action = -sign, compile_alphabeta(game)(state, depth)


if __name__ == "__main__":
    main()
