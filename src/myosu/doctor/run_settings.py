"""Finds settings that do not fit the run's data."""

from __future__ import annotations

import numpy as np

from myosu.doctor.finding import Finding
from myosu.doctor.run_view import RunView, found

#: Minimum number of games to judge returns.
_GAMES = 100
#: Maximum ratio of a support's width to the returns seen; maximum ratio of the learning rate to the known good one,
#: either way; maximum replay ratio; minimum capacity of a replay in batches and in episodes.
_WIDE, _RATE, _REUSE, _BATCHES, _EPISODES = 6.0, 20.0, 150.0, 10, 30
#: Number of simulations below which a search hardly improves the policy.
_SIMULATIONS = 4
#: Minimum ratio of the horizon needed to the actual one for a finding.
_NEARER = 8.0
#: Win rate against the evaluation opponent below which the agent loses games.
_WON = 0.9


def support_width(run: RunView) -> Finding | None:
    """Compare the range of categorical values with the games' returns."""
    if "atoms" not in run.settings or len(run.games) < _GAMES:
        return None
    chosen = run.settings.get("value_range")
    low, high = chosen or run.reward_range
    width = max(abs(low), abs(high))
    greatest, seen = (float(np.abs(returns).max()) for returns in (_discounted_returns(run), run.returns))
    if not np.isfinite(width) or seen == 0:
        return None
    if greatest > 1.01 * width:
        return found("error", "support", f"{'discounted ' * (greatest < seen)}returns reach ±{greatest:.4g}, but "
                     f"values are limited to ±{width:.4g}: returns beyond that cannot be told apart.",
                     "the value's range is too narrow.", f"Set --value-range to include ±{greatest:.4g}.", 0.95)
    # In a single-player game, returns seen by a weak agent say nothing of a good agent's returns.
    if width > _WIDE * seen and (run.num_players == 2 or (chosen and chosen != run.known_good.get("value_range"))):
        steps = 2 * seen / (2 * width / (run.settings["atoms"] - 1))
        return found("warning", "support", f"values may reach ±{width:.4g}, but in {len(run.games)} games no return "
                     f"went beyond ±{seen:.4g}: only about {steps:.1f} of {run.settings['atoms']} atoms lie in that "
                     "range.", "the value's support is far too wide, and differences that matter fall between two "
                     "atoms.", f"Set --value-range {-seen:.4g} {seen:.4g}, or the game's reward_range.", 0.9)
    return None


def _discounted_returns(run: RunView) -> np.ndarray:
    """float64 [games]: discounted returns at the start of each game, as if every step had earned the same:
    R (1 - γ^L) / (L (1 - γ)). Only the sums of the rewards are recorded."""
    discount = abs(run.settings.get("discount", 1.0))
    if discount == 1 or run.num_players == 2:  # two-player games are decided at the end, where little is discounted
        return run.returns
    lengths = np.maximum(run.column("length"), 1)
    return run.returns * (1 - discount**lengths) / (lengths * (1 - discount))


def replay_size(run: RunView) -> Finding | None:
    """Compare the replay's capacity with the batch size and the episode length. PPO's rollout is not a replay."""
    if run.algorithm == "ppo" or "replay_capacity" not in run.settings:
        return None
    capacity, batch = run.settings["replay_capacity"], run.settings["batch_size"]
    length = float(np.median(run.column("length"))) if run.games else 0.0
    episodes = capacity / length if length else np.inf
    if capacity >= _BATCHES * batch and episodes >= _EPISODES:
        return None
    return found("warning", "replay-size", f"the replay holds {capacity:,} positions: {capacity / batch:.1f} batches"
                 + (f", or {episodes:.1f} episodes of {length:.0f} steps." if length else "."), "the replay is too "
                 "small: every batch comes from the same few episodes, and the network overfits to them.",
                 f"Raise --replay-capacity (known good: {run.known_good.get('replay_capacity', 100_000):,}).", 0.85)


def replay_ratio(run: RunView) -> Finding | None:
    if "replay_ratio" not in run.settings:
        return None  # PPO's is its number of epochs
    if "held_out" in run.settings:
        return None  # recorded games are few; held-out games show overfitting
    ratio, good = run.settings["replay_ratio"], run.known_good.get("replay_ratio")
    if ratio > max(_REUSE, good or 0) or (good and ratio > 16 * good):
        return found("warning", "replay-ratio", f"every position is sampled {ratio:g} times"
                     + (f"; known good: {good:g}." if good else "."), "the replay ratio is far too high: the network "
                     "overfits to few episodes, and values diverge.", "Lower --replay-ratio.", 0.8)
    if ratio < 0.01 or (good and ratio < good / 50):
        return found("warning", "replay-ratio", f"a position is sampled {ratio:g} times on average"
                     + (f"; known good: {good:g}." if good else "."), "the replay ratio is far too low: most "
                     "positions are never trained on.", "Raise --replay-ratio.", 0.8)
    return None


