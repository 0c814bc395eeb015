"""Short experiments with a run's agent in its own environment. They do not change the run.

Each takes the run's folder and a time limit in seconds. It returns a finding, or None if nothing is wrong. It raises
UserError if it is not possible.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from myosu.algorithms import load_algorithm, load_settings
from myosu.algorithms.interface import positions_in
from myosu.doctor.finding import Finding, Unsuited
from myosu.doctor.model_experiments import FLAT, against_perfect_play, model_against_rules
from myosu.doctor.run_games import ADVANTAGE, SEATS, unexplained
from myosu.doctor.run_view import found
from myosu.doctor.short_runs import known_good_settings, one_setting_at_a_time, shuffled_reward_control
from myosu.doctor.weights import weights_change
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.games.playout import random_actions
from myosu.players.agent import load_agent
from myosu.sources.actors import make_actor

#: Number of environments, and minimum numbers of finished episodes and of positions for a judgement.
_ENVS, _EPISODES, _POSITIONS = 16, 8, 200
#: Maximum number of random plies at the beginning of a game; probability of a random move when positions must differ;
#: minimum number of different positions to judge dead units.
_OPENING, _RANDOM, _DIFFERENT = 6, 0.3, 100
#: Fraction of a layer's units from which dead units are reported; fraction of the initial loss that may remain after
#: fitting one batch; number of updates of that fit.
_DEAD, _LEFT, _FITS = 0.85, 0.7, 150
#: Minimum number of games of search against prior, and the mean loss per game from which the search is broken.
_SEARCH_GAMES, _LOSES = 40, 0.25


def values_against_returns(folder: Path, seconds: float) -> Finding | None:
    """Compare the agent's values with the returns that followed."""
    agent, environment, config = load_agent(folder)
    if config.opponent is not None:
        raise UserError(f"its values are for games against {config.opponent}, not against itself")
    played = play(agent, environment, config.algorithm_config.get("discount", 1.0), min(seconds, 60.0))
    return judge_values(played.values, played.returns, config.algorithm_config.get("reward_scale", 1.0))


def dead_units(folder: Path, seconds: float) -> Finding | None:
    """Find dead units: units after a ReLU that are 0 for every observation."""
    agent, environment, _ = load_agent(folder)
    observations = np.unique(_observations(agent, environment, min(seconds, 20.0)), axis=0)
    if len(observations) < _DIFFERENT:
        raise UserError(f"only {len(observations)} different positions were reached in the time")
    net: Any = next((module for module in _modules(agent) if hasattr(module, "initial")), None)
    layers = count_dead_units(lambda: net.initial(torch.from_numpy(observations)) if net is not None else agent.act(
        observations, _all_legal(environment, len(observations))))
    if not layers:
        raise UserError("its network has no ReLU to examine")
    return judge_dead(layers)


def fit_one_batch(folder: Path, seconds: float) -> Finding | None:
    """Test whether a new network with the run's settings can overfit one batch."""
    _, environment, config = load_agent(folder)
    algorithm, settings = load_algorithm(config.algorithm), load_settings(config)
    if algorithm.SOURCE not in ("processes", "in turn"):
        raise Unsuited(f"{config.algorithm} learns from its newest games only, so there is no batch to keep")
    settings = dataclasses.replace(settings, num_envs=min(settings.num_envs, 16))
    spec = config.learner_spec
    replay = algorithm.make_replay(settings, spec)
    here = dataclasses.replace(config.train, env_workers="none")
    actor = make_actor(dataclasses.replace(config, algorithm_config=dataclasses.asdict(settings), train=here), 1)
    until = time.monotonic() + seconds / 2
    while replay.positions < settings.batch_size:
        if time.monotonic() > until:
            raise UserError("too few games were collected in the time")
        for sequence in actor.step().sequences:
            replay.add(sequence, 0)
    actor.env.close()
    learner = algorithm.make_learner(settings, spec, environment.symmetries, 1)
    losses: list[dict[str, float]] = []
    until = time.monotonic() + seconds / 2
    for _ in range(_FITS):
        if time.monotonic() > until:
            break
        losses.append(learner.update(replay, 0.5))
    finding = judge_fit([loss for loss in losses if loss])
    if finding and finding.severity == "warning" and len(losses) < _FITS:
        raise UserError(f"only {len(losses)} of {_FITS} updates could be made in the time: too early to say")
    return finding


