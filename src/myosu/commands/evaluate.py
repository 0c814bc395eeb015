"""``myosu evaluate``: evaluate an agent in a match, with confidence intervals."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, UseAppendAction

from myosu.commands.options import check_seed, check_simulations, parse, trust_if
from myosu.errors import UserError


@dataclass
class Options:
    """Evaluate the agent of a run: in two-player games by a match, with half of the games from each seat; otherwise by
    whole episodes.

    Against a deterministic opponent, every game begins with a random opening that is played from both sides. All
    intervals are 95 % confidence intervals.
    """

    run: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")]
    """A run's folder (its latest checkpoint), RUN/checkpoints/best, the folder of one checkpoint, or AlphaGo's search
    around a run's network, apv:network=RUN,…"""
    opponent: str = "random"
    """In two-player games: random, greedy, alphabeta:DEPTH, mcts:SIMULATIONS, apv:PARTS, gtp:"COMMAND", another run, or
    exhaustive (tries every reply; for small games)."""
    game: str | None = None
    """The game, for apv: without a run among its parts."""
    games: int = 200
    """Number of games (even) or of episodes."""
    simulations: int | None = None
    """Simulations per move; by default the number the run was trained with."""
    opening_plies: int | None = None
    """Random plies at the start of each pair of games; by default a number that suits the game."""
    recordings: UseAppendAction[tuple[Path, ...]] = ()
    """Instead of playing: compare the agent with the recorded games in this folder (of a run, of myosu record, or of
    SGF files): how often it would have played the same, and how well its value predicts who won. May be repeated."""
    experts: Path | None = None
    """In single-player games that can be won: recorded games of experts. Reports whether the agent passes (wins nine
    games in ten) and masters the game (needs no more steps to win than they do)."""
    part: Literal["held-out", "learnt-from", "all"] = "held-out"
    """Which of the recorded games: those that the run's configuration holds out, the others, or all."""
    seed: int = 0
    """Seed of the openings and of the random opponent."""
    json: bool = False
    """Print JSON only."""
    trust: bool = False
    """Allow user code that the run names: a game, environment or algorithm in a file or module."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "evaluate", arguments)
    trust_if(options.trust)
    check_seed(options.seed)
    check_simulations(options.simulations)
    from myosu.evaluation.mastery import mastery
    from myosu.evaluation.report import evaluation_report, match_report
    from myosu.players.agent import load_agent
    from myosu.players.apv_name import named_apv
    from myosu.randomness import use_one_thread

    use_one_thread()
    if options.run.startswith("apv:"):
        if options.recordings or options.experts:
            raise UserError("--recordings and --experts compare a run with recorded games: name a run, not apv:.")
        player = named_apv(options.run, options.game, options.simulations, options.seed)
        report = match_report(player.game, player, options.opponent, options.games, None, options.opening_plies,
                              options.seed)
        report |= {"run": player.name, "algorithm": "apv", "simulations": player.config.simulations}
        player.close()
    else:
        agent, environment, config = load_agent(options.run, options.simulations, options.seed)
        if options.recordings:
            return _compare(agent, environment, config, options)
        report = evaluation_report(agent, environment, options.run, options.opponent, options.games,
                                   options.simulations, options.opening_plies, options.seed)
        if options.experts:
            report |= mastery(report, environment, config, options.experts)
        report |= {"run": options.run, "algorithm": config.algorithm,
                   "simulations": options.simulations or config.algorithm_config.get("simulations")}
    if options.json:
        print(json_module.dumps(report, indent=1))
    else:
        (_print if "first_seat" in report else _print_episodes)(report)
    return 0


def _compare(agent: Any, environment: Any, config: Any, options: Options) -> int:
    from myosu.evaluation.prediction import predict_recordings

    held_out = {"held-out": True, "learnt-from": False, "all": None}[options.part]
    report = predict_recordings(agent, environment, config, options.recordings, held_out)
    if options.json:
        print(json_module.dumps({"run": str(options.run), "part": options.part, **asdict(report)}, indent=1))
        return 0
    table = Table(f"{config.game}, {options.part} games", f"{report.games} games, {report.positions} positions")
    table.add_row("recorded move is the most likely", _with_interval(vars(report), "top1", ".1%"))
    table.add_row("... among the five most likely", _with_interval(vars(report), "top5", ".1%"))
    table.add_row("log-likelihood per move", f"{report.log_likelihood:.3f}")
    table.add_row("error of the value, ½ (z − v)²", _with_interval(vars(report), "value_error", ".3f"))
    for first, positions, error in report.by_stage:
        table.add_row(f"  from ply {first} on", f"{error:.3f}, {positions} positions")
    Console().print(table)
    return 0


def _print(report: dict[str, Any]) -> None:
    parts = {"both seats": report, "first seat": report["first_seat"], "second seat": report["second_seat"]}
    table = Table(f"{report['game']} against {report['opponent']}", *parts)
    table.add_row("games", *(str(part["games"]) for part in parts.values()))
    if "mean_reward" in report:
        table.add_row("mean reward", *(_with_interval(part, "mean_reward", "+.2f") for part in parts.values()))
    for name in ("win", "draw", "loss"):
        table.add_row(name, *(_with_interval(part, f"{name}_rate", ".1%") for part in parts.values()))
    console = Console()
    console.print(table)
    if report["opponent"] == "exhaustive":
        for line in report["losing_lines"][:10]:
            console.print("lost after:", " ".join(line))
        console.print(f"{report['losses']} of {report['games']} lines of play are lost.")
    elif report["distinct_games"] < report["games"]:
        console.print(f"Only {report['distinct_games']} of these games differ, so the intervals are too narrow"
                      f"{'; --opening-plies varies them' if 'opening_plies' in report else ''}.")
    thought = f", {report['simulations']} simulations per move" if report["simulations"] else ""
    console.print(f"{report['algorithm']}{thought}, {report['seconds']:.1f} s; intervals of 95 %")


def _print_episodes(report: dict[str, Any]) -> None:
    table = Table(report["game"], f"{report['games']} episodes")
    table.add_row("mean reward", _with_interval(report, "mean_reward", ".2f"))
    for name in ("std", "min", "median", "max"):
        table.add_row(name, f"{report[f'{name}_reward']:.2f}")
    if report["mean_raw_reward"] != report["mean_reward"]:
        table.add_row("mean reward before all wrappers", f"{report['mean_raw_reward']:.2f}")
    table.add_row("mean length", f"{report['mean_length']:.1f} steps")
    if "success_rate" in report:
        table.add_row("won", _with_interval(report, "success_rate", ".1%"))
        if report["mean_success_length"] is not None:
            table.add_row("mean length of won episodes", f"{report['mean_success_length']:.1f} steps")
        table.add_row("steps to win (the limit if lost)", _with_interval(report, "mean_steps_to_win", ".1f"))
    if "expert_games" in report:
        table.add_row(f"... of experts, {report['expert_games']} games", f"{report['expert_steps_to_win']:.1f}")
        table.add_row("passed (90 % won)", "yes" if report["passed"] else "no")
        table.add_row("mastered (no more steps than experts)", "yes" if report["mastered"] else "no")
    table.add_row("truncated by a limit", f"{report['truncated_rate']:.1%}")
    console = Console()
    console.print(table)
    thought = f", {report['simulations']} simulations per move" if report["simulations"] else ""
    console.print(f"{report['algorithm']}{thought}, {report['seconds']:.1f} s; interval of 95 %")


def _with_interval(part: dict[str, Any], name: str, form: str) -> str:
    text = format(part[name], form)
    if name + "_ci95" in part:
        text += " ({} to {})".format(*(format(end, form) for end in part[name + "_ci95"]))
    return text
