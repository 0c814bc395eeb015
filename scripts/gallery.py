"""Publishes a web page for every native game, and an index page: gallery.py FOLDER [--minutes M] [--games NAME ...]

Trains games that have no run yet, into runs/gallery-GAME. Called by ``make site``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from myosu.errors import UserError
from myosu.runs.checkpoint import find_checkpoint

#: For each game, its title and a sentence about it.
GAMES = {
    "othello": ("Othello", "Turn the other's discs by enclosing them."),
    "connect_four": ("Connect Four", "Four in a row, and discs fall."),
    "tictactoe": ("Tic-tac-toe", "Three in a row; nobody should lose."),
    "go9": ("Go 9×9", "Surround more of the board."),
    "snake": ("Snake", "Eat and grow, and do not bite yourself."),
    "woodoku": ("Woodoku", "Place pieces, clear rows, columns and boxes."),
    "bubble": ("Bubble", "Shoot bubbles until none hangs."),
}

INDEX = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Myosu: play</title>
<link rel="icon" href="{first}/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{first}/style.css">
<link rel="stylesheet" href="gallery.css">
</head>
<body>
<header class="top">
<a class="brand" href="./"><img src="{first}/icon.svg" alt="" width="28" height="28"> Myosu</a>
</header>
<main class="gallery"><p>Games against agents that learnt them by playing. They think in your browser.</p>
<nav aria-label="Games"><ul>
{items}
</ul></nav></main>
</body>
</html>
"""

STYLE = """main.gallery { display: block; }
.gallery ul { list-style: none; padding: 0; margin: 1.2rem 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); }
.gallery a { display: block; height: 100%; padding: 1.1rem 1.2rem; border: 1px solid var(--edge);
  border-radius: var(--radius); background: var(--card); box-shadow: var(--shadow); color: inherit;
  text-decoration: none; }
.gallery a:hover { border-color: var(--accent); }
.gallery strong { display: block; font-size: 1.15rem; margin-bottom: 0.2rem; }
"""

ITEM = '<li><a href="{game}/"><strong>{title}</strong><span class="faint">{about}</span></a></li>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--games", nargs="+", choices=GAMES, default=list(GAMES))
    arguments = parser.parse_args()

    def myosu(*words: str) -> None:
        subprocess.run([sys.executable, "-m", "myosu.cli", *words], check=True)

    for game in arguments.games:
        run = Path("runs") / f"gallery-{game}"
        if not _is_trained(run):
            goes_on = (run / "config.json").is_file()
            named = ["--resume", str(run)] if goes_on else [game, "--run", str(run)]
            myosu("train", *named, "--minutes", str(arguments.minutes))
        arguments.folder.mkdir(parents=True, exist_ok=True)
        myosu("publish", str(run), "-o", str(arguments.folder / game))
    items = "\n".join(ITEM.format(game=game, title=title, about=about) for game, (title, about) in GAMES.items()
                      if (arguments.folder / game).is_dir())
    (arguments.folder / "index.html").write_text(INDEX.format(items=items, first=arguments.games[0]))
    (arguments.folder / "gallery.css").write_text(STYLE)


def _is_trained(run: Path) -> bool:
    try:
        find_checkpoint(run)
    except UserError:
        return False
    return True


if __name__ == "__main__":
    main()
