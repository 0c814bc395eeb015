"""``myosu card``: write a model card for an agent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from myosu.commands.options import parse, trust_if
from myosu.errors import UserError


@dataclass
class Options:
    """Write a model card for an agent: what it plays, how it was trained, how good it is, and how to use it."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run's folder (its latest checkpoint), RUN/checkpoints/best, or the folder of one checkpoint."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")] = None
    """Where README.md and curve.png are written; RUN/card by default."""
    license: str | None = None
    """The licence of the agent, such as mit or cc-by-4.0."""
    games: int = 0
    """Evaluate the agent now in this many games (episodes); 0: the card shows the last evaluation of the training."""
    opponent: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """With --games, in a two-player game: its opponent, as in myosu evaluate. May be repeated."""
    trust: bool = False
    """Allow user code that the run names: a game, environment or algorithm in a file or module."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "card", arguments)
    check_games(options.games)
    trust_if(options.trust)
    from myosu.randomness import use_one_thread
    from myosu.runs.checkpoint import find_checkpoint
    from myosu.sharing.card import write_card

    use_one_thread()
    folder = options.output or find_checkpoint(options.run).path.parent.parent / "card"
    print(write_card(options.run, folder, options.license, options.games, options.opponent))
    return 0


def check_games(games: int) -> None:
    """Raises UserError unless this number of games can be played, half of them from each seat."""
    if games and (games < 4 or games % 2):
        raise UserError(f"--games {games}: an even number from 4, or 0.")
