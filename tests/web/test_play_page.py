"""The page in a real browser: whole games by mouse and by keyboard, and other actions of people."""

from __future__ import annotations

import contextlib
import math
import re
import socket
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

pytest.importorskip("playwright", reason="the page is tested with playwright (requirements-dev.lock)")
from playwright.sync_api import Page

from myosu.envs.game_history import GameHistory, replay
from myosu.games import bubble, load_game
from myosu.runs.recordings import open_recording
from myosu.web.room import Room
from own_game import NIM
from web_runs import serving, untrained_run

#: Symbols in a game's text → the page's names of the pieces.
MARKS = {
    "othello": {".": "0", "*": "0", "X": "1", "O": "2"}, "connect_four": {".": "0", "X": "1", "O": "2"},
    "tictactoe": {".": "0", "X": "1", "O": "2"}, "woodoku": {".": "0", "#": "1"},
    "snake": {".": "empty", "@": "head", "o": "body", "#": "tail", "*": "target"},
}
WIDTHS = {"othello": 8, "connect_four": 7, "tictactoe": 3, "woodoku": 9, "snake": 10}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of a server for a game, started once."""
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
def open_page(new_context, served):
    """Open the page of a game in its own browser context."""

    def open_page(game: str, context=None, **settings) -> Page:
        page = (context or new_context(served(game), **settings)).new_page()
        page.goto("/")
        wait_for_turn(page)
        return page

    return open_page


def wait_for_turn(page: Page) -> None:
    """Wait until a person may move, or the game is over."""
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


rules = cache(load_game)


def truth(page: Page) -> GameHistory:
    """The true game, replayed by the rules from the server's export."""
    game_id = re.search(r"/game/([\w-]+)$", page.url)[1]
    data = page.request.get(f"/api/games/{game_id}.json").json()
    return replay(rules(data["game"]), data["seed"], data["actions"])


def pieces(history: GameHistory) -> list[str]:
    """The cells of the newest position, from the game's text rendering."""
    game, marks = history.game, MARKS[history.game.name]
    lines = [line.split() for line in game.render(history.now.state).splitlines()]
    width = WIDTHS[game.name]
    rows = [line[-width:] for line in lines if len(line) in (width, width + 1) and set(line[-width:]) <= set(marks)]
    return [marks[mark] for row in rows[:len(rows) if game.name != "woodoku" else 9] for mark in row]


def check_board(page: Page) -> GameHistory:
    history = truth(page)
    assert on_screen(page) == pieces(history)
    assert ply_of(page) == history.now.ply
    return history


def click_a_move(page: Page, history: GameHistory, number: int) -> None:
    """Click the legal action ``number``, modulo their count."""
    game = history.game
    legal = [action for action, may in enumerate(history.legal_actions()) if may]
    action = legal[number % len(legal)]
    if action == game.pass_action:
        page.locator("#pass").click()
    elif game.name == "woodoku":
        page.locator(f".slot[data-slot='{action // 81}']").click()
        page.locator(f".cell[data-cell='{action % 81}']").click()
    elif game.name == "snake":
        page.keyboard.press(["ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft"][action])
    else:
        page.locator(f".cell[data-cell='{action}']").click()


@pytest.mark.parametrize("game", WIDTHS)
def test_whole_game_by_clicks(open_page, served, game):
    """The board on screen is the game's true state after every move, and the game is saved as a demonstration."""
    page = open_page(game)
    if game == "snake":
        page.locator("#drive").select_option("0")
    number = 0
    while not is_over(page):
        history = check_board(page)
        # The snake goes up, left and down, and then to the wall; 0, 1, 2 are its legal directions in their order.
        click_a_move(page, history, 5 * number if game != "snake" else [2, 2, 2, 0, 0][min(number, 4)])
        wait_past(page, history.now.ply)
        number += 1
    history = check_board(page)
    assert history.now.over
    assert re.search("win|draw|over", page.locator("#status").inner_text())
    kept = list(open_recording(served.rooms[game].folder / "played").records())[-1]
    assert kept.actions == history.actions and kept.history().now.returns == history.now.returns
    assert {player["kind"] for player in kept.players} == ({"person", "agent"} if game in ("othello", "connect_four",
                                                                                          "tictactoe") else {"person"})


