"""Publishes a web page for every native game, and an index page: gallery.py FOLDER [--minutes M]

Trains games that have no run yet, into runs/gallery-GAME. Called by ``make site``.
"""

import argparse
import subprocess
import sys
from pathlib import Path

GAMES = {"othello": "Othello", "connect_four": "Connect Four", "tictactoe": "Tic-tac-toe", "snake": "Snake",
         "woodoku": "Woodoku"}

INDEX = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Myosu: play</title>
<link rel="icon" href="othello/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="othello/style.css">
</head>
<body>
<header class="top">
<a class="brand" href="./"><img src="othello/icon.svg" alt="" width="28" height="28"> Myosu</a>
</header>
<main><section><p>Games against agents that learnt them by playing against themselves. They think in your browser.</p>
<nav aria-label="Games"><ul>
{items}
</ul></nav></section></main>
</body>
</html>
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()

    def myosu(*words: str) -> None:
        subprocess.run([sys.executable, "-m", "myosu.cli", *words], check=True)

    for game in GAMES:
        run = Path("runs") / f"gallery-{game}"
        if not (run / "checkpoints").is_dir():
            myosu("train", game, "--minutes", str(arguments.minutes), "--run", str(run))
        arguments.folder.mkdir(parents=True, exist_ok=True)
        myosu("publish", str(run), "-o", str(arguments.folder / game))
    items = "\n".join(f'<li><a href="{game}/">{title}</a></li>' for game, title in GAMES.items())
    (arguments.folder / "index.html").write_text(INDEX.format(items=items))


if __name__ == "__main__":
    main()
