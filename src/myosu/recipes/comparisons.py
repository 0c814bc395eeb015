"""Stages that compare the results of earlier ones.

They play matches or a league of players (AlphaGo's figure 4), or compare ways to evaluate a position (figure 2b).
"""

from __future__ import annotations

import dataclasses
import math
import os
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from myosu import trust
from myosu.arena.entrants import find_entrants
from myosu.arena.league import League as LeagueFolder
from myosu.arena.play import play_league
from myosu.arena.standings import Standings
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.evaluation.value_errors import (
    Evaluate,
    Sample,
    compare_evaluations,
    mean_of_rollouts,
    network_rollouts,
    network_value,
)
from myosu.games.game import Game
from myosu.games.go.rollout import RolloutPolicy
from myosu.players.agent import load_agent
from myosu.players.apv import network_of
from myosu.players.rollouts import is_go, linear_rollouts, random_rollouts
from myosu.processes import Pool
from myosu.randomness import prepare_process
from myosu.recipes.stages import WRONG, Figures, Made, Stage, Tell, every, match_figures
from myosu.runs.files import write_json
from myosu.runs.reading import parse, read_json
from myosu.runs.recordings import is_held_out, open_recording


@dataclass(frozen=True)
class RateOptions:
    """pairs: (player, opponent) of each match. games: per pair, half of them from each seat. jobs: number of parallel
    matches, by default the number of cores."""

    pairs: tuple[tuple[str, str], ...]
    games: int = 400
    opening_plies: int | None = None
    seed: int = 0
    jobs: int | None = None


class Rate(Stage):
    """Matches between players of earlier stages, engines and others.

    Finished matches are kept in ``matches.json`` and not played again when the stage is resumed.
    """

    kind = "rate"

    def check(self) -> None:
        self.options: RateOptions = parse(RateOptions, self.settings, self.where, WRONG)
        for pair in self.options.pairs:
            self.check_players(pair)
        if self.options.games < 4 or self.options.games % 2:
            raise UserError(f"{self.where}: games = {self.options.games} must be an even number from 4.")

    def run(self, folder: Path, made: dict[str, Made], tell: Tell) -> Figures | None:
        options, file = self.options, folder / "matches.json"
        found = read_json(file, dict[str, Figures]) if file.is_file() else {}
        waiting = [pair for pair in options.pairs if _match_name(pair) not in found]
        folder.mkdir(exist_ok=True)
        trust.agree(trust.source_of(self.game), *(trust.source_of(player) for pair in waiting for player in pair
                                                  if player.startswith("gtp:")))
        pool = Pool(options.jobs or len(os.sched_getaffinity(0)), _Matches, (self.game, options))
        try:
            while waiting or pool.lost or pool.under_way():
                waiting[:0] = [pair for pair, _ in pool.lost]  # matches of a worker process that died
                pool.lost.clear()
                while pool.idle() and waiting:
                    pair = waiting.pop(0)
                    pool.start((pair, self.players(pair, made)))
                for name, figures in pool.finished(timeout=0.5):
                    found[name] = figures
                    write_json(file, found)
                    tell(f"  {name}: {figures['win_rate']:.1%}")
        finally:
            pool.close()
        return {name: found[name] for name in map(_match_name, options.pairs)}


def _match_name(pair: tuple[str, str]) -> str:
    return f"{pair[0]} against {pair[1]}"


class _Matches:
    """Plays matches in a worker process."""

    def __init__(self, game: str, options: RateOptions) -> None:
        prepare_process(options.seed)
        self.game, self.options = game, options

    def __call__(self, task: tuple[tuple[str, str], tuple[str, ...]]) -> tuple[str, Figures]:
        pair, (player, opponent) = task
        options = self.options
        return _match_name(pair), match_figures(self.game, player, opponent, options.games, options.opening_plies,
                                                options.seed)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class LeagueOptions:
    """players: name in the table → player. games: total number of games in the league. simulations: per move, for
    AlphaGo's searches that do not set their own."""

    players: dict[str, str]
    games: int
    simulations: int = 400
    opening_plies: int = 8
    seed: int = 0
    jobs: int | None = None


