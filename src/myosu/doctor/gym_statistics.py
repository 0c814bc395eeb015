"""What random play of a Gymnasium environment adds up to, and what in it makes learning hard."""

from __future__ import annotations

from typing import Literal

import numpy as np

from myosu.doctor.finding import Findings
from myosu.doctor.gym_play import Played
from myosu.envs.gym_env import DEFAULT_MAX_STEPS
from myosu.envs.vector import EnvSpec

_FEW = 10  # episodes of which nothing is said yet
_LONG = 1000  # steps after which an environment of which no episode has ended is called endless
_MANY_ACTIONS = 200  # more than random play soon tries


def check_played(played: Played, spec: EnvSpec, limit: int | None, findings: Findings) -> None:
    """limit: steps after which a wrapper of the environment truncates."""
    _report_episodes(played, findings)
    _check_ends(played, limit, findings)
    if len(played.lengths):
        _check_signal(played, findings)
        _check_early_end(played, findings)
    _check_reward_scale(played, findings)
    _check_observations(played, findings)
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
        findings.add("warning", "endless", f"an episode of random play went on for {longest} steps without an end, and "
                     "the environment sets no limit.", "Register it with max_episode_steps=1000 or what suits it, or "
                     f"train with --max-episode-steps 1000. Myosu cuts at {DEFAULT_MAX_STEPS}.")
    at_longest = played.terminated & (played.lengths == longest)
    if count >= _FEW and longest >= 20 and at_longest.mean() >= 0.3:
        findings.add("warning", "time-limit", f"{at_longest.mean():.0%} of random episodes were terminated at step "
                     f"{longest} exactly, and none went on longer: this is what a time limit looks like that is "
                     "reported as an end by the rules.", "A time limit is truncated=True: by terminated=True the agent "
                     "learns that nothing of value comes after it. Right where every episode has that length by its "
                     "rules.")


# --- rewards


def _check_signal(played: Played, findings: Findings) -> None:
    count, rewards = len(played.returns), played.rewards
    if not rewards.any():
        findings.add("warning", "no-signal", f"all rewards of {count} random episodes were 0.", "Nothing tells a "
                     "beginner what is good. Reward steps towards the goal, begin nearer to it, or explore by "
                     "curiosity or demonstrations.")
    elif count >= _FEW and np.ptp(played.returns) == 0 and played.lengths.max() > 1:
        findings.add("info", "no-signal", f"all {count} random episodes had the return {_number(played.returns[0])}: "
                     "random play never sees that one action is better than another.", "Right where the goal is far "
                     "away; then expect long exploration, or reward progress.")


def _check_early_end(played: Played, findings: Findings) -> None:
    """Where living costs and ending does not, an agent learns to end the episode: right if the end is the goal.

    What cannot be told apart is a note: steps that cost the same, to the end. It is a warning where the environment
    itself shows that its ends are no goal: they cost more than a step does, or give up rewards that were to be had.
    Where random play hardly ever ends by the rules, or the end itself is paid for, it is a goal.
    """
    ended, lengths = played.terminated, played.lengths
    if ended.sum() < _FEW or ended.mean() < 0.2 or np.ptp(lengths) == 0 or np.ptp(played.returns) == 0:
        return
    going_on, end = played.rewards[~played.final], played.rewards[played.final]
    step, last = float(going_on.mean()), float(end.mean())
    short = lengths <= np.median(lengths)
    if step >= 0 or last > 0 or short.all() or np.corrcoef(lengths, played.returns)[0, 1] > -0.5:
        return
    if step - last > -step * lengths.mean() / 4:
        return  # the end costs about as much as living does: nothing is saved by it
    numbers = (f"a step costs {_number(-step)} on average, the last one of a terminated episode {_number(-last)}, so "
               f"that short episodes (up to {lengths[short].max()} steps) return "
               f"{_number(played.returns[short].mean())} and longer ones {_number(played.returns[~short].mean())}")
    if last < 1.5 * step or (going_on > 0).any():
        findings.add("warning", "early-end", f"dying early pays: {numbers}.", "Let the end cost more than the steps "
                     "that it saves, or pay for what is wanted instead of charging for time.")
    else:
        findings.add("info", "early-end", f"look at this: {numbers}.", "Right if the end is the goal. If it is a "
                     "failure, the best that an agent can learn is to fail at once: let the end cost more than the "
                     "steps that it saves.")


