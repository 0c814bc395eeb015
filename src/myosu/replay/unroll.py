"""Sampling K-step unrolls and their targets from a replay, for learners with a model."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from myosu.games.game import Symmetries
from myosu.replay.replay import Replay, Rows


@dataclass
class UnrolledBatch:
    """B unrolls of K actions from the sampled rows.

    Positions after the end of an episode are absorbing: reward 0, random actions, no policy target. Their value is 0;
    after a truncation it is the value of the final observation, and if rewards are not predicted, it is the outcome.

    observation: [B, *shape]. next_observations: [B, K, *shape] or None. final_pieces: [B, K+1, 2, H, W] or None.
    action: int64 [B, K]. reward: f32 [B, K].
    value: f32 [B, K+1]. policy: f16 [B, K+1, A]. valid: bool [B, K+1], whether the position exists.
    rows: int64 [B], the replay rows of the first positions.
    """

    observation: np.ndarray
    next_observations: np.ndarray | None
    final_pieces: np.ndarray | None
    action: np.ndarray
    reward: np.ndarray
    value: np.ndarray
    policy: np.ndarray
    valid: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class UnrollSettings:
    """Settings of ``sample_unrolled``; see ``value_targets`` for the value targets.

    unroll_steps: K. discount: signed, negative if two players alternate. predict_rewards: whether the model predicts
    rewards; if not, reward targets are 0 and the value targets after the end keep the outcome. next_observations:
    whether the batch has the observations of the K later positions.
    """

    unroll_steps: int
    discount: float
    td_steps: int = 0
    td_lambda: float = 1.0
    search_value_weight: float = 0.0
    predict_rewards: bool = True
    next_observations: bool = False


def value_targets(replay: Replay, rows: np.ndarray, discount: float, td_steps: int, search_weight: float,
                  td_lambda: float = 1.0) -> np.ndarray:
    """Value targets of the rows (any shape), from the perspective of the player to move; float32.

    (1 − search_weight)·z + search_weight·v, where v is the search's value of the position and z the λ-return to the end
    of the episode (``lambda_returns``); or, if 0 < ``td_steps`` = n steps end earlier, the bootstrapped n-step return

        z = Σ_{j<n} d^j r_{t+j} + d^n v_{t+n}.

    The discount d is negative where players alternate.
    """
    columns = replay.columns
    search_value = columns["search_value"][rows]
    if td_steps:
        far = columns["remaining"][rows] > td_steps
        ahead = rows[far]
        n_step = np.zeros(len(ahead), np.float32)
        for j in range(td_steps):
            n_step += discount**j * columns["reward"][(ahead + j) % replay.capacity]
        n_step += discount**td_steps * columns["search_value"][(ahead + td_steps) % replay.capacity]
        target = np.empty(rows.shape, np.float32)
        target[far], target[~far] = n_step, lambda_returns(columns, rows[~far], discount)
    else:
        target = lambda_returns(columns, rows, discount, td_lambda)
    return ((1.0 - search_weight) * target + search_weight * search_value).astype(np.float32)


def lambda_returns(columns: Rows, rows: np.ndarray, discount: float, td_lambda: float = 1.0) -> np.ndarray:
    """λ-returns (Sutton and Barto, 12.1) of the rows (any shape) of a replay; float32.

        z_t = r_t + d ((1 − λ) v_{t+1} + λ z_{t+1})

    with the search's values v; the last row of an episode has z = r + d·value_after. λ = 1: the return to the end.
    """
    return _lambda_returns(np.ascontiguousarray(rows).reshape(-1), columns["remaining"], columns["reward"],
                           columns["search_value"], columns["value_after"], discount, td_lambda).reshape(rows.shape)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _lambda_returns(rows, remaining, reward, search_value, value_after, discount, td_lambda):
    """``lambda_returns`` of ``rows`` [n] of a ring buffer, backwards from the end of each episode. If a row's successor
    is the next entry of ``rows``, its return is reused, so the rows of an unroll take one pass."""
    returns, capacity = np.empty(len(rows), np.float32), len(reward)
    z, bootstrapped, followed = 0.0, discount * (1 - td_lambda), discount * td_lambda
    for i in range(len(rows) - 1, -1, -1):
        steps_left, at = remaining[rows[i]] - 1, (rows[i] + 1) % capacity
        if steps_left > 0 and i + 1 < len(rows) and rows[i + 1] == at:
            steps_left = 1
        else:
            at = (rows[i] + steps_left) % capacity
            z = reward[at] + discount * value_after[at]
        for _ in range(steps_left):
            after, at = at, (at if at > 0 else capacity) - 1
            z = (reward[at] + bootstrapped * search_value[after]) + followed * z
        returns[i] = z
    return returns


def sample_unrolled(replay: Replay, rows: np.ndarray, settings: UnrollSettings, rng: np.random.Generator,
                    symmetries: Symmetries | None = None) -> UnrolledBatch:
    """Unrolls of ``settings.unroll_steps`` actions from ``rows`` int64 [B], each augmented with a random symmetry."""
    columns, batch, discount = replay.columns, len(rows), settings.discount
    offsets = np.arange(settings.unroll_steps + 1)
    along = (rows[:, None] + offsets) % replay.capacity
    remaining = columns["remaining"][rows][:, None]
    valid = offsets < remaining

    # After the end: z = r + d · v for the last action, and v_k = d · v_{k+1} from there on.
    last = (rows[:, None] + remaining - 1) % replay.capacity
    left = discount * columns["value_after"][last] + (0.0 if settings.predict_rewards else columns["reward"][last])
    value = (left / np.float64(discount) ** np.maximum(offsets - remaining + 1, 1)).astype(np.float32)
    value[valid] = value_targets(replay, along[valid], discount, settings.td_steps, settings.search_value_weight,
                                 settings.td_lambda)
    reward = columns["reward"][along[:, :-1]] * (valid[:, :-1] & settings.predict_rewards)
    random_action = rng.integers(0, columns["policy"].shape[-1], (batch, settings.unroll_steps))
    action = np.where(valid[:, :-1], columns["action"][along[:, :-1]], random_action).astype(np.int64)

    if symmetries is None:
        observation, policy = columns["observation"][rows], columns["policy"][along]
        later = columns["observation"][along[:, 1:]] if settings.next_observations else None
        final = columns["final_pieces"][along] if "final_pieces" in columns else None
    else:
        drawn = rng.integers(0, len(symmetries.actions), batch)
        action = symmetries.moved(action, drawn)
        observation = symmetries.observations(columns["observation"], drawn, rows[:, None])[:, 0]
        policy = symmetries.by_action(columns["policy"], drawn, along)
        later = (symmetries.observations(columns["observation"], drawn, along[:, 1:])
                 if settings.next_observations else None)
        final = symmetries.boards(columns["final_pieces"], drawn, along) if "final_pieces" in columns else None
    policy[~valid] = 0
    return UnrolledBatch(observation, later, final, action, reward, value, policy, valid, rows)
