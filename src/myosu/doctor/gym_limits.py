"""Finds time limits that are reported as termination.

Random play seldom lasts until a limit, so episodes are extended: other actions are tried repeatedly from shortly before
an episode's end.
"""

from __future__ import annotations

import numpy as np

from myosu.doctor.check_env import sample_actions
from myosu.doctor.finding import Findings
from myosu.doctor.gym_play import Budget, RandomPlayer

#: Number of episodes to extend; number of endings tried for each; minimum number that must reach the same length.
_EPISODES, _ENDINGS, _SAME = 10, 60, 8
#: Number of steps before the end from which another ending is tried (exclusive); minimum length of a long episode.
_BACK, _LONG = 8, 20


def check_limit(player: RandomPlayer, seconds: float, findings: Findings) -> None:
    """Search for a time limit. Only for environments that follow their seed, if no episode was truncated."""
    budget, rng = Budget(seconds), np.random.default_rng(0)
    lengths = []
    for episode in range(_EPISODES):
        actions: list[np.ndarray] = []
        for _ in range(_ENDINGS):
            tried, terminated = _another_end(player, 10_000 + episode, actions, rng, budget)
            if not budget.left:
                break
            if not terminated:
                return  # it was truncated, so limits are reported as such
            if len(tried) > len(actions):
                actions = tried
        lengths.append(len(actions))
        if not budget.left or lengths.count(max(lengths)) + _EPISODES - len(lengths) < _SAME:
            break  # too few can reach the same length any more
    longest = max(lengths)
    if longest >= _LONG and lengths.count(longest) >= _SAME:
        findings.add("warning", "time-limit", f"{lengths.count(longest)} of {len(lengths)} episodes, extended as far "
                     f"as possible, were terminated at exactly step {longest}: this looks like a time limit reported "
                     "as termination.", "Report a time limit as truncated=True: from terminated=True the agent "
                     "learns that nothing of value follows. Right where the rules allow no longer episode.")


def _another_end(player: RandomPlayer, episode: int, actions: list[np.ndarray], rng: np.random.Generator,
                 budget: Budget) -> tuple[list[np.ndarray], bool]:
    """Play an episode as in ``actions`` except for the last few. Returns its actions, and whether it was terminated."""
    kept = actions[: max(0, len(actions) - int(rng.integers(1, _BACK)))]
    player.start(episode)
    done: list[np.ndarray] = []
    ended = False
    while not ended and budget.left:
        if len(done) < len(kept):
            action = kept[len(done)]
        elif done and rng.random() < 0.5:
            action = done[-1]
        else:
            action = sample_actions(player.spec, player.row["legal_actions"], int(rng.integers(2**40)))[0]
        if not player.may(action):
            action = sample_actions(player.spec, player.row["legal_actions"], int(rng.integers(2**40)))[0]
        done.append(np.array(action))
        ended = player.do(action)
    player.watch.answers.clear()
    return done, bool(player.row["terminated"][0])
