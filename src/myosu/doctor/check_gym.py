"""Tests whether an agent can learn in a Gymnasium environment, by random play and with Gymnasium's own checker."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import gymnasium
import numpy as np
from gymnasium.utils import env_checker, passive_env_checker

from myosu.doctor.check_env import check_vector_env
from myosu.doctor.finding import Finding, Findings
from myosu.doctor.gym_actions import check_actions
from myosu.doctor.gym_answers import AnswerCheck
from myosu.doctor.gym_limits import check_limit
from myosu.doctor.gym_play import Budget, RandomPlayer
from myosu.doctor.gym_statistics import check_played, check_time_limit
from myosu.doctor.gym_wrappers import check_wrappers
from myosu.doctor.prediction import check_prediction, record_env
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.making import EnvMaker
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError, describe

#: Seconds for play with a twin, and for the episode that is compared with later ones.
_TWIN_SECONDS, _TRAJECTORY_SECONDS = 3.0, 2.0

#: Seconds for trying actions, for recording transitions for prediction, and for finding a hidden time limit.
_TRIAL_SECONDS, _RECORD_SECONDS, _LIMIT_SECONDS = 8.0, 3.0, 3.0

#: Steps per second up to which an environment is too slow for a twin and for trying actions.
_SLOW = 50.0

#: Minimum number of rows and columns of an observation that may be meant as a board.
_BOARD = 5

#: Number of other episodes played between repetitions of the first, which must all be equal; and seconds for them.
_BETWEEN, _REPEAT_SECONDS = 3, 4.0

#: Findings of check_vector_env that are no fault of the environment: episodes may be long, or look equal at both ends.
_NOT_THE_ENVIRONMENT = ("episodes", "final-observation")

#: For each message of Gymnasium's checker: words to recognise it, our checks for the same fault, and the severity if it
#: is lower than Gymnasium's: for data that is shared but never changes, and for what Myosu accepts.
_KNOWN: tuple[tuple[str, tuple[str, ...], Literal["warning", "info"] | None], ...] = (
    ("share an object", ("live-reference",), "warning"),
    ("not within the observation space", ("observation-space", "observation-dtype"), None),
    ("expecting numpy array dtype", ("observation-dtype",), None),
    ("Casting input", ("observation-dtype",), "info"),
    ("non-deterministic", ("determinism", "leftover"), None),
    ("not equivalent", ("determinism", "leftover"), None),
    ("is -infinity", ("unbounded",), "info"),
    ("is infinity", ("unbounded",), "info"),
    ("symmetric and normalized space", ("action-range",), "info"),
)


def check_gym(maker: EnvMaker, episodes: int = 50, seed: int = 0,
              on_finding: Callable[[Finding], None] | None = None) -> list[Finding]:
    """Play about ``episodes`` random episodes and report faults, errors first, and the speed.

    on_finding: called with each finding as soon as it is found. Raises UserError if the environment cannot be made.
    """
    findings = Findings(on_finding)
    player = RandomPlayer(maker, seed)
    try:
        _check_play(player, maker, episodes, seed, findings)
    except UserError as error:
        findings.add("error", "contract", str(error), "Everything after this place is unchecked.",
                     tuple(player.history) if len(player.history) <= 50 else ())
    if player.speed > _SLOW:
        _check_with_gymnasium(maker, findings)
    else:
        findings.unjudged("what Gymnasium's own checker looks at, and randomness that no seed controls",
                          f"the environment makes {player.speed:.1f} steps/s")
    _tell_layout(player.spec, findings)
    if "rgb_array" not in (player.watch.metadata.get("render_modes") or ()):
        findings.add("info", "render", "it cannot be rendered: \"rgb_array\" is not among its render_modes.", "Images "
                     "show mistakes that numbers hide. Return uint8 [height, width, 3] from render(): the page and "
                     "videos of training use it.")
    if left_out := player.left_out:
        findings.add("info", "left-out", f"no network reads {', '.join(left_out)} of the observation.", "If an agent "
                     "needs it, turn it into numbers: --wrapper module:Class, a gymnasium.ObservationWrapper.")
    if speed := player.speed:
        findings.add("info", "speed", f"{speed:,.0f} steps/s in one process.", "" if speed > 1000 else
                     "Slower than most learning: play in several processes (--env-workers asynchronous).")
    player.close()
    return findings.sorted()


def _check_play(player: RandomPlayer, maker: EnvMaker, episodes: int, seed: int, findings: Findings) -> None:
    watch, first = player.watch, player.trajectory(0, seconds=_TRAJECTORY_SECONDS)
    limit = watch.get_wrapper_attr("_max_episode_steps") if watch.has_wrapper_attr("_max_episode_steps") else None
    answers = AnswerCheck(watch.observation_space, limit, findings)
    played = player.play(episodes, answers.look)
    answers.finish()
    check_played(played, watch.observation_space, player.spec, limit, findings)
    if player.speed <= _SLOW:
        findings.unjudged("what each action does and whether anything is hidden",
                          f"the environment makes {player.speed:.1f} steps/s")
        return
    transitions = record_env(player, _RECORD_SECONDS)
    lengths, terminated = transitions.episodes()  # many more than before: a limit is seldom reached by chance
    check_time_limit(lengths, terminated, int(lengths.max(initial=0)), findings)
    check_prediction(transitions, findings)
    check_wrappers(maker, findings)
    if watch.spec is not None and watch.spec.nondeterministic:  # declared by the environment
        return
    _check_twin(maker, seed, player.speed, findings)
    _check_seeds(player, first, findings)
    if findings.has("determinism", "leftover"):
        findings.unjudged("what each action does", "the same seed and actions do not lead to the same place")
    else:
        if played.terminated.all() and terminated.all() and not findings.has("endless", "time-limit"):
            check_limit(player, _LIMIT_SECONDS, findings)
        usual = float(played.lengths.mean()) if len(played.lengths) else 30.0
        check_actions(player, usual, _TRIAL_SECONDS, findings)


def _tell_layout(spec: EnvSpec, findings: Findings) -> None:
    """Report how the networks will read images. A wrong order of axes would fail silently."""
    for name, part in spec.parts().items():
        shape, place = part.shape[1:], "".join(f"[{key!r}]" for key in name.split("/")[1:])
        if len(shape) == 2 and min(shape) >= _BOARD:
            findings.add("info", "layout", f"observations{place} {list(shape)} are read as {shape[0] * shape[1]} "
                         "numbers in a flat vector, without rows and columns.", "If this is a board or an image, "
                         f"add an axis for its channels ([1, {shape[0]}, {shape[1]}]): then convolutions read it.")
        if len(shape) == 3:
            last = spec.channels_last(shape)
            channels, rows, columns = (shape[2], *shape[:2]) if last else shape
            findings.add("info", "layout", f"observations{place} {list(shape)} are read as {rows} rows and {columns} "
                         f"columns with {channels} channels, which come {'last' if last else 'first'}.",
                         "If that is not so, change the order of the axes: an agent hardly learns from a board whose "
                         "channels are mistaken for its rows.")


def _check_twin(maker: EnvMaker, seed: int, speed: float, findings: Findings) -> None:
    """Check the VectorEnv contract, with a twin made with the same seed."""
    env, twin = (GymVectorEnv(maker, 2, seed) for _ in range(2))
    steps = min(max(int(speed * _TWIN_SECONDS / 4), 20), 300)
    for finding in check_vector_env(env, steps, seed, twin):
        if finding.check not in _NOT_THE_ENVIRONMENT:
            findings.add(finding.severity, finding.check, finding.message, finding.advice)
    env.close()
    twin.close()


def _check_seeds(player: RandomPlayer, first: list[bytes], findings: Findings) -> None:
    """Play episode 0 again, and other episodes. first: ``trajectory`` of episode 0 when the environment was new."""
    if findings.has("determinism"):
        return  # there is chance that does not depend on the seed, so nothing more can be tested
    # Several times, because leftovers may not show in every episode, such as the order of contacts in a physics engine.
    budget = Budget(_REPEAT_SECONDS, 2.0)
    for episode in range(1, 2 + _BETWEEN):
        again = player.trajectory(0, len(first))
        differ = [step for step, (one, two) in enumerate(zip(first, again, strict=False)) if one != two]
        if differ or episode > _BETWEEN or not budget.left:
            break
        player.trajectory(episode, len(first))
    if differ:
        place = f"step {differ[0]}" if differ[0] else "reset()"
        rounded = _differ_by_rounding(first[differ[0]], again[differ[0]], player.spec)
        findings.add("info" if rounded else "warning" if differ[0] else "error", "leftover", "episode 0, played again "
                     f"in the same environment with the same seed and actions, differs from {place} on"
                     f"{', at first by less than a thousandth' if rounded else ''}: state of the episodes in between "
                     "is left over.", "Reset all state in reset().")
    elif all(player.trajectory(episode, len(first)) == first for episode in range(1, 6)):
        findings.add("info", "one-episode", "six different seeds gave the same episode for the same actions: it has "
                     "no randomness.", "Right for a puzzle, for which an agent may memorise one sequence of actions. "
                     "Otherwise reset() does not use its seed: draw random numbers from self.np_random.")


def _differ_by_rounding(one: bytes, two: bytes, spec: EnvSpec) -> bool:
    """Whether float observations are nearly equal: physics engines may sum contacts in another order."""
    dtype, size = np.dtype(spec.observation_dtype), int(np.prod(spec.observation_shape))
    if dtype.kind != "f" or min(len(one), len(two)) < size * dtype.itemsize:
        return False
    shown = [np.frombuffer(part, dtype, size) for part in (one, two)]
    return bool(np.allclose(shown[0], shown[1], rtol=1e-3, atol=1e-3))


def _check_with_gymnasium(maker: EnvMaker, findings: Findings) -> None:
    env = maker()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            env_checker.check_env(env.unwrapped, skip_render_check=True)
            failure: BaseException | None = None
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            failure = error
        with suppress(Exception, SystemExit):
            env.close()
    for message in dict.fromkeys(_plain(str(warning.message)) for warning in caught):
        if message.startswith("WARN: "):  # skip warnings of the environment's own libraries
            _tell("warning", message.removeprefix("WARN: "), findings)
    if failure is None:
        return
    last = traceback.extract_tb(failure.__traceback__)[-1]
    place = last.filename
    if last.name == "close":
        findings.add("warning", "close", f"close() raised {describe(failure)}.", "Close once, and only what was "
                     "opened. Training warns of it and continues.")
    elif isinstance(failure, gymnasium.error.Error) or place in (env_checker.__file__, passive_env_checker.__file__):
        _tell("error", _plain(str(failure)), findings)
    elif all(found.check != "contract" for found in findings.list):
        masked = any(found.check == "legal-actions" for found in findings.list)
        findings.add("warning" if masked else "error", "gymnasium", "while Gymnasium's checker played, the environment "
                     f"raised {describe(failure)}.", "It plays actions that the action mask forbids as well, as other "
                     "tools do." if masked else "It calls reset() without a seed too, and plays any action of the "
                     "space.")


def _tell(severity: Literal["error", "warning"], message: str, findings: Findings) -> None:
    """Report a message of Gymnasium's checker under the name of our own check for the same fault, unless that check
    already found it. Other messages are reported separately."""
    text = f"Gymnasium's checker: {message}"
    for words, checks, milder in _KNOWN:
        if words in message:
            if all(found.check not in checks for found in findings.list):
                findings.add(milder or severity, checks[0], text)
            return
    findings.append(Finding(severity, "gymnasium", text))


def _plain(text: str) -> str:
    """``text`` without the colour codes of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