def play_clicks(page: Page, moves: int) -> None:
    for number in range(moves):
        history = check_board(page)
        click_a_move(page, history, number)
        wait_past(page, history.now.ply)


def test_undo_hint_and_analysis(open_page):
    page = open_page("othello")
    play_clicks(page, 2)
    assert page.locator(".cell.last").count() == 1 and page.locator(".cell.flipped").count() >= 1
    page.locator("#undo").click()
    wait_past(page, 4)
    assert check_board(page).now.ply == 2
    page.locator("#hint").click()
    page.locator(".cell.hinted").wait_for()
    hinted = int(page.locator(".cell.hinted").get_attribute("data-cell"))
    assert check_board(page).legal_actions()[hinted]
    page.keyboard.press("t")
    page.locator(".cell.analyzed").first.wait_for()
    best = page.locator("#mind .chosen th").inner_text()
    assert page.locator(".cell.hinted").get_attribute("aria-label").startswith(best)
    assert page.locator("#mind .chosen td").nth(2).inner_text().isdecimal()
    page.locator("#curve svg").wait_for()


def test_hint_and_undo_while_the_agent_thinks(open_page):
    """A hint, and an undo, while an evaluation is requested.

    One answer serves both requests, and the evaluation of a position that was taken back is not shown at another.
    """
    page = open_page("othello")
    play_clicks(page, 2)
    page.evaluate("for (const id of ['show-mind', 'hint']) document.getElementById(id).click()")
    page.locator(".cell.hinted").wait_for()
    page.keyboard.press("t")
    play_clicks(page, 1)
    page.evaluate("for (const id of ['show-mind', 'undo']) document.getElementById(id).click()")
    page.locator('#board[data-ply="4"]').wait_for()
    page.locator("#mind .shares").wait_for()
    history = check_board(page)
    legal = {history.game.action_name(a) for a, may in enumerate(history.legal_actions()) if may}
    assert set(page.locator("#mind tbody th").all_inner_texts()) <= legal
    assert page.locator("#toast").is_hidden()


@pytest.mark.parametrize("game", WIDTHS)
def test_reload_and_undo_in_the_middle_of_a_game(open_page, game):
    page = open_page(game)
    if game == "snake":
        page.locator("#drive").select_option("0")
    play_clicks(page, 2)
    ply, before = ply_of(page), on_screen(page)
    page.reload()
    wait_for_turn(page)
    assert check_board(page).now.ply == ply == 2 * len(check_board(page).now.returns) and on_screen(page) == before
    play_clicks(page, 1)
    page.locator("#undo").click()
    page.locator(f'#board[data-ply="{ply}"]').wait_for()
    assert on_screen(page) == before
    play_clicks(page, 1)


@contextlib.contextmanager
def server_process(run, port: int):
    """``myosu play`` started as users do it, and killed without warning."""
    command = [sys.executable, "-m", "myosu.cli", "play", str(run), "--no-browser", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert f":{port}" in process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_game_continues_after_the_server_is_killed(browser, tmp_path):
    """The game continues once a server runs again: by itself, after a reload, and from the list of games."""
    run = untrained_run(tmp_path / "run", "tictactoe")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context = browser.new_context(base_url=f"http://127.0.0.1:{port}")
    page, fresh = context.new_page(), context.new_page()
    with server_process(run, port):
        for tab in (page, fresh):
            tab.goto("/")
            wait_for_turn(tab)
        play_clicks(page, 1)
        before = on_screen(page)
    page.get_by_text("The connection is lost").wait_for()
    with server_process(run, port):
        page.locator("#status", has_text="Your turn").wait_for()
        assert check_board(page).now.ply == 2 and on_screen(page) == before
        play_clicks(page, 1)
        fresh.locator("#status", has_text="Your turn").wait_for()
        assert check_board(fresh).now.ply == 0
        page.reload()
        wait_for_turn(page)
        history = check_board(page)
        assert history.now.ply == 4
        fresh.goto("/")
        wait_for_turn(fresh)
        fresh.locator("#open-replays").click()
        fresh.locator(".games").first.locator("button", has_text="4 moves").click()
        fresh.locator("#board[data-ply='4']").wait_for()
        assert check_board(fresh).actions == history.actions
        while not is_over(fresh):
            play_clicks(fresh, 1)
        assert next(open_recording(run / "played").records()).actions == check_board(fresh).actions
    context.close()


def test_two_tabs_share_a_game_beside_a_third(open_page):
    page = open_page("tictactoe")
    other = open_page("tictactoe", page.context)
    assert other.url != page.url
    twin = page.context.new_page()
    twin.goto(page.url)
    wait_for_turn(twin)
    play_clicks(page, 1)
    wait_past(twin, 0)
    assert on_screen(twin) == on_screen(page)
    assert check_board(other).now.ply == 0
    play_clicks(twin, 1)
    wait_past(page, 2)
    assert on_screen(page) == on_screen(twin)


@pytest.mark.parametrize("game", WIDTHS)
def test_phone_needs_no_sideways_scrolling(open_page, game):
    page = open_page(game, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    box = page.locator("#board .grid").bounding_box()
    assert box["width"] > 280 and box["y"] + box["height"] < 740
    history = check_board(page)
    if game == "snake":
        page.locator("#drive").select_option("0")
        page.locator(".pad .up").tap()
    elif game == "woodoku":
        click_a_move(page, history, 0)
    else:
        page.locator(".cell.clickable").first.tap()
    wait_past(page, 0)
    check_board(page)
    page.locator("#open-new").tap()
    assert page.locator("#new-dialog").bounding_box()["width"] <= 360
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 320, "height": 568})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.set_viewport_size({"width": 740, "height": 360})  # on its side
    assert page.evaluate("document.documentElement.scrollWidth") <= 740
    box = page.locator("#board .grid").bounding_box()
    assert box["width"] > 200 and box["y"] + box["height"] <= 360