class League(Stage):
    """A league, as ``myosu arena`` plays it, in the stage's folder. The random player takes part with rating 0."""

    kind = "league"

    def check(self) -> None:
        self.options: LeagueOptions = parse(LeagueOptions, self.settings, self.where, WRONG)
        if not self.options.players or "random" in self.options.players:
            raise UserError(f"{self.where}: players must be a table NAME = PLAYER with one player or more; random "
                            "is always included.")
        self.check_players(self.options.players.values())

    def run(self, folder: Path, made: dict[str, Made], tell: Tell) -> Figures | None:
        options = self.options
        texts = [f"{text},simulations={options.simulations}" if text.startswith("apv:") and "simulations=" not in text
                 else text for text in self.players(options.players.values(), made)]
        trust.agree(trust.source_of(self.game), *(trust.source_of(text) for text in texts if text.startswith("gtp:")))
        rules = load_environment(self.game).rules
        entrants = find_entrants([], rules)
        for name, text in zip(options.players, texts, strict=True):
            entrants.append(dataclasses.replace(find_entrants([text], rules)[-1], name=name))
        with closing(LeagueFolder(folder, self.game, options.opening_plies, options.seed)) as league:
            league.enter(entrants)
            play_league(league, options.games, math.inf, options.jobs or len(os.sched_getaffinity(0)),
                        every(options.games, tell))
            standings = Standings.of(league)
        rated = {entrant.text: _rating(standings, i) for i, entrant in enumerate(standings.entrants)}
        # The same player may have two names, for example when the reinforced policy is the supervised one. It is rated
        # once.
        figures = {entrant.name: rated.get(entrant.text, {"games": 0}) for entrant in entrants}
        return dict(sorted(figures.items(), key=lambda item: -item[1].get("elo", -math.inf)))


def _rating(standings: Standings, i: int) -> Figures:
    """The player's figures. elo_ci95 is the interval of its distance to the league's mean."""
    elo, half = float(standings.elo[i]), float(standings.half_width[i])
    return {"elo": elo, "elo_ci95": [elo - half, elo + half], "games": int(standings.results.games[i].sum())}


@dataclass(frozen=True)
class ValueErrorsOptions:
    """recordings: games, of which at most ``games`` are used that are held out from the training of the value networks
    among the ``evaluators``. rollouts: number averaged per position for a rollout policy. network_rollouts: the same
    for a policy network."""

    recordings: tuple[str, ...]
    evaluators: tuple[str, ...]
    games: int = 1000
    rollouts: int = 100
    network_rollouts: int = 16
    seed: int = 0


class ValueErrors(Stage):
    """Compares the errors of value networks and of rollouts, by stage of the game."""

    kind = "value-errors"
    evaluates = ("value", "rollout", "supervise", "reinforce")

    def check(self) -> None:
        self.options: ValueErrorsOptions = parse(ValueErrorsOptions, self.settings, self.where, WRONG)
        self.check_names("recordings", self.options.recordings, ("record",), "games")
        for name in self.options.evaluators:
            if name != "uniform" and name not in self.earlier:
                raise UserError(f"{self.where}: evaluators has {name!r}, which is neither an earlier stage nor "
                                f"uniform. Earlier stages: {', '.join(self.earlier) or 'none'}.")
        named = [name for name in self.options.evaluators if name != "uniform"]
        self.check_names("evaluators", named, self.evaluates, "an evaluator")

    def run(self, folder: Path, made: dict[str, Made], tell: Tell) -> Figures | None:
        environment = load_environment(self.game)
        rules, options, share = environment.rules, self.options, 1.0
        evaluations: dict[str, Evaluate] = {}
        for name in options.evaluators:
            stage = made.get(name)
            if stage is None or stage.kind == "rollout":
                policy = None if stage is None else RolloutPolicy.load(stage.folder / "rollout.npz")
                evaluations[name] = self._rollouts(policy, rules)
                continue
            agent, learnt, config = load_agent(stage.player)
            network = network_of(agent, learnt.rules)
            if stage.kind == "value":
                share = min(share, config.algorithm_config["held_out"])
                evaluations[name] = network_value(network, rules)
            else:
                evaluations[name] = mean_of_rollouts(network_rollouts(network, rules, options.seed),
                                                     options.network_rollouts, options.seed)
        records = []
        for name in self.folders(options.recordings, made):
            recording = open_recording(name)
            recording.require(environment, self.game, {})
            records += [record for record in recording.records()
                        if is_held_out(record.actions or [], rules.num_players, share)]
        tell(f"  {min(len(records), options.games)} held-out games")
        found = compare_evaluations(Sample.of(records[:options.games], rules, options.seed), evaluations)
        return {name: asdict(errors) for name, errors in found.items()}

    def _rollouts(self, policy: RolloutPolicy | None, rules: Game) -> Evaluate:
        rollouts = linear_rollouts(rules, policy or RolloutPolicy.zeros()) if is_go(rules) else random_rollouts(rules)
        return mean_of_rollouts(rollouts, self.options.rollouts, self.options.seed)
