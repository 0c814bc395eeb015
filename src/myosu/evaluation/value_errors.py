"""Compares evaluations of positions by their error in recorded games, per stage of the game (AlphaGo's figure 2b)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from myosu.errors import UserError
from myosu.evaluation.prediction import interval_over_games
from myosu.evaluation.statistics import Interval, mean_interval
from myosu.games.game import Game
from myosu.players.apv import Network
from myosu.players.player import legal_mask
from myosu.players.rollouts import Rollouts
from myosu.runs.games import GameRecord

#: evaluate(states [n]) -> float [n], the expected return of the player to move.
Evaluate = Callable[[np.ndarray], np.ndarray]
#: Plies per stage.
STAGE = 10
#: Games that a policy network plays in parallel.
AT_ONCE = 1024


@dataclass(frozen=True)
class ErrorByStage:
    """Means of ½ (z − v)² over all positions and per stage, with 95 % intervals over games. by_stage: (first ply,
    positions, error). microseconds: processor time per position."""

    error: float
    error_ci95: Interval
    by_stage: list[tuple[int, int, float]]
    by_stage_ci95: list[Interval]
    microseconds: float


@dataclass(frozen=True)
class Sample:
    """Positions of recorded games, at most one per game and stage. states: [n]. outcome: float64 [n], z from the view
    of the player to move. stage: int [n], ply // STAGE. game: int [n], index of the game."""

    states: np.ndarray
    outcome: np.ndarray
    stage: np.ndarray
    game: np.ndarray

    @classmethod
    def of(cls, records: Iterable[GameRecord], game: Game, seed: int = 0) -> Sample:
        """Draw a position from each stage of each game, among those in which a player chose the move. Raises UserError
        if there is none."""
        rng, found = np.random.default_rng(seed), []
        for number, record in enumerate(records):
            history = record.history(game)
            plies = np.setdiff1d(np.arange(record.length), record.unchosen)
            for stage in np.unique(plies // STAGE):
                position = history.position(int(rng.choice(plies[plies // STAGE == stage])))
                seat = position.to_play
                found.append((position.state, record.returns[seat] - position.returns[seat], int(stage), number))
        if not found:
            raise UserError("There is no position to compare evaluations in: no game, or no move that a player chose.")
        states, *numbers = zip(*found, strict=True)
        return cls(np.stack(states), *map(np.array, numbers))


def compare_evaluations(sample: Sample, evaluations: Mapping[str, Evaluate]) -> dict[str, ErrorByStage]:
    """Measure the error of each of ``evaluations``."""
    return {name: _measure(sample, evaluate) for name, evaluate in evaluations.items()}


def _measure(sample: Sample, evaluate: Evaluate) -> ErrorByStage:
    evaluate(sample.states[:2])  # compile before the timing
    begin = time.process_time()
    values = evaluate(sample.states)
    seconds = time.process_time() - begin
    errors = 0.5 * (sample.outcome - values) ** 2
    stages = [stage for stage in np.unique(sample.stage) if (sample.stage == stage).sum() > 1]
    by_stage = [errors[sample.stage == stage] for stage in stages]
    games = [errors[sample.game == game] for game in np.unique(sample.game)]
    return ErrorByStage(
        float(errors.mean()), interval_over_games([game.sum() for game in games], np.array(list(map(len, games)))),
        [(int(STAGE * stage), len(some), float(some.mean())) for stage, some in zip(stages, by_stage, strict=True)],
        [mean_interval(some, (0.0, np.inf)) for some in by_stage], 1e6 * seconds / len(errors))


def network_value(network: Network, game: Game) -> Evaluate:
    """Evaluation by the value of a network."""
    return lambda states: network(states, legal_mask(game, states))[0]


def mean_of_rollouts(rollouts: Rollouts, count: int, seed: int = 0) -> Evaluate:
    """Evaluation by the mean outcome of ``count`` rollouts from each position."""
    return lambda states: rollouts(np.repeat(states, count), seed).reshape(len(states), count).mean(axis=1)


def network_rollouts(network: Network, game: Game, seed: int = 0) -> Rollouts:
    """Rollouts in which moves are drawn from a policy network until the game ends."""
    rng = np.random.default_rng(seed)

    def run(states: np.ndarray, seed: int) -> np.ndarray:
        return np.concatenate([_play_out(network, game, states[k:k + AT_ONCE], rng)
                               for k in range(0, len(states), AT_ONCE)])

    return run


def _play_out(network: Network, game: Game, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The return of the player to move in each of ``states``, float64 [n]."""
    states, outcome, sign = states.copy(), np.zeros(len(states)), np.ones(len(states))
    running = np.arange(len(states))
    for _ in range(game.max_plies):
        if not len(running):
            break
        now = states[running]
        legal = legal_mask(game, now)
        noise = rng.gumbel(size=legal.shape)  # argmax of logits + Gumbel noise samples from the softmax
        actions = np.where(legal, network(now, legal)[1] + noise, -np.inf).argmax(axis=1)
        reward, ended = np.empty(len(now), np.float32), np.empty(len(now), np.bool_)
        game.batch.step(now, actions, reward, ended)
        states[running] = now
        outcome[running] += sign[running] * reward
        sign[running] *= -1
        running = running[~ended]
    return outcome
