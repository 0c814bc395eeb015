"""Statistics of random games, and the likely mistakes that they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from myosu.doctor.finding import Findings
from myosu.envs.native import NativeVectorEnv
from myosu.games.game import Game
from myosu.games.playout import random_actions


@dataclass
class _Games:
    """n random games. "last": the last move's seat and reward, and the final observation."""

    lengths: np.ndarray
    truncated: np.ndarray
    returns: np.ndarray  # [n, 2]
    first_seat: np.ndarray
    last_seat: np.ndarray
    last_reward: np.ndarray
    last_observation: np.ndarray
    earlier_rewards: bool  # whether any reward came before the last move
    kept_planes: int  # plies at which planes 0 and 1 change less if they keep their meaning
    exchanged_planes: int  # plies at which they change less if they swap their meaning


def check_statistics(game: Game, findings: Findings, games: int, seed: int) -> None:
    played = _play(game, games, seed)
    _check_length(game, played, findings)
    _check_rewards(game, played, findings)
    if game.num_players == 2:
        _check_who_earns(game, played, findings)
        _check_point_of_view(game, played, findings)
        _report_seats(played, findings)


def _play(game: Game, games: int, seed: int) -> _Games:
    env, every = NativeVectorEnv(game, games, seed), np.arange(games)
    env.reset()
    now = env.recv()
    playing = np.ones(games, np.bool_)
    found = _Games(np.zeros(games, np.int64), np.zeros(games, np.bool_), np.zeros((games, 2)), now.to_play.copy(),
                   np.zeros(games, np.int8), np.zeros(games), np.zeros_like(now.observation), False, 0, 0)
    planes = game.num_players == 2 and len(game.observation_shape) == 3 and game.observation_shape[0] >= 2
    for ply in range(game.max_plies):
        env.send(random_actions(now.legal_actions, seed * 1_000_003 + ply), every)
        after = env.recv()
        ended = playing & (after.terminated | after.truncated)
        reward = np.where(playing, after.reward, 0.0)
        found.returns[every, now.to_play] += reward
        found.returns[every, 1 - now.to_play] -= reward
        found.lengths[playing] += 1
        found.truncated |= playing & after.truncated
        found.last_seat[ended], found.last_reward[ended] = now.to_play[ended], reward[ended]
        found.last_observation[ended] = after.final_observation[ended]
        found.earlier_rewards |= bool((reward[playing & ~ended] != 0).any())
        playing &= ~ended
        if planes and playing.any():
            before, then = (step.observation[playing, :2].astype(np.float32) for step in (now, after))
            kept = np.abs(then - before).sum((1, 2, 3))
            exchanged = np.abs(then[:, ::-1] - before).sum((1, 2, 3))
            found.kept_planes += int((kept < exchanged).sum())
            found.exchanged_planes += int((kept > exchanged).sum())
        now = after
        if not playing.any():
            break
    return found


def _check_length(game: Game, played: _Games, findings: Findings) -> None:
    share = played.truncated.mean()
    if share > 0:
        findings.add("warning" if share > 0.05 else "info", "truncation", f"{game.name}: {share:.1%} of random games "
                     f"were truncated at max_plies = {game.max_plies}.", "Raise max_plies if the games should end by "
                     "their rules; a truncated game has no winner to learn from.")
    findings.add("info", "length", f"{game.name}: random games last {played.lengths.mean():.1f} plies "
                 f"({played.lengths.min()} to {played.lengths.max()}).")


def _check_rewards(game: Game, played: _Games, findings: Findings) -> None:
    seen, allowed = float(np.abs(played.returns).max()), max(map(abs, game.reward_range))
    if seen == 0:
        findings.add("warning", "no-reward", f"{game.name}: in {len(played.lengths)} random games nobody ever earned "
                     "a reward other than 0.", "If that is right, the game gives an untrained agent nothing to learn "
                     "from.")
    elif seen < allowed / 4:
        # In a single-player game, random play says little of what can be earned: good play may well earn the rest.
        severity: Literal["warning", "info"] = "warning" if game.num_players == 2 else "info"
        findings.add(severity, "support", f"{game.name}: reward_range {game.reward_range} is far wider than the "
                     f"rewards: random games never went beyond ±{seen:g}.",
                     "A value network divides this range into steps; "
                     "narrow it to what can really happen, or the differences that matter are lost.")


