"""Takes the README's screenshots in a real browser: docs/images/play-GAME.png, one of a phone, and watch.png.

    .venv/bin/python scripts/screenshots.py runs/OTHELLO runs/CONNECT_FOUR … --watch runs/SNAKE-1 runs/SNAKE-2

Each RUN gives the screenshot of its game, and AlphaGo's search (apv:prior=RUN,…) play-alphago.png. The simulated person
follows the agent's hints, so that the games look sensible. The runs after --watch are shown together.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
OUT = Path(__file__).parent.parent / "docs" / "images"
#: Number of the person's moves before the screenshot; None: the agent plays alone for a while.
MOVES = {"othello": 11, "connect_four": 6, "tictactoe": 2, "snake": None, "woodoku": 8, "alphago": 11}
DARK = ("connect_four", "snake")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--watch", nargs="+", default=[])
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), headless=True, args=FLAGS)
        for run in arguments.runs:
            with serving("play", run) as address:
                picture(browser, address)
        if arguments.watch:
            with serving("watch", *arguments.watch) as address:
                watch(browser, address)
        browser.close()


@contextlib.contextmanager
def serving(*command: str) -> Iterator[str]:
    """The URL that a myosu command serves."""
    server = subprocess.Popen([sys.executable, "-m", "myosu.cli", *command, "--no-browser"],
                              stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[2]
    finally:
        server.terminate()


def watch(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="light")
    page.goto(address)
    page.locator(".chart .line").first.wait_for()
    page.wait_for_timeout(800)
    save(page, "watch.png")


def picture(browser: Browser, address: str) -> None:
    about = json.loads(urllib.request.urlopen(f"{address}api/run", timeout=120).read())
    game = "alphago" if about["algorithm"] == "apv" else about["game"]
    wide = {"viewport": {"width": 1200, "height": 1000 if game == "alphago" else 800},
            "color_scheme": "dark" if game in DARK else "light"}
    take(browser, address, game, f"play-{game}.png", wide)
    if game == "othello":
        take(browser, address, game, "play-phone.png",
             {"viewport": {"width": 390, "height": 780}, "color_scheme": "dark", "has_touch": True, "is_mobile": True})


def take(browser: Browser, address: str, game: str, name: str, settings: dict[str, Any]) -> None:
    page = browser.new_page(**settings)
    page.set_default_timeout(180_000)
    page.goto(address)
    page.locator("#board[data-turn=person]").wait_for()
    page.locator(".switch").click()
    moves = MOVES[game]
    if moves is None:
        page.locator("#open-new").click()
        page.get_by_label("Watch the agent").check(force=True)
        page.locator("#begin").click()
        page.wait_for_timeout(12_000)
        page.locator("#pause").click()
        page.locator("#mind .shares").wait_for()
    else:
        for _ in range(moves):
            follow_hint(page, game)
        page.locator("#mind .shares").wait_for()
    page.wait_for_timeout(800)
    save(page, name)


def save(page: Page, name: str) -> None:
    # Colours in steps of 6 of 256: not visible, and shaded surfaces take half the bytes.
    coarse = [min(255, 6 * round(value / 6)) for value in range(256)] * 3
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB").point(coarse)
    image.save(OUT / name, optimize=True)
    print(f"{OUT / name}: {(OUT / name).stat().st_size / 1000:.0f} kB")
    page.close()


def follow_hint(page: Page, game: str) -> None:
    ply = page.locator("#board").get_attribute("data-ply")
    page.locator("#mind .shares").wait_for()
    if game == "woodoku":
        best = page.locator("#mind .chosen th").inner_text()
        page.locator(f".slot[data-slot='{int(best[0]) - 1}']").click()
        page.locator(f".cell[data-cell='{(int(best[2]) - 1) * 9 + 'abcdefghi'.index(best[1])}']").click()
    else:
        page.locator("#hint").click()
        page.locator(".cell.hinted").click()
    page.locator(f'#board:not([data-ply="{ply}"])').wait_for()
    page.locator("#board[data-turn=person]").wait_for()


if __name__ == "__main__":
    main()
