"""Tests by random steps whether a VectorEnv follows the contract of ``myosu.envs.vector``."""

from __future__ import annotations

import numpy as np

from myosu.doctor.finding import Finding, Findings
from myosu.envs.vector import EnvSpec, Step, VectorEnv
from myosu.games.playout import random_actions

_FIELDS = ("observation", "legal_actions", "to_play", "reward", "terminated", "truncated", "final_observation",
           "raw_reward", "seed")


def check_vector_env(env: VectorEnv, steps: int = 500, seed: int = 0, twin: VectorEnv | None = None) -> list[Finding]:
    """Take ``steps`` random steps in every environment and report faults, errors first.

    twin: another VectorEnv with the same seed, which must behave identically.
    """
    findings = Findings()
    check = _EnvCheck(env, findings)
    env.reset()
    now = env.recv()
    if not check.shapes(now):
        return findings.sorted()
    check.start(now)
    if twin is not None:
        twin.reset()
        check.same(now, twin.recv(), 0)
    for number in range(steps):
        actions, ids = sample_actions(env.spec, now.legal_actions, seed * 1_000_003 + number), now.env_ids.copy()
        old = {name: getattr(now, name).copy() for name in _FIELDS}
        env.send(actions, ids)
        after = env.recv()
        check.fresh(now, old, after)
        if not check.shapes(after) or not check.transition(now, after):
            return findings.sorted()
        if twin is not None:
            twin.send(actions, ids)
            check.same(after, twin.recv(), number + 1)
        now = after
    check.totals()
    if not findings.errors():
        check.first_ready(env, now)
    return findings.sorted()


def sample_actions(spec: EnvSpec, legal_actions: np.ndarray, seed: int) -> np.ndarray:
    """Random legal actions [n, *action_shape] for the masks bool [n, A]; deterministic given ``seed``."""
    choices = [random_actions(mask, seed + 1_000_000_007 * branch)
               for branch, mask in enumerate(spec.branch_masks(legal_actions))]
    if spec.action_low:
        rng = np.random.default_rng(seed)
        low, high = np.maximum(spec.action_low, -10.0), np.minimum(spec.action_high, 10.0)
        actions = rng.uniform(low, high, (len(legal_actions), len(low))).astype(np.float32)
        for branch, choice in enumerate(choices):
            actions[:, spec.components + branch] = choice
        return actions
    return np.stack(choices, axis=1) if spec.action_branches else choices[0]


def as_vectors(observation: np.ndarray) -> np.ndarray:
    """Flatten observations to [n, values]. The fields of a structured array are concatenated."""
    if observation.dtype.names:
        return np.concatenate([as_vectors(observation[name]) for name in observation.dtype.names], axis=1)
    return observation.reshape(len(observation), -1)


