"""Experiments that train: short runs in a temporary folder; the run itself is not changed.

They compare known good settings with the run's, all together and one at a time, and shuffled rewards with true ones.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from myosu.doctor.finding import Finding, Unsuited
from myosu.doctor.run_folder import known_good, read_games
from myosu.doctor.run_view import found
from myosu.doctor.shuffled import shuffle_rewards
from myosu.errors import UserError
from myosu.evaluation.episodes import play_episodes
from myosu.evaluation.match import play_match
from myosu.players.agent import AgentPlayer, load_agent
from myosu.runs.checkpoint import find_checkpoint
from myosu.runs.config import RunConfig
from myosu.runs.run import open_run
from myosu.training import trainer
from myosu.training.start import create_run

#: Minimum seconds of a short run; minimum number of episodes to compare; half the number of games of a match.
_SECONDS, _EPISODES, _MATCH = 20.0, 10, 40
#: The known good settings must be better by this many standard errors and this many standard deviations, or have this
#: win rate.
_SURE, _GREAT, _WON = 4.0, 0.5, 0.75
#: Number of episodes of the run's agent and of the control; standard errors by which an agent is better that has
#: learned from its rewards.
_SHOWN, _LEARNT = 30, 2.0


def known_good_settings(folder: Path, seconds: float) -> Finding | None:
    """Train for a short time with the run's settings, and for as long with known good settings."""
    config, good, differing = _differing(folder)
    each = 0.45 * seconds
    _need_time(each, 2)
    with tempfile.TemporaryDirectory() as scratch:
        own, better = (_train(config, settings, each, Path(scratch) / name)
                       for name, settings in (("own", config.algorithm_config), ("good", good)))
        if _is_match(config):
            return judge_match(_won(better, own), 2 * _MATCH, differing)
        return judge_settings(_returns(own), _returns(better), differing)


def one_setting_at_a_time(folder: Path, seconds: float) -> Finding | None:
    """Train for a short time with the run's settings, then as long with one setting at a time replaced by its known
    good value. The settings that differ most are tried first."""
    config, _, differing = _differing(folder)
    runs = int(0.9 * seconds / _SECONDS)
    if runs < 2:
        _need_time(0.45 * seconds, 2)
    tried = by_distance(differing)[:runs - 1]
    each = 0.9 * seconds / (1 + len(tried))
    with tempfile.TemporaryDirectory() as scratch:
        own = _train(config, config.algorithm_config, each, Path(scratch) / "own")
        results = {name: _train(config, {**config.algorithm_config, name: differing[name][1]}, each,
                                Path(scratch) / name) for name in tried}
        if _is_match(config):
            return judge_one_match({name: _won(run, own) for name, run in results.items()}, 2 * _MATCH, differing)
        return judge_one_setting(_returns(own), {name: _returns(run) for name, run in results.items()}, differing)


def shuffled_reward_control(folder: Path, seconds: float) -> Finding | None:
    """Train a control with the run's settings on shuffled rewards, and compare the run's agent with it.

    An agent that is no better than the control has learned nothing from its rewards.
    """
    agent, environment, config = load_agent(folder)
    updates = find_checkpoint(folder).update
    _need_time(0.6 * seconds, 1)
    with tempfile.TemporaryDirectory() as scratch:
        result = _train(config, config.algorithm_config, 0.6 * seconds, Path(scratch) / "control", shuffled=True)
        if updates < result.updates:
            raise UserError(f"the run has made {updates:,} updates, the control {result.updates:,}: too early to say")
        control = load_agent(result.run.folder)[0]
        if _is_match(config):
            return judge_control_match(_won_against(environment, agent, control), 2 * _MATCH)
        most = max(2_000.0, 0.2 * seconds * result.env_steps / result.seconds)
        own, other = (play_episodes(environment, one, _SHOWN, seed=3, most_steps=most).returns
                      for one in (agent, control))
        return judge_control(own, other)


# --- judgements: pure functions


