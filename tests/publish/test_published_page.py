"""Published pages in a real browser, from a static file server."""

from __future__ import annotations

import functools
import json
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="pages are tested with playwright (requirements-dev.lock)")
from playwright.sync_api import Page

from myosu.envs.game_history import replay
from myosu.games import load_game
from myosu.publish.site import publish
from myosu.runs.games import GameRecord
from web_runs import untrained_run


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Served:
    """A static file server of ``folder``. Pages lie below /pages/, as on hosts of many pages."""

    def __init__(self, folder: Path) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def site(tmp_path_factory, compile_once):
    """A folder with the pages of two untrained agents."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("myosu.publish.site.compile_for_page", compile_once)
        for game in ("othello", "snake"):
            publish(untrained_run(tmp_path_factory.mktemp(game) / "run", game), folder / "pages" / game)
    return folder


@pytest.fixture
def served(site):
    served = Served(site)
    yield served
    served.stop()


def wait_for_turn(page: Page) -> None:
    page.locator("#board[data-turn=person], #board[data-turn=over]").wait_for()


def ply_of(page: Page) -> int:
    return int(page.locator("#board").get_attribute("data-ply"))


def is_over(page: Page) -> bool:
    return page.locator("#board").get_attribute("data-turn") == "over"


def play_on(page: Page, turns: int = 100) -> None:
    """Play by keyboard: always the first open cell, or a pass."""
    for _ in range(turns):
        if is_over(page):
            return
        ply = ply_of(page)
        if page.locator("#pass").is_visible():
            page.keyboard.press("p")
        else:
            page.locator(".cell.open").first.focus()
            page.keyboard.press("Enter")
        page.locator(f'#board:not([data-ply="{ply}"])').wait_for()
        wait_for_turn(page)


def exported(page: Page) -> dict:
    with page.expect_download() as download:
        page.locator("#as-json").click()
    return json.loads(Path(download.value.path()).read_text())


def test_a_whole_game_is_played_by_keyboard(new_context, served):
    page = new_context(served.address).new_page()
    page.goto("/pages/othello/")
    wait_for_turn(page)
    page.locator("#show-mind").check(force=True)
    page.locator("#mind table").wait_for()
    play_on(page)
    assert is_over(page) and ply_of(page) >= 9
    game = exported(page)
    history = GameRecord.from_json(game).history()  # replayed by the rules in Python, which check returns and end too
    assert history.now.over and game["players"][0] == {"kind": "person"}
    shown = page.locator("#board .cell").evaluate_all("cells => cells.map(cell => cell.dataset.piece)")
    own, other = history.observation(history.now)[:2].reshape(2, -1)
    first, second = (own, other) if history.now.to_play == 0 else (other, own)
    assert shown == [str(a + 2 * b) for a, b in zip(first, second, strict=True)]
    page.keyboard.press("v")
    page.locator("#review-result tbody tr").nth(1).wait_for()
    marks = page.locator("#moves button").evaluate_all("buttons => buttons.map(button => button.dataset.mark)")
    assert len(marks) == history.now.ply and "★" in marks
    page.locator("#open-replays").click()
    page.locator("#replays button", has_text="202").click()  # listed by its date
    page.locator('#board[data-ply="0"]').wait_for()
    assert page.locator("#moves li").count() == history.now.ply


def test_undo_hint_and_switching_sides(new_context, served):
    page = new_context(served.address).new_page()
    page.goto("/pages/othello/")
    wait_for_turn(page)
    play_on(page, 1)
    assert ply_of(page) >= 2
    page.keyboard.press("h")
    page.locator(".cell.hinted").wait_for()
    page.keyboard.press("u")
    page.locator('#board[data-ply="0"]').wait_for()
    page.keyboard.press("n")
    page.locator("#new-dialog input[value=second]").check(force=True)
    page.locator("#begin").click()
    page.locator('#board[data-ply="1"][data-turn=person]').wait_for()
    assert exported(page)["players"][0]["kind"] == "agent"


def test_a_game_is_restored_after_the_page_was_closed(new_context, served):
    context = new_context(served.address)
    page = context.new_page()
    page.goto("/pages/othello/")
    wait_for_turn(page)
    play_on(page, 2)
    address, ply, moves = page.url, ply_of(page), exported(page)["actions"]
    page.close()
    again = context.new_page()
    again.goto(address)
    wait_for_turn(again)
    assert ply_of(again) == ply and exported(again)["actions"] == moves
    again.locator("#open-replays").click()
    again.locator("#replays button").wait_for()  # exactly one


def test_page_works_offline_once_loaded(new_context, site):
    served = Served(site)
    context = new_context(served.address)
    page = context.new_page()
    page.goto("/pages/othello/")
    wait_for_turn(page)
    page.evaluate("""async () => {
        await navigator.serviceWorker.ready;
        while (!navigator.serviceWorker.controller) await new Promise(later => setTimeout(later, 50));
    }""")
    served.stop()
    page.goto("/pages/othello/?again")
    wait_for_turn(page)
    play_on(page, 1)
    assert ply_of(page) >= 2


def test_page_fits_small_screens_and_dark_mode(new_context, served):
    page = new_context(served.address, viewport={"width": 320, "height": 640}, color_scheme="dark").new_page()
    for game in ("othello", "snake"):
        page.goto(f"/pages/{game}/")
        wait_for_turn(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 21, 25)"


def test_two_agents_play_and_can_be_stopped(new_context, served):
    page = new_context(served.address).new_page()
    page.goto("/pages/snake/")
    wait_for_turn(page)
    page.keyboard.press("n")
    page.locator("#new-dialog input[value=watch]").check(force=True)
    page.locator("#begin").click()
    page.locator('#board:not([data-ply="0"])').wait_for()
    page.locator("#pause").click()
    page.locator("#pause", has_text="Go on").wait_for()
    ply = ply_of(page)
    page.wait_for_timeout(400)
    assert ply_of(page) == ply
    game = exported(page)
    assert len(replay(load_game("snake"), game["seed"], game["actions"]).actions) == ply


def test_a_missing_file_is_reported(browser, site, tmp_path):
    """The page shows an error instead of waiting forever."""
    shutil.copytree(site / "pages" / "othello", tmp_path / "page")
    (tmp_path / "page" / "weights.bin").unlink()
    served = Served(tmp_path)
    page = browser.new_page(service_workers="block")
    page.goto(f"{served.address}/page/")
    page.locator("#status", has_text="weights.bin is missing").wait_for()
    page.close()
    served.stop()
