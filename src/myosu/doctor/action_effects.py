"""Effects of actions, tried at many moments: finds actions without effect, and actions with the same effect."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from myosu.doctor.finding import Findings

#: Minimum number of moments to judge an action, and the probability below which chance is ruled out.
_FEW, _CHANCE = 20, 1e-4
#: Fraction of moments with two equivalent actions from which this is reported.
_MERGED = 0.2


@dataclass
class Trial:
    """The effect of an action. failed: the environment raised an error. trace: everything observed from then on. state:
    the state afterwards, for a game."""

    observation: np.ndarray
    reward: float
    ended: bool
    failed: bool
    trace: bytes
    state: bytes = b""


@dataclass
class Moment:
    """A moment of an episode, and the actions tried there.

    observation: float64 [values], before the action. mask: the legal actions. trials: index in the list of tried
    actions → effect. earlier: the moment one step before, if it was examined too.
    """

    observation: np.ndarray
    mask: np.ndarray
    trials: dict[int, Trial]
    earlier: Moment | None = None

    def unlike(self) -> np.ndarray:
        """bool [values]: which values depend on the action."""
        seen = np.stack([trial.observation for trial in self.trials.values() if not trial.failed]
                        or [self.observation])
        return (seen != seen[0]).any(axis=0)

    @cached_property
    def own(self) -> np.ndarray:
        """bool [values]: which values changed in the same way whatever the action."""
        seen = [trial.observation for trial in self.trials.values() if not trial.failed]
        same = ~self.unlike() if len(seen) > 1 else np.zeros(self.observation.shape, np.bool_)
        return same & (seen[0] != self.observation) if seen else same


class Effects:
    """Moments, reduced to the values that depend on the action; clocks and random values are left out.

    single: an action is a single choice, so a mask can say whether it is legal.
    """

    def __init__(self, moments: list[Moment], single: bool) -> None:
        self.moments, self.single = moments, single
        self.depends = np.any([moment.unlike() for moment in moments], axis=0)
        tried = [action for moment in moments for action in moment.trials]
        self.actions = sorted(set(tried))
        self.live = {action for action in self.actions if any(self.changes(moment, action) for moment in moments)}

    def ignored(self) -> bool:
        return all(len({trial.trace for trial in moment.trials.values()}) == 1 for moment in self.moments)

    def changes(self, moment: Moment, action: int) -> bool:
        """Whether the action had an effect: it raised no error, and it changed values that depend on actions and did
        not change by themselves."""
        trial = moment.trials.get(action)
        return trial is not None and not trial.failed and bool(
            (trial.observation != moment.observation)[self.depends & ~moment.own].any())

    def legal(self, moment: Moment, action: int) -> bool:
        return not self.single or bool(moment.mask[action])

    def rate(self, action: int) -> tuple[int, int]:
        """Number of legal trials of the action, and number of those in which it had an effect."""
        tried = [moment for moment in self.moments if action in moment.trials and self.legal(moment, action)]
        return len(tried), sum(self.changes(moment, action) for moment in tried)


def check_dead(view: Effects, num_actions: int, findings: Findings, passes: set[int | None],
               masked: bool = False) -> set[int]:
    """Report actions that never had an effect, unless chance explains it. Returns all actions without effect.

    ``passes`` may have no effect. masked: the environment's mask allows the actions, so the mask is wrong.
    """
    rates = {action: view.rate(action) for action in view.actions if action not in passes}
    shares = sorted(done / tried for tried, done in rates.values() if done)
    dead = {action for action, (tried, done) in rates.items() if tried and not done}
    if not shares:
        return dead
    usual = shares[len(shares) // 10] / 2  # half the 10 % quantile: an action may seldom have an effect
    paid = {action for moment in view.moments for action in _best_paid(view, moment)}
    sure = sorted(action for action in dead - paid if rates[action][0] >= _FEW
                  and (1 - usual) ** rates[action][0] < _CHANCE)
    if sure and _differ(view, sure):
        findings.add("warning", "hidden-information", f"{_names(sure)} of {num_actions} change the state in different "
                     "ways, but nothing that the observation shows.", "Look at the part of the state that they change, "
                     "and at the loop in observe that should write it. Right if the rules hide it.")
    elif sure:
        waits = len(sure) == 1 and num_actions % 2 == 1
        where = " where the mask allowed it" if masked else ""
        findings.add("info" if waits else "warning", "mask-illegal" if masked else "dead-actions",
                     f"{_names(sure)} of {num_actions} never did anything{where}, tried at "
                     f"{min(rates[action][0] for action in sure)} moments or more.", "Right if that is how one waits "
                     "(a Myosu game declares it as pass_action); otherwise step() ignores it, and exploration wastes "
                     "its time on it. Remove actions that can never be played from the action space.")
    return dead


def _differ(view: Effects, actions: list[int]) -> bool:
    """Whether two of the actions lead to different states of a game from the same position."""
    return any(len({trial.state for action, trial in moment.trials.items() if action in actions}) > 1
               for moment in view.moments)


def _best_paid(view: Effects, moment: Moment) -> list[int]:
    """Actions with a higher reward than all others, or than another one that changed nothing. Such a reward shows an
    effect that the observation does not.

    A reward above that of an action that was punished shows no effect.
    """
    rewards = {action: trial.reward for action, trial in moment.trials.items()}
    still = [reward for action, reward in rewards.items() if not view.changes(moment, action)]
    return [action for action, reward in rewards.items() if reward > min(still, default=np.inf)
            or all(reward > other for rival, other in rewards.items() if rival != action)]


def check_aliases(view: Effects, dead: set[int], findings: Findings) -> None:
    together: dict[tuple[int, int], list[bool]] = {}
    for moment in view.moments:
        tried = [action for action in moment.trials if action not in dead and view.legal(moment, action)]
        for pair in combinations(tried, 2):
            traces = [moment.trials[action].trace for action in pair]
            together.setdefault(pair, []).append(traces[0] == traces[1])
    shares = sorted(1 - float(np.mean(same)) for same in together.values() if not all(same))
    if not shares:
        return
    usual = shares[len(shares) // 10] / 2
    alike = [pair for pair, same in together.items() if all(same) and len(same) >= _FEW
             and (1 - usual) ** len(same) < _CHANCE]
    if alike:
        one, two = alike[0]
        more = f" (and {len(alike) - 1} other pairs)" if len(alike) > 1 else ""
        findings.add("warning", "aliased-actions", f"actions {one} and {two}{more} always did the same, at all of "
                     f"{len(together[alike[0]])} moments at which both were tried.", "Most likely step() decodes one "
                     "of them wrongly: look at the table of directions, at modulo and at bool().")


def check_merging(view: Effects, findings: Findings) -> None:
    """Report legal actions of a game that lead to the same state at many moments, but not everywhere: ``legal_actions``
    lists actions that ``step`` replaces with another action."""
    merged, example = 0, ""
    for moment in view.moments:
        by_state: dict[bytes, int] = {}
        for action, trial in moment.trials.items():
            other = by_state.setdefault(trial.state, action)
            if other != action:
                merged += 1
                example = example or f"{other} and {action}"
                break
    if merged >= _FEW and merged >= _MERGED * len(view.moments):
        findings.add("warning", "mask-illegal", f"in {merged} of {len(view.moments)} random positions two legal "
                     f"actions led to exactly the same position (such as {example}), though elsewhere they do not.",
                     "Most likely step clips an illegal action to a legal one: legal_actions must list the legal one "
                     "only. Right if pieces are identical and it does not matter which of them moves.")


def _names(actions: list[int]) -> str:
    text = ", ".join(map(str, actions[:6])) + (", …" if len(actions) > 6 else "")
    return f"action {text}" if len(actions) == 1 else f"actions {text}"