def seats_swapped(folder: Path, seconds: float) -> Finding | None:
    """Play the agent against random moves from both seats."""
    from myosu.evaluation.match import play_match
    from myosu.players.agent import AgentPlayer
    from myosu.players.player import RandomPlayer

    agent, environment, _ = load_agent(folder)
    if environment.game is None or environment.spec.num_players != 2:
        raise Unsuited("only in two-player games")
    begun = time.monotonic()
    player, games = AgentPlayer(environment.game, agent, "agent"), 0
    won, lengths = np.zeros(2), np.zeros(2)
    while games < 3 or (time.monotonic() - begun < seconds / 2 and games < 10):
        result = play_match(environment.game, player, RandomPlayer(environment.game, games), 20, seed=games)
        won += [result.first_seat.win_rate, result.second_seat.win_rate]
        lengths += 10
        games += 1
    random = [RandomPlayer(environment.game, seed) for seed in (1, 2)]
    result = play_match(environment.game, random[0], random[1], 200, seed=0)
    return judge_seats(won / games, int(lengths[0]), result.first_seat.win_rate - result.second_seat.win_rate)


def search_against_prior(folder: Path, seconds: float) -> Finding | None:
    """Play the agent with search against its own policy network without search."""
    from myosu.evaluation.match import play_match
    from myosu.players.agent import AgentPlayer

    agent, environment, config = load_agent(folder)
    if environment.game is None or environment.spec.num_players != 2 or "simulations" not in config.algorithm_config:
        raise Unsuited("only for agents that search, in two-player games")
    prior, _, _ = load_agent(folder, simulations=1)
    players = [AgentPlayer(environment.game, one, name) for one, name in ((agent, "search"), (prior, "prior"))]
    until = time.monotonic() + seconds
    rewards: list[np.ndarray] = []
    while len(rewards) < 2 or (time.monotonic() < until and len(rewards) < 10):
        match = play_match(environment.game, players[0], players[1], 20, seed=len(rewards))
        rewards.append(match.rewards.reshape(-1))
    return judge_search(np.sign(np.concatenate(rewards)), config.algorithm_config["simulations"])


EXPERIMENTS = (weights_change, seats_swapped, search_against_prior, values_against_returns, model_against_rules,
               against_perfect_play, fit_one_batch, dead_units, shuffled_reward_control, known_good_settings,
               one_setting_at_a_time)


# --- judgements: pure functions


def judge_values(values: np.ndarray, returns: np.ndarray, scale: float = 1.0) -> Finding | None:
    """values, returns: float [n]. scale: factor from returns to the values' units."""
    returns = returns * scale
    spread = float(returns.std())
    if len(values) < _POSITIONS or spread < 1e-9 or not np.isfinite(values).all():
        return None
    correlation = float(np.corrcoef(values, returns)[0, 1]) if values.std() > 0 else 0.0
    error = float(np.sqrt(np.square(values - returns).mean()))
    numbers = (f"over {len(values)} positions values and returns correlate by {correlation:+.2f}; the error is "
               f"{error:.3g}, the returns' deviation {spread:.3g}")
    if correlation < -0.2 and values.std() > FLAT * spread:
        return found("error", "value-sign", f"values predict the opposite of the returns: {numbers}.", "values or "
                     "rewards belong to the wrong player.", "Look at whose reward step() returns "
                     "(docs/convention.md).", 0.9)
    if error > 3 * max(spread, float(np.abs(returns).mean())):
        return found("warning", "value-scale", f"values and returns differ in scale: {numbers}.", "values have "
                     "diverged, or have not converged yet.", "Lower --learning-rate; train longer.", 0.6)
    return None


