"""Evaluation of an agent in a two-player environment of PettingZoo, from both seats."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from myosu.algorithms.interface import Agent
from myosu.envs.pettingzoo_single import Seating
from myosu.envs.registry import Environment
from myosu.envs.vector import VectorEnv
from myosu.evaluation.episodes import EpisodesResult, play_episodes
from myosu.evaluation.match import Score, require_both_seats, score_json
from myosu.players.against_agents import AgainstAgents, one_opponent
from myosu.randomness import derive_seed


def play_both_seats(environment: Environment, agent: Agent, opponent: str, games: int, seed: int = 0,
                    most_steps: float = math.inf) -> dict[str, Any]:
    """Play ``games`` episodes (an even number), half from each seat, against ``opponent`` (``load_opponent``). A win is
    an episode with a return above 0. Returns the fields of ``EpisodesResult.to_json`` and of ``MatchResult.to_json``,
    except the opening plies. most_steps: as in ``play_episodes``."""
    require_both_seats(games)
    other = one_opponent(opponent, environment, seed)
    seats: list[EpisodesResult] = []
    finished: list[Seating] = []

    def make(count: int, seed: int) -> VectorEnv:
        assert environment.maker is not None
        env = AgainstAgents(environment.maker, count, seed, other, seat=len(seats))
        env.finished = finished
        return env

    for seat in (0, 1):
        seats.append(play_episodes(environment, agent, games // 2, derive_seed(seed, seat), most_steps / 2, make))
    whole: dict[str, Any] = {name: np.concatenate([getattr(played, name) for played in seats])
                             for name in ("returns", "raw_returns", "lengths", "truncated")}
    both = replace(seats[0], seconds=seats[0].seconds + seats[1].seconds, **whole)
    total, first, second = (score_json(Score.of(played.returns[:, None])) for played in (both, *seats))
    return {**both.to_json(), "opponent": opponent, **total, "first_seat": first, "second_seat": second,
            "distinct_games": len(set(map(str, finished)))}
