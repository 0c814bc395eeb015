"""Train MuZero on a game of your own, here nim.py. Usage: python own_game.py [MINUTES]"""

import sys
from pathlib import Path

import numpy as np

import myosu

minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
game = Path(__file__).with_name("nim.py")

print(*myosu.check(game, games=50), sep="\n")

run = myosu.train(game, minutes=minutes, channels=16, blocks=1, simulations=8, num_envs=16, evaluation_games=20)
agent = run.agent()
print(f"Won {myosu.evaluate(agent, 'random', games=20)['win_rate']:.0%} against random play.")

# One game of the agent against itself. The environment provides the player to move and the legal actions.
env = myosu.make(game, num_envs=1, seed=1)
env.reset()
step = env.recv()
while not step.terminated[0]:
    action = agent.act(step.observation, step.legal_actions)
    print(f"player {step.to_play[0] + 1} takes {action[0] + 1} of {np.argmax(step.observation[0])}")
    env.send(action, step.env_ids)
    step = env.recv()
