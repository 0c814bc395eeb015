"""How well PPO's network plays Connect Four without a search if it clones an alpha-beta player.

    python benchmarks/connect_four_cloned.py [--depth 6] [--channels 16] [--rounds 6] [--updates 1000]

An upper bound for what self-play can reach with this network and as many updates. As in DAgger (Ross et al. 2011), each
round the policy plays games against alpha-beta 2 (half of the moves of round 0 are random), alpha-beta of ``depth``
chooses a move for every position of the policy, and the network is trained on all rounds. It prints the win rates
against alpha-beta 2 in 200 games from 4 random plies, and the processor time.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch.nn import functional as F

from myosu.algorithms import ppo
from myosu.envs.native import game_spec
from myosu.evaluation.match import play_match
from myosu.games import load_game
from myosu.players.agent import AgentPlayer
from myosu.players.alphabeta import AlphaBetaPlayer, compile_alphabeta
from myosu.players.player import legal_mask

GAME = load_game("connect_four")
GAMES = 6000


def observe(states: np.ndarray) -> np.ndarray:
    observation = np.zeros((len(states), *GAME.observation_shape), GAME.observation_dtype)
    GAME.batch.observe(states, observation)
    return observation


def positions(player: AgentPlayer, opponent: AlphaBetaPlayer, rng: np.random.Generator, noise: float) -> np.ndarray:
    """The positions of ``player`` in games from 0 to 20 random plies; it moves at random with probability ``noise``."""
    states, found = GAME.new_states(GAMES), []
    seats, opening = rng.integers(2, size=GAMES), rng.integers(0, 21, GAMES)
    for ply in range(GAME.max_plies):
        own = (seats + ply) % 2 == 0
        found.append(states[own & (opening <= ply)])
        legal = legal_mask(GAME, states)
        actions = (rng.random(legal.shape) * legal).argmax(1)
        for who, turn in ((player, own), (opponent, ~own)):
            rows = np.flatnonzero(turn & (opening <= ply) & (rng.random(len(states)) >= noise * own))
            if len(rows):
                actions[rows] = who.choose(states[rows], [()] * len(rows))
        over = np.zeros(len(states), np.bool_)
        GAME.batch.step(states, actions, np.zeros(len(states), np.float32), over)
        states, seats, opening = states[~over], seats[~over], opening[~over]
        if not len(states):
            break
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"depth": 6, "channels": 16, "rounds": 6, "updates": 1000}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    spec = game_spec(GAME)
    config = ppo.Config(channels=options.channels, hidden=(128,))
    agent = ppo.Agent(config, spec, ppo.make_net(config, spec).state_dict())
    player, opponent, expert = AgentPlayer(GAME, agent, "cloned"), AlphaBetaPlayer(GAME, 2), compile_alphabeta(GAME)
    optimizer = torch.optim.Adam(agent.net.parameters(), 1e-3)
    inputs: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    begin = time.process_time()
    for number in range(options.rounds):
        states = positions(player, opponent, rng, 0.5 if number == 0 else 0.1)
        inputs.append(observe(states))
        targets.append(expert(states, options.depth))
        x, y = np.concatenate(inputs), np.concatenate(targets)
        losses = []
        for update in range(options.updates):
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * (1 - (number + update / options.updates) / options.rounds)
            rows = rng.integers(len(x), size=256)
            outputs = agent.net(agent.net.prepare(x[rows]))[0]
            loss = F.cross_entropy(outputs, torch.from_numpy(y[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        scores = [play_match(GAME, player, AlphaBetaPlayer(GAME, depth), 200).overall for depth in (1, 2)]
        print(f"round {number}: {len(x):,} positions, loss {np.mean(losses[-200:]):.3f}; wins against greedy / "
              f"alpha-beta 2: {' / '.join(f'{score.win_rate:.1%}' for score in scores)}; "
              f"{time.process_time() - begin:.0f} s of processor time", flush=True)


if __name__ == "__main__":
    main()
