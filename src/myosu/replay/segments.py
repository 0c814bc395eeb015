"""From environment steps to sequences of fixed length."""

from __future__ import annotations

import numpy as np

from myosu.envs.vector import Step
from myosu.replay.replay import Columns, Rows

#: The columns that ``Segments.answer`` writes, beside those that the actor gives to ``act``.
ANSWER_COLUMNS: Columns = {"reward": ((), np.float32), "acted": ((), np.bool_), "terminated": ((), np.bool_)}


class Segments:
    """Collects sequences of ``length`` rows in each of ``num_envs`` environments.

    Call ``act`` with the observations, actions and other columns of a step, then ``answer`` with the environments'
    answer, which returns the sequences that are full. Any subset of the environments may act and answer. Every row that
    is not terminal is followed by its successor, so that values can bootstrap:

    acted: whether an action was taken. False in the last row of a sequence, which is also the first row of the next
    one; and in the row of the final observation of a truncated episode. Other fields of such a row are 0; the last row
    copies the next observation and mask, a final observation has an all-true mask.
    reward: float32, and terminated: bool, the results of the action.
    remaining: 1 in the last row of an episode, else 0.
    """

    def __init__(self, columns: Columns, num_envs: int, length: int) -> None:
        self.length = length
        self.rows = {name: np.zeros((num_envs, length, *shape), dtype) for name, (shape, dtype) in columns.items()}
        self.rows["remaining"] = np.zeros((num_envs, length), np.int32)
        self.filled = np.zeros(num_envs, np.int64)

    def act(self, env_ids: np.ndarray, **values: np.ndarray) -> None:
        at = env_ids, self.filled[env_ids]
        for name, value in values.items():
            self.rows[name][at] = value
        self.rows["acted"][at] = True

    def answer(self, step: Step) -> list[Rows]:
        at = step.env_ids, self.filled[step.env_ids]
        self.rows["reward"][at], self.rows["terminated"][at] = step.reward, step.terminated
        self.rows["remaining"][at] = step.terminated
        self.filled[step.env_ids] += 1
        if (cut := step.truncated).any():
            ids = step.env_ids[cut]
            self.rows["observation"][ids, self.filled[ids]] = step.final_observation[cut]
            # Final observations have no action mask: all actions count as legal, as after the end of a game.
            self.rows["legal_actions"][ids, self.filled[ids]] = True
            self.rows["remaining"][ids, self.filled[ids]] = 1
            self.filled[ids] += 1
        if (nearly := self.filled[step.env_ids] == self.length - 1).any():
            ids = step.env_ids[nearly]
            self.rows["observation"][ids, -1] = step.observation[nearly]
            self.rows["legal_actions"][ids, -1] = step.legal_actions[nearly]
            self.filled[ids] += 1
        full = step.env_ids[self.filled[step.env_ids] == self.length]
        sequences = [{name: column[i].copy() for name, column in self.rows.items()} for i in full.tolist()]
        for column in self.rows.values():
            column[full] = 0
        self.filled[full] = 0
        return sequences

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"filled": self.filled.copy(), **{f"rows_{name}": rows.copy() for name, rows in self.rows.items()}}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.filled = state["filled"].copy()
        self.rows = {name: state[f"rows_{name}"].copy() for name in self.rows}
