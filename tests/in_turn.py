"""The training loop's core in one process, for tests of algorithms: play, learn while the replay ratio allows."""

import copy
import tempfile
from pathlib import Path

import numpy as np
import torch

from myosu.envs.vector import Step


class InTurn:
    """An algorithm with its actor, replay and learner. ``episodes``: the records of those that ended."""

    def __init__(self, algorithm, config, env, seed=0):
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)  # Adam is ten times slower on them, and units that are dead have nothing else
        self.config = config = algorithm.resolve(config, env.spec, True)
        self.algorithm, self.env = algorithm, env
        self.replay = algorithm.make_replay(config, env.spec)
        self.learner = algorithm.make_learner(config, env.spec, None, seed)
        self.actor = algorithm.make_actor(config, env, seed)
        self.actor.load_weights(self.learner.weights(), 0)
        self.steps = self.samples = self.updates = 0
        self.episodes, self.metrics = [], []

    def run(self, env_steps, until=None):
        """Go on for ``env_steps``; schedules end with them, or with ``until`` steps since the beginning."""
        config, end = self.config, self.steps + env_steps
        until = until or end
        while self.steps < end:
            experience = self.actor.step()
            self.steps += experience.steps
            self.episodes += experience.episodes
            for rows in experience.sequences:
                self.replay.add(rows, experience.weights_version)
            before = self.updates
            while self.replay.positions >= config.learning_starts and (
                    self.samples + config.batch_size <= config.replay_ratio * self.replay.total_positions):
                metrics = self.learner.update(self.replay, min(1.0, self.steps / until))
                self.samples += config.batch_size
                self.updates += 1
                self.metrics += [metrics] * bool(metrics)
            if self.updates != before:
                self.actor.load_weights(self.learner.weights(), self.updates)
        return self

    def agent(self, seed=0):
        return self.algorithm.make_agent(self.config, self.env.spec, self.learner.weights(), seed=seed)

    def state_dict(self):
        """Everything; what a checkpoint would hold, the replay's rows among it."""
        replay = _saved(self.replay)
        return copy.deepcopy({"actor": self.actor.state_dict(), "learner": self.learner.state_dict(), "replay": replay,
                              "counts": (self.steps, self.samples, self.updates)})

    def load_state_dict(self, state):
        state = copy.deepcopy(state)
        self.actor.load_state_dict(state["actor"])
        self.learner.load_state_dict(state["learner"])
        with tempfile.TemporaryDirectory() as folder:
            for name, content in state["replay"]["files"].items():
                (Path(folder) / name).write_bytes(content)
            self.replay.load(Path(folder), state["replay"]["manifest"])
        self.steps, self.samples, self.updates = state["counts"]


def _saved(replay):
    """All files of a replay and their manifest, as a checkpoint has them."""
    with tempfile.TemporaryDirectory() as folder:
        replay.mark_changed(np.arange(replay.capacity))
        manifest = replay.save(Path(folder))
        return {"manifest": manifest, "files": {file.name: file.read_bytes() for file in Path(folder).iterdir()}}


def train_in_turn(algorithm, config, env, env_steps, seed=0):
    """learner, actor after ``env_steps``."""
    loop = InTurn(algorithm, config, env, seed).run(env_steps)
    return loop.learner, loop.actor


def returns(agent, env, episodes):
    """Returns float64 of ``episodes`` episodes, an equal number in each environment, so that no length is favoured."""
    assert episodes % env.num_envs == 0
    env.reset()
    step, state, starts = env.recv(), None, np.ones(env.num_envs, np.bool_)
    totals, finished = np.zeros(env.num_envs), [[] for _ in range(env.num_envs)]
    while min(map(len, finished)) < episodes // env.num_envs:
        action, state = agent.act(step.observation, step.legal_actions, state, starts)
        env.send(action, step.env_ids)
        step = env.recv()
        totals += step.raw_reward
        starts = step.terminated | step.truncated
        for i in np.flatnonzero(starts):
            finished[i].append(totals[i])
            totals[i] = 0.0
    return np.concatenate([done[:episodes // env.num_envs] for done in finished])


class InTwoGroups:
    """A VectorEnv around another, whose ``recv`` gives half of the environments at a time, as if the others were slow,
    unless it is asked for all."""

    def __init__(self, env):
        self.env, self.spec, self.num_envs = env, env.spec, env.num_envs
        self.waiting = []

    def reset(self):
        self.env.reset()
        self._take()

    def send(self, actions, env_ids):
        self.env.send(actions, env_ids)
        self._take()

    def _take(self):
        step, half = self.env.recv(), self.num_envs // 2
        for k in range(0, len(step.env_ids), half):
            self.waiting.append(Step(**{name: value[k:k + half] for name, value in vars(step).items()}))

    def recv(self, min_ready=None):
        count = len(self.waiting) if min_ready == self.num_envs else 1
        ready, self.waiting = self.waiting[:count], self.waiting[count:]
        return Step(**{name: np.concatenate([vars(step)[name] for step in ready]) for name in vars(ready[0])})

    def state_dict(self):
        return {"env": self.env.state_dict(), "waiting": [dict(vars(step)) for step in self.waiting]}

    def load_state_dict(self, state):
        self.env.load_state_dict(state["env"])
        self.waiting = [Step(**step) for step in state["waiting"]]

    def close(self):
        self.env.close()
