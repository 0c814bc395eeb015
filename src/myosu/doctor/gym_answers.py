"""Tests whether returned values fit the environment's spaces, and whether returned arrays stay unchanged."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from gymnasium import spaces

from myosu.doctor.finding import Findings
from myosu.doctor.gym_play import Answer, parts

#: Minimum number of episodes that reach the limit to report that all of them were also terminated there.
_ALWAYS = 5


class AnswerCheck:
    """Checks every answer of one environment, in order. ``SingleEnv`` has already validated each."""

    def __init__(self, space: spaces.Space, limit: int | None, findings: Findings) -> None:
        """limit: number of steps after which a wrapper truncates."""
        self._space, self._limit, self._findings = space, limit, findings
        self._earlier: deque[Answer] = deque(maxlen=2)  # two, because some environments alternate between two buffers
        self._ends = self._double_ends = self._at_limit = self._double_at_limit = 0

    def look(self, answer: Answer) -> None:
        for name, space, value in parts(self._space, answer.observation_then):
            if isinstance(space, spaces.Box):
                self._check_dtype(_place(answer, name), space, value)
                self._check_bounds(_place(answer, name), space, np.asarray(value))
            elif not space.contains(value):
                self._outside(_place(answer, name), f"is {value!r}, which is not in its space {space}")
        for earlier in self._earlier:
            self._check_unchanged(earlier, answer)
        self._earlier.append(answer)
        self._ends += answer.terminated or answer.truncated
        # At its limit TimeLimit also truncates an episode that the rules terminated in the same step. That is no fault
        # of the environment, unless it always happens.
        double = answer.terminated and answer.truncated
        self._double_ends += double and answer.step != self._limit
        self._at_limit += answer.step == self._limit
        self._double_at_limit += double and answer.step == self._limit

    def finish(self) -> None:
        if self._at_limit >= _ALWAYS and self._double_at_limit == self._at_limit:
            self._double_ends += self._double_at_limit
        if self._double_ends > 0.05 * self._ends:  # in few episodes, the rules may have terminated just at the limit
            self._findings.add("warning", "both-ends", f"{self._double_ends} of {self._ends} ends were terminated and "
                               "truncated in the same step.", "terminated: the rules ended the episode, and nothing "
                               "of value follows. truncated: it was cut, and the value of the last observation still "
                               "counts. An old `done` is one of them, never both.")

    def _check_dtype(self, place: str, space: spaces.Box, value: Any) -> None:
        dtype = getattr(value, "dtype", None)
        if dtype is None and space.shape == ():
            return  # a plain number
        if dtype != space.dtype:
            # A list has the dtype of the array made of it; a tensor belongs to another library.
            fits = dtype is None or (isinstance(dtype, np.dtype) and np.can_cast(dtype, space.dtype))
            self._findings.add("warning" if fits else "error", "observation-dtype", f"{place} is "
                               f"{dtype or type(value).__name__}; its space says {space.dtype}.", "Return "
                               f"np.asarray(observation, dtype=np.{space.dtype}): buffers and networks use the "
                               "space's dtype.")
        elif dtype == np.float64:
            self._findings.add("info", "float64", f"{place} is float64.", "Networks compute in float32, and float64 "
                               "takes twice the replay memory: give the Box dtype=np.float32 unless the precision "
                               "matters.")

    def _check_bounds(self, place: str, space: spaces.Box, value: np.ndarray) -> None:
        # Because of float32 rounding, a value at its bound may lie slightly outside.
        value, low, high = (np.asarray(array, np.float64) for array in (value, space.low, space.high))
        slack = 1e-5 * np.maximum(1.0, np.abs(value))
        outside = (value < low - slack) | (value > high + slack)
        if outside.any():
            index = tuple(np.argwhere(outside)[0].tolist())
            self._outside(f"component {list(index)} of {place}" if index else place,
                          f"is {value[index]:.4g}, outside its bounds {low[index]:.4g} to {high[index]:.4g}")

    def _outside(self, place: str, what: str) -> None:
        self._findings.add("error", "observation-space", f"{place} {what}.", "Correct the observation or the bounds of "
                           "observation_space: tools scale and clip observations by them.")

    def _check_unchanged(self, earlier: Answer, answer: Answer) -> None:
        for what, now, then in (("observation", earlier.observation, earlier.observation_then),
                                ("action mask", earlier.mask, earlier.mask_then)):
            if then is not None and not _same(now, then):
                self._findings.add("error", "live-reference", f"the {what} of {_when(earlier)} was changed by "
                                   f"{_when(answer)}: the environment returned its own array and keeps writing into "
                                   "it.", "Return a copy (array.copy()). Myosu copies immediately; a replay that does "
                                   f"not would hold the latest {what} many times.")


def _same(one: Any, two: Any) -> bool:
    if isinstance(two, dict):
        return one.keys() == two.keys() and all(_same(one[key], two[key]) for key in two)
    if isinstance(two, (tuple, list)):
        return len(one) == len(two) and all(map(_same, one, two))
    return np.array_equal(one, two)


def _when(answer: Answer) -> str:
    return f"step {answer.step} of episode {answer.episode}" if answer.step else f"reset() of episode {answer.episode}"


def _place(answer: Answer, name: str) -> str:
    return f"the observation{name} at {_when(answer)}"