def _check_who_earns(game: Game, played: _Games, findings: Findings) -> None:
    finished = ~played.truncated
    reward, seat = played.last_reward[finished], played.last_seat[finished]
    signs = [np.sign(reward[(seat == s) & (reward != 0)]) for s in (0, 1)]
    if all(len(sign) >= 10 and abs(sign.sum()) == len(sign) for sign in signs) and signs[0][0] != signs[1][0]:
        findings.add("error", "reward-owner", f"{game.name}: when seat 0 makes the last move its reward is always "
                     f"{'positive' if signs[0][0] > 0 else 'negative'}, when seat 1 does it is always "
                     f"{'positive' if signs[1][0] > 0 else 'negative'}: it looks as if rewards were counted for one "
                     "seat.", _OWNER)
        return
    _check_same_for_both(game, played.last_observation[finished], reward, seat, findings)
    if played.earlier_rewards or not len(reward):
        return
    draws = float((reward == 0).mean())
    if (reward > 0).any() and not (reward < 0).any() and draws >= 0.2:
        findings.add("warning", "draws", f"{game.name}: {draws:.0%} of random games are draws (reward 0), and nobody "
                     "ever lost by the last move. This looks like a game that records a draw whenever the "
                     "player who moved last did not win.",
                     "Right where only the player who moves can win; where the last mover may lose, step must return "
                     "a negative reward then.")
    if (reward < 0).any() and not (reward > 0).any():
        findings.add("warning", "reward-owner", f"{game.name}: the player who makes the last move never wins "
                     f"({(reward < 0).mean():.0%} of random games are lost by it).",
                     "Right where the last move loses. Otherwise the reward goes to the wrong player. " + _OWNER)


_OWNER = "The reward that step returns belongs to the player who makes this move, whichever seat that is."


def _check_same_for_both(game: Game, observation: np.ndarray, reward: np.ndarray, seat: np.ndarray,
                         findings: Findings) -> None:
    """The correlation between a plane's sum and the reward must have the same sign for both seats."""
    if observation.ndim != 4:
        return
    sums = observation.sum((2, 3), dtype=np.float64)
    for plane in range(sums.shape[1]):
        correlations = []
        for s in (0, 1):
            x, y = sums[seat == s, plane], reward[seat == s]
            if len(x) >= 30 and x.std() > 0 and y.std() > 0:
                correlations.append(float(np.corrcoef(x, y)[0, 1]))
        if len(correlations) == 2 and min(correlations) < -0.5 and max(correlations) > 0.5:
            findings.add("warning", "reward-owner", f"{game.name}: at the end, the more there is on observation plane "
                         f"{plane}, the {'more' if correlations[0] > 0 else 'less'} seat 0 earns by the last move and "
                         f"the {'more' if correlations[1] > 0 else 'less'} seat 1 does (correlations "
                         f"{correlations[0]:+.2f} and {correlations[1]:+.2f}). Either rewards or observations are "
                         "counted for one seat and not for the player who moves.", _OWNER)
            return


def _check_point_of_view(game: Game, played: _Games, findings: Findings) -> None:
    if played.kept_planes >= 100 and played.kept_planes > 19 * played.exchanged_planes:
        findings.add("warning", "point-of-view", f"{game.name}: planes 0 and 1 of the observation keep their meaning "
                     "when the turn passes to the other player, so they do not show the board from the side of the "
                     "player to move.", "Write the discs of the player to move into one plane and those of the "
                     "opponent into the other.")


def _report_seats(played: _Games, findings: Findings) -> None:
    first = played.returns[np.arange(len(played.lengths)), played.first_seat]
    margin = 1.96 * first.std() / np.sqrt(len(first))
    findings.add("info", "first-seat", f"In random play the first player wins {(first > 0).mean():.1%}, draws "
                 f"{(first == 0).mean():.1%}, loses {(first < 0).mean():.1%}; mean return {first.mean():+.2f} ± "
                 f"{margin:.2f}.", "Self-play far from this means that one seat is broken or that the game favours it.")
