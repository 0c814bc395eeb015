"""Reads a run's folder for the doctor. Unreadable parts are skipped and reported; nothing is written."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from myosu.algorithms import load_algorithm, load_settings
from myosu.doctor.run_view import Metrics, RunView
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.presets import load_preset
from myosu.runs.config import RunConfig
from myosu.runs.curves import LiveMetrics
from myosu.runs.run import open_run

#: Number of the first and of the last games that are kept of a long list.
_FIRST, _LAST = 2_000, 8_000
#: Number of bytes read from the end of the list if only the last games are wanted.
_TAIL = 1 << 20
#: The fields that are read of each game, and their types.
_NEEDED = {"returns": list, "length": int, "truncated": bool, "env_steps": int, "weights_version": int}


@dataclass(frozen=True)
class Described:
    """A run's environment and algorithm, as far as its folder does not tell, in a form that can be pickled (an
    ``EnvSpec`` may hold functions of the user's). environment: fields of ``RunView``, empty if the environment cannot
    be loaded. missing: what could not be read, and why."""

    settings: dict[str, Any] = field(default_factory=dict)
    known_good: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def describe(config: RunConfig) -> Described:
    """Load the environment and the algorithm, which runs their code."""
    missing: list[str] = []
    environment = _environment(config, missing)
    fields = {} if environment is None else {
        "num_players": environment.spec.num_players, "num_actions": environment.spec.num_actions,
        "reward_range": environment.spec.reward_range, "native": environment.game is not None}
    return Described(_settings(config, missing), known_good(config, environment, missing), fields, missing)


@dataclass(frozen=True)
class RunRead:
    """A run as it was read. missing: a description of each part that could not be read. incomplete: whether that is
    because it is damaged, of another version, or needs code that cannot run or may not run."""

    view: RunView
    missing: list[str]
    incomplete: bool
    config: RunConfig | None


def read_run(folder: Path, describe: Callable[[RunConfig], Described] = describe) -> RunRead:
    """Read the run in ``folder``. describe: as the function of that name. Raises UserError if there is no run.

    If only its configuration cannot be read, the algorithm's name is empty.
    """
    metrics = LiveMetrics(folder / "metrics.jsonl")
    missing: list[str] = []
    config = None
    try:
        config = open_run(folder).config
    except UserError as error:
        if not (folder / "metrics.jsonl").is_file():
            raise
        missing.append(str(error))
        metrics.read()
        games = read_games(folder)
        view = RunView("", {}, metrics, games, num_players=len(games[-1]["returns"]) if games else 1)
    else:
        metrics.read()
        described = describe(config)
        missing += described.missing
        view = view_run(folder, config, metrics, described, whole=True)
    incomplete = bool(missing) or not (metrics.names or view.games)
    if not metrics.names:
        missing.append("metrics.jsonl: there are no records yet")
    if not view.games:
        missing.append("games.jsonl: no game has ended yet")
    return RunRead(view, missing, incomplete, config)


def view_run(folder: Path, config: RunConfig, metrics: Metrics, described: Described | None = None,
             whole: bool = False) -> RunView:
    """The run in ``folder`` as plain data.

    described: ``describe(config)`` by default. whole: read the first games too, not only the last megabyte of the list.
    """
    described = describe(config) if described is None else described
    games = read_games(folder, whole)
    players = len(games[-1]["returns"]) if games else 1
    return RunView(
        algorithm=Path(config.algorithm).stem, metrics=metrics, games=games, settings=described.settings,
        known_good=described.known_good, **{"num_players": players, **described.environment},
    )


def with_new_games(view: RunView, folder: Path) -> RunView:
    """The same run with its games read again (the last megabyte). Its metrics are updated by their owner."""
    return dataclasses.replace(view, games=read_games(folder, whole=False))


def _environment(config: RunConfig, missing: list[str]) -> Environment | None:
    try:
        return config.environment
    except UserError as error:
        missing.append(f"its environment: {error}")
        return None


def _settings(config: RunConfig, missing: list[str]) -> dict[str, Any]:
    """The algorithm's settings; empty if they do not fit the algorithm, or its code is not trusted."""
    try:
        config.require_trust()
        return dataclasses.asdict(load_settings(config))
    except UserError as error:
        missing.append(f"settings of {config.algorithm}: {error}")
        return {}


def known_good(config: RunConfig, environment: Environment | None, missing: list[str]) -> dict[str, Any]:
    """The algorithm's defaults, overridden by its preset for the environment."""
    try:
        config.require_trust()
        kind = load_algorithm(config.algorithm).Config
        return dataclasses.asdict(kind()) | (load_preset(config.algorithm, environment, kind) if environment else {})
    except (UserError, TypeError) as error:
        missing.append(f"known good settings of {config.algorithm}: {error}")
        return {}


def read_games(folder: Path, whole: bool = True) -> list[dict[str, Any]]:
    """The games without their actions; damaged and incomplete lines are skipped."""
    try:
        with open(folder / "games.jsonl", "rb") as opened:
            if not whole and (size := os.fstat(opened.fileno()).st_size) > _TAIL:
                opened.seek(size - _TAIL)
            lines = [game for line in opened if (game := _game(line)) is not None]
    except OSError:
        return []
    lines = [line for line in lines if len(line["returns"]) == len(lines[-1]["returns"])]
    return lines if len(lines) <= _FIRST + _LAST else lines[:_FIRST] + lines[-_LAST:]


def _game(line: bytes) -> dict[str, Any] | None:
    # ``runs.reading`` would take ten times as long, and the doctor reads a running training repeatedly.
    try:
        game = json.loads(line)
        game = {name: game[name] for name in _NEEDED}
    except (ValueError, KeyError, TypeError):
        return None
    whole = all(type(game[name]) is kind for name, kind in _NEEDED.items()) and game["returns"] and all(
        type(value) in (int, float) and math.isfinite(value) for value in game["returns"])
    return game if whole else None
