"""Tests the effects of an environment's actions, and whether its action mask fits them."""

from __future__ import annotations

from myosu.doctor.action_effects import Effects, Moment, check_aliases, check_dead
from myosu.doctor.finding import Findings
from myosu.doctor.gym_play import RandomPlayer
from myosu.doctor.gym_trials import list_actions, try_moments
from myosu.envs.vector import EnvSpec

#: Minimum number of moments to judge actions.
_FEW = 20
#: Minimum number, and minimum fraction, of legal trials without effect (the number also holds for illegal trials with
#: an effect); minimum number of moments with a late mask.
_FEW_ILLEGAL, _SHARE_ILLEGAL, _FEW_STALE = 3, 0.01, 4
#: Fraction above which actions that end the episode and change nothing else are taken for punished illegal ones.
_SHARE_DEADLY = 0.15


def check_actions(player: RandomPlayer, usual_length: float, seconds: float, findings: Findings) -> None:
    """Try actions at many moments. Only for environments that are deterministic given their seed."""
    spec = player.spec
    actions = list_actions(spec)
    if len(actions) < 2:
        return
    moments = try_moments(player, actions, usual_length, seconds)
    if len(moments) < _FEW:
        findings.unjudged("what each action does", f"in {seconds:.0f} s only {len(moments)} moments could be replayed")
        return
    view = Effects(moments, single=not (spec.action_low or spec.action_branches))
    if view.ignored():
        findings.add("warning", "ignored-actions", f"the action made no difference at any of {len(moments)} moments: "
                     f"all of {len(actions)} actions led to the same observations and rewards.", "step() does not use "
                     "its action, or rounds or clips it away.")
    elif spec.action_low or spec.action_branches:
        _check_parts(view, spec, findings)
    else:
        masked = not all(moment.mask.all() for moment in moments)
        dead = check_dead(view, spec.num_actions, findings, set(), player.masked)
        check_aliases(view, dead, findings)
        if player.masked:
            _check_mask(view, masked, findings)


def _check_parts(view: Effects, spec: EnvSpec, findings: Findings) -> None:
    """Report components, or choices, of the action that never matter."""
    if spec.action_low:
        part_of = {1 + 2 * k + high: k for k in range(len(spec.action_low)) for high in (0, 1)}
        what = "component"
    else:
        places = [branch for branch, choices in enumerate(spec.action_branches) for _ in range(1, choices)]
        part_of, what = {1 + place: branch for place, branch in enumerate(places)}, "choice"
    matter = {part_of[action] for moment in view.moments if 0 in moment.trials
              for action, trial in moment.trials.items() if action and trial.trace != moment.trials[0].trace}
    unused = sorted(set(part_of.values()) - matter)
    if unused:
        findings.add("warning", "ignored-actions", f"{what} {', '.join(map(str, unused))} of the action changed "
                     f"nothing at any of {len(view.moments)} moments, whatever its value.", "step() does not use it: "
                     "correct the index, or leave it out of the action space.")


def _check_mask(view: Effects, masked: bool, findings: Findings) -> None:
    legal = useless = deadly = forbidden = 0
    example = ""
    fresh = stale = 0
    usual = {_signature(view, moment, action) for moment in view.moments for action in moment.trials
             if view.legal(moment, action) and view.changes(moment, action)}
    for moment in view.moments:
        legal_trials = [action for action in moment.trials if moment.mask[action]]
        least = min((moment.trials[action].reward for action in legal_trials), default=0.0)
        traces = {moment.trials[action].trace for action in legal_trials}
        chance = not any(view.changes(moment, action) for action in legal_trials)  # chance decided that nothing happens
        for action, trial in moment.trials.items():
            if moment.mask[action]:
                legal += 1
                if action in view.live and not chance and not view.changes(moment, action):
                    useless += not trial.ended
                    deadly += trial.ended
                    example = example or f"action {action}"
            elif (view.changes(moment, action) and not trial.ended and trial.reward >= least
                  and trial.trace not in traces and _signature(view, moment, action) in usual):
                forbidden += 1
        if moment.earlier is not None:
            vote = _whose_mask(view, moment, moment.earlier)
            fresh, stale = fresh + (vote == "now"), stale + (vote == "before")
    if stale >= _FEW_STALE and stale > 2 * fresh:
        findings.add("warning", "mask-stale", "the action mask is one step late: where the possible actions had "
                     f"changed, it matched the previous step {stale} times and the current one {fresh} times.",
                     "Compute the mask after the move, from the position that is returned with it.")
        return
    if deadly > _SHARE_DEADLY * legal:  # in few cases, they are blunders that the rules allow
        useless += deadly
    if useless >= _FEW_ILLEGAL and useless > _SHARE_ILLEGAL * legal:
        share = f"{useless} of {legal} actions that the mask allows did nothing where they were tried ({example}, for "
        findings.add("warning", "mask-illegal" if masked else "mask-all-true", f"{share}one), though they do something "
                     "elsewhere." + ("" if masked else " The mask never forbids anything."), "The mask allows illegal "
                     "actions, and an agent tries them again and again. Compare it with what step() refuses.")
    if forbidden >= _FEW_ILLEGAL:
        findings.add("warning", "mask-missing", f"{forbidden} times an action that the mask forbids had the effect of "
                     "a legal one.", "The mask leaves out legal actions (an edge, an off-by-one index?), and an "
                     "agent can never play them. Or step() accepts what it should refuse.")


def _signature(view: Effects, moment: Moment, action: int) -> tuple:
    """The kind of change: how many values rose and fell, whether the reward was negative, and whether the episode
    ended."""
    trial = moment.trials[action]
    change = (trial.observation - moment.observation)[view.depends]
    return int((change > 0).sum()), int((change < 0).sum()), bool(trial.reward < 0), trial.ended


def _whose_mask(view: Effects, moment: Moment, earlier: Moment) -> str:
    """Whether a mask fits the actions that had an effect "now" or "before"; "" if they are equal or it fits neither."""
    both = [action for action in moment.trials if action in earlier.trials and action in view.live]
    now, before = ([view.changes(when, action) for action in both] for when in (moment, earlier))
    mask = [bool(moment.mask[action]) for action in both]
    if now == before:
        return ""
    return "now" if mask == now else "before" if mask == before else ""


