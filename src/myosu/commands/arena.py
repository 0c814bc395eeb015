"""``myosu arena``"""

from __future__ import annotations

import json as json_module
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape
from tyro.conf import Positional

from myosu.commands.options import check_seed, parse, trust_if
from myosu.errors import UserError

#: Number of games per player if no limit is set.
GAMES_A_PLAYER = 100


@dataclass
class Options:
    """Run a league: rate players of any kind on one scale, with the random player at 0.

    Each opening is played from both sides. The next game is the one that reduces uncertainty most. Finished games are
    kept in the league's folder. The same command, or --resume, continues the league, and new players may join.
    """

    game: Annotated[Positional[str | None], tyro.conf.arg(metavar="GAME")] = None
    """A game's name, or the path of its .py file."""
    players: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="PLAYER")] = ()
    """random (always included), greedy, alphabeta:DEPTH, mcts:SIMULATIONS, apv:PARTS, gtp:"COMMAND", the folder of a
    run or checkpoint, or RUN/checkpoints for all checkpoints that were kept. RUN:64 uses 64 simulations per move."""
    league: Path | None = None
    """Folder of a new or existing league; leagues/GAME-TIME by default."""
    resume: Path | None = None
    """Continue the league in this folder, with its players."""
    games: int | None = None
    """Stop at this total number of games, earlier games included; 100 per player if no limit is given."""
    minutes: float | None = None
    """Stop after this many minutes."""
    workers: int | None = None
    """Number of processes that play, one core each; all cores by default."""
    simulations: int | None = None
    """Simulations per move of agents named without a number; by default the number they were trained with."""
    opening_plies: int | None = None
    """Random plies at the start of every pair of games; by default a number that suits the game."""
    seed: int = 0
    """Seed of the openings and of stochastic players."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = None
    """Draw the ratings of checkpoints over their training into this .png or .svg."""
    json: bool = False
    """Print JSON only."""
    trust: bool = False
    """Allow user code and engines that are named by runs and by the league on disk."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "arena", arguments)
    check_seed(options.seed)
    for name, value, least in (("games", options.games, 0), ("minutes", options.minutes, 0),
                               ("workers", options.workers, 1), ("simulations", options.simulations, 1)):
        if value is not None and not value >= least:  # nan is not either
            raise UserError(f"--{name} {value}: it must be {least} or more.")
    trust_if(options.trust)
    from myosu.arena.standings import Standings, cross_table, ratings_table
    from myosu.runs.files import write_json

    league = _open(options)
    console = Console(stderr=options.json, highlight=False, width=None if sys.stdout.isatty() else 160)
    interrupted = False
    try:
        _play(league, options, console)
    except KeyboardInterrupt:
        interrupted = True
    standings = Standings.of(league)
    report = {"league": str(league.folder), **standings.to_json()}
    write_json(league.folder / "ratings.json", report)
    if options.json:
        print(json_module.dumps(report, indent=1))
    else:
        console.print(ratings_table(standings), cross_table(standings), sep="\n")
        for i, j, deviations in standings.surprises()[:5]:
            score = standings.results.scores[i, j] / standings.results.games[i, j]
            first, second = standings.entrants[i].name, standings.entrants[j].name
            console.print(f"{first} scored {score:.0%} against {second}, the ratings say "
                          f"{standings.expected[i, j]:.0%} ({deviations:.1f} standard deviations): one number per "
                          "player cannot express this.", markup=False)
        if standings.not_rated:
            names = ", ".join(entrant.name for entrant in standings.not_rated)
            console.print(f"Not rated yet: {names} ({standings.why_not()}).", markup=False)
        console.print(f"{report['games']} games from openings of {standings.opening_plies} random plies, in "
                      f"{league.folder}", markup=False)
    league.close()
    if options.output is not None:
        from myosu.plots.ratings import plot_ratings

        plot_ratings(standings, options.output)
    return 130 if interrupted else 0


def _open(options: Options) -> Any:
    from myosu import trust
    from myosu.arena.entrants import find_entrants
    from myosu.arena.league import League, default_folder
    from myosu.games import load_game

    if options.resume is not None:
        if options.game is not None or options.league is not None:
            raise UserError("--resume continues a league as it is: leave out the game, the players and --league.")
        return League.open(options.resume)
    if options.game is None:
        raise UserError("Which game, and who plays? For example: myosu arena othello greedy alphabeta:3 "
                        "RUN/checkpoints")
    # The user named this code, so it may run in this league from now on.
    engines = [trust.source_of(word) for word in options.players if word.startswith("gtp:")]
    trust.remember(trust.source_of(options.game), *engines)
    entrants = find_entrants(list(options.players), load_game(options.game), options.simulations)
    if len(entrants) < 2:
        raise UserError("A league needs a player besides random: name players, such as greedy, mcts:1000 or a run.")
    league = League(options.league or default_folder(options.game), options.game, options.opening_plies, options.seed)
    league.enter(entrants)
    return league


def _play(league: Any, options: Options, console: Console) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from myosu.arena.play import play_league

    games: float = math.inf if options.games is None else options.games
    if options.games is None and options.minutes is None:
        games = GAMES_A_PLAYER * len(league.entrants)
    seconds = math.inf if options.minutes is None else 60 * options.minutes
    workers = options.workers or len(os.sched_getaffinity(0))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(f"{len(league.entrants)} players in {escape(str(league.folder))}",
                                 total=None if games == math.inf else games, completed=2 * len(league.pairs))

        def tell(played: int, notices: list[str]) -> None:
            progress.update(task, completed=played)
            for notice in notices:
                print(f"myosu: {notice}", file=sys.stderr)

        play_league(league, games, seconds, workers, tell)
