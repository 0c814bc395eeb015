"""Follow a training run with a callback and end it when it is good enough. Usage: python early_stop.py [MINUTES]"""

import sys

import myosu


class GoodEnough(myosu.Callback):
    """Ends the training once two evaluations in a row reach ``reward``."""

    def __init__(self, reward: float) -> None:
        self.reward, self.reached = reward, 0

    def on_evaluation(self, evaluation):
        print(f"update {evaluation['update']}: reward {evaluation['mean_reward']:.1f}")
        self.reached = self.reached + 1 if evaluation["mean_reward"] >= self.reward else 0
        return self.reached < 2  # False ends the run

    def on_record(self, record):
        print(f"{record['seconds']:.0f} s, {record['env_steps']} steps")

    def on_checkpoint(self, path):
        print(f"saved {path.name}")


minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0

run = myosu.train("CartPole-v1", "dqn", minutes=minutes, evaluate_every=250, evaluation_games=10, quiet=True,
                  callbacks=[GoodEnough(reward=150)])
print(f"Ended after {run.seconds:.0f} s: {run.reason}")
