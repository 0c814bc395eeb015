"""Creates AlphaGo's search from its name on the command line: ``apv:network=RUN,rollout=uniform,simulations=800``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from myosu.algorithms.interface import Agent
from myosu.errors import UserError
from myosu.games.game import Game
from myosu.games.go.rollout import RolloutPolicy
from myosu.games.registry import load_game
from myosu.players.agent import load_agent
from myosu.players.apv import APVPlayer, Network, network_of
from myosu.players.rollouts import Rollouts, is_go, linear_rollouts, random_rollouts
from myosu.search.apv import APVConfig

#: Short names of settings.
SHORT = {"lambda": "rollout_weight", "batch": "batch_size", "threshold": "expansion_threshold"}
PARTS = ("network", "prior", "value", "rollout")
SPELLING = "apv:network=RUN,rollout=FILE,simulations=800 (see docs/apv.md)"


def make_apv(text: str, game: Game, simulations: int | None = None, seed: int = 0) -> APVPlayer:
    """The player that ``text`` describes. simulations: per move, if ``text`` does not set them.

    Parts of ``text``: network is the run of both the prior and the value network; prior and value are the run of one of
    them; rollout is a file of ``RolloutPolicy`` (Go) or "uniform". All others are settings of ``APVConfig``. By default
    λ is 0 without rollouts, 1 without a value network, and ½ otherwise. Raises UserError if ``text`` is invalid.
    """
    given = _parsed(text)
    parts = {name: given.pop(name) for name in PARTS if name in given}
    if simulations is not None:
        given.setdefault("simulations", str(simulations))
    runs = {"prior": parts.get("prior", parts.get("network")), "value": parts.get("value", parts.get("network"))}
    if "rollout_weight" not in given:
        given["rollout_weight"] = "0" if "rollout" not in parts else "1" if runs["value"] is None else "0.5"
    config = _config(text, given)
    prior, value = _networks(runs["prior"], runs["value"], game, config.expansion_threshold == 1, seed)
    rollouts = _rollouts(parts["rollout"], game) if "rollout" in parts else None
    name = with_files(text, lambda part, file: os.path.abspath(file))  # valid in any working directory
    return APVPlayer(game, prior, value, rollouts, config, name, seed)


def named_apv(text: str, game: str | None, simulations: int | None = None, seed: int = 0) -> APVPlayer:
    """As ``make_apv``, for the game called ``game``; None: the game of the first run among the parts."""
    rules = load_agent(run_of(text))[1].rules if game is None else load_game(game)
    return make_apv(text, rules, simulations, seed)


def run_of(text: str) -> str:
    """The first run among the parts of a player. Raises UserError if there is none."""
    given = _parsed(text)
    run = next((given[name] for name in PARTS[:3] if name in given), None)
    if run is None:
        raise UserError(f"{text} names no run as its network, prior or value, which would determine the game. (myosu "
                        "gtp and myosu evaluate take the game from --game NAME.)")
    return run


def _parsed(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    names = {field.name for field in dataclasses.fields(APVConfig)}
    for word in filter(None, text.removeprefix("apv:").split(",")):
        name, equals, value = word.partition("=")
        name = SHORT.get(name, name)
        if not equals or not value or name not in (*PARTS, *names):
            raise UserError(f"{text}: {word!r} is not one of its parts. Write NAME=VALUE with one of "
                            f"{', '.join((*PARTS, *sorted(names | set(SHORT))))}: {SPELLING}.")
        if name in found:
            raise UserError(f"{text}: {name} is given twice.")
        found[name] = value
    return found


def _config(text: str, given: dict[str, str]) -> APVConfig:
    whole = {field.name for field in dataclasses.fields(APVConfig) if field.type == "int"}
    try:
        return APVConfig(**{name: int(value) if name in whole else float(value)  # type: ignore[arg-type]
                            for name, value in given.items()})
    except ValueError as error:
        raise UserError(f"{text}: {error}.") from None


def _networks(prior: str | None, value: str | None, game: Game, together: bool,
              seed: int) -> tuple[Network | None, Network | None]:
    """The networks of two runs. together: whether every position is evaluated by both, so that networks with the same
    observations can share them."""
    agents = {run: _agent(run, game, seed) for run in (prior, value) if run is not None}
    if prior is not None and value is not None and together and agents[prior][1].name == agents[value][1].name:
        network = network_of(*agents[prior], agents[value][0])
        return network, network
    networks = {run: network_of(*agent) for run, agent in agents.items()}
    return (None if prior is None else networks[prior]), (None if value is None else networks[value])


def _agent(run: str, game: Game, seed: int) -> tuple[Agent, Game]:
    """The agent of a run, and its game: ``game``, or one with the same rules but other observations."""
    agent, environment, _ = load_agent(run, None, seed)
    own = environment.rules
    if own.state_dtype != game.state_dtype or own.num_actions != game.num_actions:
        raise UserError(f"{run} plays {own.name}, not {game.name}.")
    if agent.has_memory:
        raise UserError(f"{run} is recurrent, which the search does not support: use a network without a memory.")
    return agent, own


def _rollouts(word: str, game: Game) -> Rollouts:
    if not is_go(game):
        if word != "uniform":
            raise UserError(f"rollout={word}: only Go has trained rollout policies; in {game.name} use "
                            "rollout=uniform.")
        return random_rollouts(game)
    return linear_rollouts(game, _policy(word))


def _policy(word: str) -> RolloutPolicy:
    return RolloutPolicy.zeros() if word == "uniform" else RolloutPolicy.load(Path(word))


def rollout_policy_of(text: str) -> RolloutPolicy:
    """The rollout policy of a Go player; the uniform policy if it has no rollouts."""
    return _policy(_parsed(text).get("rollout", "uniform"))


def files_of(text: str) -> dict[str, str]:
    """The runs and the rollout file among the parts of a player, by part."""
    return {name: value for name, value in _parsed(text).items() if name in PARTS and value != "uniform"}


def with_files(text: str, found: Callable[[str, str], str]) -> str:
    """``text`` with each file (or run) replaced by ``found(part, file)``."""
    files = files_of(text)
    return "apv:" + ",".join(f"{name}={found(name, value) if name in files else value}"
                             for name, value in _parsed(text).items())
