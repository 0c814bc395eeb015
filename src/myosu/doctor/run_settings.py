"""Finds settings that do not fit the data of the run."""

from __future__ import annotations

import numpy as np

from myosu.doctor.finding import Finding
from myosu.doctor.run_view import RunView, found

#: Games by which returns are judged.
_GAMES = 100
#: How many times wider than the returns seen a support may be; how much larger than a known good one, or smaller, a
#: learning rate; how often a sample may be drawn; batches that a replay must hold, and episodes.
_WIDE, _RATE, _REUSE, _BATCHES, _EPISODES = 6.0, 20.0, 150.0, 10, 30
#: Simulations under which a search tells hardly anything.
_SIMULATIONS = 4
#: How many times nearer than what is needed a horizon may lie.
_NEARER = 8.0
#: Share of games against the opponent of evaluations below which an agent loses some.
_WON = 0.9


def support_width(run: RunView) -> Finding | None:
    """The range of categorical values against the returns of games."""
    if "atoms" not in run.settings or len(run.games) < _GAMES:
        return None
    low, high = run.settings.get("value_range") or run.reward_range
    seen, width = float(np.abs(run.returns).max()), max(abs(low), abs(high))
    if not np.isfinite(width) or seen == 0:
        return None
    if seen > 1.01 * width:
        return found("error", "support", f"returns reach ±{seen:.4g}, but values end at ±{width:.4g}: what lies "
                     "beyond cannot be told apart.", "the value's range is too narrow.",
                     f"Set --value-range to hold ±{seen:.4g}.", 0.95)
    # Alone, an agent that has learnt little has not met the returns of a good one.
    if width > _WIDE * seen and (run.num_players == 2 or run.settings.get("value_range")):
        steps = 2 * seen / (2 * width / (run.settings["atoms"] - 1))
        return found("warning", "support", f"values may reach ±{width:.4g}, but in {len(run.games)} games no return "
                     f"went beyond ±{seen:.4g}: of {run.settings['atoms']} atoms about {steps:.1f} lie among what "
                     "happens.", "the value's support is far too wide, and differences that matter fall between two "
                     "atoms.", f"Set --value-range {-seen:.4g} {seen:.4g}, or the game's reward_range.", 0.9)
    return None


def replay_size(run: RunView) -> Finding | None:
    """Capacity against the batch and the length of episodes. A rollout of PPO's is no replay."""
    if run.algorithm == "ppo" or "replay_capacity" not in run.settings:
        return None
    capacity, batch = run.settings["replay_capacity"], run.settings["batch_size"]
    length = float(np.median(run.column("length"))) if run.games else 0.0
    episodes = capacity / length if length else np.inf
    if capacity >= _BATCHES * batch and episodes >= _EPISODES:
        return None
    return found("warning", "replay-size", f"the replay holds {capacity:,} positions: {capacity / batch:.1f} batches"
                 + (f", or {episodes:.1f} episodes of {length:.0f} steps." if length else "."), "the replay is too "
                 "small: "
                 "every batch is of the same few episodes, which are learnt by heart and forgotten at once.",
                 f"Raise --replay-capacity (known good: {run.known_good.get('replay_capacity', 100_000):,}).", 0.85)


def replay_ratio(run: RunView) -> Finding | None:
    if "replay_ratio" not in run.settings:
        return None  # PPO's is its number of epochs
    if "held_out" in run.settings:
        return None  # recorded games are few; whether they are learnt by heart shows on those held out
    ratio, good = run.settings["replay_ratio"], run.known_good.get("replay_ratio")
    if ratio > _REUSE or (good and ratio > 16 * good):
        return found("warning", "replay-ratio", f"every position is drawn {ratio:g} times"
                     + (f"; known good are {good:g}." if good else "."), "the replay ratio is far too high: what few "
                     "episodes show is learnt by heart, and values run away.", "Lower --replay-ratio.", 0.8)
    if ratio < 0.01 or (good and ratio < good / 50):
        return found("warning", "replay-ratio", f"a position is drawn {ratio:g} times on average"
                     + (f"; known good are {good:g}." if good else "."), "the replay ratio is far too low: most of "
                     "what "
                     "is played is never learnt from.", "Raise --replay-ratio.", 0.8)
    return None


