"""An experiment that trains: a short run with the run's own settings beside one with settings that are known to be
good. Both are made in a temporary folder; the run itself is not touched."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from myosu.doctor.finding import Finding
from myosu.doctor.run_folder import known_good, read_games
from myosu.doctor.run_view import found
from myosu.errors import UserError
from myosu.evaluation.match import play_match
from myosu.players.agent import AgentPlayer, load_agent
from myosu.runs.config import RunConfig
from myosu.runs.run import open_run
from myosu.training import trainer
from myosu.training.start import create_run

#: Seconds that a short run takes at least; fewest episodes of each, and games of the match of their agents.
_SECONDS, _EPISODES, _MATCH = 20.0, 10, 40
#: The known good settings are better by so many standard errors and so many standard deviations; as a share of games
#: won.
_SURE, _GREAT, _WON = 4.0, 0.5, 0.75


def known_good_settings(folder: Path, seconds: float) -> Finding | None:
    """Train for a short time with the run's settings, and as long with known good ones."""
    config = open_run(folder).config
    missing: list[str] = []
    good = known_good(config, config.environment, missing)
    if missing:
        raise UserError(missing[0])
    each = 0.45 * seconds
    with tempfile.TemporaryDirectory() as scratch:
        runs = [create_run(_short(config, settings, each / 60), Path(scratch) / name)
                for name, settings in (("own", config.algorithm_config), ("good", good))]
        own, better = (run.config.algorithm_config for run in runs)
        differing = {name: (own[name], better[name]) for name in better if name in own and own[name] != better[name]}
        if not differing:
            raise UserError("its settings are the known good ones")
        if each < _SECONDS:
            raise UserError(f"two short runs need {2 * _SECONDS / 60:.1f} minutes or more (--minutes)")
        for run in runs:
            trainer.train(run, quiet=True)
        if config.environment.spec.num_players == 2 and config.opponent is None:
            return judge_match(_won(runs), 2 * _MATCH, differing)
        own_returns, good_returns = (np.array([game["returns"][0] for game in read_games(run.folder)]) for run in runs)
    return judge_settings(own_returns, good_returns, differing)


def _short(config: RunConfig, settings: dict[str, Any], minutes: float) -> RunConfig:
    limits = dataclasses.replace(config.train, minutes=minutes, updates=None, games=None, env_steps=None, actors=0,
                                 deterministic=False, evaluate_every=0, checkpoint_every_minutes=60.0, video_every=0)
    return dataclasses.replace(config, algorithm_config=settings, train=limits)


def _won(runs: list[Any]) -> float:
    """Share of games that the agent of the second run wins against that of the first; a draw is half."""
    players = []
    for run, name in zip(runs, ("own", "good"), strict=True):
        agent, environment, _ = load_agent(run.folder)
        players.append(AgentPlayer(environment.game, agent, name))  # type: ignore[arg-type]
    result = play_match(environment.game, players[1], players[0], 2 * _MATCH, seed=1)  # type: ignore[arg-type]
    return float((np.sign(result.rewards).mean() + 1) / 2)


def judge_settings(own: np.ndarray, good: np.ndarray, differing: dict[str, tuple[Any, Any]]) -> Finding | None:
    """own, good: float [episodes], returns in the order of training, of which the later half counts. differing: by
    name, the run's setting and the known good one."""
    if min(len(own), len(good)) < 2 * _EPISODES:
        raise UserError(f"only {len(own)} and {len(good)} episodes ended in the two short runs (--minutes)")
    own, good = own[len(own) // 2:], good[len(good) // 2:]
    gain = float(good.mean() - own.mean())
    error = float(np.sqrt(own.var() / len(own) + good.var() / len(good)))
    if gain <= _SURE * error or gain <= _GREAT * float(np.hypot(own.std(), good.std())) / np.sqrt(2):
        return None
    return _finding(f"trained anew for as long, known good settings earn {good.mean():.4g} an episode and the run's "
                    f"{own.mean():.4g} ({len(good)} and {len(own)} episodes).", differing)


def judge_match(won: float, games: int, differing: dict[str, tuple[Any, Any]]) -> Finding | None:
    """won: the share that the agent with the known good settings won."""
    if won < _WON:
        return None
    return _finding(f"trained anew for as long, the agent with known good settings wins {won:.0%} of {games} games "
                    "against the one with the run's.", differing)


def _finding(message: str, differing: dict[str, tuple[Any, Any]]) -> Finding:
    listed = ", ".join(f"{name} = {own} (known good: {good})" for name, (own, good) in list(differing.items())[:6])
    flags = " ".join(f"--{name.replace('_', '-')} {good}" for name, (_, good) in list(differing.items())[:6]
                     if isinstance(good, (int, float, str)) and not isinstance(good, bool))
    return found("warning", "settings", message, f"one of the settings that differ: {listed}.",
                 f"Begin with the known good ones: {flags}.", 0.85)
