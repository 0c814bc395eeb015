"""Judges statistics of random play in a Gymnasium environment: what makes learning hard."""

from __future__ import annotations

from typing import Literal

import numpy as np
from gymnasium import spaces

from myosu.doctor import gym_play
from myosu.doctor.finding import Findings
from myosu.doctor.gym_play import Played, parts
from myosu.envs.gym_env import DEFAULT_MAX_STEPS
from myosu.envs.vector import EnvSpec

_FEW = 10  # minimum number of episodes for a judgement
_LONG = 1000  # steps without the end of an episode after which an environment is called endless
_MANY = 2_000  # steps without any reward after which none is expected soon
_ENOUGH = 200  # steps after which a value that never changed is called constant
_MANY_ACTIONS = 200  # more than random play can try soon


def check_played(played: Played, space: spaces.Space, spec: EnvSpec, limit: int | None, findings: Findings) -> None:
    """Check the statistics. limit: number of steps after which a wrapper of the environment truncates."""
    _report_episodes(played, findings)
    _check_ends(played, limit, findings)
    if len(played.lengths):
        _check_signal(played, findings)
        _check_early_end(played, spec.max_steps, findings)
    _check_reward_scale(played, findings)
    _check_observations(played, space, spec, findings)
    _check_actions(played, spec, findings)


# --- episodes


def _report_episodes(played: Played, findings: Findings) -> None:
    lengths, returns = played.lengths, played.returns
    if not len(lengths):
        findings.add("info", "episodes", f"no episode ended in {played.open_steps} random steps.")
        return
    ended = float(played.terminated.mean())
    stopped = f" Play stopped after {len(played.rewards):,} steps." if played.open_steps else ""
    findings.add("info", "episodes", f"{len(lengths)} random episodes: {lengths.mean():.1f} steps on average "
                 f"({lengths.min()} to {lengths.max()}), return {_number(returns.mean())} on average "
                 f"({_number(returns.min())} to {_number(returns.max())}); {ended:.0%} were terminated, "
                 f"{1 - ended:.0%} truncated.{stopped}")


def _check_ends(played: Played, limit: int | None, findings: Findings) -> None:
    count, longest = len(played.lengths), max(played.lengths.max(initial=0), played.open_steps)
    if limit is None and longest >= (_LONG if not count else DEFAULT_MAX_STEPS):
        findings.add("warning", "endless", f"an episode of random play did not end within {longest} steps, and "
                     "the environment sets no limit.", "Register it with max_episode_steps=1000 or another suitable "
                     f"limit, or train with --max-episode-steps 1000. Myosu truncates at {DEFAULT_MAX_STEPS}.")
    check_time_limit(played.lengths, played.terminated, longest, findings)


def check_time_limit(lengths: np.ndarray, terminated: np.ndarray, longest: int, findings: Findings) -> None:
    """Find a time limit in lengths, terminated: [n]. longest: of all episodes, including one that is still running."""
    at_longest = terminated & (lengths == longest)
    if some_lengths_only(lengths, int(at_longest.sum())):
        return
    if len(lengths) >= _FEW and longest >= 20 and (at_longest.mean() >= 0.3 or _all_end(lengths, at_longest)):
        findings.add("warning", "time-limit", f"{at_longest.mean():.0%} of random episodes were terminated at exactly "
                     f"step {longest}, and none lasted longer: this looks like a time limit reported as "
                     "termination.", "Report a time limit as truncated=True: from terminated=True the agent learns "
                     "that nothing of value follows. Right where every episode has that length by its rules.")


