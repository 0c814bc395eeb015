"""Train two agents and compare them, with intervals and in a match. Usage: python compare_runs.py [MINUTES]"""

import sys

import myosu

minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0

# In a single-player environment: compare the mean reward of whole episodes.
for learning_rate in (2.5e-3, 1e-5):
    run = myosu.train("CartPole-v1", minutes=minutes, learning_rate=learning_rate, evaluate_every=0, quiet=True)
    result = myosu.evaluate(run, games=50)
    low, high = result["mean_reward_ci95"]
    print(f"learning rate {learning_rate:g}: reward {result['mean_reward']:.1f} ({low:.1f} to {high:.1f})")

# In a two-player game: a match from both seats, with random openings so that no game is played twice.
first, second = (myosu.train("tictactoe", minutes=minutes, seed=seed, evaluate_every=0, quiet=True) for seed in (1, 2))
match = myosu.evaluate(first, opponent=second, games=40)
print(f"Seed 1 against seed 2: won {match['win_rate']:.0%}, drew {match['draw_rate']:.0%} of {match['games']} games")