def learning_rate(run: RunView) -> Finding | None:
    """Against one that is known to be good, with what the curves say of it."""
    rate, good = run.settings.get("learning_rate"), run.known_good.get("learning_rate")
    kl, limit = run.last("loss/approx_kl"), run.settings.get("max_grad_norm")
    norm = run.last("loss/gradient_norm")
    signs = [f"approximate KL {np.mean(kl):.2g} an update"] if len(kl) else []
    signs += [f"gradient norm {np.median(norm):.3g} against its limit of {limit:g}"] if len(norm) and limit else []
    told = f" ({', '.join(signs)})" if signs else ""
    wild = len(kl) >= 5 and float(np.mean(kl)) > 0.3
    if wild or (rate and good and rate > _RATE * good):
        return found("warning", "learning-rate", f"the learning rate is {rate:g}"
                     + (f"; known good is {good:g}" if good else "") + f"{told}.", "the learning rate is far too high: "
                     "each update undoes the last one.", f"Set --learning-rate {good or (rate or 1e-3) / 10:g}.",
                     0.9 if wild or not len(kl) else 0.7)
    if rate and good and rate < good / _RATE:
        return found("warning", "learning-rate", f"the learning rate is {rate:g}; known good is {good:g}{told}.",
                     "the learning rate is far too low: hardly anything is learnt in the time.",
                     f"Set --learning-rate {good:g}.", 0.8)
    return None


def discount(run: RunView) -> Finding | None:
    """The horizon 1 / (1 - discount) against that of a known good one, and the length of episodes."""
    rate, good = abs(run.settings.get("discount", 1.0)), abs(run.known_good.get("discount", 1.0))
    if len(run.games) < _GAMES or rate >= good:
        return None
    length = float(np.median(run.column("length")))
    horizon, needed = 1 / (1 - rate), min(length, 1 / (1 - good) if good < 1 else np.inf)
    if horizon > needed / _NEARER:
        return None
    return found("warning", "discount", f"with a discount of {rate:g} rewards count for about {horizon:.1f} steps; "
                 f"episodes last {length:.0f}" + (f", and known good is {good:g}." if good < 1 else "."),
                 "the agent is short-sighted: what an action leads to later does not count.",
                 f"Set --discount {good:g}.", 0.85)


def simulations(run: RunView) -> Finding | None:
    """Against the number of actions. Gumbel's search improves its policy with few; PUCT must visit what it judges."""
    count = run.settings.get("simulations")
    if count is None or run.num_actions < 2:
        return None
    puct = run.settings.get("search") == "puct"
    least = min(run.num_actions / 2, 50) if puct else min(run.num_actions, _SIMULATIONS)
    if count >= least:
        return None
    return found("warning", "simulations", f"{count} simulations a move for {run.num_actions} actions"
                 + (", of which PUCT must visit each before it can prefer one." if puct else "."),
                 "the search is too small to find anything that the policy does not know, so nothing is learnt from "
                 "it.",
                 f"Raise --simulations (known good: {run.known_good.get('simulations', 16)})"
                 + (" or use --search gumbel." if puct else "."), 0.85)


def auxiliary_losses(run: RunView) -> Finding | None:
    """A learnt model that only rewards and values teach, where known good settings teach it to predict more. A note, if
    the agent does not lose."""
    names = [name for name in ("ssl_loss_weight", "reconstruction_loss_weight") if name in run.settings]
    good = {name: run.known_good[name] for name in names if run.known_good.get(name)}
    if not good or any(run.settings[name] for name in names) or not run.evaluations:
        return None
    loses = run.evaluations[-1].get("win_rate", 1.0) < _WON
    listed = ", ".join(f"{name} = {value:g}" for name, value in good.items())
    message = f"{' and '.join(names)} are 0; known good is {listed}."
    flags = ", ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in good.items())
    return found("warning" if loses else "info", "model-loss", message, "the model is taught by rewards and values "
                 "alone, which say little of what a move does: the search then plans with a model that has hardly "
                 "learnt the rules.", f"Set {flags}.", 0.7)


def mask_width(run: RunView) -> Finding | None:
    """Exploration in a large space of actions by chance alone (DQN's ε)."""
    if run.algorithm != "dqn" or run.num_actions < 1000:
        return None
    return found("info", "action-space", f"{run.num_actions} actions are explored by chance.", "most actions are never "
                 "tried where they matter.", "Give a mask of legal actions, or train with a policy (ppo, muesli).", 0.5)


SETTINGS = (support_width, replay_size, replay_ratio, learning_rate, discount, simulations, auxiliary_losses,
            mask_width)
