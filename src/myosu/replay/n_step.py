"""From steps of running episodes to transitions over n steps."""

from __future__ import annotations

import numpy as np

from myosu.envs.vector import EnvSpec, Step
from myosu.replay.episode import Rows
from myosu.replay.replay import Columns


def transition_columns(spec: EnvSpec, action: tuple[tuple[int, ...], object]) -> Columns:
    """What is stored of a transition. action: shape and dtype of what the algorithm stores of an action."""
    return {
        "observation": (spec.observation_shape, spec.observation_dtype),
        "action": action,
        "reward": ((), np.float32),
        "discount": ((), np.float32),
        "next_observation": (spec.observation_shape, spec.observation_dtype),
        "next_legal_actions": ((spec.num_actions,), np.bool_),
    }


class NStep:
    """The last n steps of the episode that runs in each of ``num_envs`` environments.

    ``act`` with what was acted on and how, then ``answer``: the transitions that are complete, of as many environments
    as have answered. A transition goes from s_t over m steps to s_{t+m}:

    reward: Σ_{j<m} γ^j r_{t+j}. discount: γ^m, and 0 where the episode terminated, for nothing comes after it.
    next_observation: s_{t+m}, the final one where the episode ended. m = n, and less in the last steps of an episode.
    next_legal_actions: the mask at s_{t+m}; of a final observation nobody says it, so there the last one that is known.
    remaining: 1 in the last transition of an episode, else 0.
    """

    def __init__(self, columns: Columns, num_envs: int, n: int, discount: float) -> None:
        def zeros(name: str, *leading: int) -> np.ndarray:
            shape, dtype = columns[name]
            return np.zeros((*leading, *shape), dtype)

        self.n, self.ages = n, np.arange(n)[::-1]  # the oldest step first
        self.powers = np.float32(discount) ** np.arange(n + 1, dtype=np.float32)
        self.window = {name: zeros(name, num_envs, n) for name in ("observation", "action", "reward")}
        self.legal_actions = zeros("next_legal_actions", num_envs)
        self.steps = np.zeros(num_envs, np.int64)  # of the running episode

    def act(self, env_ids: np.ndarray, observation: np.ndarray, legal_actions: np.ndarray, action: np.ndarray) -> None:
        slots = self.steps[env_ids] % self.n
        self.window["observation"][env_ids, slots] = observation
        self.window["action"][env_ids, slots] = action
        self.window["reward"][env_ids, slots] = 0.0
        self.legal_actions[env_ids] = legal_actions

    def answer(self, step: Step) -> Rows:
        """The rows, perhaps none; those of an episode in their order."""
        ids, t = step.env_ids, self.steps[step.env_ids]
        slots = (t[:, None] - self.ages) % self.n
        # Slots that are older than the episode get a share too, but are zeroed before they are used.
        self.window["reward"][ids[:, None], slots] += self.powers[self.ages] * step.reward[:, None]
        ended = step.terminated | step.truncated
        complete = (self.ages <= t[:, None]) & ((self.ages == self.n - 1) | ended[:, None])
        who, column = np.nonzero(complete)
        env, slot, age = ids[who], slots[who, column], self.ages[column]
        after, legal = step.observation, step.legal_actions
        if ended.any():
            after, legal = after.copy(), legal.copy()
            after[ended], legal[ended] = step.final_observation[ended], self.legal_actions[ids[ended]]
        self.steps[ids] = np.where(ended, 0, t + 1)
        return {name: values[env, slot] for name, values in self.window.items()} | {
            "discount": np.where(step.terminated[who], np.float32(0.0), self.powers[age + 1]),
            "next_observation": after[who], "next_legal_actions": legal[who],
            "remaining": (ended[who] & (age == 0)).astype(np.int32),
        }

    def state_dict(self) -> dict[str, np.ndarray]:
        return {**{name: values.copy() for name, values in self.window.items()},
                "legal_actions": self.legal_actions.copy(), "steps": self.steps.copy()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.window = {name: state[name].copy() for name in self.window}
        self.legal_actions, self.steps = state["legal_actions"].copy(), state["steps"].copy()