def learning_rate(run: RunView) -> Finding | None:
    """Compare the learning rate with the known good one, and judge the approximate KL divergence."""
    rate, good = run.settings.get("learning_rate"), run.known_good.get("learning_rate")
    kl, limit = run.last("loss/approx_kl"), run.settings.get("max_grad_norm")
    norm = run.last("loss/gradient_norm")
    signs = [f"approximate KL {np.mean(kl):.2g} per update"] if len(kl) else []
    signs += [f"gradient norm {np.median(norm):.3g} against its limit of {limit:g}"] if len(norm) and limit else []
    told = f" ({', '.join(signs)})" if signs else ""
    wild = len(kl) >= 5 and float(np.mean(kl)) > 0.3
    if wild or (rate and good and rate > _RATE * good):
        return found("warning", "learning-rate", f"the learning rate is {rate:g}"
                     + (f"; known good: {good:g}" if good else "") + f"{told}.", "the learning rate is far too high: "
                     "each update undoes the last one.", f"Set --learning-rate {good or (rate or 1e-3) / 10:g}.",
                     0.9 if wild or not len(kl) else 0.7)
    if rate and good and rate < good / _RATE:
        return found("warning", "learning-rate", f"the learning rate is {rate:g}; known good: {good:g}{told}.",
                     "the learning rate is far too low: hardly anything is learnt in the time available.",
                     f"Set --learning-rate {good:g}.", 0.8)
    return None


def discount(run: RunView) -> Finding | None:
    """Compare the horizon 1 / (1 - discount) with that of the known good discount and with the episode length."""
    rate, good = abs(run.settings.get("discount", 1.0)), abs(run.known_good.get("discount", 1.0))
    if len(run.games) < _GAMES or rate >= good:
        return None
    length = float(np.median(run.column("length")))
    horizon, needed = 1 / (1 - rate), min(length, 1 / (1 - good) if good < 1 else np.inf)
    if horizon > needed / _NEARER:
        return None
    return found("warning", "discount", f"with a discount of {rate:g} rewards count for about {horizon:.1f} steps; "
                 f"episodes last {length:.0f}" + (f", and the known good discount is {good:g}." if good < 1 else "."),
                 "the agent is short-sighted: later consequences of an action do not count.",
                 f"Set --discount {good:g}.", 0.85)


def simulations(run: RunView) -> Finding | None:
    """Compare the simulations with the number of actions. Gumbel search improves a policy with few; PUCT must visit an
    action to judge it."""
    count = run.settings.get("simulations")
    if count is None or run.num_actions < 2:
        return None
    puct = run.settings.get("search") == "puct"
    least = min(run.num_actions / 2, 50) if puct else min(run.num_actions, _SIMULATIONS)
    if count >= least:
        return None
    return found("warning", "simulations", f"{count} simulations per move for {run.num_actions} actions"
                 + (", of which PUCT must visit each before it can prefer one." if puct else "."),
                 "the search is too small to improve on the policy, so nothing is learnt from it.",
                 f"Raise --simulations (known good: {run.known_good.get('simulations', 16)})"
                 + (" or use --search gumbel." if puct else "."), 0.85)


def auxiliary_losses(run: RunView) -> Finding | None:
    """A learned model trained on rewards and values alone, where known good settings have auxiliary losses. Only a note
    if the agent does not lose."""
    names = [name for name in ("ssl_loss_weight", "reconstruction_loss_weight") if name in run.settings]
    good = {name: run.known_good[name] for name in names if run.known_good.get(name)}
    if not good or any(run.settings[name] for name in names) or not run.evaluations:
        return None
    loses = run.evaluations[-1].get("win_rate", 1.0) < _WON
    listed = ", ".join(f"{name} = {value:g}" for name, value in good.items())
    message = f"{' and '.join(names)} are 0; known good: {listed}."
    flags = ", ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in good.items())
    return found("warning" if loses else "info", "model-loss", message, "the model is trained on rewards and values "
                 "alone, which say little about what a move does: the search then plans with a model that has hardly "
                 "learnt the rules.", f"Set {flags}.", 0.7)


def mask_width(run: RunView) -> Finding | None:
    """Purely random exploration (DQN's ε) of a large action space."""
    if run.algorithm != "dqn" or run.num_actions < 1000:
        return None
    return found("info", "action-space", f"{run.num_actions} actions are explored uniformly at random.", "most "
                 "actions are never tried where they matter.", "Give a mask of legal actions, or train a policy (ppo, "
                 "muesli).", 0.5)


SETTINGS = (support_width, replay_size, replay_ratio, learning_rate, discount, simulations, auxiliary_losses,
            mask_width)
