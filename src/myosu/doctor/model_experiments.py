"""Experiments on an agent's knowledge of a game.

They compare its learned model with the true rules, and its moves and values with perfect play in positions that can be
solved.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from myosu.algorithms.interface import known_positions
from myosu.doctor.finding import Finding, Unsuited
from myosu.doctor.game_positions import look
from myosu.doctor.run_view import found
from myosu.doctor.solver import solve_positions
from myosu.errors import UserError
from myosu.games.game import Game
from myosu.games.playout import random_actions
from myosu.players.agent import load_agent

#: Number of games played to collect positions, and the probability of a random move in them.
_GAMES, _RANDOM = 128, 0.3
#: Number of unroll steps; minimum number of positions; minimum spread of values, as a fraction of half the reward
#: range; unexplained variance of the values after one step from which the model is broken; maximum ratio of the error
#: with the true move to that with another move, if the model tells moves apart.
_STEPS, _POSITIONS, _SPREAD, _BROKEN, _TOLD_APART = 3, 200, 0.05, 0.7, 0.9
#: Maximum number of positions to solve; maximum number of nodes for each; minimum number of solved positions.
_SOLVED, _NODES, _FEW = 300, 200_000, 60
#: Standard errors by which moves must be better than random ones, and by which they are significantly worse.
_BETTER, _WORSE = 2.0, 3.0
#: Ratio of the values' standard deviation to that of the true ones below which a value network has learnt nothing yet,
#: so that the sign of their correlation means nothing.
FLAT = 0.1


def model_against_rules(folder: Path, seconds: float) -> Finding | None:
    """Unroll the model along games, and compare the values of its latent states with those of the true positions."""
    agent, environment, _ = load_agent(folder)
    planner: Any = getattr(agent, "planner", None)
    game, net = environment.game, getattr(planner, "net", None)
    if game is None or net is None or getattr(net, "dynamics", None) is None or planner.device.type != "cpu":
        raise Unsuited("only for agents with a learnt model, in Myosu's own games, on the CPU")
    until = time.monotonic() + seconds / 2
    states = positions_of_play(game, agent, until)
    imagined, true, errors = [], [], (0.0, 1.0)
    with torch.inference_mode():
        rng = np.random.default_rng(1)
        latent = net.initial(torch.from_numpy(look(game, states)[0]))[0]
        for _ in range(_STEPS):
            masks = look(game, states)[1]
            actions, others = (random_actions(masks, int(rng.integers(2**31))) for _ in range(2))
            over = np.zeros(len(states), np.bool_)
            game.batch.step(states, actions, np.zeros(len(states), np.float32), over)
            before, latent = latent, net.recurrent(latent, torch.from_numpy(actions)).latent[torch.from_numpy(~over)]
            states = states[~over]
            if len(states) < _POSITIONS:
                break
            imagined.append(planner.support.mean(net.value(latent)).numpy())
            true.append(planner.support.mean(net.initial(torch.from_numpy(look(game, states)[0]))[1]).numpy())
            if len(true) == 1:  # values after a different move
                latents = net.recurrent(before, torch.from_numpy(others)).latent[torch.from_numpy(~over)]
                other = planner.support.mean(net.value(latents)).numpy()
                differs = (actions != others)[~over]
                errors = (np.square(imagined[0] - true[0])[differs].mean(),
                          np.square(other - true[0])[differs].mean())
    return judge_model(imagined, true, errors, environment.spec.reward_range)


def against_perfect_play(folder: Path, seconds: float) -> Finding | None:
    """Compare the agent's moves and values with exact ones, in late positions of its own games that can be solved."""
    agent, environment, _ = load_agent(folder)
    game = environment.game
    if game is None or environment.spec.num_players != 2:
        raise Unsuited("only in Myosu's own two-player games")
    if agent.has_memory:
        raise Unsuited("only for agents without memory, because the positions are not in sequence")
    solve_positions(game, game.new_states(1), 1, 1, time.monotonic())  # compile before the time counts
    begun = time.monotonic()
    states = positions_of_play(game, agent, begun + seconds / 3)[::-1]  # latest positions first
    states, worth = solve_positions(game, states, _SOLVED, _NODES, begun + 2 * seconds / 3)
    if len(states) < _FEW:
        raise UserError(f"only {len(states)} positions in which the move matters could be solved in the time")
    (observations, masks), size = look(game, states), _GAMES
    analyses = [agent.analyze(observations[k:k + size], masks[k:k + size],
                              **known_positions(agent, states[k:k + size])) for k in range(0, len(states), size)]
    actions = np.concatenate([part.action for part in analyses])
    values = np.concatenate([part.value for part in analyses])
    best = np.nanmax(worth, axis=1)
    right = worth == best[:, None]
    return judge_perfect_play(right[np.arange(len(states)), actions], right.sum(1) / masks.sum(1), values, best)


