"""``myosu check``"""

from __future__ import annotations

import dataclasses
import json as json_module
from dataclasses import dataclass
from typing import Annotated

import tyro
from tyro.conf import Positional

from myosu.errors import UserError
from myosu.games import load_game


@dataclass
class Options:
    """Check the rules of a game over random games, and say in plain words what is wrong."""

    game: Annotated[Positional[str], tyro.conf.arg(metavar="GAME")]
    """A game's name, or the path of its .py file."""
    games: int = 200
    """Random games to play."""
    seed: int = 0
    """What the random games follow from."""
    json: bool = False
    """Print JSON only."""


def main(arguments: list[str]) -> int:
    options = tyro.cli(Options, prog="myosu check", args=arguments)
    from myosu.doctor.check_game import check_game

    if options.games < 1:
        raise UserError(f"--games {options.games}: play one at least.")
    game = load_game(options.game)
    findings = check_game(game, options.games, options.seed)
    failed = any(finding.severity == "error" for finding in findings)
    if options.json:
        print(json_module.dumps({"game": game.name, "ok": not failed,
                                 "findings": [dataclasses.asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            print(finding, end="\n\n")
        print(f"{game.name}: {'the rules break the contract' if failed else 'the rules hold'} "
              f"({options.games} random games)")
    return int(failed)