def _check_reward_scale(played: Played, findings: Findings) -> None:
    largest = float(np.abs(played.rewards).max(initial=0.0))
    usual = float(np.abs(played.returns).mean()) if len(played.returns) else largest
    severity: Literal["warning", "info"] = "warning"
    if 0 < max(largest, usual) < 0.01:
        what = "small"
    elif largest >= 1000 or usual >= 10_000:
        what = "large"
    elif largest > 10 or usual > 100:
        what, severity = "large", "info"
    else:
        return
    factor = 10.0 ** -round(np.log10(max(largest, usual / 10)))
    findings.add(severity, "reward-scale", f"rewards or returns are {what}: up to ±{_number(largest)} a step, returns "
                 f"about ±{_number(usual)}.", "Values and losses are of that size, and steps of learning are made for "
                 "about 1: train with --normalize-rewards where the algorithm has it, or multiply them by "
                 f"{factor:g} in gymnasium.wrappers.TransformReward.")


# --- observations and actions


def _check_observations(played: Played, findings: Findings) -> None:
    components: dict[str, np.ndarray] = {}
    for name, values in played.samples.items():
        _check_integers(name, values, findings)
        if values.ndim <= 2:  # numbers beside each other; those of a picture are all of one kind
            flat = values.reshape(len(values), -1).astype(np.float64)
            components |= {f"{name}[{index}]": flat[:, index] for index in range(flat.shape[1])}
        elif (values == values[0]).all():
            components[f"the picture{name}"] = np.zeros(len(values))
    spans = {name: float(np.ptp(values)) for name, values in components.items()}
    constant = [name for name, span in spans.items() if span == 0]
    if constant:
        findings.add("warning" if len(constant) == len(spans) else "info", "constant-observation",
                     f"{len(constant)} of {len(spans)} components of the observation never changed in random play: "
                     f"{_few(constant)}.", "Nothing can be learnt from them. Leave them out, or correct what should "
                     "write them.")
    moving = sorted((name for name in spans if name not in constant), key=spans.__getitem__)
    if moving:
        _check_spans(moving[0], moving[-1], components, findings)


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
    findings.add("warning", "observation-scale", f"observations are badly scaled: {what}.", "A network hears the "
                 "loudest component only, and large numbers shake it. Train PPO with --normalize-observations, or "
                 "divide each component by its range in the environment.")


def _check_integers(name: str, values: np.ndarray, findings: Findings) -> None:
    """Of pictures networks learn the scale themselves; of other whole numbers they take what comes."""
    largest = float(values.max())
    if values.dtype.kind in "iu" and values.ndim <= 2 and largest > 10:
        findings.add("info", "integers", f"the observation{name} holds {values.dtype} numbers up to {largest:g}.",
                     "Networks want about 1: train PPO with --normalize-observations, or divide them in the "
                     "environment, as floats: divided as integers, all become 0.")


def _check_actions(played: Played, spec: EnvSpec, findings: Findings) -> None:
    if not len(played.rewards):
        return
    useless, legal = played.useless / len(played.rewards), float(played.legal.mean())
    if spec.num_actions > _MANY_ACTIONS and useless > 0.5:
        findings.add("warning", "useless-moves", f"{useless:.0%} of random moves changed nothing that is to be seen, "
                     f"among {spec.num_actions} actions: exploration hardly ever finds one that does something.",
                     "Say what is legal in info[\"action_mask\"] (or by a method action_masks()), or use fewer "
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
