"""How often an agent takes an immediate win in Connect Four, and blocks the only immediate threat.

    python benchmarks/connect_four_tactics.py RUN...

Measured on positions of random games, of the agent's self-play games, and of such games after 8 random plies, for its
most probable action and for actions sampled from its policy. ``distinct``: the fraction of distinct positions.
"""

import sys

import numpy as np

import myosu
from myosu.games import load_game
from myosu.players.player import legal_mask

GAME = load_game("connect_four")
GAMES = 1500


def wins(states: np.ndarray) -> np.ndarray:
    """Mask of the actions that win immediately, bool [n, 7]."""
    found, legal = np.zeros((len(states), 7), np.bool_), legal_mask(GAME, states)
    for action in range(7):
        rows = np.flatnonzero(legal[:, action])
        after, reward, over = states[rows], np.zeros(len(rows), np.float32), np.zeros(len(rows), np.bool_)
        GAME.batch.step(after, np.full(len(rows), action), reward, over)
        found[rows, action] = reward > 0
    return found


def policy(agent, states: np.ndarray) -> np.ndarray:
    """The agent's policy, float32 [n, 7]."""
    observation = np.zeros((len(states), *GAME.observation_shape), GAME.observation_dtype)
    GAME.batch.observe(states, observation)
    return agent.analyze(observation, legal_mask(GAME, states)).policy


def positions(agent, random_plies: int) -> np.ndarray:
    """All positions of games that begin with random plies and continue with actions sampled from the policy."""
    rng, states, found = np.random.default_rng(0), GAME.new_states(GAMES), []
    for ply in range(GAME.max_plies):
        found.append(states.copy())
        chances = legal_mask(GAME, states) * 1.0 if ply < random_plies else policy(agent, states)
        drawn = rng.random((len(states), 1)) * chances.sum(1, keepdims=True)
        over = np.zeros(len(states), np.bool_)
        GAME.batch.step(states, (chances.cumsum(1) > drawn).argmax(1), np.zeros(len(states), np.float32), over)
        states = states[~over]
        if not len(states):
            break
    return np.concatenate(found)


for run in sys.argv[1:]:
    agent = myosu.load(run).agent
    for name, random_plies in (("at random", GAME.max_plies), ("its own", 0), ("its own after 8 random plies", 8)):
        states = positions(agent, random_plies)
        others = states.copy()
        others["own"], others["opponent"] = states["opponent"], states["own"]
        win, block, chosen = wins(states), wins(others), policy(agent, states)
        rows = win.any(1)
        cases = {"wins": (win, rows), "blocks": (block, ~rows & (block.sum(1) == 1))}
        shares = []
        for case, (right, rows) in cases.items():
            best, drawn = right[rows, chosen.argmax(1)[rows]].mean(), (chosen * right).sum(1)[rows].mean()
            shares.append(f"{case} {best:.2f} (drawn {drawn:.2f})")
        print(f"{run}, {name}: {', '.join(shares)}, distinct {len(np.unique(states)) / len(states):.2f}", flush=True)