def judge_dead(layers: list[tuple[int, int]]) -> Finding | None:
    """layers: for each layer, the number of dead units and the number of all units."""
    shares = [dead / units for dead, units in layers]
    worst = int(np.argmax(shares))
    if shares[worst] < _DEAD or layers[worst][1] < 4:
        return None
    dead, units = layers[worst]
    total, of = (sum(layer[k] for layer in layers) for k in (0, 1))
    return found("warning", "dead-units", f"{dead} of {units} units of layer {worst + 1} are 0 for every observation "
                 f"({total} of {of} in all layers).", "an update that was too large made their ReLU inactive for good.",
                 "Lower --learning-rate or --max-grad-norm; normalise layers (--layer-norm).", 0.8)


def judge_fit(losses: list[dict[str, float]]) -> Finding | None:
    """losses: metrics of the updates on a few positions, oldest first."""
    names = [name for name in ("value_loss", "td_error") if losses and name in losses[0]]
    if len(losses) < 3 or not names:
        raise UserError("too few updates could be made in the time")
    name = names[0]
    curve = np.array([loss[name] for loss in losses])
    part = max(1, len(curve) // 5)
    first, last = float(curve[:part].mean()), float(curve[-part:].mean())
    if not np.isfinite(curve).all():
        return found("error", "fit", f"{name} is not finite while a single batch is fitted.", "the learning rate is "
                     "too high, or the data contain numbers that are not finite.", "Lower --learning-rate.", 0.9)
    if first < 1e-6 or last <= _LEFT * first:
        return None
    return found("warning", "fit", f"fitted repeatedly to a few positions, {name} only went from {first:.3g} to "
                 f"{last:.3g}.", "these settings cannot even overfit one batch: the learning rate is far "
                 "too high or too low, or the network cannot tell the positions apart.", "Change --learning-rate "
                 "first; then "
                 "look at observations with myosu check.", 0.7)


def judge_seats(won: np.ndarray, games: int, advantage: float = 0.0) -> Finding | None:
    """won: float [2], the win rates as first and as second player. games: number of games from each seat. advantage:
    the same difference if both players are random."""
    pooled = float(np.clip(won.mean(), 0.02, 0.98))
    error = np.sqrt(2 * pooled * (1 - pooled) / games)
    gap = float(won[0] - won[1])
    if unexplained(gap, float(np.clip(advantage, -ADVANTAGE, ADVANTAGE))) < max(SEATS, 4 * error):
        return None
    worse = "second" if won[0] > won[1] else "first"
    return found("warning", "seats", f"against random moves the agent wins {won[0]:.0%} as first and {won[1]:.0%} as "
                 f"second player ({games} games each).", f"the {worse} player's moves, rewards or observations are "
                 "broken.",
                 "Run myosu check on the game.", 0.8)


def judge_search(outcomes: np.ndarray, simulations: int) -> Finding | None:
    """outcomes: float [games], 1 if the search won against its own prior, -1 if it lost."""
    if len(outcomes) < _SEARCH_GAMES:
        raise UserError(f"only {len(outcomes)} games could be played in the time")
    mean, error = float(outcomes.mean()), float(outcomes.std() / np.sqrt(len(outcomes)))
    if mean > -3 * max(error, 1e-9) or mean > -_LOSES:
        return None
    wins, losses = (outcomes > 0).mean(), (outcomes < 0).mean()
    return found("warning", "search", f"with {simulations} simulations per move the agent wins {wins:.0%} of "
                 f"{len(outcomes)} games against its own policy without search, and loses {losses:.0%}.", "what the "
                 "search relies on is wrong: the values, the signs of rewards between players, or the learnt model.",
                 "Run myosu check on the game; look at the value's error (selfplay/value_error); train longer before "
                 "more --simulations.", 0.8)


# --- instruments


@dataclass(frozen=True)
class Played:
    """values: float [n], of positions the agent met, from the view of the player to move. returns: the returns that
    followed."""

    values: np.ndarray
    returns: np.ndarray


def play(agent: Any, environment: Environment, discount: float, seconds: float) -> Played:
    """Values and returns of whole episodes; truncated and unfinished episodes do not count.

    Games begin with a few random plies, because all games of a deterministic agent would be equal otherwise.
    """
    spec, until = environment.spec, time.monotonic() + seconds
    if spec.action_branches or spec.action_low:
        raise Unsuited("only for agents that make a single choice per step")
    env = environment.make(_ENVS, 7)
    env.reset()
    step, every = env.recv(_ENVS), np.arange(_ENVS)
    state, starts = None, np.ones(_ENVS, np.bool_)
    rng = np.random.default_rng(7)
    openings = rng.integers(0, _OPENING + 1, _ENVS) if environment.game is not None else np.zeros(_ENVS, np.int64)
    signed, running = spec.signed_discount(discount), [list[tuple[float, float]]() for _ in range(_ENVS)]
    values: list[float] = []
    returns: list[float] = []
    episodes = 0
    while time.monotonic() < until and (episodes < 4 * _ENVS or len(values) < _POSITIONS):
        analysis = agent.analyze(step.observation, step.legal_actions, state, starts, **positions_in(agent, env, every))
        state, opening = analysis.state, openings > 0
        random = random_actions(step.legal_actions, int(rng.integers(2**31)))
        env.send(np.where(opening, random, analysis.action), every)
        step = env.recv(_ENVS)
        starts = step.terminated | step.truncated
        openings[opening] -= 1
        for i in np.flatnonzero(~opening).tolist():
            running[i].append((float(analysis.value[i]), float(step.reward[i])))
        for i in np.flatnonzero(starts).tolist():
            if environment.game is not None:
                openings[i] = rng.integers(0, _OPENING + 1)
            if step.terminated[i]:
                earned = 0.0
                for value, reward in reversed(running[i]):
                    earned = reward + signed * earned
                    values.append(value)
                    returns.append(earned)
                episodes += 1
            running[i].clear()
    env.close()
    if episodes < _EPISODES or len(values) < _POSITIONS:
        raise UserError(f"only {episodes} episodes ended in the time")
    return Played(np.array(values), np.array(returns))


class _ReluWatch(TorchFunctionMode):
    """Records for every ReLU which units were above 0 for any input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[tuple[int, int]] = []

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        out = function(*arguments, **(named or {}))
        if getattr(function, "__name__", "") in ("relu", "relu_") and out.dim() >= 2:
            fired = (out > 0).transpose(0, 1).flatten(1).any(dim=1)
            self.layers.append((int((~fired).sum()), len(fired)))
        return out


def count_dead_units(forward: Any) -> list[tuple[int, int]]:
    """For every ReLU in ``forward()``: the number of units that never fired, and the number of all units."""
    with torch.no_grad(), _ReluWatch() as watch:
        forward()
    return watch.layers


def _observations(agent: Any, environment: Environment, seconds: float) -> np.ndarray:
    """[n, *shape]: every third observation that the agent met.

    In games some moves are random, because the observations would repeat otherwise.
    """
    rng, mixed = np.random.default_rng(3), environment.game is not None
    env, every = environment.make(_ENVS, 3), np.arange(_ENVS)
    env.reset()
    step = env.recv(_ENVS)
    kept, until = [step.observation], time.monotonic() + seconds
    for _ in range(60):
        if time.monotonic() > until:
            break
        known = positions_in(agent, env, every)
        actions = agent.act(step.observation, step.legal_actions, **known)[0]
        if mixed:
            random = random_actions(step.legal_actions, int(rng.integers(2**31)))
            actions = np.where(rng.random(_ENVS) < _RANDOM, random, actions)
        env.send(actions, every)
        step = env.recv(_ENVS)
        kept.append(step.observation)
    env.close()
    return np.concatenate(kept[::3] or kept)


def _all_legal(environment: Environment, count: int) -> np.ndarray:
    return np.ones((count, environment.spec.num_actions), np.bool_)


def _modules(thing: Any, depth: int = 3) -> list[torch.nn.Module]:
    """The networks that an agent holds, searched through at most ``depth`` levels of attributes."""
    if isinstance(thing, torch.nn.Module):
        return [thing]
    if depth == 0 or not hasattr(thing, "__dict__"):
        return []
    return [module for value in vars(thing).values() for module in _modules(value, depth - 1)]
