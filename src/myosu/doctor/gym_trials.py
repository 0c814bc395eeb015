"""Reaches the same moment of an episode repeatedly, to try a different action each time.

An environment that is deterministic given its seed reaches the same moment by the same seed and actions. Nothing has to
be copied, so no state can be shared with a copy by mistake.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from myosu.doctor.action_effects import Moment, Trial
from myosu.doctor.check_env import as_vectors, sample_actions
from myosu.doctor.gym_play import Budget, RandomPlayer
from myosu.errors import UserError

#: Number of steps after the action in which its effect may show; maximum number of steps before a moment.
_FOLLOWING, _LONGEST = 2, 30
#: Maximum number of actions tried at a moment.
_MOST_ACTIONS = 40


def list_actions(spec: Any) -> list[np.ndarray]:
    """The actions to try: all actions of a single choice. Of several choices or components, each is changed alone; the
    others are the first choice, or the middle of the range."""
    if spec.action_low:
        low, high = np.maximum(spec.action_low, -10.0), np.minimum(spec.action_high, 10.0)
        middle = (low + high) / 2
        changed = [np.where(np.arange(len(low)) == k, bound, middle) for k in range(len(low)) for bound in (low, high)]
        return [action.astype(np.float32) for action in (middle, *changed)]
    if spec.action_branches:
        first = np.zeros(len(spec.action_branches), np.int64)
        return [first, *(np.where(np.arange(len(first)) == branch, choice, first)
                         for branch, choices in enumerate(spec.action_branches) for choice in range(1, choices))]
    return list(np.arange(spec.num_actions))


def try_moments(player: RandomPlayer, actions: list[np.ndarray], usual_length: float, seconds: float,
                most: int = 250) -> list[Moment]:
    """Moments of random play with the effects of ``actions`` there, as many as time allows, up to about ``most``.

    Moments come in pairs that are one step apart, because a mask may be that of the step before.
    """
    random, budget = np.random.default_rng(1), Budget(seconds)
    longest = int(np.clip(usual_length - 1, 1, _LONGEST))
    moments: list[Moment] = []
    while len(moments) < most and budget.left:
        episode, prefix = int(random.integers(2**20)), int(random.integers(longest))
        chosen = np.arange(len(actions))
        if len(actions) > _MOST_ACTIONS:
            chosen = np.sort(random.permutation(len(actions))[:_MOST_ACTIONS])
        first = _try_all(player, episode, prefix, actions, chosen, budget)
        second = _try_all(player, episode, prefix + 1, actions, chosen, budget) if first else None
        moments += [moment for moment in (first,) if moment]
        if second:
            second.earlier = first
            moments.append(second)
    return moments


def _try_all(player: RandomPlayer, episode: int, prefix: int, actions: list[np.ndarray], chosen: np.ndarray,
             budget: Budget) -> Moment | None:
    """Returns None if the episode ended earlier, or time ran out."""
    moment: Moment | None = None
    for number in chosen.tolist():
        if not budget.left or not _go_to(player, episode, prefix):
            return None
        if moment is None:
            moment = Moment(as_vectors(player.row["observation"])[0].astype(np.float64),
                            player.row["legal_actions"][0].copy(), {})
        moment.trials[number] = _try(player, actions[number], episode + prefix)
    return moment


def _go_to(player: RandomPlayer, episode: int, prefix: int) -> bool:
    player.start(episode)
    return not any(player.act(episode + step) for step in range(prefix))


def _try(player: RandomPlayer, action: np.ndarray, number: int) -> Trial:
    row = player.row
    row["action"][0] = action
    seen: list[bytes] = []
    observation, reward, ended = np.zeros(0), 0.0, False
    for following in range(1 + _FOLLOWING):
        try:
            player.step()
        except UserError as error:
            if not seen:
                return Trial(observation, 0.0, True, True, str(error).partition(":")[2].encode())
            break
        stops = bool(row["terminated"][0] or row["truncated"][0])
        shown = as_vectors(row["final_observation" if stops else "observation"])[0]
        if following == 0:
            observation, reward, ended = shown.astype(np.float64), float(row["reward"][0]), stops
        seen += [shown.tobytes(), row["reward"].tobytes(), row["terminated"].tobytes(), row["truncated"].tobytes()]
        if stops:
            break
        seen.append(row["legal_actions"].tobytes())
        row["action"][0] = sample_actions(player.spec, row["legal_actions"], number + following)[0]
    player.watch.answers.clear()
    return Trial(observation, reward, ended, False, b"".join(seen))