class _EnvCheck:
    def __init__(self, env: VectorEnv, findings: Findings) -> None:
        self.spec, self.count, self.findings = env.spec, env.num_envs, findings
        self.lengths = np.zeros(env.num_envs, np.int64)
        self.returns = np.zeros((env.num_envs, 2))
        self.episodes = self.blank_finals = self.copied_finals = 0

    def error(self, check: str, message: str, advice: str = "") -> None:
        self.findings.add("error", check, message, advice)

    def shapes(self, step: Step) -> bool:
        n, spec = len(step.env_ids), self.spec
        wanted = {
            "observation": ((n, *spec.observation_shape), spec.observation_dtype),
            "legal_actions": ((n, spec.num_actions), np.bool_), "to_play": ((n,), np.int8),
            "reward": ((n,), np.float32), "terminated": ((n,), np.bool_), "truncated": ((n,), np.bool_),
            "final_observation": ((n, *spec.observation_shape), spec.observation_dtype),
        }
        for name, (shape, dtype) in wanted.items():
            array = getattr(step, name)
            if array.shape != shape or array.dtype != np.dtype(dtype):
                self.error("shape", f"{name} is {array.dtype} {list(array.shape)}; it must be "
                           f"{np.dtype(dtype)} {list(shape)}.", "Correct the environment or its spec.")
                return False
        ids = np.asarray(step.env_ids)
        if sorted(ids.tolist()) != list(range(self.count)):
            self.error("env-ids", f"recv() gave environments {ids.tolist()}; all {self.count} that were sent to must "
                       "answer, each once.")
            return False
        nothing = np.zeros(n, np.bool_)
        for mask in spec.branch_masks(step.legal_actions):
            nothing |= ~mask.any(1)
        if nothing.any():
            self.error("legal-actions", f"environment {ids[np.flatnonzero(nothing)[0]]} has no legal action.",
                       "An episode in which nothing can be done is over; a player who cannot move passes.")
            return False
        seats = step.to_play
        if ((seats < 0) | (seats >= spec.num_players)).any():
            self.error("to-play", f"to_play holds {sorted(set(seats.tolist()))} for {spec.num_players} player(s).")
            return False
        for name in ("observation", "final_observation"):
            array = as_vectors(getattr(step, name))
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                self.error("finite", f"{name} holds NaN or infinity.")
        return True

    def start(self, step: Step) -> None:
        if step.reward.any() or step.terminated.any() or step.truncated.any():
            self.error("reset", "after reset() rewards must be 0 and no episode ended.")

    def transition(self, now: Step, after: Step) -> bool:
        if not np.array_equal(now.env_ids, after.env_ids):
            order = np.argsort(after.env_ids)[np.argsort(np.argsort(now.env_ids))]
            after_ids = after.env_ids
            after = Step(after_ids[order], *(getattr(after, name)[order] for name in _FIELDS))
        ids, seats, spec = now.env_ids, now.to_play, self.spec
        ended = after.terminated | after.truncated
        if not np.isfinite(after.reward).all():
            self.error("finite", "a reward is NaN or infinite.")
            return False
        low, high = spec.reward_range
        outside = np.flatnonzero((after.reward < low - 1e-4) | (after.reward > high + 1e-4))
        if len(outside):
            self.error("reward-range", f"environment {ids[outside[0]]} gave reward {after.reward[outside[0]]:g}, "
                       f"outside reward_range ({low:g}, {high:g}).")
        if (after.terminated & after.truncated).any():
            self.error("end", "an episode is both terminated and truncated.", "An episode that ends by its rules is "
                       "not truncated.")
        if spec.num_players == 2 and (~ended & (after.to_play == seats)).any():
            place = ids[np.flatnonzero(~ended & (after.to_play == seats))[0]]
            self.error("alternation", f"in environment {place} the same player moves twice in a row.",
                       "Add an explicit pass, so that players alternate.")
        self.lengths[ids] += 1
        self.returns[ids, seats] += after.reward
        if spec.num_players == 2:
            self.returns[ids, 1 - seats] -= after.reward
            wide = np.flatnonzero(np.abs(self.returns[ids]).max(1) > max(-low, high) + 1e-3)
            if len(wide):
                self.error("return-range", f"in environment {ids[wide[0]]} the rewards of one seat, less the other's, "
                           f"sum to {self.returns[ids[wide[0]]].tolist()}, outside reward_range.")
        long = np.flatnonzero((self.lengths[ids] > spec.max_steps) | (~ended & (self.lengths[ids] >= spec.max_steps)))
        if len(long):
            self.error("max-steps", f"environment {ids[long[0]]} continued beyond max_steps = {spec.max_steps}.",
                       "Truncate the episode at max_steps.")
        finals = as_vectors(after.final_observation)
        if finals[~ended].any():
            self.error("final-observation", "final_observation must be 0 where the episode continues.")
        self.episodes += int(ended.sum())
        self.blank_finals += int((~finals[ended].any(1)).sum())
        self.copied_finals += int((finals[ended] == as_vectors(after.observation)[ended]).all(1).sum())
        self.lengths[ids[ended]] = 0
        self.returns[ids[ended]] = 0
        return True

    def fresh(self, now: Step, old: dict[str, np.ndarray], after: Step) -> None:
        for name, kept in old.items():
            if not np.array_equal(getattr(now, name), kept) or np.shares_memory(getattr(now, name),
                                                                               getattr(after, name)):
                self.error("aliasing", f"{name} of an earlier step changes when the environments step again.",
                           "Return fresh arrays: the replay keeps them.")

    def same(self, one: Step, two: Step, number: int) -> None:
        for name in ("env_ids", *_FIELDS):
            if not np.array_equal(getattr(one, name), getattr(two, name)):
                self.error("determinism", f"step {number}: {name} differs between two environments made with the same "
                           "seed and given the same actions.", "Derive all randomness from the seed.")

    def first_ready(self, env: VectorEnv, now: Step) -> None:
        """Act in all environments, then receive those that are ready, one or more at a time. Each must answer once."""
        env.send(sample_actions(self.spec, now.legal_actions, 0), now.env_ids)
        answered: list[int] = []
        while len(answered) < self.count:
            ready = env.recv(min_ready=1).env_ids.tolist()
            answered += ready
            if not ready:
                break
        if sorted(answered) != list(range(self.count)):
            self.error("env-ids", f"recv(min_ready=1), called until all had answered, gave {answered}.",
                       "Each environment must answer once for each action sent to it.")

    def totals(self) -> None:
        if not self.episodes:
            self.findings.add("warning", "episodes", "no episode ended: the ends of episodes were not checked.",
                              "Check with more steps.")
        elif self.blank_finals == self.episodes:
            self.error("final-observation", f"final_observation was 0 at all {self.episodes} ends of episodes.",
                       "Keep the true last observation before resetting.")
        elif self.copied_finals == self.episodes:
            self.error("final-observation", f"final_observation was the first observation of the next episode at all "
                       f"{self.episodes} ends of episodes.", "Keep the true last observation before resetting.")
