"""GNU Go plays itself, in as many processes as there are cores: games to learn from, one SGF file each.

    nice -n 15 .venv/bin/python scripts/record_gnugo.py FOLDER --games 3000 --size 9 --level 1

Every game begins with up to six random moves, and up to move 60 three in a hundred are random. Once a player would
pass, both capture what is dead, so that the area on the board is the score. A node's comment says which moves are not
GNU Go's own choice: ``random``, or ``cleanup`` from the first pass on. Files that are there already are kept, so that
the same command goes on where it stopped; a game that has been played before is played again from another seed.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ENGINE = "gnugo --mode gtp --chinese-rules --positional-superko --never-resign --cache-size 4"
OPENING, RANDOM_UNTIL, RANDOM_RATE = 6, 60, 0.03


class GnuGo:
    def __init__(self, size: int, level: int, komi: float) -> None:
        environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/games"}
        self._process = subprocess.Popen([*ENGINE.split(), "--level", str(level)], env=environment, text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._settings = [f"boardsize {size}", f"komi {komi:g}", "clear_board"]

    def new_game(self, seed: int) -> None:
        for command in [*self._settings, f"set_random_seed {seed}"]:
            self.send(command)

    def send(self, command: str) -> str:
        self._process.stdin.write(command + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        lines = [self._process.stdout.readline()]  # type: ignore[union-attr]
        while lines[-1].strip():
            lines.append(self._process.stdout.readline())  # type: ignore[union-attr]
        answer = "".join(lines).strip()
        if not answer.startswith("="):
            raise RuntimeError(f"GNU Go answered {answer!r} to {command!r}.")
        return answer[1:].strip()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def play_game(engine: GnuGo, size: int, seed: int) -> tuple[list[tuple[str, str]], str]:
    """(vertex, comment) of every move, Black's first; and the score, as GNU Go writes it."""
    chance = random.Random(seed)
    opening, cleaning, passes = chance.randint(0, OPENING), False, 0
    moves: list[tuple[str, str]] = []
    engine.new_game(seed % 2**31)
    while passes < 2 and len(moves) < 3 * size * size:
        colour = ("black", "white")[len(moves) % 2]
        comment = "cleanup" if cleaning else ""
        if len(moves) < opening or (len(moves) < RANDOM_UNTIL and chance.random() < RANDOM_RATE and not cleaning):
            vertex, comment = chance.choice(engine.send(f"all_legal {colour}").split()), "random"
            engine.send(f"play {colour} {vertex}")
        elif not cleaning and (vertex := engine.send(f"genmove {colour}")).lower() == "pass":
            engine.send("undo")
            cleaning = True
            continue
        elif cleaning:
            vertex = engine.send(f"kgs-genmove_cleanup {colour}")
        moves.append((vertex, comment))
        passes = passes + 1 if vertex.lower() == "pass" else 0
    return moves, engine.send("final_score")


def to_sgf(moves: list[tuple[str, str]], score: str, size: int, komi: float, level: int) -> str:
    nodes = []
    for ply, (vertex, comment) in enumerate(moves):
        point = ""
        if vertex.lower() != "pass":
            column, row = "ABCDEFGHJKLMNOPQRST".index(vertex[0].upper()), size - int(vertex[1:])
            point = chr(97 + column) + chr(97 + row)
        nodes.append(f";{'BW'[ply % 2]}[{point}]" + (f"C[{comment}]" if comment else ""))
    player = f"GNU Go level {level}"
    return (f"(;GM[1]FF[4]CA[UTF-8]AP[myosu]SZ[{size}]KM[{komi:g}]RU[Chinese]PB[{player}]PW[{player}]RE[{score}]\n"
            + "\n".join("".join(nodes[k:k + 10]) for k in range(0, len(nodes), 10)) + ")\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--size", type=int, default=9)
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--komi", type=float, default=7.5)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    seen = {path.read_text().split("\n", 1)[1] for path in options.folder.glob("*.sgf")}
    waiting = [n for n in range(options.games) if not (options.folder / f"{n:06d}.sgf").exists()]
    lock = threading.Lock()

    def work() -> None:
        engine = GnuGo(options.size, options.level, options.komi)
        while True:
            with lock:
                if not waiting:
                    break
                number = waiting.pop(0)
            seed = number
            while True:
                text = to_sgf(*play_game(engine, options.size, seed), options.size, options.komi, options.level)
                with lock:
                    if (body := text.split("\n", 1)[1]) not in seen:
                        seen.add(body)
                        break
                seed += 1_000_003
            path = options.folder / f"{number:06d}.sgf"
            path.with_suffix(".part").write_text(text)
            path.with_suffix(".part").replace(path)
        engine.close()

    with ThreadPoolExecutor(options.workers) as pool:
        for job in [pool.submit(work) for _ in range(options.workers)]:
            job.result()


if __name__ == "__main__":
    main()
