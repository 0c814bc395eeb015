"""Measures the effect of a search setting on a trained MuZero agent: it plays against itself, one side with the
setting, the other with the run's settings.

    python scripts/search_settings.py RUN play_least_q_range=0.25 --games 100 --simulations 64
"""

import argparse
import ast
import dataclasses

import torch

from myosu.algorithms import load_settings, muzero
from myosu.evaluation.match import play_match
from myosu.players.agent import AgentPlayer
from myosu.runs.checkpoint import find_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("settings", nargs="+", metavar="name=value")
    parser.add_argument("--simulations", type=int, default=64)
    parser.add_argument("--games", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    given = {name: ast.literal_eval(value) for name, value in (s.split("=", 1) for s in arguments.settings)}
    checkpoint = find_checkpoint(arguments.run)
    environment, trained = checkpoint.config.environment, load_settings(checkpoint.config)
    players = []
    for config in (dataclasses.replace(trained, **given), trained):
        agent = muzero.make_agent(config, environment.spec, checkpoint.weights(), simulations=arguments.simulations)
        players.append(AgentPlayer(environment.rules, agent, arguments.run))
    score = play_match(environment.rules, *players, arguments.games).overall
    low, high = score.mean_reward_ci95
    print(f"{given} against { {name: getattr(trained, name) for name in given} }: mean reward {score.mean_reward:+.2f} "
          f"[{low:+.2f}, {high:+.2f}], won {score.win_rate:.0%}, drawn {score.draw_rate:.0%} of {score.games} games")


if __name__ == "__main__":
    main()
