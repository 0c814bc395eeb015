"""The page in a real browser: whole games by mouse and by keyboard, and what people do besides."""

from __future__ import annotations

import re
import shutil

import pytest

pytest.importorskip("playwright", reason="the page is tested with playwright (requirements-dev.lock)")
from playwright.sync_api import Page, sync_playwright

from myosu.envs.course import Course, replay
from myosu.games import load_game
from myosu.training.demonstrations import read_demonstrations
from myosu.web.room import Room
from web_runs import serving, untrained_run

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
#: Marks in a game's text, as the page calls the same pieces.
MARKS = {
    "othello": {".": "0", "*": "0", "X": "1", "O": "2"}, "connect_four": {".": "0", "X": "1", "O": "2"},
    "tictactoe": {".": "0", "X": "1", "O": "2"}, "woodoku": {".": "0", "#": "1"},
    "snake": {".": "empty", "@": "head", "o": "body", "#": "tail", "*": "target"},
}
WIDTHS = {"othello": 8, "connect_four": 7, "tictactoe": 3, "woodoku": 9, "snake": 10}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: bash scripts/install_engines.sh")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of a server for a game, started once."""
    with pytest.MonkeyPatch.context():
        servers, rooms = {}, {}

        def address(game: str) -> str:
            if game not in servers:
                rooms[game] = Room(untrained_run(tmp_path_factory.mktemp(game) / "run", game, (1, 2)))
                servers[game] = serving(rooms[game])
                rooms[game].address = servers[game].__enter__()
            return rooms[game].address

        address.rooms = rooms
        yield address
        for server in servers.values():
            server.__exit__(None, None, None)


@pytest.fixture
def open_page(browser, served):
    """Opens the page of a game in a browser of its own; what it complains about fails the test."""
    contexts, problems = [], []

    def open_page(game: str, context=None, **settings) -> Page:
        if context is None:
            context = browser.new_context(base_url=served(game), reduced_motion="reduce", **settings)
            context.set_default_timeout(20_000)
            contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto("/")
        wait_for_turn(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def wait_for_turn(page: Page) -> None:
    """Until a person may move, or the game is over."""
    page.locator("#board[data-turn=person], #board[data-turn=over]").wait_for()


def wait_past(page: Page, ply: int) -> None:
    page.locator(f'#board:not([data-ply="{ply}"])').wait_for()
    wait_for_turn(page)


def ply_of(page: Page) -> int:
    return int(page.locator("#board").get_attribute("data-ply"))


def is_over(page: Page) -> bool:
    return page.locator("#board").get_attribute("data-turn") == "over"


def on_screen(page: Page) -> list[str]:
    return page.locator("#board .cell").evaluate_all("cells => cells.map(cell => cell.dataset.piece)")


def truth(page: Page) -> Course:
    """The game by the rules, from what the server exports."""
    game_id = re.search(r"/game/([\w-]+)$", page.url)[1]
    data = page.request.get(f"/api/games/{game_id}.json").json()
    return replay(load_game(data["game"]), data["seed"], data["actions"])


def pieces(course: Course) -> list[str]:
    """The cells of the newest position, as the game writes it as text."""
    game, marks = course.game, MARKS[course.game.name]
    lines = [line.split() for line in game.render(course.now.state).splitlines()]
    width = WIDTHS[game.name]
    rows = [line[-width:] for line in lines if len(line) in (width, width + 1) and set(line[-width:]) <= set(marks)]
    return [marks[mark] for row in rows[:len(rows) if game.name != "woodoku" else 9] for mark in row]


def check_board(page: Page) -> Course:
    course = truth(page)
    assert on_screen(page) == pieces(course)
    assert ply_of(page) == course.now.ply
    return course


def click_a_move(page: Page, course: Course, number: int) -> None:
    """Play the legal action ``number``, modulo their count, as a person with a mouse does."""
    game = course.game
    legal = [action for action, may in enumerate(course.legal_actions()) if may]
    action = legal[number % len(legal)]
    if action == game.pass_action:
        page.locator("#pass").click()
    elif game.name == "woodoku":
        page.locator(f".slot[data-slot='{action // 81}']").click()
        page.locator(f".cell[data-cell='{action % 81}']").click()
    elif game.name == "snake":
        page.keyboard.press(["ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft"][action])
    elif game.name == "connect_four":
        page.locator(f".cell[data-cell='{action}']").click()
    else:
        page.locator(f".cell[data-cell='{action}']").click()


@pytest.mark.parametrize("game", ["othello", "connect_four", "tictactoe", "snake", "woodoku"])
def test_a_whole_game_by_clicks(open_page, served, game):
    """The board on screen is the game's true state after every move, and the game is kept as a demonstration."""
    page = open_page(game)
    if game == "snake":
        page.locator("#drive").select_option("0")
    number = 0
    while not is_over(page):
        course = check_board(page)
        click_a_move(page, course, 5 * number if game != "snake" else [1, 0, 2][number // 6 % 3])
        wait_past(page, course.now.ply)
        number += 1
    course = check_board(page)
    assert course.now.over
    assert re.search("win|draw|over", page.locator("#status").inner_text())
    kept = list(read_demonstrations(served.rooms[game].folder / "played"))[-1]
    assert kept.actions == course.actions and kept.course().now.returns == course.now.returns
    assert {player["kind"] for player in kept.players} == ({"person", "agent"} if game in ("othello", "connect_four",
                                                                                          "tictactoe") else {"person"})
