"""``myosu record``"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from tyro.conf import Positional, UseAppendAction

from myosu.commands.options import check_seed, parse, read_environment_flags, trust_if
from myosu.errors import UserError


@dataclass
class Options:
    """Record games between any players, or episodes of a run, for algorithms that learn from them (cloning, value,
    GAIL). Go games are written as SGF, too.

    The same command resumes a recording that was stopped, or extends it. No two-player game is kept twice.
    """

    game: Annotated[Positional[str], tyro.conf.arg(metavar="GAME")]
    """A game's name, a Gymnasium environment's id, or the path of a .py file."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")]
    """The folder of the recording."""
    player: UseAppendAction[tuple[str, ...]] = ()
    """Who plays: random, greedy, alphabeta:DEPTH, mcts:SIMULATIONS, gtp:"COMMAND" or a run. May be repeated: a single
    player plays itself; several players all meet each other, from both seats. In single-player games: a run, random or
    greedy."""
    games: int = 1000
    """Games in the folder at the end."""
    episodes: int | None = None
    """Number of episodes, in single-player environments."""
    jobs: int | None = None
    """Number of processes that play, one core each; all cores by default."""
    opening_plies: int = 0
    """A game begins with a random number of random moves, up to this one."""
    random_moves: float = 0.0
    """Probability that a later move is random. Random moves are not trained on."""
    temperature: float = 0.0
    """Runs sample their moves from their policy to the power of 1 / temperature; 0: they play the most likely one."""
    rewards: Literal["score", "outcome"] = "score"
    """outcome: only winning counts."""
    env_kwargs: str = "{}"
    """Arguments of a Gymnasium environment, as JSON."""
    seed: int = 0
    """Seed of everything random."""
    trust: bool = False
    """Allow user code that runs name: a game, environment or algorithm in a file or module."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "record", arguments)
    trust_if(options.trust)
    check_seed(options.seed)
    games = options.games if options.episodes is None else options.episodes
    for flag, value in (("--jobs", options.jobs), ("--games", games)):
        if value is not None and value < 1:
            raise UserError(f"{flag} {value}: it must be 1 or more.")
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from myosu.evaluation.recording import Settings, record_games

    settings = Settings(options.player, options.opening_plies, options.random_moves, options.temperature, options.seed)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(f"{options.game}, games", total=games)

        def tell(done: int, notices: list[str]) -> None:
            progress.update(task, completed=done)
            for notice in notices:
                print(f"myosu: {notice}", file=sys.stderr)

        recorded = record_games(options.output, options.game, settings, games, options.jobs,
                                read_environment_flags(options.env_kwargs), options.rewards, tell)
    print(f"{options.output} holds {recorded.games} games, {recorded.new} of them new, in {recorded.seconds:.0f} s"
          + (f"; {recorded.duplicates} were duplicates and were played again" if recorded.duplicates else "") + ".")
    if recorded.given_up:
        print(f"{recorded.given_up} were always the same: raise --opening-plies, --random-moves or --temperature.")
    return 0
