"""Replays recorded games with our rules and with GNU Go, and compares the legal moves of every position and the final
score.

    .venv/bin/python scripts/gnugo_oracle.py FOLDER --games 1000

The games are SGF files in which dead stones were captured before the end, as ``myosu record`` writes them.
GNU Go is configured to forbid repeated positions and suicide, as our rules do. Exit code 1 at a difference.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from myosu.games import Game
from myosu.games.go import make_game
from myosu.games.go.board import owners, point_of
from myosu.games.go.drawing import stone_grid
from myosu.games.go.sgf import GoRecord, read_folder
from myosu.players.gtp import GtpPlayer

ENGINE = "gnugo --mode gtp --chinese-rules --positional-superko --forbid-suicide"


def difference(engine: GtpPlayer, game: Game, record: GoRecord) -> str | None:
    """The first difference between our rules and GNU Go in a game; None if they agree."""
    state, mask = game.new_states(1)[0], np.empty(game.num_actions, np.bool_)
    engine.send("clear_board")
    for ply, action in enumerate(record.actions):
        colour = ("black", "white")[ply % 2]
        game.legal_actions(state, mask)
        moves = {game.action_name(int(cell)) for cell in np.flatnonzero(mask[:-1])}
        if moves != (others := set(engine.send(f"all_legal {colour}").split())):
            return f"move {ply + 1}: only we allow {sorted(moves - others)}, only GNU Go {sorted(others - moves)}"
        engine.send(f"play {colour} {game.action_name(action)}")
        game.step(state, action)
    score, theirs = float(game.score(state)), engine.send("final_score")  # type: ignore[misc]
    if engine.send("final_status_list seki"):
        # In a seki GNU Go counts no empty points, not even those that only one colour reaches; Tromp and Taylor do. Its
        # final_score is then not always the sum of its own lists, so the lists are compared.
        found, width = owners(state), game.observation_shape[-1] + 2
        for vertex in engine.send("final_status_list dame").split():
            score -= (0, 1, -1)[found[point_of(game.parse_action(vertex), width)]]
        theirs = _written(_listed_area(engine, game, state) - float(state["komi"]))
    return None if _written(score) == theirs else f"score {_written(score)}, GNU Go {theirs}"


def _listed_area(engine: GtpPlayer, game: Game, state: np.void) -> int:
    """Black's points minus White's, by GNU Go's lists of living stones and of territory."""
    stones, lead = stone_grid(state).reshape(-1), 0
    for status, sign in (("alive", 0), ("seki", 0), ("black_territory", 1), ("white_territory", -1)):
        for vertex in engine.send(f"final_status_list {status}").split():
            lead += sign or (0, 1, -1)[stones[game.parse_action(vertex)]]
    return lead


def _written(score: float) -> str:
    return "0" if score == 0 else f"{'B' if score > 0 else 'W'}+{abs(score):.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--games", type=int, default=1000)
    options = parser.parse_args()
    records = read_folder(options.folder)[0][:options.games]
    game = make_game(records[0].size)
    engine, positions = GtpPlayer(game, ENGINE), 0
    for number, record in enumerate(records):
        if what := difference(engine, game, record):
            print(f"game {number + 1}: {what}")
            return 1
        positions += len(record.actions)
    print(f"{len(records)} games, {positions} positions: the same legal moves in all, and the same score")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
