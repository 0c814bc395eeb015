"""Flags that several commands share."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import tyro

from myosu import trust
from myosu.errors import UserError

#: Help texts of the flags for making a Gymnasium environment.
ENV_FLAGS = {
    "env_kwargs": "Arguments of a Gymnasium environment, as JSON: '{\"gravity\": -5}'. For a value that JSON "
                  "cannot express, name a function that returns it: '{\"map\": {\"python\": \"module:function\"}}'.",
    "wrapper": "Put a wrapper around the environment, with arguments as JSON if it needs any: --wrapper module:Class, "
               "--wrapper 'module:Class {\"by\": 2}'. May be repeated; the last one is the outermost.",
    "frame_stack": "Stack this many observations, the newest last, outside all other wrappers.",
    "atari": "Standard Atari preprocessing: greyscale, 84 × 84, every fourth frame, no-ops at the start, four frames "
             "stacked.",
    "max_episode_steps": "Truncate episodes after this many steps.",
}
#: Greatest value of --frame-stack.
MOST_FRAMES = 1000


def parse(kind: type, command: str, arguments: list[str]) -> Any:
    """An instance of ``kind``, the command's dataclass of flags, from its arguments. Fills the lines of the help that
    tyro leaves as long as they are: the usage and the description."""
    page = _Page()
    try:
        with contextlib.redirect_stdout(page):
            return tyro.cli(kind, prog=f"myosu {command}", args=arguments)
    finally:
        width = shutil.get_terminal_size().columns
        for line in page.getvalue().splitlines():
            if len(line) > width and "\x1b" not in line:  # a line with escape sequences is shorter than it seems
                indent = " " * 7 if line.startswith("usage:") else ""
                line = textwrap.fill(line, width, subsequent_indent=indent)
            print(line)


class _Page(io.StringIO):
    """Takes what is printed, in the characters and colours of the terminal."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(sys.__stdout__, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return sys.__stdout__ is not None and sys.__stdout__.isatty()


def check_seed(seed: int) -> None:
    """Raises UserError if ``--seed`` is out of range."""
    from myosu.runs.config import SEEDS

    if not 0 <= seed < SEEDS:
        raise UserError(f"--seed {seed}: choose one from 0 to {SEEDS - 1}.")


def read_environment_flags(env_kwargs: str = "{}", wrapper: Sequence[str] = (), frame_stack: int | None = None,
                           atari: bool = False, max_episode_steps: int | None = None) -> dict[str, Any]:
    """Convert the flags ``ENV_FLAGS`` to arguments of an environment, as ``EnvMaker`` takes them. Raises UserError."""
    from myosu.envs.making import ATARI

    kwargs = _object(env_kwargs, f"--env-kwargs {env_kwargs}")
    wrappers = [_read_wrapper(text) for text in wrapper]
    if atari:
        # The wrapper reads frames from the emulator, so the environment's own observations are the cheapest kind.
        kwargs = {"frameskip": 1, "obs_type": "ram", **kwargs}
        wrappers.insert(0, {"wrapper": ATARI})
    if (stacked := frame_stack if frame_stack is not None or not atari else 4) is not None:
        if not 1 <= stacked <= MOST_FRAMES:
            raise UserError(f"--frame-stack {stacked}: it must be from 1 to {MOST_FRAMES}.")
        wrappers.append({"wrapper": "gymnasium.wrappers:FrameStackObservation", "kwargs": {"stack_size": stacked}})
    if max_episode_steps is not None:
        _at_least_one(max_episode_steps, "--max-episode-steps")
        kwargs["max_episode_steps"] = max_episode_steps
    return {**kwargs, "wrappers": [*kwargs.get("wrappers", []), *wrappers]} if wrappers else kwargs


def _read_wrapper(text: str) -> dict[str, Any]:
    name, brace, rest = text.partition("{")
    if ":" not in name:
        raise UserError(f"--wrapper {text}: name the module and the class, as gymnasium.wrappers:FlattenObservation.")
    return {"wrapper": name.strip(), "kwargs": _object(brace + rest, f"--wrapper {text}") if brace else {}}


def _object(text: str, flag: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"{flag}: this is not JSON ({error}).") from None
    if not isinstance(found, dict):
        raise UserError(f"{flag}: it must be an object, such as '{{\"gravity\": -5}}'.")
    return found


def _at_least_one(value: int, flag: str) -> None:
    if value < 1:
        raise UserError(f"{flag} {value}: it must be 1 or more.")


def trust_if(wanted: bool) -> None:
    """Apply ``--trust``: allow all code that files name to run in this command."""
    if wanted:
        trust.agree(trust.EVERYTHING)


def import_server(instead: str) -> ModuleType:
    """Import the page's server. Raises UserError if its packages are missing; ``instead`` names an alternative."""
    try:
        return importlib.import_module("myosu.web.server")
    except ImportError as error:
        raise UserError(f"The page needs the package {error.name}: pip install starlette uvicorn websockets . "
                        f"{instead}") from error
