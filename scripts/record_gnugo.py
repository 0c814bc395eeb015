"""Records games of GNU Go against itself, one SGF file each, in as many processes as there are cores.

    nice -n 15 .venv/bin/python scripts/record_gnugo.py FOLDER --games 3000 --size 9 --level 1

Every game begins with up to six random moves, and up to move 60 each move is random with probability 3 %. When a player
would pass, both capture all dead stones, so that the area is the score. Moves that are not GNU Go's choice have a
comment: ``random``, or ``cleanup`` from the first pass on. Existing files are kept, so the same command resumes;
duplicate games are replayed with another seed.
"""

from __future__ import annotations

import argparse
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from myosu.errors import UserError
from myosu.games import Game
from myosu.games.go import make_game
from myosu.games.go.sgf import CLEANUP, RANDOM, GoRecord, format_sgf, read_folder
from myosu.players.gtp import GtpPlayer

ENGINE = "gnugo --mode gtp --chinese-rules --positional-superko --never-resign --cache-size 4 --level {level}"
OPENING, RANDOM_UNTIL, RANDOM_RATE = 6, 60, 0.03


def play_game(engine: GtpPlayer, game: Game, seed: int, name: str) -> GoRecord:
    chance = random.Random(seed)
    opening, cleaning, passes = chance.randint(0, OPENING), False, 0
    record = GoRecord(game.observation_shape[-1], [], black=name, white=name)
    engine.send("clear_board")
    engine.send(f"set_random_seed {seed % 2**31}")
    while passes < 2 and len(record.actions) < game.max_plies:
        ply, comment = len(record.actions), CLEANUP if cleaning else ""
        colour = ("black", "white")[ply % 2]
        if ply < opening or (ply < RANDOM_UNTIL and chance.random() < RANDOM_RATE and not cleaning):
            vertex, comment = chance.choice(engine.send(f"all_legal {colour}").split()), RANDOM
            engine.send(f"play {colour} {vertex}")
        elif cleaning:
            vertex = engine.send(f"kgs-genmove_cleanup {colour}")
        elif (vertex := engine.send(f"genmove {colour}")).lower() == "pass":
            engine.send("undo")
            cleaning = True
            continue
        action = game.parse_action(vertex)
        record.actions.append(action)
        record.comments.append(comment)
        passes = passes + 1 if action == game.pass_action else 0
    record.result = engine.send("final_score")
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--size", type=int, default=9)
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    game, seen = make_game(options.size), set()
    if any(options.folder.glob("*.sgf")):
        seen = {tuple(record.actions) for record in read_folder(options.folder)[0]}
    waiting = [n for n in range(options.games) if not (options.folder / f"{n:06d}.sgf").exists()]
    lock = threading.Lock()

    def work() -> None:
        engine = GtpPlayer(game, ENGINE.format(level=options.level))
        while True:
            with lock:
                if not waiting:
                    break
                number = waiting.pop(0)
            for seed in range(number, 1 << 62, 1_000_003):
                record = play_game(engine, game, seed, f"GNU Go level {options.level}")
                with lock:
                    if (key := tuple(record.actions)) not in seen:
                        seen.add(key)
                        break
            path = options.folder / f"{number:06d}.sgf"
            path.with_suffix(".part").write_text(format_sgf(record))
            path.with_suffix(".part").replace(path)
        engine.close()

    with ThreadPoolExecutor(options.workers) as pool:
        for job in [pool.submit(work) for _ in range(options.workers)]:
            job.result()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