def tab_to(page: Page, selector: str) -> None:
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator(f"{selector}:focus").count():
            return
    raise AssertionError(f"Tab does not lead to {selector}")


def walk_to(page: Page, cell: int, columns: int) -> None:
    here = int(page.locator(".cell:focus").get_attribute("data-cell"))
    for key, steps in (("Down", cell // columns - here // columns), ("Right", cell % columns - here % columns)):
        for _ in range(abs(steps)):
            page.keyboard.press(f"Arrow{key if steps > 0 else {'Down': 'Up', 'Right': 'Left'}[key]}")


@pytest.mark.parametrize("game, columns, name", [("tictactoe", 3, "Tic-tac-toe board"),
                                                 ("connect_four", 7, "Connect Four board"),
                                                 ("othello", 8, "Othello board")])
def test_whole_game_by_keyboard(open_page, game, columns, name):
    """A whole game as the second player, with the messages to a screen reader."""
    page = open_page(game)
    page.keyboard.press("n")
    page.keyboard.press("ArrowRight")  # the person plays Ring, Yellow or White
    page.keyboard.press("Enter")
    page.locator('#board[data-ply="1"][data-turn=person]').wait_for()
    while not is_over(page):
        history = check_board(page)
        if page.locator("#pass").is_visible():
            page.keyboard.press("p")
        else:
            if not page.locator(".cell:focus").count():
                tab_to(page, ".cell")
            open_cell = page.locator(".cell[aria-label*='empty, you may play here']").first
            walk_to(page, int(open_cell.get_attribute("data-cell")), columns)
            page.keyboard.press("Enter")
        wait_past(page, history.now.ply)
    check_board(page)
    heard = page.locator("#spoken").inner_text()
    assert "You play" in heard and "Agent plays" in heard and re.search("win|draw", heard)
    assert page.get_by_role("grid", name=name).get_by_role("gridcell").count() == len(on_screen(page))


def test_woodoku_by_keyboard(open_page):
    page = open_page("woodoku")
    tab_to(page, ".cell")
    while not is_over(page):
        history = check_board(page)
        action = int(history.legal_actions().argmax())
        page.keyboard.press(str(action // 81 + 1))
        walk_to(page, action % 81, 9)
        assert "fits here" in page.locator(".cell:focus").get_attribute("aria-label")
        assert page.locator(".cell.ghost").count() >= 1
        page.keyboard.press("Enter")
        wait_past(page, history.now.ply)
    check_board(page)
    assert "The game is over" in page.locator("#spoken").inner_text()


def test_woodoku_by_dragging(open_page):
    page = open_page("woodoku")
    action = int(check_board(page).legal_actions().nonzero()[0][-1])
    page.locator(f".slot[data-slot='{action // 81}']").drag_to(page.locator(f".cell[data-cell='{action % 81}']"))
    wait_past(page, 0)
    assert check_board(page).actions == [action]


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def slide(page: Page, start, end) -> None:
    """Move one finger from ``start`` to ``end`` as a touchscreen reports it: the browser may take it for scrolling."""
    screen = page.context.new_cdp_session(page)
    for kind, share in (("touchStart", 0), *(("touchMove", k / 5) for k in range(1, 6)), ("touchEnd", None)):
        points = [] if share is None else [{
            axis: a + (b - a) * share for axis, a, b in zip("xy", start, end, strict=True)}]
        screen.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    screen.detach()


def middle(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_snake_is_steered_by_swipes(open_page):
    """Swipes work anywhere on the board, diagonally too; the page does not scroll."""
    page = open_page("snake", **PHONE)
    page.locator("#drive").select_option("0")
    x, y = middle(page, "#board .frame")
    for number, (right, down, action) in enumerate([(10, -90, 2), (-80, 30, 3), (20, 70, 0)]):
        slide(page, (x, y), (x + right, y + down))
        wait_past(page, number)
        assert check_board(page).actions[number] == action
    assert page.evaluate("scrollY") == 0


def test_snake_moves_by_itself_and_is_steered_by_taps(open_page):
    page = open_page("snake", **PHONE)
    page.locator("#drive").select_option("110")
    page.locator(".pad .up").tap()
    page.locator('#board[data-ply="2"]').wait_for()
    page.locator(".pad .left").tap()
    page.locator("#board[data-turn=over]").wait_for()
    actions = check_board(page).actions
    assert set(actions) == {2, 3} and actions == sorted(actions)


def test_woodoku_by_touch(open_page):
    """The piece hangs above the finger; where it does not fit it goes back."""
    page = open_page("woodoku", **PHONE)
    history = check_board(page)
    action = int(history.legal_actions().nonzero()[0][20])
    slot, cell = f".slot[data-slot='{action // 81}']", f".cell[data-cell='{action % 81}']"
    lift = 1.6 * page.locator(cell).bounding_box()["width"]
    away = middle(page, slot)
    slide(page, away, (away[0], away[1] + 40))
    assert ply_of(page) == 0 and page.locator(".floating, .ghost, .taken").count() == 0
    x, y = middle(page, cell)
    slide(page, away, (x, y + lift))
    wait_past(page, 0)
    assert check_board(page).actions == [action]
    page.locator(".slot:enabled").first.tap()  # alternatively, select it and then put it down
    page.locator(".cell.fits").first.tap()
    wait_past(page, 1)
    assert check_board(page).now.ply == 2 and page.evaluate("scrollY") == 0


def test_game_without_a_board_by_keyboard(new_context, tmp_path):
    """Shown as text. The focus stays among the moves, so that repeated Enter plays the game."""
    (tmp_path / "nim.py").write_text(NIM)
    run = untrained_run(tmp_path / "run", str(tmp_path / "nim.py"))
    with serving(Room(run)) as address:
        page = new_context(address).new_page()
        page.goto("/")
        wait_for_turn(page)
        assert page.locator("#board pre").inner_text() == "21 stones  " + "o" * 21
        tab_to(page, ".options button")
        ply = 0
        while not is_over(page):
            assert page.locator(".options button:focus").count() == 1
            page.keyboard.press("Enter")
            wait_past(page, ply)
            ply = ply_of(page)
        history = truth(page)
        assert history.now.over and history.now.ply == ply
        assert page.locator("#board pre").inner_text() == history.game.render(history.now.state)
        page.close()


def test_forced_pass_is_shown(open_page, served):
    page = open_page("othello")
    table = served.rooms["othello"].tables[page.url.rpartition("/")[2]]
    moves = "c4 e3 f2 e2 f6 g2 f3 e6 f4 c3 d1 c6 h2 f1 b7 c5 b2 c2 c1 e1 d2 b1 d6 b4 a4 a1 a2 b3"
    for move in moves.split():
        table.history.play(table.game.parse_action(move))
    page.reload()
    wait_for_turn(page)
    assert "must pass" in page.locator("#status").inner_text() and page.locator(".cell.clickable").count() == 0
    page.locator("#pass").click()
    wait_past(page, 28)
    assert check_board(page).actions[28] == 64
    assert "pass" in page.locator("#moves").inner_text()


def test_watching_two_agents_replaying_and_playing_on(open_page):
    page = open_page("connect_four")
    page.locator("#open-new").click()
    page.get_by_label("Watch two agents").check(force=True)
    page.locator("details.more summary").first.click()
    page.locator(".checkpoint").first.select_option("update-00000001")
    page.locator("#begin").click()
    page.locator('#board:not([data-ply="0"])').wait_for()
    page.locator("#pace").fill("100")
    page.locator("#board[data-turn=over]").wait_for()
    history = check_board(page)
    page.locator("#first").click()
    page.locator('#board[data-ply="0"]').wait_for()
    for ply in range(1, 4):
        page.keyboard.press(".")
        page.locator(f'#board[data-ply="{ply}"]').wait_for()
        part = replay(history.game, history.seed, history.actions[:ply])
        assert on_screen(page) == pieces(part)
    page.locator("#continue").click()
    page.get_by_label("You are Yellow").check(force=True)
    page.locator("#begin").click()
    page.locator('#board[data-ply="3"][data-turn=person]').wait_for()
    assert check_board(page).actions == history.actions[:3]


def test_recorded_game_is_replayed_move_by_move(open_page, served):
    page = open_page("tictactoe")
    while not is_over(page):
        play_clicks(page, 1)
    played = check_board(page)
    page.locator("#open-replays").click()
    page.locator("h3", has_text="Played here").locator("+ .games button").first.click()
    page.locator('#board[data-ply="0"][data-turn=other]').wait_for()
    for ply in range(1, len(played.actions) + 1):
        page.locator("#next").click()
        page.locator(f'#board[data-ply="{ply}"]').wait_for()
    assert on_screen(page) == pieces(played)


@pytest.mark.parametrize("game", ["othello", "tictactoe"])
def test_greatest_number_on_the_board_is_the_agents_move(open_page, game):
    """It is the move of the hint, and the first in the table that explains the numbers."""
    page = open_page(game)
    for _ in range(3):
        page.keyboard.press("t")
        page.keyboard.press("h")
        page.locator(".cell.hinted").wait_for()
        page.locator("#mind .shares").wait_for()
        numbers = {int(text) for text in page.locator(".cell.analyzed .note").all_inner_texts()}
        assert int(page.locator(".cell.hinted .note").inner_text()) == max(numbers)
        assert page.locator("#mind tbody tr").first.get_attribute("class") == "chosen"
        assert "of the search’s simulations" in page.locator("#mind .meaning").inner_text()
        page.keyboard.press("t")
        play_clicks(page, 1)


def check_bubbles(page: Page) -> GameHistory:
    history = truth(page)
    cells = page.locator("#board .cell").evaluate_all(
        "cells => cells.map(cell => [cell.dataset.cell, cell.dataset.piece].map(Number))")
    board = history.now.state["board"]
    assert len(cells) == 7 * 8 + 7 * 7
    assert all(board.reshape(-1)[cell] == piece for cell, piece in cells)
    return history


def aimed_at(page: Page, number: int) -> tuple[float, float]:
    """A point above the shooter in the direction of a shot, a third of the board away."""
    box = page.locator("#board svg.bubbles").bounding_box()
    unit = box["width"] / 16
    angle = bubble.ANGLES[number]
    return (box["x"] + unit * (bubble.SHOOTER_X + 5 * math.sin(angle)),
            box["y"] + unit * (bubble.SHOOTER_Y - 5 * math.cos(angle)))


def test_bubble_by_mouse(open_page, served):
    """A whole game: the aim line follows the pointer, each click shoots, and the game is saved as a demonstration."""
    page, random = open_page("bubble"), np.random.default_rng(0)
    while not is_over(page):
        history = check_bubbles(page)
        angle = int(random.integers(41))
        page.mouse.move(*aimed_at(page, angle))
        assert page.locator("#board svg.bubbles").get_attribute("aria-valuenow") == str(angle)
        page.mouse.click(*aimed_at(page, angle))
        wait_past(page, history.now.ply)
        assert truth(page).actions[-1] == bubble.flight(history.now.state, angle)[1]
    kept = list(open_recording(served.rooms["bubble"].folder / "played").records())[-1]
    assert kept.actions == check_bubbles(page).actions
    assert {player["kind"] for player in kept.players} == {"person"}


@pytest.mark.parametrize("width", [320, 1000])
def test_bubble_scores_fit_the_width(open_page, width):
    page = open_page("bubble", viewport={"width": width, "height": 640})
    page.locator("#scores .score").nth(2).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.locator("#scores .name").evaluate_all("names => names.map(name => name.scrollWidth > name.clientWidth)")
    assert cut == [False] * 3


def test_bubble_by_keyboard(open_page):
    page = open_page("bubble")
    start = check_bubbles(page).now.state
    tab_to(page, "svg.bubbles")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    wait_past(page, 0)
    history = check_bubbles(page)
    assert history.actions == [bubble.flight(start, 23)[1]]
    aim = page.locator("#board svg.bubbles")
    assert "10.5 degrees to the right" in aim.get_attribute("aria-valuetext")
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    wait_past(page, 1)
    assert check_bubbles(page).actions == [*history.actions, bubble.flight(history.now.state, 0)[1]]


def test_bubble_by_touch(open_page):
    """The shot is aimed by sliding a finger and fired by lifting it; below the shooter nothing is fired."""
    page = open_page("bubble", **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    start = check_bubbles(page).now.state
    slide(page, aimed_at(page, 5), aimed_at(page, 30))
    wait_past(page, 0)
    assert check_bubbles(page).actions == [bubble.flight(start, 30)[1]]
    box = page.locator("#board svg.bubbles").bounding_box()
    slide(page, aimed_at(page, 5), (box["x"] + 20, box["y"] + box["height"] - 1))
    page.wait_for_timeout(200)
    assert ply_of(page) == 1 and page.evaluate("scrollY") == 0


def contrast(page: Page, foreground: str, background: str) -> float:
    """The contrast of two colours by WCAG 2."""
    return page.evaluate("""colours => {
        const light = colour => {
            const canvas = new OffscreenCanvas(1, 1).getContext('2d');
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(value => value / 255)
                .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
        };
        const [a, b] = colours.map(light);
        return Math.max(a, b) / Math.min(a, b);
    }""", [foreground, background])


def test_rematch_swaps_seats_and_only_wins_have_the_win_colour(open_page):
    page = open_page("tictactoe")
    page.locator("#rematch").wait_for(state="hidden")
    while not is_over(page):
        ply = ply_of(page)
        page.locator(".cell.clickable").first.click()
        wait_past(page, ply)
    victory = page.evaluate("getComputedStyle(document.querySelector('button.primary')).backgroundColor")
    colour = page.locator("#status").evaluate("status => getComputedStyle(status).color")
    assert (colour == victory) == ("You win" in page.locator("#status").inner_text())
    game = page.url
    page.keyboard.press("r")
    page.locator('#board[data-ply="1"][data-turn=person]').wait_for()  # the agent made the first move
    assert page.url != game


def test_levels_set_simulations_and_temperature(open_page):
    page = open_page("tictactoe")
    page.keyboard.press("n")
    group = page.locator("#strengths fieldset:visible")
    level, simulations, temperature = (group.locator(f".{name}") for name in ("level", "simulations", "temperature"))
    assert level.input_value() == "Strong" and simulations.is_hidden()
    usual = int(simulations.input_value())
    level.select_option("Strongest")
    assert int(simulations.input_value()) == 4 * usual
    level.select_option("Easy")
    assert float(temperature.input_value()) == 1
    group.locator("summary").click()
    temperature.fill("0.3")
    assert level.input_value() == "own"


def test_dots_and_hints_have_enough_contrast(open_page):
    """Contrast of the dot on an open square against the board, and of a hint's two colours: at least 3:1."""
    page = open_page("othello")
    dot = page.locator(".cell.open .piece, .cell.clickable .piece").first.evaluate(
        "piece => getComputedStyle(piece).backgroundColor")
    for green in ("#36966a", "#2a7d57", "#226a49"):
        assert contrast(page, dot, green) >= 3
    page.keyboard.press("h")
    page.locator(".cell.hinted").wait_for()
    ring, shadow = page.locator(".cell.hinted").first.evaluate(
        "cell => [getComputedStyle(cell, '::after').borderTopColor, "
        "getComputedStyle(cell, '::after').boxShadow.match(/rgb[^)]*\\)/)[0]]")
    assert contrast(page, ring, shadow) >= 3


@pytest.mark.parametrize("game", ["tictactoe", "snake"])
def test_review_of_a_finished_game(open_page, served, game):
    """After a game: the agent's evaluation of every position, marks beside the moves, a ring around the best move."""
    page = open_page(game)
    assert page.locator("#review").is_hidden()
    number = 0
    while not is_over(page):
        ply, number = ply_of(page), number + 1
        click_a_move(page, truth(page), 0 if game == "snake" else number)
        wait_past(page, ply)
    history = truth(page)
    page.keyboard.press("v")
    page.locator("#review-result table").wait_for()
    rows = page.locator("#review-result tbody tr").all_inner_texts()
    counts = [re.findall(r"(\d+) of (\d+)", row)[0] for row in rows]
    assert sum(int(of) for _, of in counts) == len(history.actions)
    marks = page.locator("#moves button").evaluate_all("buttons => buttons.map(button => button.dataset.mark)")
    assert len(marks) == len(history.actions) and marks.count("★") == sum(int(best) for best, _ in counts)
    numbers = page.locator("#moves li").evaluate_all("items => items.map(item => item.dataset.number ?? '')")
    expected = [f"{k + 1}." for k in range(len(marks))] if game == "snake" else [
        "" if k % 2 else f"{k // 2 + 1}." for k in range(len(marks))]
    assert numbers == expected
    page.locator("#open-new").focus()  # on the board, Home goes to the row's first cell
    page.keyboard.press("Home")
    page.locator('#board[data-ply="0"]').wait_for()
    page.locator("#board .hinted").first.wait_for(state="attached")
    page.locator("#next").click()
    assert page.locator("#judged").inner_text().startswith(f"1. {history.game.action_name(history.actions[0])}")
    page.locator("#rematch").click()
    page.locator("#board[data-turn=person]").wait_for()
    assert page.locator("#review-result").is_hidden()


def test_sounds_can_be_switched_off(open_page):
    page = open_page("tictactoe")
    page.evaluate("""() => {
        globalThis.heard = 0;
        const start = OscillatorNode.prototype.start;
        OscillatorNode.prototype.start = function (...at) { globalThis.heard += 1; return start.apply(this, at); };
    }""")
    page.locator(".cell.clickable").first.click()
    wait_past(page, 0)
    ply, heard = ply_of(page), page.evaluate("heard")
    assert heard == ply  # one for each move
    page.keyboard.press("m")
    assert not page.get_by_label("Sounds").is_checked()
    page.locator(".cell.clickable").first.click()
    wait_past(page, ply)
    assert page.evaluate("heard") == heard
    page.reload()
    wait_for_turn(page)
    assert not page.get_by_label("Sounds").is_checked()


#: An element of each board, the property that colours its dot or hint, and the element that it lies on.
SEEN = [
    ('<div class="board woodoku"><div class="cell fits"></div></div>', ".cell", "::before", "backgroundColor", ".cell"),
    ('<div class="board woodoku"><div class="cell box fits"></div></div>', ".cell", "::before", "backgroundColor",
     ".cell"),
    ('<div class="board woodoku"><button class="slot hinted"></button></div>', ".slot", "", "borderTopColor", ".slot"),
    ('<div class="board snake"><div class="frame"><svg><path class="wish hinted"/></svg></div></div>', ".wish", "",
     "fill", ".frame"),
    ('<div class="board snake"><div class="frame"><svg><path class="wish"/></svg></div></div>', ".wish", "", "fill",
     ".frame"),
    ('<div class="card"><svg class="curve"><circle class="marked mistake"/></svg></div>', ".marked", "", "fill",
     ".card"),
    ('<div class="card"><svg class="curve"><circle class="marked"/></svg></div>', ".marked", "", "fill", ".card"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hints_of_every_board_have_enough_contrast(open_page, scheme):
    page = open_page("tictactoe", color_scheme=scheme)
    for html, mark, part, colour, ground in SEEN:
        seen, below = page.evaluate("""([html, mark, part, colour, ground]) => {
            const host = document.createElement('div');
            host.innerHTML = html;
            document.body.append(host);
            const style = (what, part) => getComputedStyle(host.querySelector(what), part || null);
            const found = [style(mark, part)[colour], style(ground).backgroundColor];
            host.remove();
            return found;
        }""", [html, mark, part, colour, ground])
        assert contrast(page, seen, below) >= 3, (html, seen, below)
