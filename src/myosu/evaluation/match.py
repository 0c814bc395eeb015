"""Matches between two players, with confidence intervals of the results."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from myosu.errors import UserError
from myosu.evaluation.statistics import Interval, mean_interval, rate_interval
from myosu.games.game import Game
from myosu.players.player import RESIGNS, History, Player, RandomPlayer, legal_mask


@dataclass(frozen=True)
class Score:
    """Results of one player over ``games``, with 95 % confidence intervals."""

    games: int
    mean_reward: float
    mean_reward_ci95: Interval
    win_rate: float
    win_rate_ci95: Interval
    draw_rate: float
    draw_rate_ci95: Interval
    loss_rate: float
    loss_rate_ci95: Interval

    @classmethod
    def of(cls, rewards: np.ndarray, reward_range: Interval = (-math.inf, math.inf)) -> Score:
        """Compute the score from rewards [units, games]. Units are independent; games within a unit need not be.
        The interval of the mean reward is clipped to ``reward_range``."""
        win, draw, loss = rewards > 0, rewards == 0, rewards < 0
        return cls(
            games=rewards.size,
            mean_reward=float(rewards.mean()),
            mean_reward_ci95=mean_interval(rewards.mean(axis=1), reward_range),
            win_rate=float(win.mean()),
            win_rate_ci95=rate_interval(win),
            draw_rate=float(draw.mean()),
            draw_rate_ci95=rate_interval(draw),
            loss_rate=float(loss.mean()),
            loss_rate_ci95=rate_interval(loss),
        )


@dataclass(frozen=True)
class MatchResult:
    """The result of a match from the view of ``player``.

    rewards: float64 [games / 2, 2], the return of each game; column 0 in the first seat, column 1 in the second.
    histories: the actions of those games, in the order of ``rewards.reshape(-1)``.
    """

    game: str
    player: str
    opponent: str
    opening_plies: int
    rewards: np.ndarray
    histories: list[History]
    seconds: float
    overall: Score
    first_seat: Score
    second_seat: Score

    def to_json(self) -> dict[str, Any]:
        """The fields of ``myosu evaluate --json`` that are computed from the match."""
        seats = {"first_seat": score_json(self.first_seat), "second_seat": score_json(self.second_seat)}
        return {"game": self.game, "player": self.player, "opponent": self.opponent, **score_json(self.overall),
                **seats, "opening_plies": self.opening_plies,
                "distinct_games": len({tuple(history) for history in self.histories}),
                "seconds": round(self.seconds, 3)}


def default_opening_plies(game: Game, opponent: Player) -> int:
    """Default number of random opening plies: max_plies / 10 (1 to 8) against a deterministic opponent, else 0."""
    return max(1, min(8, game.max_plies // 10)) if opponent.repeats_itself else 0


def require_both_seats(games: int) -> None:
    """Raise UserError unless half of ``games`` can be played from each seat."""
    if games < 4 or games % 2:
        raise UserError(f"--games {games}: half are played from each seat, so it must be an even number from 4.")


def play_match(game: Game, player: Player, opponent: Player, games: int, opening_plies: int | None = None,
               seed: int = 0) -> MatchResult:
    """Play ``games`` games (an even number) in parallel, half from each seat.

    With openings, games 2k and 2k + 1 start from the same random opening with exchanged seats, and count as one
    independent observation. opening_plies: random plies at the beginning; None: ``default_opening_plies``. A game is
    truncated at ``game.max_plies`` and keeps the rewards so far. The return of a player who resigns is
    ``reward_of_resigning``.
    """
    if game.num_players != 2:
        raise UserError(f"A match needs two players; {game.name} is a single-player game.")
    require_both_seats(games)
    plies = default_opening_plies(game, opponent) if opening_plies is None else opening_plies
    if not 0 <= plies < game.max_plies:
        raise UserError(f"--opening-plies {plies} must be 0 to {game.max_plies - 1} in {game.name}.")
    start = time.perf_counter()
    pairs, histories = play_openings(game, player, opponent, random_openings(game, games // 2, plies, seed))
    return MatchResult(
        game=game.name, player=player.name, opponent=opponent.name, opening_plies=plies, rewards=pairs,
        histories=histories, seconds=time.perf_counter() - start,
        overall=Score.of(pairs if plies else pairs.reshape(-1, 1), game.reward_range),
        first_seat=Score.of(pairs[:, :1], game.reward_range), second_seat=Score.of(pairs[:, 1:], game.reward_range),
    )


def play_openings(game: Game, player: Player, opponent: Player,
                  openings: list[tuple[int, ...]]) -> tuple[np.ndarray, list[History]]:
    """Play each of ``openings``, all of the same length, from both seats, with all games in parallel.

    Returns the returns of ``player``, float64 [openings, 2], column 0 in the first seat; and the actions of the games,
    in the order of ``rewards.reshape(-1)``.
    """
    games = 2 * len(openings)
    histories: list[History] = [list(opening) for opening in openings for _ in range(2)]
    states = np.repeat(replay_openings(game, openings), 2)
    seats = np.tile(np.array([0, 1], np.int8), len(openings))
    rewards = np.zeros(games)
    over = np.zeros(games, np.bool_)
    to_play = np.empty(games, np.int8)
    # Each player moves in all games in which it is its turn, so after the first turn both have full batches.
    while not over.all():
        for mover, sign in ((player, 1.0), (opponent, -1.0)):
            game.batch.to_play(states, to_play)
            waiting = np.flatnonzero(~over & ((to_play == seats) == (sign > 0)))
            if len(waiting) == 0:
                continue
            earned, ended, resigned = _advance(game, mover, states, histories, waiting)
            rewards[waiting] += sign * earned
            rewards[waiting[resigned]] = sign * reward_of_resigning(game)
            over[waiting] = ended | [len(histories[i]) >= game.max_plies for i in waiting]
    return rewards.reshape(-1, 2), histories


def reward_of_resigning(game: Game) -> float:
    """The return of a player who resigns: the minimum (−1 if unbounded), because the outcome is not known."""
    least = game.reward_range[0]
    return least if math.isfinite(least) else -1.0


def random_openings(game: Game, count: int, plies: int, seed: int) -> list[tuple[int, ...]]:
    """``count`` openings of ``plies`` random legal actions that do not end the game. They are distinct; if fewer are
    found, they repeat."""
    openings: dict[tuple[int, ...], None] = {}
    chance = RandomPlayer(game, seed)
    for _ in range(20):
        states = game.new_states(count)
        histories: list[History] = [[] for _ in range(count)]
        going = np.arange(count)
        for _ in range(plies):
            _, ended, _ = _advance(game, chance, states, histories, going)
            going = going[~ended]
        openings.update(dict.fromkeys(tuple(histories[i]) for i in going))
        if len(openings) >= count or plies == 0:
            break
    if not openings:
        raise UserError(f"{plies} random plies always end {game.name}; choose fewer with --opening-plies.")
    distinct = list(openings)
    return [distinct[k % len(distinct)] for k in range(count)]


def replay_openings(game: Game, openings: list[tuple[int, ...]]) -> np.ndarray:
    """The positions [n] after ``openings``, all of the same length."""
    states = game.new_states(len(openings))
    rewards, ended = np.empty(len(openings), np.float32), np.empty(len(openings), np.bool_)
    for actions in np.array(openings, np.int64).T:
        game.batch.step(states, actions, rewards, ended)
    return states


def _advance(game: Game, mover: Player, states: np.ndarray, histories: list[History],
             indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``mover`` acts in the games ``indices``. Returns its rewards, whether the games ended, and whether it resigned,
    [n] each."""
    current = states[indices]
    actions = mover.choose(current, [histories[i] for i in indices])
    resigned = actions == RESIGNS
    legal = legal_mask(game, current)
    wrong = np.flatnonzero(~legal[np.arange(len(current)), actions] & ~resigned)
    if len(wrong):
        k = wrong[0]
        moves = " ".join(game.action_name(a) for a in histories[indices[k]])
        raise UserError(f"{mover.name} played the illegal move {game.action_name(int(actions[k]))} after: {moves}")
    rewards, ended = np.zeros(len(current), np.float32), np.ones(len(current), np.bool_)
    going = np.flatnonzero(~resigned)
    after, earned, over = current[going], rewards[going], ended[going]
    game.batch.step(after, actions[going], earned, over)
    states[indices[going]], rewards[going], ended[going] = after, earned, over
    for i, action in zip(indices[going], actions[going].tolist(), strict=True):
        histories[i].append(action)
    return rewards, ended, resigned


def score_json(score: Score) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(score).items()}