def some_lengths_only(lengths: np.ndarray, longest: int) -> bool:
    """Whether the rules end episodes at certain lengths only, for example after a number of balls or rounds.

    In the range well below the maximum length, which ``longest`` episodes have, few of the possible lengths occur, each
    often, and one of them at least half as often as the maximum.
    """
    most = int(lengths.max(initial=0))
    counts = np.bincount(lengths.astype(np.int64), minlength=most + 1)[most // 2:int(0.9 * most)]
    distinct = int((counts > 0).sum())
    return bool(0 < distinct <= len(counts) / 4 and counts.sum() >= 5 * distinct and counts.max() > longest / 2)


def _all_end(lengths: np.ndarray, at_longest: np.ndarray) -> bool:
    """Whether several episodes reached the longest one's last step, all ended there, and chance does not explain it,
    because episodes ended far less often in the steps before."""
    longest, there = lengths.max(), int(at_longest.sum())
    window = range(max(1, longest - 20), longest)
    alive = sum(int((lengths >= step).sum()) for step in window)
    ended = int(((lengths >= window.start) & (lengths < longest)).sum())
    hazard = (ended + 1) / (alive + 1)
    return there >= 3 and there == int((lengths == longest).sum()) and hazard**there < 1e-4


# --- rewards


def _check_signal(played: Played, findings: Findings) -> None:
    count, rewards = len(played.returns), played.rewards
    if not rewards.any():
        sure = len(rewards) >= min(gym_play.MAX_STEPS, _MANY)
        findings.add("warning" if sure else "info", "no-signal", f"all rewards of {count} random episodes were "
                     "0.", "An untrained agent gets no learning signal. Reward progress towards the goal, start "
                     "nearer to it, or explore by curiosity or demonstrations.")
    elif count >= _FEW and np.ptp(played.returns) == 0 and played.lengths.max() > 1:
        findings.add("info", "no-signal", f"all {count} random episodes had the return {_number(played.returns[0])}: "
                     "random play never sees that one action is better than another.", "Right where the goal is far "
                     "away; then expect long exploration, or reward progress.")


def _check_early_end(played: Played, limit: int, findings: Findings) -> None:
    """Find rewards that teach an agent to end the episode, because living costs more than ending. Right if the end is
    the goal.

    It is a note where the two cases cannot be told apart: every step costs the same, including the last. It is a
    warning if the environment shows that its ends are not goals: they cost more than a step, or forgo available
    rewards. Costs that depend on the agent's place, and are small in some places, are shaping: good play pays little.
    If random play hardly ever terminates, or the end itself is rewarded, the end is a goal.
    """
    if _living_costs_more(played, limit, findings):
        return
    ended, lengths = played.terminated, played.lengths
    if ended.sum() < _FEW or ended.mean() < 0.2 or np.ptp(lengths) == 0 or np.ptp(played.returns) == 0:
        return
    going_on, end = played.rewards[~played.final], played.rewards[played.final]
    step, last = float(going_on.mean()), float(end.mean())
    short = lengths <= np.median(lengths)
    if step >= 0 or last > 0 or short.all() or np.corrcoef(lengths, played.returns)[0, 1] > -0.5:
        return
    if step - last > -step * lengths.mean() / 4:
        return  # the end costs about as much as living, so ending saves nothing
    numbers = (f"a step costs {_number(-step)} on average, the last one of a terminated episode {_number(-last)}, so "
               f"that short episodes (up to {lengths[short].max()} steps) return "
               f"{_number(played.returns[short].mean())} and longer ones {_number(played.returns[~short].mean())}")
    # Avoidable by staying where it costs little, as shaping intends.
    avoidable = float(np.percentile(going_on[going_on <= 0], 95)) > step / 2
    if not avoidable and (last < 1.5 * step or (going_on > 0).any()):
        findings.add("warning", "early-end", f"dying early pays: {numbers}.", "Make the end cost more than the steps "
                     "that it saves, or reward the goal instead of charging for time.")
    else:
        findings.add("info", "early-end", f"look at this: {numbers}.", "Right if the end is the goal. If it is a "
                     "failure, the best that an agent can learn is to fail immediately: make the end cost more than "
                     "the steps that it saves.")


def _living_costs_more(played: Played, limit: int, findings: Findings) -> bool:
    """Most steps cost the same, and dying costs more than a step but less than all steps up to the limit.

    An agent that cannot earn anything yet then does best to die immediately. Ends that cost no more than a step are
    goals.
    """
    usual, deaths = played.rewards[~played.final], played.rewards[played.final]
    if len(usual) < _FEW or len(deaths) < _FEW:
        return False
    cost = -float(np.median(usual))
    penalty, worst = -float(np.median(deaths)), -float(deaths.min())
    constant = float((usual == np.median(usual)).mean())
    goals = float((deaths > -cost).mean())
    if not (cost > 0 and constant > 0.5 and goals < 0.5 and penalty > 1.5 * cost and cost * limit > 1.5 * penalty):
        return False
    findings.add("warning", "early-end", f"dying early pays: most steps cost {_number(cost)}, an end "
                 f"{_number(penalty)} (at worst {_number(worst)}), and living to the limit of {limit} steps "
                 f"{_number(cost * limit)}.", "An agent that cannot reach the goal yet learns to end the episode "
                 "immediately. Let steps cost nothing, or make an end cost more than all the steps that it saves.")
    return True


def _check_reward_scale(played: Played, findings: Findings) -> None:
    largest = float(np.abs(played.rewards).max(initial=0.0))
    usual = float(np.abs(played.returns).mean()) if len(played.returns) else largest
    severity: Literal["warning", "info"] = "warning"
    if 0 < max(largest, usual) < 0.01:
        what = "small"
    elif largest >= 1000 or (usual >= 10_000 and np.abs(played.rewards).mean() >= 30):  # not long episodes alone
        what = "large"
    elif largest > 10 or usual > 100:
        what, severity = "large", "info"
    else:
        return
    factor = 10.0 ** -round(np.log10(max(largest, usual / 10)))
    findings.add(severity, "reward-scale", f"rewards or returns are {what}: up to ±{_number(largest)} a step, returns "
                 f"about ±{_number(usual)}.", "Values and losses have that scale, but learning rates are tuned for "
                 "about 1: train with --normalize-rewards where the algorithm has it, or multiply rewards by "
                 f"{factor:g} in gymnasium.wrappers.TransformReward.")


# --- observations and actions


def _check_observations(played: Played, space: spaces.Space, spec: EnvSpec, findings: Findings) -> None:
    components: dict[str, np.ndarray] = {}
    boxes = {name: box for name, box, _ in parts(space, space.sample())}
    empty: list[str] = []
    planes = 0
    for name, values in played.samples.items():
        _check_integers(name, values, boxes[name], findings)
        if values.ndim <= 2:  # separate numbers; those of an image are all of one kind
            flat = values.reshape(len(values), -1).astype(np.float64)
            components |= {f"{name}[{index}]": flat[:, index] for index in range(flat.shape[1])}
        elif (values == values[0]).all():
            components[f"the image{name}"] = np.zeros(len(values))
        elif values.ndim == 4:
            axis = 3 if spec.channels_last(values.shape[1:]) else 1
            planes = max(planes, values.shape[axis])
            empty += [f"{name}[{channel}]" for channel in constant_channels(values, axis)]
    spans = {name: float(np.ptp(values)) for name, values in components.items()}
    constant = [name for name, span in spans.items() if span == 0]
    if constant:
        findings.add("warning" if len(constant) == len(spans) else _severity_of(constant, spans, played),
                     "constant-observation",
                     f"{len(constant)} of {len(spans)} components of the observation never changed in random play: "
                     f"{_few(constant)}.", "Nothing can be learnt from them. Leave them out, or correct the code that "
                     "should write them: an integer division makes fractions 0.")
    elif empty and len(played.rewards) >= _ENOUGH:
        findings.add("warning" if planes <= 8 else "info", "constant-observation", f"plane {_few(empty)} of the "
                     "observation never changed in "
                     f"{len(played.rewards):,} steps of random play.", "Nothing can be learnt from it. Leave it out, "
                     "or correct the code that should write it: an integer division makes fractions 0.")
    moving = sorted((name for name in spans if name not in constant), key=spans.__getitem__)
    if moving:
        _check_spans(moving[0], moving[-1], components, findings)


def constant_channels(pictures: np.ndarray, axis: int) -> list[int]:
    """Channels of images [n, 3 axes] that have one value in all images and at all places."""
    channels = np.moveaxis(pictures, axis, 0).reshape(pictures.shape[axis], -1)
    return np.flatnonzero(channels.min(axis=1) == channels.max(axis=1)).tolist()


def _severity_of(constant: list[str], spans: dict[str, float], played: Played) -> Literal["warning", "info"]:
    """One constant among few numbers is a mistake; among many numbers, random play may never change it."""
    return "warning" if len(spans) <= 12 and len(played.rewards) >= _ENOUGH else "info"


def _check_spans(narrowest: str, widest: str, components: dict[str, np.ndarray], findings: Findings) -> None:
    (low, high), (least, most) = (_range(components[name]) for name in (narrowest, widest))
    loud = f"component {widest} goes from {_number(least)} to {_number(most)}"
    largest = max(float(np.abs(values).max()) for values in components.values())
    if most - least > 100 * (high - low):
        what = f"{loud}, component {narrowest} from {_number(low)} to {_number(high)}"
    elif largest > 1000 or most - least < 0.01:
        what = f"{loud}, and the largest number is {_number(largest)}"
    else:
        return
    findings.add("warning", "observation-scale", f"observations are badly scaled: {what}.", "The largest component "
                 "dominates the network, and large inputs make training unstable. Train PPO with "
                 "--normalize-observations, or "
                 "divide each component by its range in the environment.")


def _check_integers(name: str, values: np.ndarray, box: spaces.Space, findings: Findings) -> None:
    """Images are scaled by Myosu; other integers reach the networks unscaled."""
    largest = float(values.max())
    if values.ndim >= 3 and isinstance(box, spaces.Box) and box.high.max() >= 100 and largest == 1 and not np.any(
            values != values.astype(np.int64)):
        findings.add("warning", "integer-division", f"the observation{name} holds only 0 and 1, though its space "
                     f"goes to {box.high.max():g}: this looks like bytes divided as integers.",
                     "Divide as floats (image.astype(np.float32) / 255), or leave it to Myosu, which scales images; "
                     "if 0 and 1 are the only values, give the Box high=1.")
    elif values.dtype.kind in "iu" and values.ndim <= 2 and largest > 10:
        findings.add("info", "integers", f"the observation{name} holds {values.dtype} numbers up to {largest:g}.",
                     "Networks need inputs of about 1: train PPO with --normalize-observations, or divide them in the "
                     "environment, as floats: divided as integers, all become 0.")


def _check_actions(played: Played, spec: EnvSpec, findings: Findings) -> None:
    if not len(played.rewards):
        return
    useless, legal = played.useless / len(played.rewards), float(played.legal.mean())
    if spec.num_actions > _MANY_ACTIONS and useless > 0.5:
        findings.add("warning", "useless-moves", f"{useless:.0%} of random moves changed nothing in the observation, "
                     f"among {spec.num_actions} actions: exploration hardly ever finds one that has an effect.",
                     "Give the legal actions in info[\"action_mask\"] (or by a method action_masks()), or use fewer "
                     "actions.")
    if legal < 1:
        findings.add("info", "legal-actions", f"of {spec.num_actions} actions {legal * spec.num_actions:.1f} are legal "
                     "on average.")


def _range(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
