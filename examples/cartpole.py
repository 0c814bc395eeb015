"""Train on CartPole, then let the agent balance the pole for one episode. Usage: python cartpole.py [MINUTES]"""

import sys

import gymnasium

import myosu

minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0

run = myosu.train("CartPole-v1", minutes=minutes)  # PPO with the preset for CartPole

agent = run.agent()
env = gymnasium.make("CartPole-v1")
observation, _ = env.reset(seed=0)
total, over = 0.0, False
while not over:
    observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
    total += float(reward)
    over = terminated or truncated
print(f"The pole stood for {total:.0f} of 500 steps. The agent is in {agent.path}")
