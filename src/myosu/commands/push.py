"""``myosu push``: share an agent on the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from myosu.commands.card import check_games
from myosu.commands.options import parse, trust_if


@dataclass
class Options:
    """Share an agent on the Hugging Face Hub, with its card. Log in first: hf auth login."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run's folder (its latest checkpoint), RUN/checkpoints/best, or the folder of one checkpoint."""
    name: Annotated[Positional[str], tyro.conf.arg(metavar="USER/NAME")]
    """The repository; it is created if it does not exist."""
    license: str | None = None
    """The licence of the agent, such as mit or cc-by-4.0."""
    private: bool = False
    """Make the repository private."""
    games: int = 0
    """Evaluate the agent now in this many games (episodes) for its card; 0: the card shows the last evaluation of the
    training."""
    opponent: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """With --games, in a two-player game: its opponent, as in myosu evaluate. May be repeated."""
    trust: bool = False
    """Allow user code that the run names: an environment in a module."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "push", arguments)
    check_games(options.games)
    trust_if(options.trust)
    from myosu.randomness import use_one_thread
    from myosu.sharing.hub import push

    use_one_thread()
    print(push(options.run, options.name, options.license, options.private, options.games, options.opponent))
    return 0
