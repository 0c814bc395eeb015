"""Comparison with experts: passing a game means winning it, mastering it winning in as few steps as experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.evaluation.episodes import steps_to_win
from myosu.runs.config import RunConfig
from myosu.runs.recordings import open_recording

#: Fraction of games that must be won to pass.
PASSING_RATE = 0.9


def expert_steps(folder: str | Path, environment: Environment, name: str, kwargs: dict[str, Any]) -> np.ndarray:
    """Steps to win, float64 [games], of the recorded games in ``folder``, which must be of ``environment``, made from
    ``name`` and ``kwargs``. Raises UserError if the game cannot be won or nothing is recorded."""
    game = environment.game
    if game is None or game.num_players != 1 or game.success_return is None:
        raise UserError(f"{environment.name} is not a single-player game that can be won: leave out --experts.")
    recording = open_recording(folder)
    recording.require(environment, name, kwargs)
    games = [(record.length, record.returns[0] > game.success_return) for record in recording.records()]
    if not games:
        raise UserError(f"There are no expert games in {folder}.")
    lengths, won = np.array(games).T
    return steps_to_win(lengths, won.astype(np.bool_), game.max_plies)


def mastery(report: dict[str, Any], environment: Environment, config: RunConfig, experts: str | Path
            ) -> dict[str, Any]:
    """Compare the ``report`` of a run (``evaluation_report``) with recorded games of experts.

    Returns ``expert_games`` and ``expert_steps_to_win``; ``passed``: nine games in ten are won; ``mastered``: the mean
    number of steps to win is at most the experts', where a game that is not won counts as one of maximum length."""
    steps = expert_steps(experts, environment, config.game, config.env_kwargs)
    return {"expert_games": len(steps), "expert_steps_to_win": float(steps.mean()),
            "passed": report["success_rate"] >= PASSING_RATE,
            "mastered": bool(report["mean_steps_to_win"] <= steps.mean())}