def judge_settings(own: np.ndarray, good: np.ndarray, differing: dict[str, tuple[Any, Any]]) -> Finding | None:
    """own, good: float [episodes], returns in the order of training; only the later half is compared. differing: name →
    the run's value and the known good value."""
    if not _is_better(own, good):
        return None
    own, good = _later(own), _later(good)
    return _finding(f"trained from scratch for the same time, known good settings earn {good.mean():.4g} per episode "
                    f"and the run's {own.mean():.4g} ({len(good)} and {len(own)} episodes).", differing)


def judge_match(won: float, games: int, differing: dict[str, tuple[Any, Any]]) -> Finding | None:
    """won: win rate of the agent trained with the known good settings."""
    if won < _WON:
        return None
    return _finding(f"trained from scratch for the same time, the agent with known good settings wins {won:.0%} of "
                    f"{games} games against the one with the run's.", differing)


def judge_one_setting(own: np.ndarray, others: dict[str, np.ndarray],
                      differing: dict[str, tuple[Any, Any]]) -> Finding | None:
    """own: float [episodes], returns with the run's settings. others: name of a setting → returns with its known good
    value."""
    better = [name for name, returns in others.items() if _is_better(own, returns)]
    if not better:
        return None
    name = max(better, key=lambda name: float(_later(others[name]).mean()))
    return _finding(f"trained from scratch for the same time, the run's settings earn {_later(own).mean():.4g} per "
                    f"episode, and {_later(others[name]).mean():.4g} with only {name} changed ({len(others)} "
                    "settings were tried one at a time).", {name: differing[name]})


def judge_one_match(won: dict[str, float], games: int, differing: dict[str, tuple[Any, Any]]) -> Finding | None:
    """won: name of the replaced setting → win rate against the agent trained with the run's settings."""
    name = max(won, key=won.__getitem__)
    if won[name] < _WON:
        return None
    return _finding(f"trained from scratch for the same time, the agent with only {name} changed wins "
                    f"{won[name]:.0%} of {games} games against the one with the run's settings ({len(won)} were tried "
                    "one at a time).",
                    {name: differing[name]})


def judge_control(own: np.ndarray, control: np.ndarray) -> Finding | None:
    """own, control: float [episodes], returns of the run's agent and of one trained on shuffled rewards."""
    if min(len(own), len(control)) < _EPISODES:
        raise UserError(f"only {len(own)} and {len(control)} episodes could be played in the time")
    error = float(np.sqrt(own.var() / len(own) + control.var() / len(control)))
    if own.mean() - control.mean() > _LEARNT * error:
        return None
    return _no_better(f"the run's agent earns {own.mean():.4g} ± {own.std():.2g} per episode, one that was trained for "
                      f"a short time on shuffled rewards {control.mean():.4g} ± {control.std():.2g} ({len(own)} and "
                      f"{len(control)} episodes).")


def judge_control_match(won: float, games: int) -> Finding | None:
    """won: win rate of the run's agent against the control."""
    if won > 0.5 + _LEARNT * 0.5 / np.sqrt(games):
        return None
    return _no_better(f"the run's agent wins {won:.0%} of {games} games against one that was trained for a short time "
                      "on shuffled rewards.")


def by_distance(differing: dict[str, tuple[Any, Any]]) -> list[str]:
    """Names of settings, ordered by the factor between their two numbers, largest first; settings that are no numbers
    last."""
    def factor(pair: tuple[Any, Any]) -> float:
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 for value in pair):
            return abs(float(np.log(pair[0] / pair[1])))
        return 0.0

    return sorted(differing, key=lambda name: -factor(differing[name]))


def _is_better(own: np.ndarray, good: np.ndarray) -> bool:
    if min(len(own), len(good)) < 2 * _EPISODES:
        raise UserError(f"only {len(own)} and {len(good)} episodes ended in the two short runs (--minutes)")
    own, good = _later(own), _later(good)
    gain = float(good.mean() - own.mean())
    error = float(np.sqrt(own.var() / len(own) + good.var() / len(good)))
    return gain > _SURE * error and gain > _GREAT * float(np.hypot(own.std(), good.std())) / np.sqrt(2)


