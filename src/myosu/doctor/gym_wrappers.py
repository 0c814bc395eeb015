"""Tests the chain of wrappers: whether a wrapper's ``step`` is skipped, or its reward lost."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import RecordEpisodeStatistics

from myosu.doctor.finding import Findings
from myosu.doctor.gym_play import Budget
from myosu.envs.making import EnvMaker

_STEPS, _SECONDS = 300, 2.0


def check_wrappers(maker: EnvMaker, findings: Findings) -> None:
    with maker.opened() as env:
        layers = _layers(env)
        if len(layers) >= 2:
            _judge(layers, _paid(env, layers), findings)


def _paid(env: gymnasium.Env, layers: list[gymnasium.Env]) -> list[list[float]]:
    """For each layer, its reward in each step of the outermost layer; NaN if the layer's step was not called."""
    rewards: list[list[float]] = [[] for _ in layers]
    for place, layer in enumerate(layers):
        _listen(layer, rewards[place])
    paid: list[list[float]] = [[] for _ in layers]
    env.reset(seed=0)
    budget = Budget(_SECONDS)
    for _ in range(_STEPS):
        if not budget.left:
            break
        for heard in rewards:
            heard.clear()
        _, _, terminated, truncated, _ = env.step(_action(env))
        for total, heard in zip(paid, rewards, strict=True):
            total.append(sum(heard) if heard else float("nan"))
        if terminated or truncated:
            env.reset()
    return paid


def _layers(env: gymnasium.Env) -> list[gymnasium.Env]:
    """All wrappers and the base environment, outermost first."""
    layers = [env]
    while isinstance(layers[-1], gymnasium.Wrapper):
        layers.append(layers[-1].env)
    return layers


def _listen(layer: gymnasium.Env, heard: list[float]) -> None:
    step = layer.step

    def listening(action: Any) -> Any:
        answer = step(action)
        heard.append(float(answer[1]))
        return answer

    # Set on the instance, so calls by name find it, and calls that bypass this layer do not.
    layer.step = listening  # type: ignore[method-assign]


def _action(env: gymnasium.Env) -> Any:
    masks = env.get_wrapper_attr("action_masks")() if env.has_wrapper_attr("action_masks") else None
    return env.action_space.sample() if masks is None else env.action_space.sample(masks.astype("int8"))


def _judge(layers: list[gymnasium.Env], paid: list[list[float]], findings: Findings) -> None:
    silent = [place for place, total in enumerate(paid) if all(reward != reward for reward in total)]
    inner = [place for place in silent if any(total == total for total in paid[-1]) and place < len(layers) - 1]
    if inner:
        findings.add("warning", "wrapper-skipped", f"the wrapper {_name(layers[inner[0]])} is never stepped: "
                     f"{_name(layers[inner[0] - 1])}, outside of it, steps the environment below it directly.", "In a "
                     "wrapper's step() call self.env.step(), never self.unwrapped.step() or self.env.unwrapped.step(): "
                     "otherwise the changes that the wrappers in between make to rewards and observations are lost.")
        return
    heard = [total for place, total in enumerate(paid) if place not in silent]
    names = [_name(layer) for place, layer in enumerate(layers) if place not in silent]
    outer, base = heard[0], heard[-1]
    for place in range(1, len(heard) - 1):
        shaped = [k for k in range(len(base)) if abs(heard[place][k] - base[k]) > 1e-9]
        if len(shaped) > 10 and all(abs(outer[k] - base[k]) <= 1e-9 for k in shaped):
            findings.add("warning", "reward-flattened", f"{names[place]} changed the reward of {len(shaped)} steps, "
                         f"but {names[0]} returns the environment's own reward again.", "Return the reward that "
                         "self.env.step() gave.")
            return
    _check_records([layer for place, layer in enumerate(layers) if place not in silent], heard, findings)
    for place in range(len(heard) - 1):
        before, after = heard[place + 1], heard[place]
        kinds, left = len({round(r, 9) for r in before}), len({round(r, 9) for r in after})
        if kinds >= 10 and left <= 2:
            findings.add("warning", "reward-flattened", f"{names[place]} leaves {left} different rewards of the "
                         f"{kinds} that {names[place + 1]} pays: what distinguishes them is lost.", "Right where "
                         "only the sign is wanted (Atari's clipping); shaping must come outside of it.")
            return


def _check_records(layers: list[gymnasium.Env], heard: list[list[float]], findings: Findings) -> None:
    """Find wrappers that change rewards outside of one that records them.

    For Gymnasium's own wrappers this may be intended: scores are recorded below a normalisation. heard: the rewards of
    each of ``layers``, outermost first.
    """
    for place, layer in enumerate(layers):
        changing = [above for above in range(place) if any(
            abs(one - two) > 1e-9 for one, two in zip(heard[above], heard[above + 1], strict=True))]
        if isinstance(layer, RecordEpisodeStatistics) and changing:
            usual = all(type(layers[above]).__module__.startswith("gymnasium.") for above in changing)
            findings.add("info" if usual else "warning", "wrapper-order", f"{_name(layer)} records rewards that "
                         f"{_name(layers[changing[-1]])}, outside of it, changes afterwards: the returns that it "
                         "reports are not those that the agent learns from.", "Put the recording wrapper outermost, "
                         "unless the scores without the change are wanted.")
            return


def _name(layer: gymnasium.Env) -> str:
    return type(layer).__name__
