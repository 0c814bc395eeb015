"""``myosu games``"""

from __future__ import annotations

import json as json_module
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from myosu.commands.options import parse
from myosu.games.registry import find_game, game_names


@dataclass
class Options:
    """List the games that can be trained."""

    json: bool = False
    """Print JSON only."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "games", arguments)
    games = [find_game(name)[0] for name in game_names()]  # compiling the rules takes a minute, and they are not needed
    if options.json:
        print(json_module.dumps([
            {"name": game.name, "players": game.num_players, "actions": game.num_actions,
             "observation_shape": list(game.observation_shape), "reward_range": list(game.reward_range),
             "max_plies": game.max_plies} for game in games], indent=1))
        return 0
    table = Table("game", "players", "actions", "observation", "reward", "longest")
    for game in games:
        low, high = game.reward_range
        table.add_row(game.name, str(game.num_players), str(game.num_actions),
                      "×".join(map(str, game.observation_shape)), f"{low:g} to {high:g}", f"{game.max_plies} plies")
    Console().print(table)
    return 0
