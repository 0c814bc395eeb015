"""Judges a run's games: seats, ends, rewards, and the age of the weights that played them."""

from __future__ import annotations

import numpy as np

from myosu.doctor.finding import Finding
from myosu.doctor.gym_statistics import some_lengths_only
from myosu.doctor.run_view import RunView, found

#: Minimum number of games for a judgement.
ENOUGH = 100
#: Difference of the win rates from the two seats that is reported, beyond the first player's advantage in random
#: games; and the greatest such advantage that is believed (0.3 in tic-tac-toe).
SEATS, ADVANTAGE = 0.3, 0.35
#: Difference of the win rates below which both seats count as equal.
EQUAL = 0.1
#: Standard deviations by which the first seat's mean return shows unequal seats, in a game decided by points.
_ONE_SIDED = 1.5


def seats(run: RunView) -> Finding | None:
    """One seat wins nearly all self-play games, or the agent is far worse from one seat."""
    if run.num_players != 2:
        return None
    for line in run.evaluations[-1:]:
        if "first_seat" in line and "second_seat" in line:
            first, second = line["first_seat"], line["second_seat"]
            gap = first["win_rate"] - second["win_rate"]
            if unexplained(gap, _advantage(run)) > SEATS:
                worse = "second" if gap > 0 else "first"
                return found("warning", "seats", f"against the same opponent the agent wins {first['win_rate']:.0%} as "
                             f"first and {second['win_rate']:.0%} as second player.", f"the {worse} player's moves, "
                             "rewards or observations are broken.", "Run myosu check on the game: it compares the "
                             "effects of moves for both seats.", 0.8)
    late = run.returns[-max(ENOUGH, len(run.games) // 4):]
    if len(late) < ENOUGH:
        return None
    lost = float((late < 0).mean())
    if lost > 0.85:
        return found("warning", "seats", f"in self-play the second player won {lost:.0%} of the last {len(late)} "
                     "games.",
                     "the first player's moves or rewards are broken, because moving first is hardly ever a "
                     "disadvantage.",
                     "Run myosu check on the game.", 0.7)
    early = _untrained(run)
    if len(early) and float((late > 0).mean()) > 0.97 and float((early > 0).mean()) > 0.85:
        return found("warning", "seats", f"in self-play the first player won {(late > 0).mean():.0%} of the last "
                     f"{len(late)} games, and {(early > 0).mean():.0%} of the first {len(early)} already.",
                     "the second player's moves or rewards are broken.", "Run myosu check on the game.", 0.6)
    # A game decided by points may be even at random, and later be won by many standard deviations.
    spread = float(late.std())
    if len(np.unique(np.abs(late))) > 3 and float((late > 0).mean()) > 0.9 and late.mean() > _ONE_SIDED * spread:
        return found("warning", "seats", f"in self-play the first player earned {late.mean():.3g} ± {spread:.2g} in "
                     f"the last {len(late)} games, from {late.min():.3g} to {late.max():.3g}, and won "
                     f"{(late > 0).mean():.0%}.", "the second player's moves or rewards are broken, or the game "
                     "favours the first player.", "Run myosu check on the game: it compares the effects of moves for "
                     "both seats.", 0.5)
    return None


def unexplained(gap: float, advantage: float) -> float:
    """By how much ``gap``, the difference of the win rates from both seats, differs from ``advantage``, the same
    difference in random games. Nothing is to be explained if the agent wins as often from both seats."""
    return 0.0 if abs(gap) < EQUAL else abs(gap - advantage)


def _untrained(run: RunView) -> np.ndarray:
    """float64 [ENOUGH]: returns of the first games, if they were played before a twentieth of the training, else none.
    Later ones do not tell a broken game from one that the first player can win, and a trained agent does."""
    versions = run.column("weights_version")
    return run.returns[:ENOUGH if versions[ENOUGH - 1] <= 0.05 * versions[-1] else 0]


def _advantage(run: RunView) -> float:
    """The first player's advantage in the earliest games, which are played nearly at random: wins less losses, as a
    fraction of the games, less two standard errors."""
    early = np.sign(run.returns[:2 * ENOUGH])
    if len(early) < ENOUGH:
        return 0.0
    sure = max(0.0, abs(early.mean()) - 2 * early.std() / np.sqrt(len(early)))
    return float(np.sign(early.mean()) * min(sure, ADVANTAGE))


def stale_weights(run: RunView) -> Finding | None:
    """The last games were played by weights that are many updates old."""
    updates, steps = run.metrics.at("samples", "updates"), run.metrics.at("samples", "env_steps")
    if len(run.games) < ENOUGH or len(updates) < 3:
        return None
    games = run.games[-200:]
    when = np.interp([game["env_steps"] for game in games], steps, updates)
    ages = when - np.array([game["weights_version"] for game in games], np.float64)
    age, done = float(np.median(ages)), float(when[-1])
    # Long games, and games that began before the last updates, are played by slightly older weights.
    if age < 200 or age < 0.25 * done:
        return None
    return found("warning", "stale-weights", f"the last {len(games)} games were played with weights that were "
                 f"{age:,.0f} updates old, of {done:,.0f} made.", "new weights do not reach the actors, or games take "
                 "longer than the training.", "Look at the actors' notices; fewer --num-envs make games end "
                 "sooner.", 0.9)


def same_returns(run: RunView) -> Finding | None:
    """All returns are equal, so rewards carry no information; a note if every step costs the same."""
    if len(run.games) < ENOUGH:
        return None
    returns, lengths = run.returns, run.column("length")
    if np.ptp(returns) == 0:
        return found("warning", "reward-information", f"all {len(returns)} episodes had the return {returns[0]:.4g}.",
                     "rewards do not depend on what the agent does.",
                     "Reward progress; check the environment with myosu check.", 0.9)
    a_step = returns / np.maximum(lengths, 1)
    if run.num_players == 1 and a_step[0] < 0 and np.allclose(a_step, a_step[0], rtol=1e-6) and (
            not run.column("truncated").all()):
        return found("info", "early-end", f"every step costs {-a_step[0]:.4g} and there is no other reward: the best "
                     f"policy ends the episode as soon as possible. Episodes ended after {lengths[:ENOUGH].mean():.0f} "
                     f"steps at first and after {lengths[-ENOUGH:].mean():.0f} at the end of the run.", "right if the "
                     "end is the goal (MountainCar); if it is a failure, the reward has the wrong sign.",
                     "If episodes end in failure, reward every step survived, or make failing cost more than all "
                     "steps up to the limit.", 0.5)
    return None


def cut_as_ends(run: RunView) -> Finding | None:
    """Many episodes terminate at the same last step, and none is truncated."""
    if run.num_players != 1 or len(run.games) < ENOUGH:
        return None
    lengths, truncated = run.column("length"), run.column("truncated") > 0
    longest = lengths.max()
    there = lengths == longest
    if truncated.any() or longest < 20 or there.mean() < 0.05 or there.mean() > 0.999:
        return None
    if float((lengths >= 0.9 * longest).sum()) > 2 * there.sum():
        return None  # many episodes also end shortly before it
    if some_lengths_only(lengths, int(there.sum())):
        return None
    message = (f"{there.mean():.0%} of {len(lengths)} episodes were terminated at exactly step {longest:.0f}, hardly "
               "any shortly before, and none was truncated.")
    if run.native:
        return found("info", "time-limit", message, "the rules limit the number of moves.",
                     "Show in the observation how many are left; otherwise values near the limit cannot be "
                     "learnt.", 0.5)
    return found("warning", "time-limit", message,
                 "a time limit is reported as termination: good positions near it are learnt to be worth 0.",
                 "Report it as truncated=True, not terminated.", 0.8)


GAMES = (seats, stale_weights, same_returns, cut_as_ends)