# --- judgements: pure functions


def judge_model(imagined: list[np.ndarray], true: list[np.ndarray], errors: tuple[float, float],
                reward_range: tuple[float, float]) -> Finding | None:
    """imagined, true: for each unroll step, the network's values float [n] of the model's latent states and of the true
    positions. errors: mean squared errors of the imagined values after the move that was made, and after another move.
    """
    if not true:
        raise UserError("too few positions could be played in the time")
    width = reward_range[1] - reward_range[0]
    if not np.isfinite(width) or true[0].std() < _SPREAD * width / 2:
        raise UserError(f"the network's values hardly differ yet (by {true[0].std():.2g})")
    left = [float(np.square(one - other).mean() / other.var()) for one, other in zip(imagined, true, strict=True)]
    if left[0] < _BROKEN and errors[0] < _TOLD_APART * errors[1]:
        return None
    if left[0] < _BROKEN:
        return found("warning", "model", "the model does not tell moves apart: where it imagines the move that was "
                     f"made, its values miss those of the true position by {errors[0]:.3g} (mean square), and by "
                     f"{errors[1]:.3g} where it imagines a different one ({len(true[0])} positions).", "actions reach "
                     "the model wrongly: encoded as different ones, or not at all.", "Look at how actions are encoded "
                     "for the "
                     "model and how symmetries move them (myosu check); train longer.", 0.8)
    course = ", ".join(f"{share:.0%}" for share in left)
    return found("warning", "model", f"after 1 to {len(left)} imagined moves the model leaves {course} of the variance "
                 f"of the network's own values of the true positions unexplained ({len(true[0])} positions).", "the "
                 "learnt model does not follow the rules: what the search sees of the future is noise.", "Look at how "
                 "actions are encoded; raise --unroll-steps, --ssl-loss-weight or --reconstruction-loss-weight; train "
                 "longer.", 0.8)


def judge_perfect_play(right: np.ndarray, chance: np.ndarray, values: np.ndarray, worth: np.ndarray) -> Finding | None:
    """Judge n solved positions in which the move matters.

    right: bool [n], whether the agent plays a best move. chance: float [n], the fraction of legal moves that are best.
    values, worth: the agent's values and the exact ones.
    """
    learnt = values.std() > FLAT * worth.std() > 0
    correlation = float(np.corrcoef(values, worth)[0, 1]) if values.std() > 0 and worth.std() > 0 else 0.0
    error = float(np.sqrt((chance * (1 - chance)).sum())) / len(right)
    numbers = (f"in {len(right)} positions near the end of games, solved exactly, it plays a best move in "
               f"{right.mean():.0%} (at random {chance.mean():.0%}), and its values correlate with the true ones by "
               f"{correlation:+.2f}")
    worse, opposite = right.mean() < chance.mean() - _WORSE * error, learnt and correlation < -0.2
    if worse or opposite:
        what = "prefers losing moves" if worse else "values positions the wrong way round"
        return found("error", "perfect-play", f"the agent {what}: {numbers}.", "values or rewards belong "
                     "to the wrong player.", "Run myosu check on the game; look at whose reward step() returns "
                     "(docs/convention.md).", 0.9)
    if right.mean() > chance.mean() + _BETTER * error:
        return None
    return found("warning", "perfect-play", f"the agent does not see the ends of games: {numbers}.", "it has not "
                 "learnt yet what wins, or its search uses a wrong model.", "Train longer; compare search "
                 "against prior and model against rules above.", 0.6)


# --- instruments


def positions_of_play(game: Game, agent: Any, until: float) -> np.ndarray:
    """Positions before the end, [n] states, of the agent's games against itself with some random moves, ply by ply."""
    rng, states = np.random.default_rng(0), game.new_states(_GAMES, 11)
    kept = []
    for ply in range(game.max_plies):
        observations, masks = look(game, states)
        kept.append(states.copy())
        actions = random_actions(masks, ply)
        thinks = rng.random(len(states)) >= _RANDOM
        if thinks.any() and time.monotonic() < until:
            actions[thinks] = agent.act(observations[thinks], masks[thinks],
                                        **known_positions(agent, states[thinks]))[0]
        over = np.zeros(len(states), np.bool_)
        game.batch.step(states, actions, np.zeros(len(states), np.float32), over)
        states = states[~over]
        if not len(states):
            break
    return np.concatenate(kept)
