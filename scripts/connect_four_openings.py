"""Plays an agent against alpha-beta 4 from undecided openings of Connect Four, and from all:

    python scripts/connect_four_openings.py RUN [--simulations 64] [--games 200] [--plies 12]

A game from a random opening is often decided before the first move. Openings of ``--plies`` random discs count as
undecided if perfect play draws, according to the solver of perfect_connect_four.py (which takes a minute or more for
four discs, less than a second for twelve). The same player is also measured from the usual openings (``myosu
evaluate``).
"""

import argparse

import numpy as np
from perfect_connect_four import worth_of_moves

from myosu.evaluation.match import Score, default_opening_plies, play_openings, random_openings, replay_openings
from myosu.games.registry import load_game
from myosu.players.agent import AgentPlayer, load_agent
from myosu.players.alphabeta import AlphaBetaPlayer


def undecided_openings(game, count: int, plies: int) -> list[tuple[int, ...]]:
    found: dict[tuple[int, ...], None] = {}
    for seed in range(1000):
        openings = random_openings(game, count, plies, seed)
        worth = worth_of_moves(replay_openings(game, openings)).max(axis=1)
        found.update(dict.fromkeys(opening for opening, best in zip(openings, worth, strict=True) if best == 0))
        if len(found) >= count:
            break
    return list(found)[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--simulations", type=int, default=64)
    parser.add_argument("--games", type=int, default=200)
    parser.add_argument("--plies", type=int, default=12)
    options = parser.parse_args()
    game = load_game("connect_four")
    opponent = AlphaBetaPlayer(game, 4)
    agent, _, _ = load_agent(options.run, options.simulations, game="connect_four")
    player, usual = AgentPlayer(game, agent, options.run), default_opening_plies(game, opponent)
    pairs = options.games // 2
    for name, openings in (
            (f"undecided openings of {options.plies} discs", undecided_openings(game, pairs, options.plies)),
            (f"random openings of {usual} discs", random_openings(game, pairs, usual, seed=0))):
        rewards, _ = play_openings(game, player, opponent, openings)
        low, high = Score.of(rewards, game.reward_range).win_rate_ci95
        print(f"{name}: {np.mean(rewards > 0):.1%} [{low:.1%}, {high:.1%}] of {rewards.size} games won, "
              f"{np.mean(rewards == 0):.1%} drawn")


if __name__ == "__main__":
    main()
