"""Evaluation of an agent's predictions on recorded games: the moves that were played, and the outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from myosu.algorithms import algorithm_of, load_settings
from myosu.algorithms.interface import Agent, known_positions
from myosu.envs.game_history import replay
from myosu.envs.playback import Move
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.evaluation.statistics import Interval
from myosu.runs.config import RunConfig
from myosu.runs.games import GameRecord
from myosu.runs.recordings import is_held_out, open_recording

#: Value errors are averaged over stages of this many plies.
STAGE = 20
RESAMPLINGS = 1000
#: Positions in a batch; agents that search accept at most 128.
AT_ONCE = 128


@dataclass(frozen=True)
class Prediction:
    """Means over all positions in which a player chose a move, with 95 % bootstrap intervals. Games are resampled,
    because the positions of a game are not independent.

    top1, top5: fraction of positions in which the played move is the agent's most probable, or among the five most
    probable. log_likelihood: mean log probability of the played move. Passes are not counted in these. value_error: ½
    (z − v)² for the outcome z and the agent's value v, 0 if it has none. by_stage: (first ply, positions, value_error).
    """

    games: int
    positions: int
    top1: float
    top1_ci95: Interval
    top5: float
    top5_ci95: Interval
    log_likelihood: float
    value_error: float
    value_error_ci95: Interval
    by_stage: list[tuple[int, int, float]]


def predict(agent: Agent, environment: Environment, records: Iterable[GameRecord],
            plies_of: Callable[[list[Move]], Sequence[int]] | None = None) -> Prediction:
    """Compare the predictions of ``agent`` with ``records``.

    plies_of: the plies of a game that are counted; by default those whose move was chosen. Raises UserError if there is
    no game, if the agent is recurrent, or if it does not choose one discrete action."""
    if agent.has_memory or environment.spec.action_shape or not environment.spec.num_actions:
        raise UserError("Only agents without a memory that choose one action per move can be compared with recorded "
                        "games.")
    plies_of = plies_of or (lambda moves: [ply for ply, move in enumerate(moves) if move.chosen])
    games = [game for record in records if len(game := _game(agent, environment, record, plies_of))]
    if not games:
        raise UserError("There is no game to compare the agent with: none was held out, or no player chose a move.")
    counts = np.array([len(game) for game in games])
    moves = np.array([np.isfinite(game["rank"]).sum() for game in games])
    every = np.concatenate(games)
    played = every[np.isfinite(every["rank"])]
    if not len(played):
        raise UserError("In these games, players chose no move except passes.")
    stages = every["ply"] // STAGE
    return Prediction(
        games=len(games), positions=len(every),
        top1=float((played["rank"] < 1).mean()),
        top1_ci95=interval_over_games([np.sum(game["rank"] < 1) for game in games], moves),
        top5=float((played["rank"] < 5).mean()),
        top5_ci95=interval_over_games([np.sum(game["rank"] < 5) for game in games], moves),
        log_likelihood=float(played["log_prob"].mean()), value_error=float(every["error"].mean()),
        value_error_ci95=interval_over_games([game["error"].sum() for game in games], counts),
        by_stage=[(int(STAGE * stage), int((stages == stage).sum()), float(every["error"][stages == stage].mean()))
                  for stage in np.unique(stages)])


def predict_recordings(agent: Agent, environment: Environment, config: RunConfig, sources: Sequence[str | Path],
                       held_out: bool | None) -> Prediction:
    """``predict`` on the games in ``sources`` (``open_recording``).

    held_out: True: only games that the run with ``config`` does not learn from; False: only the positions that it
    learns from; None: all.
    """
    kept_plies = getattr(algorithm_of(config), "kept_plies", None)  # of algorithms that skip some plies
    plies_of = partial(kept_plies, load_settings(config)) if kept_plies and held_out is False else None
    share = config.algorithm_config.get("held_out", 0.0)
    records = []
    for source in sources:
        recording = open_recording(source, environment.spec)
        recording.require(environment, config.game, config.env_kwargs)
        records += [record for record in recording.records() if held_out in (
            None, is_held_out(record.actions or [], environment.spec.num_players, share))]
    return predict(agent, environment, records, plies_of)


def _game(agent: Agent, environment: Environment, record: GameRecord,
          plies_of: Callable[[list[Move]], Sequence[int]]) -> np.ndarray:
    """A row for each counted move: its ply, its rank by the agent's probability from 0 (NaN for a pass), its log
    probability, and the error of the value."""
    moves = list(record.moves(environment))
    to_go = np.cumsum([move.rewards for move in reversed(moves)], axis=0)[::-1]
    plies = list(plies_of(moves))
    rows: np.ndarray = np.zeros(len(plies), [("ply", int), ("rank", float), ("log_prob", float), ("error", float)])
    if not plies:
        return rows
    analyses = [agent.analyze(np.array([moves[ply].observation for ply in some]),
                              np.array([moves[ply].legal_actions for ply in some]),
                              **_positions(agent, environment, record, some))
                for some in (plies[k:k + AT_ONCE] for k in range(0, len(plies), AT_ONCE))]
    policy, values = (np.concatenate([getattr(analysis, name) for analysis in analyses])
                      for name in ("policy", "value"))
    actions = np.array([int(moves[ply].action) for ply in plies])
    chosen = np.take_along_axis(policy, actions[:, None], axis=1)
    # Half of the ties are ranked before the move, so that a uniform policy ranks it in the middle.
    ties = ((policy == chosen).sum(1) - 1) / 2
    rows["ply"] = plies
    rows["rank"] = np.where(actions == environment.spec.pass_action, np.nan, (policy > chosen).sum(1) + ties)
    rows["log_prob"] = np.log(np.maximum(chosen[:, 0], 1e-30))
    outcomes = np.array([to_go[ply, moves[ply].seat] for ply in plies])
    rows["error"] = 0.5 * (outcomes - values) ** 2
    return rows


def _positions(agent: Agent, environment: Environment, record: GameRecord, plies: list[int]) -> dict[str, Any]:
    """The states before ``plies``, for an agent that needs them."""
    if environment.game is None or not getattr(agent, "needs_positions", False):
        return {}
    history = replay(environment.game, *record.seed_and_actions())
    return known_positions(agent, np.stack([history.position(ply).state for ply in plies]))


def interval_over_games(sums: list[Any], counts: np.ndarray) -> Interval:
    """95 % bootstrap interval of Σ sums / Σ counts over games [n]."""
    values = np.array(sums, np.float64)
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLINGS, len(values)))
    means = values[drawn].sum(1) / np.maximum(1, counts[drawn].sum(1))
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
