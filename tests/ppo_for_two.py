"""PPO's agent in games for two, which PPO itself does not learn: an agent with a memory, of weights never trained."""

from myosu.algorithms.ppo import SOURCE, Config, make_agent, make_learner, make_replay

__all__ = ["SOURCE", "Config", "make_agent", "make_learner", "make_replay", "resolve"]


def resolve(config, spec, deterministic):
    return config