def _later(returns: np.ndarray) -> np.ndarray:
    return returns[len(returns) // 2:]


def _finding(message: str, differing: dict[str, tuple[Any, Any]]) -> Finding:
    listed = ", ".join(f"{name} = {own} (known good: {good})" for name, (own, good) in list(differing.items())[:6])
    flags = " ".join(f"--{name.replace('_', '-')} {good}" for name, (_, good) in list(differing.items())[:6]
                     if isinstance(good, (int, float, str)) and not isinstance(good, bool))
    which = "one of the settings that differ" if len(differing) > 1 else "this setting"
    return found("warning", "settings", message, f"{which}: {listed}.", f"Start with the known good ones: {flags}.",
                 0.85 if len(differing) > 1 else 0.9)


def _no_better(message: str) -> Finding:
    return found("warning", "shuffled-rewards", message, "nothing that the agent does well comes from its rewards: "
                 "they do not depend on what it does, it has not received any yet, or it does not learn from them.",
                 "Run myosu check on the environment; if that is healthy, reward progress, explore more, or start "
                 "with the preset's settings.", 0.6)


# --- short runs


def _differing(folder: Path) -> tuple[RunConfig, dict[str, Any], dict[str, tuple[Any, Any]]]:
    """The run's configuration, the known good settings, and the settings that differ: name → the run's and the known
    good value."""
    config = open_run(folder).config
    missing: list[str] = []
    good = known_good(config, config.environment, missing)
    if missing:
        raise UserError(missing[0])
    with tempfile.TemporaryDirectory() as scratch:  # as they are resolved on this machine
        own, better = (create_run(_short(config, settings, 1.0), Path(scratch) / name).config.algorithm_config
                       for name, settings in (("own", config.algorithm_config), ("good", good)))
    differing = {name: (own[name], better[name]) for name in better if name in own and own[name] != better[name]}
    if not differing:
        raise Unsuited("its settings are the known good ones")
    return config, good, differing


def _need_time(each: float, runs: int) -> None:
    if each < _SECONDS:
        many = "two short runs need" if runs == 2 else "a short run needs"
        raise UserError(f"{many} {runs * _SECONDS / 60:.1f} minutes or more (--minutes)")


def _train(config: RunConfig, settings: dict[str, Any], seconds: float, folder: Path,
           shuffled: bool = False) -> trainer.TrainResult:
    run = create_run(_short(config, settings, seconds / 60), folder)
    if shuffled:
        shuffle_rewards(run.config)
    return trainer.train(run, quiet=True)


def _short(config: RunConfig, settings: dict[str, Any], minutes: float) -> RunConfig:
    limits = dataclasses.replace(config.train, minutes=minutes, updates=None, games=None, env_steps=None, actors=0,
                                 deterministic=False, evaluate_every=0, checkpoint_every_minutes=60.0, video_every=0)
    return dataclasses.replace(config, algorithm_config=settings, train=limits)


def _is_match(config: RunConfig) -> bool:
    """Whether agents are compared by games against each other."""
    return config.environment.spec.num_players == 2 and config.opponent is None


def _returns(result: trainer.TrainResult) -> np.ndarray:
    return np.array([game["returns"][0] for game in read_games(result.run.folder)])


def _won(one: trainer.TrainResult, other: trainer.TrainResult) -> float:
    """Win rate of the agent of ``one`` against that of ``other``; a draw counts half."""
    (first, environment, _), (second, _, _) = (load_agent(result.run.folder) for result in (one, other))
    return _won_against(environment, first, second)


def _won_against(environment: Any, agent: Any, other: Any) -> float:
    first, second = (AgentPlayer(environment.game, one, name) for one, name in ((agent, "agent"), (other, "other")))
    result = play_match(environment.game, first, second, 2 * _MATCH, seed=1)
    return float((np.sign(result.rewards).mean() + 1) / 2)
